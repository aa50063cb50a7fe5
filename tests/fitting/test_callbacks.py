"""The user's callbacks have in each fit the state that they had before the first."""

import lightning as L
import pytest
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from tests.helpers.projects import Net, loop_in, make_trainer
from tests.helpers.recorder import Recorder, run


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


def test_checkpoints_of_the_users_and_ours_do_not_meet(tmp_path):
    ours = [ModelCheckpoint(filename="weights"), ModelCheckpoint(monitor="val_acc", mode="max", filename="resume")]
    trainer = make_trainer(tmp_path, *ours, enable_checkpointing=True)
    loop = loop_in(tmp_path, weights="best")
    loop.run(trainer)
    for number in range(3):
        names = {p.name for p in (tmp_path / "c" / f"round_{number}" / "checkpoints").iterdir()}
        assert names == {"weights.ckpt", "resume.ckpt"}


def test_a_second_campaign_of_one_trainer_is_as_that_of_a_new_one(tmp_path):
    """Early stopping by a loss that grows ends each fit after two epochs, and goes by no loss of another campaign."""

    class Losing(Net):
        def validation_step(self, batch, batch_idx):
            self.log("val_loss", float(self.current_epoch) + self.worst)

    stopping, recorder = EarlyStopping("val_loss", patience=1), Recorder()
    trainer = make_trainer(tmp_path, stopping, recorder, max_epochs=9)
    for name, worst in [("a", 0.0), ("b", 5.0)]:  # every loss of the second is above every one of the first
        model = Losing()
        model.worst = worst
        loop = loop_in(tmp_path / name, model, rounds=1)
        loop.run(trainer)
        assert loop.campaign_step == 2 * 2 + 2 * 3  # 8 and 12 labels in batches of 4
    assert recorder.epochs == [[0, 1]] * 4
    assert stopping.stopped_epoch == 1  # to be looked at afterwards
    stopping.patience = 2
    model = Losing()
    model.worst = 0.0
    loop_in(tmp_path / "c", model, rounds=0).run(trainer)
    assert recorder.epochs[4:] == [[0, 1, 2]]


def test_a_second_campaign_of_one_trainer_has_its_own_checkpoints(tmp_path):
    trainer = make_trainer(tmp_path, ModelCheckpoint(), enable_checkpointing=True)
    for name in ("a", "b"):
        loop_in(tmp_path / name).run(trainer)
        assert all(list((tmp_path / name / "c" / f"round_{n}" / "checkpoints").iterdir()) for n in range(3))
