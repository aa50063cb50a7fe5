"""Further fits of a round: what they are, and that no trace is left of them."""

import copy
import random
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from lightning_al import ActiveLearningLoop, Campaign
from lightning_al.acquisition import Acquisition
from lightning_al.distributed.randomness import derive_seed
from tests.helpers.marks import slow
from tests.helpers.processes import fork
from tests.helpers.projects import Data, Net, make_trainer, picks


class Refits(Acquisition):
    """Picks by what does not depend on its further fits, of which there are ``count``."""

    def __init__(self, count=2, redraw=True, look=None):
        super().__init__()
        self.count, self.redraw, self.look = count, redraw, look
        self.found = []

    def learn(self, query):
        before = self.look(query) if self.look else None
        self.found.append([query.refit(i, self.redraw) for i in range(1, self.count + 1)])
        if self.look:
            after = self.look(query)
            assert str(after) == str(before)

    def score_batch(self, model, batch):
        return self.task.logits(model, self.task.inputs(batch)).softmax(1).amax(1)


class Busy(Net):
    """BatchNorm, dropout, a schedule, and a logger that is used directly."""

    def __init__(self, **options):
        super().__init__(batch_norm=True, dropout=0.3, **options)
        self.register_buffer("seen", torch.zeros(1, dtype=torch.float64), persistent=False)

    def training_step(self, batch, batch_idx):
        self.seen += 1
        if self.logger is not None:
            self.logger.experiment.log_metrics({"direct": 1.0}, step=self.trainer.global_step)
        return super().training_step(batch, batch_idx)

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)]


