"""Every fit starts as if its Trainer and model were new."""

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from lightning_al import ActiveLearningLoop, Campaign
from lightning_al.acquisition import QueryByCommittee
from tests.helpers.projects import Data, Net, Starts, loop_in, make_trainer
from tests.helpers.recorder import Recorder, run


class Thaws(Net):
    """Trains its head first, and its body, in training mode, from epoch 1."""

    def __init__(self):
        super().__init__(dropout=0.5)
        self.net[0].requires_grad_(False)
        self.net[3].eval()
        self.seen = []

    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            self.net[0].requires_grad_(True)
            self.net[3].train()
        self.seen.append((self.current_epoch, self.net[0].weight.requires_grad, self.net[3].training))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


@pytest.mark.few(1)
@pytest.mark.parametrize("reset", ["initial", "warm", "continue", "fresh"])
def test_what_was_frozen_is_frozen_again_in_the_next_round(tmp_path, reset):
    """Later rounds began with what the first had thawed."""
    model = Thaws()
    loop = ActiveLearningLoop(model, Data(), initial=8, query_size=4, rounds=2, reset=reset, dirpath=tmp_path / "c")
    loop.run(make_trainer(tmp_path))
    assert model.seen == [(0, False, False), (1, True, True)] * 3


def test_members_of_a_committee_begin_frozen_too(tmp_path):
    model = Thaws()
    loop = ActiveLearningLoop(model, Data(), initial=8, query_size=4, rounds=1, dirpath=tmp_path / "c")
    loop.run(make_trainer(tmp_path, acquisition=QueryByCommittee(members=2)))
    assert len(model.seen) > 4
    assert model.seen == [(0, False, False), (1, True, True)] * (len(model.seen) // 2)


class FailsOnce(Net):
    """Its evaluation fails after the fit of one round, the first time."""

    def __init__(self, round_number):
        super().__init__()
        self.fits_left = [round_number + 1]  # in a list, which goes on counting from round to round

    def on_fit_end(self):
        self.fits_left[0] -= 1

    def on_validation_epoch_end(self):
        if self.fits_left == [0] and self.trainer.state.fn == TrainerFn.VALIDATING:
            self.fits_left[0] = -1
            raise ConnectionError("the metrics' server is away")


@pytest.mark.few(1)
@pytest.mark.parametrize("round_number", [0, 1])
def test_a_fit_that_was_not_recorded_leaves_no_momentum(tmp_path, round_number):
    """Fitted again, in the same process too, a round begins with what the optimizers of the last one had gathered."""
    options = {"initial": 8, "query_size": 4, "rounds": 2, "reset": "continue"}
    smooth, fails = Net(), FailsOnce(round_number)
    history = ActiveLearningLoop(smooth, Data(), dirpath=tmp_path / "smooth", **options).run(make_trainer(tmp_path))
    loop = ActiveLearningLoop(fails, Data(), dirpath=tmp_path / "fails", **options)
    trainer = make_trainer(tmp_path)
    with pytest.raises(ConnectionError):
        loop.run(trainer)
    again = loop.run(trainer)
    assert [(r.picked, r.metrics) for r in again] == [(r.picked, r.metrics) for r in history]
    for name, weight in smooth.state_dict().items():
        assert torch.equal(fails.state_dict()[name], weight), name


def steps(folder):
    return [event["steps"] for event in Campaign.read_events(folder / "c") if event["kind"] == "fitted"]


def test_steps_of_other_fits_of_the_trainer_are_no_steps_of_the_campaign(tmp_path):
    """Those of another campaign between two launches, and of a fit that was not recorded."""
    loop_in(tmp_path / "smooth").run(make_trainer(tmp_path))
    used = make_trainer(tmp_path)
    loop_in(tmp_path / "other", rounds=3).run(used)
    loop_in(tmp_path / "resumed", rounds=1).run(make_trainer(tmp_path))
    loop_in(tmp_path / "resumed").run(used, resume=True)
    failing, trainer = loop_in(tmp_path / "fails", FailsOnce(1)), make_trainer(tmp_path)
    with pytest.raises(ConnectionError):
        failing.run(trainer)
    failing.run(trainer)
    assert [event["optimizer"] for event in steps(tmp_path / "smooth")] == [4, 10, 18]
    for name in ("resumed", "fails"):
        for count in ("optimizer", "round"):
            assert [e[count] for e in steps(tmp_path / name)] == [e[count] for e in steps(tmp_path / "smooth")]
    assert [event["logged"] for event in steps(tmp_path / "resumed")] == [4, 10, 28 + 8]  # loggers' never go back


def test_reset_initial_starts_every_round_from_the_same_weights(tmp_path):
    recorder = Recorder()
    run(tmp_path, recorder)
    assert all(torch.equal(recorder.started[0], w) for w in recorder.started)


def test_reset_warm_keeps_the_weights_and_makes_a_fresh_optimizer(tmp_path):
    momentum = []

    class Net2(Net):
        def on_train_start(self):
            momentum.append(len(self.optimizers().state))

    recorder = Recorder()
    run(tmp_path, recorder, model=Net2(), reset="warm")
    assert all(torch.equal(a, b) for a, b in zip(recorder.weights, recorder.started[1:], strict=False))
    assert momentum == [0, 0, 0, 0]


def test_reset_continue_keeps_momentum_but_starts_the_schedule_afresh(tmp_path):
    seen = []

    class Net2(Net):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)]

        def on_train_start(self):
            optimizer = self.optimizers()
            buffers = [s["momentum_buffer"].clone() for s in optimizer.state.values()]
            seen.append((buffers, optimizer.param_groups[0]["lr"]))

        def on_train_end(self):
            self.last = [s["momentum_buffer"].clone() for s in self.optimizers().state.values()]
            assert self.optimizers().param_groups[0]["lr"] < 0.01

    ends = []

    class Ends(Recorder):
        def on_train_end(self, trainer, pl_module):
            super().on_train_end(trainer, pl_module)
            ends.append([s["momentum_buffer"].clone() for s in pl_module.optimizers().state.values()])

    recorder = Ends()
    run(tmp_path, recorder, model=Net2(), reset="continue")
    assert all(torch.equal(a, b) for a, b in zip(recorder.weights, recorder.started[1:], strict=False))
    assert seen[0][0] == []
    for end, (start, lr) in zip(ends, seen[1:], strict=False):
        assert lr == 0.05
        assert len(start) == len(end) > 0
        assert all(torch.equal(a, b) for a, b in zip(end, start, strict=True))


