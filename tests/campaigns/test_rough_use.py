"""What goes wrong in real campaigns: bad answers, labels at odd times, splits and checkpoints of the user's own."""

import json

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import TensorDataset

from lightning_al import SKIP, ActiveLearningLoop, Campaign, Oracle
from lightning_al.acquisition import Acquisition
from lightning_al.fitting import RepeatedFit
from tests.helpers.projects import Data, Net, make_data, make_trainer, picks


def loop_in(folder, model=None, data=None, **options):
    defaults = {"initial": 8, "query_size": 4, "rounds": 2, "dirpath": folder / "c"}
    return ActiveLearningLoop(model or Net(), data or Data(), **{**defaults, **options})


class Answering(Oracle):
    """Answers what ``answer`` gives for each index."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def request(self, indices):
        self.asked = list(indices)

    def poll(self):
        return {i: self.answer(i) for i in self.asked}


# ------------------------------------------------------------------------------------------------------------- answers


def test_one_bad_answer_loses_no_good_one(tmp_path):
    y = make_data()[1].tolist()
    bad = []

    def answer(i):
        bad[:] = bad or [i]
        return "cat" if i == bad[0] else y[i]

    with pytest.raises(TypeError, match=r"1 label\(s\) cannot be taken. Dataset index"):
        loop_in(tmp_path, oracle=Answering(answer)).run(make_trainer(tmp_path))
    ledger = Campaign.load(tmp_path / "c")
    assert len(ledger.pool.labelled) == 7
    assert ledger.pool.pending.tolist() == bad
    again = loop_in(tmp_path, oracle=Answering(lambda i: y[i]))
    assert len(again.run(make_trainer(tmp_path), resume=True)) == 3


def test_answers_in_numpys_types(tmp_path):
    y = make_data()[1].numpy()

    class Numpy(Answering):
        def poll(self):
            return {np.int64(i): y[i] for i in self.asked}

    history = loop_in(tmp_path, oracle=Numpy(None)).run(make_trainer(tmp_path))
    assert picks(history) == picks(loop_in(tmp_path / "b").run(make_trainer(tmp_path)))


def test_an_initial_set_that_is_declined_is_replaced(tmp_path):
    y = make_data()[1].tolist()
    first = loop_in(tmp_path / "a", rounds=0)
    first.run(make_trainer(tmp_path))
    declined = set(first.pool.labelled.tolist())
    loop = loop_in(tmp_path, oracle=Answering(lambda i: SKIP if i in declined else y[i]))
    history = loop.run(make_trainer(tmp_path))
    assert [r.labelled for r in history] == [8, 12, 16]
    assert set(loop.pool.skipped.tolist()) == declined


def test_told_before_the_data_are_set_up(tmp_path):
    class Files(Data):
        def setup(self, stage):
            super().setup(stage)
            self.train.samples = [(f"img/{i}.png", 0) for i in range(self.n)]

    loop = loop_in(tmp_path, data=Files())
    free = loop.ask(make_trainer(tmp_path)) and loop.pool.unlabelled.tolist()[0]
    later = loop_in(tmp_path, data=Files())
    later.tell([free], [1])
    assert Campaign.load(tmp_path / "c").labels[free] == 1
    assert free not in loop_in(tmp_path, data=Files()).ask(make_trainer(tmp_path))


# ------------------------------------------------------------------------------------------------------ ask and limits


def test_ask_keeps_to_the_limits(tmp_path):
    loop, trainer = loop_in(tmp_path, budget=10, subpool_size=5, query_size=4), make_trainer(tmp_path)
    for k, what in ((6, "sub-pool"), (3, "budget")):
        with pytest.raises(ValueError, match=rf"`ask\(k={k}\)` is more than the {what} has left"):
            loop.ask(trainer, k=k)
    asked = loop.ask(trainer)
    assert len(asked) == 2
    loop.tell(asked, [0, 1])
    assert loop.ask(trainer) == []
    assert loop.status == "finished"


def test_ask_with_nothing_left(tmp_path):
    loop, trainer = loop_in(tmp_path, data=Data(n=12), rounds=None), make_trainer(tmp_path)
    loop.tell(loop.ask(trainer), [0] * 4)
    fits = len(list((tmp_path / "c" / "ledger").glob("*fitted*")))
    assert loop.ask(trainer) == []
    assert len(list((tmp_path / "c" / "ledger").glob("*fitted*"))) == fits


def test_ask_again_after_an_oracle_that_failed(tmp_path):
    def broken(i):
        raise ConnectionError("no service")

    with pytest.raises(ConnectionError):
        loop_in(tmp_path, oracle=Answering(broken)).ask(make_trainer(tmp_path))
    y = make_data()[1].tolist()
    assert len(loop_in(tmp_path, oracle=Answering(lambda i: y[i])).ask(make_trainer(tmp_path))) == 4


# -------------------------------------------------------------------------------------------- what a fit starts from


class Starts(Net):
    """Keeps the sum of its weights at the start of every fit, and counts its steps."""

    def __init__(self, **options):
        super().__init__(**options)
        self.starts, self.seen = [], []

    def on_train_start(self):
        self.starts.append(float(sum(p.sum() for p in self.parameters())))
        self.seen.append(0)

    def training_step(self, batch, batch_idx):
        self.seen[-1] += len(batch[0])
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("reset", ["initial", "warm", "continue", "fresh"])
def test_round_0_fitted_again_starts_from_the_initial_weights(tmp_path, reset):
    model = Starts()
    loop, trainer = loop_in(tmp_path, model=model, rounds=0, reset=reset), make_trainer(tmp_path)
    loop.run(trainer)
    loop.tell(loop.pool.unlabelled[:1], [1])
    loop.run(trainer)
    assert len(model.starts) == 2
    assert model.starts[0] == model.starts[1]


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


def test_fresh_tries_whether_everything_is_drawn(tmp_path):
    class Skips(nn.Linear):
        def __init__(self):
            super().__init__(8, 8)
            self.scale = nn.Parameter(torch.ones(8))

    model = Net()
    model.net[1] = nn.Sequential(Skips(), nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))).double()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"cannot re-draw net.1.0.scale.*original"):
        loop_in(tmp_path, model=model, reset="fresh").run(make_trainer(tmp_path))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_fresh_leaves_frozen_parameters_alone(tmp_path):
    model = Starts()
    model.net[0].requires_grad_(False)
    before = model.net[0].weight.clone()
    loop_in(tmp_path, model=model, reset="fresh").run(make_trainer(tmp_path))
    assert torch.equal(model.net[0].weight, before)
    assert len(set(model.starts)) == 3


def test_the_order_of_batches_is_another_in_each_round_and_seed(tmp_path):
    orders = {}
    for seed in (0, 1):

        class Order(Net):
            def training_step(self, batch, batch_idx, key=seed):
                orders.setdefault((key, self.current_epoch), []).extend(batch[0][:, 0].tolist())
                return super().training_step(batch, batch_idx)

        loop = loop_in(tmp_path / str(seed), model=Order(), seed=seed, initial=list(range(8)), rounds=0)
        loop.run(make_trainer(tmp_path))
    assert len({tuple(o) for o in orders.values()}) == len(orders) == 4


# -------------------------------------------------------------------------------------------------- the user's own


def test_a_predict_setup_that_needs_other_files_is_left_alone(tmp_path):
    class Predicts(Data):
        def setup(self, stage):
            if stage == "predict":
                raise FileNotFoundError("unlabelled.zip")
            super().setup(stage)

    assert len(loop_in(tmp_path, data=Predicts()).run(make_trainer(tmp_path))) == 3


def test_checkpoints_of_the_users_and_ours_do_not_meet(tmp_path):
    ours = [ModelCheckpoint(filename="weights"), ModelCheckpoint(monitor="val_acc", mode="max", filename="resume")]
    trainer = make_trainer(tmp_path, *ours, enable_checkpointing=True)
    loop = loop_in(tmp_path, weights="best")
    loop.run(trainer)
    for number in range(3):
        names = {p.name for p in (tmp_path / "c" / f"round_{number}" / "checkpoints").iterdir()}
        assert names == {"weights.ckpt", "resume.ckpt"}


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


def test_checkpoints_of_configure_callbacks(tmp_path):
    class Configures(Net):
        def configure_callbacks(self):
            return [ModelCheckpoint(monitor="val_acc", dirpath=tmp_path / "mine")]

    trainer = make_trainer(tmp_path, enable_checkpointing=True)
    loop_in(tmp_path, model=Configures(), weights="best", rounds=1).run(trainer)


# --------------------------------------------------------------------------------------------- other data, other uses


def test_corrected_labels_are_not_other_data(tmp_path):
    loop, trainer = loop_in(tmp_path), make_trainer(tmp_path)
    loop.run(trainer)
    some = loop.pool.labelled[:3]
    loop.tell(some, (make_data()[1][some] + 1) % 3)
    assert len(loop_in(tmp_path, rounds=3).run(make_trainer(tmp_path), resume=True)) == 4


def test_a_pool_in_another_order_is_refused_and_masked_labels_are_not(tmp_path):
    class Flipped(Data):
        def pool_dataset(self):
            x, y = self.train.tensors
            return TensorDataset(x.flip(0), y.flip(0))

    class Masked(Data):
        def pool_dataset(self):
            x, y = self.train.tensors
            return TensorDataset(x, torch.zeros_like(y))

    with pytest.raises(ValueError, match=r"`pool_dataset\(\)`: sample .* in another order"):
        loop_in(tmp_path, data=Flipped()).run(make_trainer(tmp_path))
    assert picks(loop_in(tmp_path / "a", data=Masked()).run(make_trainer(tmp_path))) == picks(
        loop_in(tmp_path / "b").run(make_trainer(tmp_path))
    )


def test_a_second_campaign_of_one_trainer_has_its_own_checkpoints(tmp_path):
    trainer = make_trainer(tmp_path, ModelCheckpoint(), enable_checkpointing=True)
    for name in ("a", "b"):
        loop_in(tmp_path / name).run(trainer)
        assert all(list((tmp_path / name / "c" / f"round_{n}" / "checkpoints").iterdir()) for n in range(3))


@pytest.mark.parametrize("label", [-1, 3, 77])
def test_labels_that_no_class_has(tmp_path, label):
    loop, trainer = loop_in(tmp_path), make_trainer(tmp_path)
    asked = loop.ask(trainer)
    with pytest.raises(
        TypeError, match=rf"Dataset index {asked[0]}: Class indices must be at least 0 and below 3.*{label}"
    ):
        loop.tell(asked[:1], [label])


def test_an_acquisition_that_forgets_to_call_its_base(tmp_path):
    class Own(Acquisition):
        def __init__(self):
            pass

        def score_batch(self, model, batch):
            return batch[0].sum(1)

    assert len(loop_in(tmp_path).run(make_trainer(tmp_path, acquisition=Own()))) == 3


# ----------------------------------------------------------------------------------------------------------- reports


def test_a_round_that_a_kill_kept_from_the_loggers_is_reported_later(tmp_path):
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import CSVLogger

    class Kill(Callback):
        def on_query_end(self, trainer, pl_module, loop):
            if loop.campaign.next_round == 2:
                raise SystemExit

    def rows(name):
        lines = (tmp_path / name / "version_0" / "metrics.csv").read_text().splitlines()
        column = lines[0].split(",").index("al/round")
        return [float(r.split(",")[column]) for r in lines[1:] if r.split(",")[column]]

    with pytest.raises(SystemExit):
        loop_in(tmp_path).run(make_trainer(tmp_path, Kill(), logger=CSVLogger(tmp_path, "a")))
    loop_in(tmp_path).run(make_trainer(tmp_path, logger=CSVLogger(tmp_path, "b")), resume=True)
    assert rows("a") + rows("b") == [0.0, 1.0, 2.0]
    kinds = [json.loads(f.read_text())["kind"] for f in sorted((tmp_path / "c" / "ledger").iterdir())]
    assert kinds.count("reported") == 3


def test_a_stochastic_pass_is_seeded_by_the_round(tmp_path):
    """A pool that is augmented at random, for want of a `pool_dataset()`, still gives the same picks after a kill."""

    class Noisy(TensorDataset):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return x + torch.randn(4, dtype=x.dtype), y

    class Augmented(Data):
        def setup(self, stage):
            super().setup(stage)
            self.train = Noisy(*make_data(self.n))

        def pool_dataset(self):
            return self.train

    whole = loop_in(tmp_path / "a", data=Augmented(), rounds=3).run(make_trainer(tmp_path))
    loop_in(tmp_path / "b", data=Augmented(), rounds=1).run(make_trainer(tmp_path))
    torch.manual_seed(5)
    rest = loop_in(tmp_path / "b", data=Augmented(), rounds=3).run(make_trainer(tmp_path), resume=True)
    assert picks(rest) == picks(whole)
