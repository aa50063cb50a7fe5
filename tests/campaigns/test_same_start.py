"""Campaigns of one seed begin alike whatever their method: initial weights, initial set, sub-pools."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_al import Campaign
from lightning_al.acquisition import Margin
from lightning_al.data import Pool
from lightning_al.distributed.randomness import generator
from lightning_al.fitting.reset import redraw_parameters
from lightning_al.zoo import Classifier, LossPredictionClassifier, SmallCNN
from tests.helpers.recipes import LEARN_THE_LOSS, METHODS, RECIPES

ON_A_CPU = sorted(set(METHODS) - {"vaal", "sraal"})  # whose small ones are among them


class Encoding(Margin):
    """Brings a network of its own, which is made with it."""

    def __init__(self, encoder: nn.Module | None = None):
        super().__init__()
        self.drawn = torch.rand(7)


def made(*files, flags=(), seed=3):
    """The model of a run, as it is before its first round."""
    from lightning_al.cli import ActiveLearningCLI

    class Idle(ActiveLearningCLI):
        def run(self, model, datamodule):
            pass

    names = [word for file in files for word in ("-c", str(RECIPES / f"{file}.yaml"))]
    return Idle(args=["run", *names, f"--loop.seed={seed}", *flags]).model


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(autouse=True)
def cli(monkeypatch):
    pytest.importorskip("jsonargparse")
    monkeypatch.setattr(sys, "argv", ["lightning-al"])


@pytest.fixture(scope="module")
def weights():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lightning-al"])
        return made("quickstart").net.state_dict()


@pytest.mark.few(1)
@pytest.mark.parametrize("training", [None, "sam"])
@pytest.mark.parametrize("method", METHODS)
def test_the_network_is_made_alike(method, training, weights):
    files = [f"acquisitions/{method}", *([] if training is None else [f"training/{training}"])]
    assert same(made("quickstart", *files).net.state_dict(), weights)


def test_callbacks_that_draw_when_they_are_made_change_no_weights(weights):
    own = f"{__name__}.Encoding"
    net = ["--trainer.callbacks.encoder=SmallCNN", "--trainer.callbacks.encoder.num_classes=10"]
    assert same(made("quickstart", flags=[f"--trainer.callbacks={own}"]).net.state_dict(), weights)
    assert same(made("quickstart", flags=[f"--trainer.callbacks={own}", *net]).net.state_dict(), weights)
    assert not same(made("quickstart", seed=4).net.state_dict(), weights)


def test_a_network_is_drawn_anew_alike_beside_one_that_predicts_its_loss():
    one = Classifier(SmallCNN(3, in_channels=1), num_classes=3)
    two = LossPredictionClassifier(SmallCNN(3, in_channels=1), num_classes=3)
    two.loss_prediction = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 1))
    again = LossPredictionClassifier(SmallCNN(3, in_channels=1), num_classes=3)
    for model in (one, two):
        redraw_parameters(model, 0, 1, "reset")
    redraw_parameters(again, 0, 2, "reset")
    # statistics are not drawn, and are those of new layers
    assert same(one.net.state_dict(), two.net.state_dict())
    assert not same(one.net.state_dict(), again.net.state_dict())


def test_sub_pools_differ_by_nothing_but_what_was_picked_before():
    picked = {"a": [3, 14, 15, 92, 65], "b": [35, 8, 97, 93, 23]}
    drawn = {}
    for name, units in picked.items():
        pool = Pool(100)
        pool.label(units)
        drawn[name] = pool.candidates(generator=generator(0, 1, "candidates")).tolist()
    common = [unit for unit in drawn["a"] if unit not in picked["b"]]
    assert common == [unit for unit in drawn["b"] if unit not in picked["a"]]
    assert sorted(common) == sorted(set(range(100)) - {*picked["a"], *picked["b"]})
    assert len(set(drawn["a"][:40]) & set(drawn["b"][:40])) >= 40 - 5


@pytest.mark.slow
def test_campaigns_begin_alike(tmp_path):
    """Whole ones: what is recorded of each, and the metrics of the first round where the training is the same."""
    pytest.importorskip("sklearn")
    from lightning_al.cli import main

    starts = {}
    for method in ON_A_CPU:
        folder = tmp_path / method
        words = ["-c", RECIPES / "quickstart.yaml", "-c", RECIPES / "acquisitions" / f"{method}.yaml"]
        flags = [f"--loop.dirpath={folder}", "--trainer.max_epochs=1", "--loop.rounds=1", "--loop.subpool_size=60"]
        main(["run", *map(str, words), *flags])
        starts[method] = start_of(folder)
    for method, (net, initial, metrics) in starts.items():
        assert same(net, starts["random"][0]), method
        assert initial == starts["random"][1], method
        if method not in LEARN_THE_LOSS:
            assert metrics == starts["random"][2], method


def start_of(folder: Path):
    weights = torch.load(folder / "initial.ckpt", weights_only=True)["state_dict"]
    campaign = Campaign.load(folder)
    [initial] = [e["indices"] for e in Campaign.read_events(folder) if e["kind"] == "asked" and e["round"] == -1]
    net = {name: value for name, value in weights.items() if name.startswith("net.")}
    return net, initial, campaign.rounds[0].metrics