def test_reset_fresh_draws_new_weights_that_follow_from_the_seed(tmp_path):
    one, two = Recorder(), Recorder()
    run(tmp_path / "a", one, reset="fresh")
    run(tmp_path / "b", two, reset="fresh")
    assert len({w.sum().item() for w in one.started}) == 4
    assert all(torch.equal(a, b) for a, b in zip(one.started, two.started, strict=True))


def test_reset_by_a_function(tmp_path):
    def halve(model):
        with torch.no_grad():
            model.net[0].weight.mul_(0.5)

    recorder = Recorder()
    run(tmp_path, recorder, reset=halve)
    assert all(torch.equal(0.5 * a, b) for a, b in zip(recorder.weights, recorder.started[1:], strict=False))


def test_max_steps_counts_per_round_and_schedules_see_it(tmp_path):
    seen = []

    class Net2(Net):
        def configure_optimizers(self):
            seen.append(self.trainer.estimated_stepping_batches)
            return super().configure_optimizers()

    recorder = Recorder()
    trainer = make_trainer(tmp_path, recorder, max_epochs=-1, max_steps=5)
    run(tmp_path, model=Net2(), trainer=trainer)
    assert recorder.steps == [5, 5, 5, 5]
    assert seen == [5, 5, 5, 5]
    assert trainer.max_steps == 5


def test_one_cycle_ends_where_it_should_every_round(tmp_path):
    ends = []

    class Net2(Net):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            total = self.trainer.estimated_stepping_batches
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=total + 1)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

        def on_train_end(self):
            ends.append(self.optimizers().param_groups[0]["lr"])

    run(tmp_path, model=Net2())
    assert all(lr < 1e-6 for lr in ends)
    assert len(ends) == 4


def test_nothing_trained_is_an_error(tmp_path):
    class Net2(Net):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False  # and nobody steps

    with pytest.raises(RuntimeError, match="Round 0 trained 0 optimizer steps on 6 labelled"):
        run(tmp_path, model=Net2())


def test_weights_best_without_a_best(tmp_path):
    checkpoint = ModelCheckpoint(monitor="val_acc", every_n_epochs=99)
    trainer = make_trainer(tmp_path, checkpoint, enable_checkpointing=True)
    with pytest.raises(RuntimeError, match="no `ModelCheckpoint` saved a best checkpoint"):
        run(tmp_path, trainer=trainer, weights="best")


@pytest.mark.few(2)
@pytest.mark.parametrize("reset", ["initial", "warm", "continue", "fresh"])
def test_round_0_fitted_again_starts_from_the_initial_weights(tmp_path, reset):
    model = Starts()
    loop, trainer = loop_in(tmp_path, model=model, rounds=0, reset=reset), make_trainer(tmp_path)
    loop.run(trainer)
    loop.tell(loop.pool.unlabelled[:1], [1])
    loop.run(trainer)
    assert len(model.starts) == 2
    assert model.starts[0] == model.starts[1]
