"""What rounds start from, and one Trainer in many fits."""

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_al import ActiveLearningLoop
from lightning_al.fitting import RepeatedFit
from tests.helpers.projects import Data, Net, Starts, loop_in, make_trainer, picks
from tests.helpers.recorder import run


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


def again(tmp_path, *, resume=True, **options):
    options = {"initial": 6, "query_size": 4, "rounds": 2, "dirpath": tmp_path / "c", **options}
    loop = ActiveLearningLoop(Net(), Data(), **options)
    return loop.run(make_trainer(tmp_path), resume=resume), loop


@pytest.mark.few(1)
@pytest.mark.parametrize("reset", ["initial", "warm"])
def test_lost_weights(tmp_path, reset):
    again(tmp_path, reset=reset)
    [weights] = (tmp_path / "c").rglob("weights_*.ckpt")  # only the last round's are kept
    weights.unlink()
    if reset == "warm":
        with pytest.raises(FileNotFoundError, match=r"weights_\w+.ckpt is missing, and `reset='warm'`"):
            again(tmp_path, reset=reset, rounds=3)
    else:
        longer, _ = again(tmp_path, reset=reset, rounds=3)  # fitted again from the initial weights
        assert picks(longer) == picks(again(tmp_path / "x", reset=reset, rounds=3)[0])
    (tmp_path / "c" / "initial.ckpt").unlink()
    with pytest.raises(FileNotFoundError, match=r"initial.ckpt is missing"):
        again(tmp_path, reset=reset)


def test_a_round_whose_labels_changed_does_not_go_on_from_its_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(RepeatedFit, "checkpoint_every_seconds", 0.0)

    class Killed(Starts):
        def on_train_epoch_start(self):
            if self.current_epoch == 3:
                raise KeyboardInterrupt

    loop = loop_in(tmp_path, model=Killed())
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        loop.ask(make_trainer(tmp_path, max_epochs=5))
    assert (tmp_path / "c" / "round_0" / "resume.ckpt").is_file()
    free = loop.pool.unlabelled[:12].tolist()
    model = Starts()
    again = loop_in(tmp_path, model=model)
    again.tell(free, [0] * 12)
    again.ask(make_trainer(tmp_path, max_epochs=5))
    assert model.seen == [5 * 20]


def test_best_is_of_the_checkpoint_that_monitors(tmp_path):
    class Falls(Net):
        def on_validation_epoch_end(self):
            self.log("score", -float(self.current_epoch))  # the first epoch is the best

    callbacks = [ModelCheckpoint(monitor="score", mode="max"), ModelCheckpoint(filename="last-one")]
    loop = loop_in(tmp_path, model=Falls(), weights="best", rounds=0)
    trainer = make_trainer(tmp_path, *callbacks, enable_checkpointing=True, max_epochs=3)
    loop.run(trainer)
    best = torch.load(callbacks[0].best_model_path, weights_only=True)["state_dict"]
    last = torch.load(callbacks[1].best_model_path, weights_only=True)["state_dict"]
    now = loop.model.state_dict()
    assert all(torch.equal(now[k], best[k]) for k in best)
    assert any(not torch.equal(now[k], last[k]) for k in last)
