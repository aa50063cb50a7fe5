"""What rounds start from, and one Trainer in many fits."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from tests.helpers.projects import Net, make_trainer
from tests.helpers.recorder import Recorder, run


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


def test_reset_fresh_names_what_it_cannot_draw(tmp_path):
    class Net2(Net):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones((), dtype=torch.double))

        def forward(self, x):
            return self.scale * super().forward(x)

    with pytest.raises(ValueError, match=r"cannot re-draw scale.*reset_parameters"):
        run(tmp_path, model=Net2(), reset="fresh")
    assert not (tmp_path / "c").exists()  # nothing was trained or written


def test_reset_by_a_function(tmp_path):
    def halve(model):
        with torch.no_grad():
            model.net[0].weight.mul_(0.5)

    recorder = Recorder()
    run(tmp_path, recorder, reset=halve)
    assert all(torch.equal(0.5 * a, b) for a, b in zip(recorder.weights, recorder.started[1:], strict=False))


def test_weights_best_are_scored_and_reported(tmp_path):
    class Net2(Net):
        """Gets worse after its first epoch."""

        def on_validation_epoch_end(self):
            if self.trainer.state.fn == "fit":
                self.log("monitored", -float(self.trainer.current_epoch))

        def on_train_epoch_end(self):
            self.ends = [*getattr(self, "ends", []), self.net[0].weight.detach().clone()]

    checkpoint = ModelCheckpoint(monitor="monitored", mode="max")
    trainer = make_trainer(tmp_path, checkpoint, max_epochs=3, enable_checkpointing=True, num_sanity_val_steps=0)
    model = Net2()
    run(tmp_path, model=model, trainer=trainer, rounds=1, weights="best")
    assert torch.equal(model.net[0].weight, model.ends[3])  # the first epoch of the second round
    assert not torch.equal(model.net[0].weight, model.ends[-1])


# -- one Trainer, many fits ----------------------------------------------------------------------------------------


def test_callbacks_start_afresh_and_stay_the_same_objects(tmp_path):
    class Once(L.Callback):
        """Does something in the first epoch of its life only; knows nothing of rounds."""

        def __init__(self):
            self.done = False

        def on_train_epoch_start(self, trainer, pl_module):
            if not self.done:
                fired.append(trainer.current_epoch)
            self.done = True

    fired = []
    once = Once()
    stopping = EarlyStopping("val_acc", mode="max", patience=1, min_delta=2.0)
    recorder = Recorder()
    trainer = make_trainer(tmp_path, once, stopping, recorder, max_epochs=9)
    run(tmp_path, trainer=trainer)
    assert fired == [0, 0, 0, 0]
    assert recorder.epochs == [[0, 1]] * 4  # patience is counted anew: stopped after two epochs each time
    assert once in trainer.callbacks
    assert stopping in trainer.callbacks


def test_a_callback_that_points_at_the_model_still_does(tmp_path):
    class Points(L.Callback):
        def __init__(self, model):
            self.target = model

        def on_train_start(self, trainer, pl_module):
            same.append(self.target is pl_module)

    same = []
    model = Net()
    run(tmp_path, Points(model), model=model)
    assert same == [True] * 4


def test_a_callback_that_cannot_be_copied_warns(tmp_path):
    import threading

    class Locked(L.Callback):
        def __init__(self):
            self.lock = threading.Lock()

    with pytest.warns(UserWarning, match="Locked cannot be copied"):
        run(tmp_path, Locked(), rounds=0)


def test_a_best_checkpoint_exists_each_round(tmp_path):
    checkpoint = ModelCheckpoint(monitor="val_acc", mode="max", filename="best")
    own = ModelCheckpoint(dirpath=tmp_path / "mine", filename="last")
    trainer = make_trainer(tmp_path, checkpoint, own, enable_checkpointing=True)
    run(tmp_path, trainer=trainer)
    for number in range(4):
        assert (tmp_path / "c" / f"round_{number}" / "checkpoints" / "best.ckpt").is_file()
        assert (tmp_path / "mine" / f"round_{number}" / "last.ckpt").is_file()


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
