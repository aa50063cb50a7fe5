"""Campaigns of compiled models: the picks of the model as it is written, with training that stays compiled."""

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ActiveLearningLoop, score
from lightning_al.acquisition import BADGE, BALD, SAAL, Entropy, EntropyGradNorm, LearningLoss, QueryByCommittee
from lightning_al.fitting.repeated import RepeatedFit
from lightning_al.training import AutoSAMMixin, LossPredictionMixin, SAMMixin
from tests.helpers.compiling import WAYS, Backend
from tests.helpers.marks import slow
from tests.helpers.projects import Data, Net, make_data, make_trainer, picks
from tests.helpers.scored import BARE


class Learns(LossPredictionMixin, Net):
    loss_width = 6


def built(way, backend=None, kind=Net):
    """The whole module, or its net: what training runs through. Nothing is compiled already, for another test."""
    torch._dynamo.reset()
    model = kind(batch_norm=True)
    if way == "module":
        return torch.compile(model, backend=backend or Backend())
    if way != "as written":
        model.net = WAYS[way](model.net, backend or Backend())
    return model


def run(folder, way, *, rounds=2, acquisition=None, backend=None, kind=Net, **options):
    model = built(way, backend, kind)
    loop = ActiveLearningLoop(
        model, Data(), initial=8, query_size=4, rounds=rounds, dirpath=folder / "c", evaluate=None, **options
    )
    trainer = make_trainer(folder, acquisition=(acquisition or Entropy)(), max_epochs=1)
    return loop.run(trainer, resume=True)


def told(history):
    return [(r.picked, r.scores) for r in history]


ACQUISITIONS = {
    "saal": SAAL,
    "norm": EntropyGradNorm,
    "badge": BADGE,
    "dropout": lambda: BALD(passes=3, add_dropout=0.4),
    "loss prediction": LearningLoss,
    "committee": lambda: QueryByCommittee(members=2, score="kl"),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["module", "parts", "whole", "whole in place", "layers in place"])
@pytest.mark.parametrize("name", ACQUISITIONS)
def test_picks_are_those_of_the_model_as_it_is_written(tmp_path, name, way):
    kind = Learns if name == "loss prediction" else Net
    backend, options = Backend(), {"acquisition": ACQUISITIONS[name], "kind": kind}
    got = run(tmp_path / "compiled", way, backend=backend, **options)
    assert True in backend.graphs  # it trained compiled
    assert told(got) == told(run(tmp_path / "plain", "as written", **options))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["whole", "module", "whole in place", "layers in place"])
def test_training_stays_compiled_and_nothing_is_compiled_anew_for_a_round(tmp_path, way):
    backend = Backend()
    run(tmp_path, way, rounds=0, backend=backend)
    of_one_fit = len(backend.graphs)
    assert of_one_fit
    backend = Backend()
    run(tmp_path / "longer", way, rounds=3, acquisition=SAAL, backend=backend)
    assert len(backend.graphs) <= of_one_fit + 1  # a last batch of another size


@pytest.mark.slow
@pytest.mark.parametrize("way", ["module", "whole", "whole in place"])
@pytest.mark.parametrize("mixin", [SAMMixin, AutoSAMMixin])
def test_sam_steps_are_those_of_the_model_as_it_is_written(tmp_path, mixin, way):
    kind, ends = type("Steps", (mixin, Net), {}), []
    for each in (way, "as written"):
        model = built(each, kind=kind)
        L.seed_everything(0)
        make_trainer(tmp_path).fit(model, DataLoader(TensorDataset(*make_data()), batch_size=10))
        ends.append([t.clone() for t in getattr(model, "_orig_mod", model).state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


# -- names with `_orig_mod.` -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", ["initial", *map(slow, ("warm", "continue", "fresh"))])
@pytest.mark.parametrize(
    ("first", "then"), [("whole", "as written"), slow("as written", "parts"), slow("parts", "module")]
)
def test_a_campaign_goes_on_whatever_is_compiled_now(tmp_path, first, then, reset):
    whole = run(tmp_path / "whole", "as written", reset=reset)
    run(tmp_path / "cut", first, rounds=1, reset=reset)
    assert told(run(tmp_path / "cut", then, reset=reset)) == told(whole)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["committee", "loss prediction", "dropout"])
def test_so_does_what_an_acquisition_keeps(tmp_path, name):
    options = {"acquisition": ACQUISITIONS[name], "kind": Learns if name == "loss prediction" else Net}
    whole = run(tmp_path / "whole", "as written", **options)
    run(tmp_path / "cut", "whole", rounds=1, **options)
    assert told(run(tmp_path / "cut", "as written", **options)) == told(whole)


@pytest.mark.slow
def test_so_does_a_fit_that_was_killed_in_its_middle(tmp_path, monkeypatch):
    class Killed(Net):
        def on_train_epoch_start(self):
            if self.current_epoch == 3 and kills:
                raise KeyboardInterrupt

    def go(folder, way):
        loop = ActiveLearningLoop(
            built(way, kind=Killed), Data(), initial=8, query_size=4, rounds=1, dirpath=folder / "c"
        )
        return told(loop.run(make_trainer(folder, max_epochs=5), resume=True))

    monkeypatch.setattr(RepeatedFit, "checkpoint_every_seconds", 0.0)
    kills = False
    whole = go(tmp_path / "whole", "as written")
    kills = True
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        go(tmp_path / "cut", "parts")
    kills = False
    assert go(tmp_path / "cut", "as written") == whole


@pytest.mark.parametrize(("saved", "loads"), [("parts", "as written"), slow("as written", "parts")])
def test_a_state_of_either_kind_is_scored_with(tmp_path, saved, loads):
    model = built(saved)
    torch.nn.init.normal_(model.net[4].weight, generator=torch.Generator().manual_seed(3))
    torch.save(model.state_dict(), tmp_path / "best.ckpt")
    [want, got] = (
        score(each, BARE, Entropy(), 4, trainer=make_trainer(tmp_path), batch_size=4, **options)
        for each, options in ((model, {}), (built(loads), {"ckpt_path": tmp_path / "best.ckpt"}))
    )
    assert torch.equal(want.score, got.score)
    with pytest.raises(ValueError, match="holds the weights of another model"):
        torch.save({f"other.{name}": t for name, t in model.state_dict().items()}, tmp_path / "other.ckpt")
        score(built(loads), BARE, Entropy(), 4, trainer=make_trainer(tmp_path), ckpt_path=tmp_path / "other.ckpt")


@pytest.mark.slow
def test_a_real_compiler(tmp_path):
    """Training by generated kernels, scores by the layers: those of the same weights in a model as it is written."""
    torch._dynamo.reset()
    model = torch.compile(Net(batch_norm=True))
    loop = ActiveLearningLoop(model, Data(), initial=8, query_size=4, rounds=1, dirpath=tmp_path / "c")
    loop.run(make_trainer(tmp_path, acquisition=SAAL(), max_epochs=1))
    plain = Net(batch_norm=True)
    plain.load_state_dict(loop.model.state_dict())
    trainer = make_trainer(tmp_path)
    of_both = [score(each, BARE, SAAL(), 4, trainer=trainer, batch_size=4) for each in (loop.model, plain)]
    assert torch.equal(of_both[0].score, of_both[1].score)
    assert picks(loop.history)[0]
    assert len(make_data()[0]) == len(of_both[0])
