"""What rounds start from, and one Trainer in many fits."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.parsing import AttributeDict

from lightning_al import ActiveLearningLoop, Campaign
from lightning_al.fitting import RepeatedFit
from lightning_al.loop.fit import _plain
from lightning_al.storage.weights import whole_copy
from tests.helpers.projects import Data, Net, Starts, loop_in, make_data, make_trainer, picks
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


@pytest.mark.parametrize("value", [0.6, 1 / 3, 0.0, -2.5e-8, 16777216.0, float("inf"), float("nan"), 1e-45])
def test_metrics_of_float32_are_its_shortest_numbers(tmp_path, value):
    """They are the same in float32 and have no tail; those of float64 stay as they are."""
    metric = torch.tensor(value, dtype=torch.float32)
    kept = _plain(metric.item(), metric)
    assert torch.equal(torch.tensor(kept, dtype=torch.float32).view(torch.int32), metric.view(torch.int32))
    assert len(repr(kept)) <= 14
    assert _plain(value, metric.double()) is value
    assert _plain(value, None) is value


def test_history_and_ledger_have_metrics_without_the_tail_of_float32(tmp_path):
    class Shares(Net):
        def on_validation_epoch_end(self):
            self.log_dict({"share": 0.6, "third": torch.tensor(1 / 3)})

    _, history, _ = run(tmp_path, model=Shares(), rounds=1)
    assert [(r.metrics["share"], r.metrics["third"]) for r in history] == [(0.6, 0.33333334)] * 2
    assert Campaign.load(tmp_path / "c").rounds == history


def again(tmp_path, *, resume=True, **options):
    options = {"initial": 6, "query_size": 4, "rounds": 2, "dirpath": tmp_path / "c", **options}
    loop = ActiveLearningLoop(Net(), Data(), **options)
    return loop.run(make_trainer(tmp_path), resume=resume), loop


class Sized(Net):
    def __init__(self, width, act, sizes):
        super().__init__()
        self.save_hyperparameters()
        self.more = torch.nn.Sequential(torch.nn.Linear(2, width), act, torch.nn.Linear(width, sizes["classes"]))


def test_weights_in_a_campaign_are_a_checkpoint(tmp_path):
    """With plain hyperparameters; what is none is said again."""
    model = Sized(7, torch.nn.ReLU(), AttributeDict(classes=3))
    run(tmp_path, model=model, rounds=1)
    (file,) = tmp_path.glob("**/round_1/weights_*.ckpt")
    read = Sized.load_from_checkpoint(file, act=torch.nn.ReLU(), weights_only=True)
    for name, value in model.state_dict().items():
        assert torch.equal(value, read.state_dict()[name])
    assert dict(read.hparams.sizes) == {"classes": 3}


def test_options_that_are_set_between_launches_hold_in_the_next(tmp_path):
    trainer, model = make_trainer(tmp_path, max_epochs=1), Starts()
    loop = loop_in(tmp_path, model, rounds=0, reset="continue")
    loop.run(trainer)
    (file,) = tmp_path.glob("c/round_0/weights_*.ckpt")
    before = torch.load(file, weights_only=True)
    assert before["optimizer_states"] is not None
    (tmp_path / "c").rename(tmp_path / "moved")
    loop.rounds, loop.reset, loop.dirpath = 1, "warm", tmp_path / "moved"
    loop.run(trainer)
    assert model.starts[1] == float(sum(before["state_dict"][name].sum() for name, _ in model.named_parameters()))
    (file,) = tmp_path.glob("moved/round_1/weights_*.ckpt")
    assert torch.load(file, weights_only=True)["optimizer_states"] is None  # so that nothing goes on with older ones


def test_the_seed_of_another_campaign(tmp_path):
    trainer = make_trainer(tmp_path, max_epochs=1)
    loop, other = (loop_in(tmp_path, model, rounds=0) for model in (Net(dropout=0.5), Net(dropout=0.5)))
    loop.run(trainer)
    other.model.load_state_dict(loop.model.state_dict())
    for each, folder in ((loop, "d"), (other, "e")):
        each.seed, each.dirpath = 1, tmp_path / folder
    loop.run(trainer)
    other.run(make_trainer(tmp_path, max_epochs=1))  # which nothing was fitted with before
    for name, value in loop.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name])


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


class Looked(L.Callback):
    """Notes what the model's tensors are when each round is scored."""

    def __init__(self):
        self.seen = []

    def on_query_start(self, trainer, pl_module, loop):
        self.seen.append(whole_copy(pl_module.state_dict()))


def kept_in(folder):
    return [torch.load(path, weights_only=True) for path in sorted(folder.glob("round_*/kept_*.ckpt"))]


def test_each_rounds_weights_are_kept_and_nothing_else_changes(tmp_path):
    plain, _ = again(tmp_path / "plain")
    looked = Looked()
    loop = loop_in(tmp_path, model=Net(batch_norm=True), keep_weights=True)
    loop.run(make_trainer(tmp_path, looked))
    kept = kept_in(tmp_path / "c")
    assert len(kept) == 3
    for state, seen in zip(kept, looked.seen, strict=False):
        assert state["frozen"] == []
        assert set(state) == {"state_dict", "beside", "frozen", "pytorch-lightning_version"}
        assert state["state_dict"].keys() == seen.keys()
        assert "net.1.running_mean" in seen
        assert all(torch.equal(value, seen[name]) for name, value in state["state_dict"].items())
    with_them, _ = again(tmp_path / "kept", keep_weights=True)
    assert picks(with_them) == picks(plain)
    assert [r.metrics for r in with_them] == [r.metrics for r in plain]


@pytest.mark.slow
def test_kept_weights_after_a_kill_and_after_a_correction(tmp_path):
    class Killed(L.Callback):
        def on_query_end(self, trainer, pl_module, loop):
            if loop.history[-1].round == 1:
                raise KeyboardInterrupt

    whole = loop_in(tmp_path / "whole", keep_weights=True, rounds=3)
    whole.run(make_trainer(tmp_path))
    cut = loop_in(tmp_path / "cut", keep_weights=True, rounds=3)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        cut.run(make_trainer(tmp_path, Killed()))
    resumed = loop_in(tmp_path / "cut", keep_weights=True, rounds=3)
    resumed.run(make_trainer(tmp_path), resume=True)
    names = [path.name for path in sorted((tmp_path / "whole" / "c").glob("round_*/kept_*"))]
    assert [path.name for path in sorted((tmp_path / "cut" / "c").glob("round_*/kept_*"))] == names
    for one, other in zip(kept_in(tmp_path / "whole" / "c"), kept_in(tmp_path / "cut" / "c"), strict=True):
        assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())
    some = resumed.pool.labelled[:2]
    resumed.tell(some, (make_data()[1][some] + 1) % 3)
    resumed.run(make_trainer(tmp_path), resume=True)  # the last round again, on other labels
    files = [path.name for path in sorted((tmp_path / "cut" / "c").glob("round_*/kept_*"))]
    assert files[:3] == names[:3]
    assert files[3:] != names[3:]
    assert len(files) == 4
    loop_in(tmp_path / "cut", rounds=4).run(make_trainer(tmp_path), resume=True)  # without: what is there stays
    assert len(kept_in(tmp_path / "cut" / "c")) == 4
