"""A module whose `setup` makes or draws its layers, at every stage."""

import lightning as L
import pytest
import torch
from torch import nn

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import Random
from lightning_al.fitting.setup_guard import weights_kept_in_setup
from tests.helpers.projects import Data, Net, make_trainer, picks


class Makes(Net):
    """Makes its layers anew whenever it is set up."""

    def setup(self, stage):
        self.net = nn.Linear(4, 3).double()


class Draws(Net):
    """Draws its weights anew whenever it is set up, in the tensors that it has."""

    def setup(self, stage):
        for layer in self.net:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()


class Watch(L.Callback):
    def __init__(self):
        self.starts, self.ends = [], []

    def on_round_start(self, trainer, pl_module, loop):
        pass

    def on_train_start(self, trainer, pl_module):
        self.starts.append(torch.cat([p.detach().flatten() for p in pl_module.parameters()]))

    def on_train_end(self, trainer, pl_module):
        self.ends.append(torch.cat([p.detach().flatten() for p in pl_module.parameters()]))


@pytest.mark.few(1)
@pytest.mark.parametrize("acquisition", [None, Random()])
@pytest.mark.parametrize("model", [Makes, Draws])
@pytest.mark.parametrize("reset", ["initial", "warm"])
def test_what_was_fitted_is_evaluated_and_scored(tmp_path, model, reset, acquisition):
    """Layers made for `validate` and `predict` had other weights, and picks came from those."""
    watch, net = Watch(), model()
    loop = ActiveLearningLoop(net, Data(), initial=8, query_size=4, rounds=2, reset=reset, dirpath=tmp_path / "c")
    history = loop.run(make_trainer(tmp_path, watch, acquisition=acquisition))
    assert len(watch.ends) == 3
    for number in (1, 2):
        assert torch.equal(watch.starts[number], watch.starts[0] if reset == "initial" else watch.ends[number - 1])
    assert torch.equal(torch.cat([p.flatten() for p in net.parameters()]), watch.ends[-1])
    x, y = loop.datamodule.datamodule.held_out.tensors
    assert history[-1].metrics["val_acc"] == pytest.approx(float((net.eval()(x).argmax(1) == y).double().mean()))
    assert "setup" not in vars(net)


def test_a_setup_of_its_own_is_no_other_campaign(tmp_path):
    class Counts(Net):
        stages = []

        def setup(self, stage):
            self.stages.append(getattr(stage, "value", stage))

    def run(folder, model):
        loop = ActiveLearningLoop(model, Data(), initial=8, query_size=4, rounds=1, dirpath=tmp_path / folder)
        return picks(loop.run(make_trainer(tmp_path)))

    assert run("a", Counts()) == run("b", Net())
    assert Counts.stages.count("fit") == 3  # at the start, and in each round


def test_the_first_call_may_change_weights():
    model = Draws()
    before = model.net[0].weight.clone()
    with weights_kept_in_setup(model):
        model.setup("fit")
        first = model.net[0].weight.clone()
        model.setup("validate")
        assert torch.equal(model.net[0].weight, first)
    assert not torch.equal(first, before)
    model.setup("validate")
    assert not torch.equal(model.net[0].weight, first)


def test_layers_that_change_their_shape_are_an_error():
    class Grows(Net):
        def setup(self, stage):
            self.net = nn.Linear(4, 4 if stage == "fit" else 3)

    model = Grows()
    with weights_kept_in_setup(model), pytest.raises(RuntimeError, match="size mismatch"):
        model.setup("fit")
        model.setup("validate")