class Still(Net):
    """Does not learn: weights stay what a fit began with."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def run(folder, acquisition, *callbacks, model=None, rounds=2, resume=False, loop=None, **trainer):
    options = {"initial": 8, "query_size": 3, "rounds": rounds, "dirpath": folder / "c", **(loop or {})}
    made = ActiveLearningLoop(model or Net(), Data(), **options)
    made.run(make_trainer(folder, *callbacks, acquisition=acquisition, **trainer), resume=resume)
    return made


def everything(query):
    """All that a further fit must leave as it was."""
    trainer, model = query.trainer, query.model
    files = {p: p.stat().st_mtime_ns for p in Path(trainer.default_root_dir).rglob("*") if p.is_file()}
    callbacks = [(type(c).__name__, c.state_dict()) for c in trainer.callbacks]
    return [
        [(n, t.tolist()) for n, t in [*model.named_parameters(), *model.named_buffers()]],
        [(m.training, p.requires_grad, p.grad) for m in model.modules() for p in m.parameters()],
        sorted(vars(model)),
        (trainer.global_step, trainer.current_epoch, trainer.should_stop, trainer.max_steps, trainer.min_steps),
        copy.deepcopy(trainer.fit_loop.state_dict()),
        trainer.fit_loop.restarting,
        [id(logger) for logger in trainer.loggers],
        [copy.deepcopy(logger.experiment.metrics) for logger in trainer.loggers],
        [(id(o), copy.deepcopy(o.state_dict())) for o in trainer.optimizers],
        [(id(c.scheduler), c.scheduler.state_dict()) for c in trainer.lr_scheduler_configs],
        [id(c) for c in trainer.callbacks],
        copy.deepcopy(callbacks),
        (torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()),
        files,
    ]


RANDOM = -2


@pytest.mark.few(1)
@pytest.mark.parametrize("weights", ["last", "best"])
def test_everything_is_as_it_was(tmp_path, weights):
    saved = ModelCheckpoint(tmp_path / "mine", monitor="val_acc", mode="max", save_top_k=2)
    others = [EarlyStopping("val_acc", mode="max", patience=1), LearningRateMonitor("step")]
    acquisition = Refits(look=everything)
    run(
        tmp_path,
        acquisition,
        *(saved, *others),
        model=Busy(),
        loop={"weights": weights, "reset": "warm"},
        logger=CSVLogger(tmp_path, flush_logs_every_n_steps=1),
        enable_checkpointing=True,
        max_epochs=5,
        log_every_n_steps=1,
        limit_val_batches=1,
    )
    assert len(acquisition.found) == 2


CALLBACKS = {
    "none": list,
    "early stopping": lambda: [EarlyStopping("val_acc", mode="max", patience=0)],
    "best": lambda: [ModelCheckpoint(monitor="val_acc", mode="max")],
}


QUICK = [("initial", "best"), ("warm", "early stopping"), ("continue", "none"), ("fresh", "best")]
CASES = [(reset, name) for reset in ("initial", "warm", "continue", "fresh") for name in CALLBACKS]
CASES.remove(("continue", "best"))  # the loop refuses it


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("reset", "name"), [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in CASES]
)
def test_the_campaign_does_not_notice(tmp_path, reset, name):
    """The same picks, weights, counters and metrics with further fits as without any."""

    def campaign(folder, count):
        checkpointing = name == "best"
        made = run(
            folder,
            Refits(count),
            *CALLBACKS[name](),
            model=Busy(),
            rounds=3,
            loop={"reset": reset, "weights": "best" if checkpointing else "last"},
            enable_checkpointing=checkpointing,
            max_epochs=3,
        )
        fits = [e for e in Campaign.read_events(folder / "c") if e["kind"] == "fitted"]
        return made.model, picks(made.history), [(e["metrics"], e["steps"]) for e in fits]

    (model, *rest), (model0, *rest0) = campaign(tmp_path / "a", 2), campaign(tmp_path / "b", 0)
    assert rest == rest0
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), model0.parameters(), strict=True))
    files = [sorted(p.relative_to(f).as_posix() for p in f.rglob("*.ckpt")) for f in (tmp_path / "a", tmp_path / "b")]
    assert files[0] == files[1]


def test_members_are_trained_and_differ_in_weights_and_buffers(tmp_path):
    acquisition = Refits(3)
    loop = run(tmp_path, acquisition, model=Net(batch_norm=True), rounds=1)
    members = acquisition.found[0]
    for name in ("net.0.weight", "net.1.running_mean", "net.4.bias"):
        assert len({tuple(m[name].flatten().tolist()) for m in members}) == 3
    assert {n for n, _ in [*loop.model.named_parameters(), *loop.model.named_buffers()]} == set(members[0])
    steps = int(members[0]["net.1.num_batches_tracked"])
    assert steps == 4  # two epochs of eight samples in batches of four


def starts(tmp_path, name="a", model=None, redraw=True, **loop):
    acquisition = Refits(2, redraw)
    made = run(tmp_path / name, acquisition, model=model or Still(), loop=loop)
    return made, [[m["net.0.weight"] for m in found] for found in acquisition.found]


@pytest.mark.slow
@pytest.mark.parametrize("reset", ["initial", "warm", slow("continue"), "fresh"])
def test_a_member_begins_with_weights_of_its_own(tmp_path, reset):
    loop, [first, second] = starts(tmp_path, reset=reset)
    own = [*first, Still().net[0].weight.detach()]
    assert all(not torch.equal(a, b) for i, a in enumerate(own) for b in own[:i])
    same = [torch.equal(a, b) for a, b in zip(first, second, strict=True)]
    assert same == [reset != "fresh"] * 2
    _, again = starts(tmp_path, "b", reset=reset)
    assert all(torch.equal(a, b) for a, b in zip(first + second, again[0] + again[1], strict=True))
    _, other = starts(tmp_path, "c", reset=reset, seed=1)
    assert not torch.equal(first[0], other[0][0])


def test_or_with_the_campaign_s_initial_ones(tmp_path):
    _, found = starts(tmp_path, redraw=False, reset="fresh")
    assert all(torch.equal(m, Still().net[0].weight) for members in found for m in members)
    acquisition = Refits(2, redraw=False)
    run(tmp_path / "b", acquisition, rounds=1, max_epochs=1)
    one, two = acquisition.found[0]
    assert not torch.equal(one["net.0.weight"], two["net.0.weight"])  # another order of the samples


def test_or_as_the_loop_s_own_reset_says(tmp_path):
    def head(model):
        model.net[4].reset_parameters()

    acquisition = Refits(2)
    run(tmp_path, acquisition, model=Still(), loop={"reset": head})
    members = [m for found in acquisition.found for m in found]
    assert all(torch.equal(m["net.0.weight"], Still().net[0].weight) for m in members)
    assert len({tuple(m["net.4.weight"].flatten().tolist()) for m in members}) == 4


class Fixed(Still):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.frozen = nn.Linear(4, 4).double().requires_grad_(False)

    def forward(self, x):
        return super().forward(x) * self.scale


def test_weights_that_cannot_be_drawn_are_named(tmp_path):
    acquisition = Refits(2)
    with pytest.warns(UserWarning, match=r"1 of 5 trained parameters begin with the same values .*: scale. The order"):
        run(tmp_path, acquisition, model=Fixed(), rounds=1)
    one, two = acquisition.found[0]
    assert torch.equal(one["scale"], two["scale"])
    assert torch.equal(one["frozen.weight"], two["frozen.weight"])
    assert not torch.equal(one["net.0.weight"], two["net.0.weight"])


def test_a_member_is_the_best_of_its_own_fit(tmp_path):
    """Where the round's own fit is."""

    class Declining(Net):
        def on_validation_epoch_end(self):
            self.log("epoch", float(self.trainer.current_epoch))

    def members(name, **options):
        acquisition = Refits(1)
        monitor = [ModelCheckpoint(monitor="epoch", mode="min")] if options else []
        folder = tmp_path / name
        limits = {"max_epochs": 1 if name == "short" else 3, "enable_checkpointing": bool(options)}
        run(folder, acquisition, *monitor, model=Declining(), rounds=1, loop=options, **limits)
        assert not list(folder.rglob("member_*"))
        return acquisition.found[0][0]["net.0.weight"]

    best, short, last = members("best", weights="best"), members("short"), members("last")
    assert torch.equal(best, short)  # of the first epoch
    assert not torch.equal(best, last)


