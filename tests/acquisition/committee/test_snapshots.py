"""Snapshots: the cycles of the learning rate, kills, and fits that cannot be divided."""

from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import Entropy, QueryByCommittee
from lightning_al.fitting import RepeatedFit
from lightning_al.training import AutoSAMMixin, SAMMixin
from tests.helpers.committee import NORM, Kept, Killer, Rates, cosine, killed_and_resumed, run, same
from tests.helpers.projects import Data, Net, make_trainer


@pytest.mark.few(1)
@pytest.mark.parametrize("batches", [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 6, 9, 12, 15))])
@pytest.mark.parametrize("every", [0.0, 1e9])
def test_snapshots_survive_a_kill_in_the_middle_of_the_fit(tmp_path, monkeypatch, batches, every):
    """Whether the round goes on from a checkpoint, or starts over."""
    monkeypatch.setattr(RepeatedFit, "checkpoint_every_seconds", every)
    make = partial(Kept, 3, source="snapshots")
    killed_and_resumed(tmp_path, make, lambda folder: run(folder, make(), Killer(batches)))


def test_snapshots_of_a_killed_fit_go_when_its_labels_have_changed(tmp_path):
    def begin(*callbacks):
        trainer = make_trainer(tmp_path, *callbacks, acquisition=QueryByCommittee(3, source="snapshots"), max_epochs=3)
        return ActiveLearningLoop(Net(), Data(), initial=8, query_size=3, dirpath=tmp_path / "c"), trainer

    loop, trainer = begin(Killer(4))
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        loop.ask(trainer)
    killed = list((tmp_path / "c").rglob("snapshot_*.ckpt"))
    assert len(killed) == 2
    loop, trainer = begin()
    loop.tell([3], [1])
    loop.ask(trainer)
    left = [path for path in (tmp_path / "c").rglob("*.ckpt") if path.name != "initial.ckpt"]
    assert len(left) == 4  # three snapshots and the weights
    assert not set(left) & set(killed)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("base", "reset"),
    [
        (None, "initial"),
        (SAMMixin, "continue"),
        pytest.param(None, "continue", marks=pytest.mark.slow),
        pytest.param(SAMMixin, "initial", marks=pytest.mark.slow),
        pytest.param(AutoSAMMixin, "initial", marks=pytest.mark.slow),
        pytest.param(AutoSAMMixin, "continue", marks=pytest.mark.slow),
    ],
)
def test_a_snapshot_at_the_end_of_each_cycle(tmp_path, base, reset):
    """Also in manual optimization."""
    model = NORM if base is None else type("Sharp", (base, Net), {})
    acquisition, rates = Kept(4, source="snapshots"), Rates()
    run(tmp_path, acquisition, rates, model=model(batch_norm=True), loop={"reset": reset}, max_epochs=5)
    seen, states = rates.last
    assert len(states) == 10
    assert seen == pytest.approx(cosine([2, 3, 2, 3]))
    for member, batch in zip(acquisition._voted[0], (1, 4, 6, 9), strict=True):
        assert same(member, states[batch])


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("limits", "lengths"),
    [
        ({"max_steps": 6, "max_epochs": -1}, [2, 2, 2]),
        ({"max_steps": 4, "max_epochs": 9}, [1, 1, 2]),
        pytest.param({"max_steps": 99, "max_epochs": 3}, [2, 2, 2], marks=pytest.mark.slow),
        pytest.param({"limit_train_batches": 1}, [1, 1, 1], marks=pytest.mark.slow),
    ],
)
def test_cycles_make_up_the_round(tmp_path, limits, lengths):
    rates = Rates()
    acquisition = Kept(3, source="snapshots")
    run(tmp_path, acquisition, rates, **limits)
    assert rates.last[0] == pytest.approx(cosine(lengths))
    assert [len(voted) for voted in acquisition._voted] == [3, 3]


def test_cycles_count_batches_that_are_accumulated(tmp_path):
    rates = Rates()
    acquisition = Kept(3, source="snapshots")
    run(tmp_path, acquisition, rates, accumulate_grad_batches=2, max_steps=3, max_epochs=-1)
    assert len(rates.last[1]) == 6
    assert rates.last[0] == pytest.approx(cosine([2, 2, 2])[1::2])  # a step at every second batch


def test_a_schedule_of_the_model_s_own_is_refused(tmp_path):
    class Scheduled(Net):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2)]

    with pytest.raises(ValueError, match=r'source="snapshots"\) sets the learning rate itself.*StepLR.*source="fits"'):
        run(tmp_path, QueryByCommittee(source="snapshots"), model=Scheduled())
    run(tmp_path / "fits", QueryByCommittee(2), model=Scheduled(), loop={"rounds": 1})


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_epochs": 2}, "members=5.*this one has 4: max_epochs=2 of 2 batches"),
        ({"max_epochs": -1, "max_time": "00:01:00:00"}, "it is not known how many this one has"),
    ],
)
def test_fits_that_cannot_be_divided_are_refused(tmp_path, limits, said):
    with pytest.raises(ValueError, match=said):
        run(tmp_path, QueryByCommittee(5, source="snapshots"), **limits)


def test_a_fit_that_is_stopped_early(tmp_path):
    class Stop(L.Callback):
        def __init__(self, at):
            self.at, self.seen = at, 0

        def on_round_start(self, trainer, pl_module, loop):
            pass  # counts on from round to round, so that only the first is stopped

        def on_train_batch_end(self, trainer, *args):
            self.seen += 1
            trainer.should_stop = self.seen == self.at

    acquisition = Kept(3, source="snapshots")
    with pytest.warns(UserWarning, match="round 0 was stopped early: 2 of 3 snapshots vote"):
        run(tmp_path, acquisition, Stop(4))
    assert [len(voted) for voted in acquisition._voted] == [2, 3]
    with pytest.raises(RuntimeError, match="found 1 snapshots of the fit of round 0"):
        run(tmp_path / "b", Kept(3, source="snapshots"), Stop(2))


def test_a_round_that_was_fitted_without_snapshots(tmp_path):
    class Stops(Entropy):
        def select(self, *args, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(tmp_path, Stops())
    with pytest.warns(UserWarning, match="options that changed"):
        with pytest.raises(RuntimeError, match="made by another acquisition"):
            run(tmp_path, QueryByCommittee(3, source="snapshots"), resume=True)
    assert len(run(tmp_path, Entropy(), resume=True).history) == 3


def test_a_plain_fit_is_left_alone(tmp_path):
    rates = Rates()
    trainer = make_trainer(tmp_path, rates, acquisition=QueryByCommittee(3, source="snapshots"), max_epochs=1)
    with pytest.warns(UserWarning, match="no loop is bound"):
        trainer.fit(Net(), Data(8))
    assert rates.rates == [0.05, 0.05]
    assert not list(Path(tmp_path).rglob("snapshot*"))