@pytest.mark.parametrize("weights", ["last", "best"])
def test_checkpoints_that_the_model_configures(tmp_path, weights):
    class Configures(Net):
        def configure_callbacks(self):
            return [ModelCheckpoint(tmp_path / "mine", monitor="val_acc", mode="max", save_top_k=-1)]

    acquisition = Refits(2, look=everything)
    run(tmp_path, acquisition, model=Configures(), rounds=1, loop={"weights": weights}, enable_checkpointing=True)
    # Two rounds of two epochs, and the sanity check saves none.
    assert len(list((tmp_path / "mine").glob("*.ckpt"))) == 4


def test_a_callback_can_tell_a_member_s_fit(tmp_path):
    class Diary(L.Callback):
        def __init__(self):
            self.lines = []

        def on_round_start(self, trainer, pl_module, loop):
            self.lines.append("round")

        def on_query_start(self, trainer, pl_module, loop):
            self.lines.append("query")

        def on_fit_start(self, trainer, pl_module):
            self.lines.append("fit")

    diary = Diary()
    run(tmp_path, Refits(2), diary, rounds=1)
    assert diary.lines == ["round", "fit", "query", "fit", "fit", "round", "fit"]


def test_a_fit_that_fails_leaves_no_trace_either(tmp_path):
    class Fails(Net):
        fits = 0

        def on_train_end(self):
            Fails.fits += 1
            if Fails.fits == 2:
                raise ValueError("broken member")

    class Looks(Refits):
        def learn(self, query):
            before = everything(query)
            with pytest.raises(ValueError, match="broken member"):
                query.refit(1, True)
            after = everything(query)
            del before[RANDOM], after[RANDOM]
            assert str(before) == str(after)
            self.found.append(True)

    acquisition = Looks()
    run(tmp_path, acquisition, model=Fails(), rounds=1)
    assert acquisition.found == [True]


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "limits", [{"max_steps": 5, "max_epochs": -1}, {"accumulate_grad_batches": 2}, {"min_steps": 3}]
)
def test_limits_count_from_the_member_s_first_step(tmp_path, limits):
    acquisition = Refits(2)
    run(tmp_path, acquisition, model=Net(batch_norm=True), **limits)
    tracked = {int(m["net.1.num_batches_tracked"]) for m in acquisition.found[0]}
    assert tracked == {5 if "max_steps" in limits else 4}


@pytest.mark.slow
def test_two_processes_fit_a_member_together(tmp_path):
    class Tells(Refits):
        def learn(self, query):
            member = query.refit(1, True)
            others = [None, None]
            torch.distributed.all_gather_object(others, member["net.0.weight"])
            assert torch.equal(*others)
            assert not torch.equal(others[0], query.model.net[0].weight.cpu())
            weights = [None, None]
            torch.distributed.all_gather_object(weights, query.model.net[0].weight.detach().cpu())
            assert torch.equal(*weights)

    strategy, devices = fork(2)
    loop = run(tmp_path, Tells(), strategy=strategy, devices=devices)
    assert [r.labelled for r in loop.history] == [8, 11, 14]


def test_draws_of_members_are_their_own():
    keys = [(0, 1), (0, 1, "member", 1), (0, 1, "member", 2), (0, 2, "member", 1)]
    assert len({derive_seed(*key, "order") for key in keys}) == 4
