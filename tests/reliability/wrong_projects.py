"""Wrong models, acquisitions of one's own, and Trainers."""

import functools
from types import MethodType
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import FSDPStrategy
from torch import nn

from lightning_al.acquisition import SAAL, Acquisition, Entropy, Random
from tests.helpers.projects import Net
from tests.reliability.wrong import Project, Row


class Outputs(Net):
    """The project's model with its outputs changed."""

    def __init__(self, change: Any) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: torch.Tensor) -> Any:
        return self.change(super().forward(x))


class Empty(Net):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Identity()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Lazy(Net):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.LazyLinear(3)).double()


class NoOptimizer(Net):
    def configure_optimizers(self) -> Any:
        return None


class StrangeOptimizer(Net):
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)


class KeptOptimizer(Net):
    def __init__(self) -> None:
        super().__init__()
        self.optimizer = torch.optim.SGD(self.parameters(), 0.1)

    def configure_optimizers(self) -> Any:
        return self.optimizer


def _stock_command_line() -> Net:
    """What a stock ``LightningCLI`` leaves."""
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model.configure_optimizers = MethodType(
        functools.partial(lambda m, optimizer: optimizer, optimizer=optimizer), model
    )
    return model


class NoLoss(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None


class Several(Net):
    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> Any:
        return super().forward(x)


def without(step: str) -> type[Net]:
    return type(f"No_{step}", (Net,), {step: getattr(L.LightningModule, step)})


MODELS: list[tuple[str, Any, dict[str, Any], type[Exception], str]] = [
    *(
        (
            f"{what}, {acquisition.__name__}",
            functools.partial(Outputs, change),
            {"acquisition": acquisition(), "initial": list(range(20))},
            error,
            words,
        )
        for acquisition in (Entropy, SAAL)
        for what, change, error, words in (
            ("a dict", lambda z: {"scores": z}, TypeError, "got a dict of 'scores'.*task=.*output='scores'"),
            ("a tuple", lambda z: (z, z), TypeError, "got a tuple of 2.*task=.*output=0"),
            ("None", lambda z: None, TypeError, "a tensor, got a NoneType.*task="),
            ("a row", lambda z: z[:, 0], ValueError, r"shape \(B, C\) with C >= 2 classes, got \(\d+,\)"),
            ("one class", lambda z: z[:, :1], ValueError, r"got \(\d+, 1\).*task="),
            (
                "a picture",
                lambda z: z[:, :, None, None],
                ValueError,
                r"expects logits of shape \(B, C\), got \(\d+, 3, 1, 1\)",
            ),
            ("classes", lambda z: z.argmax(1), TypeError, "must be floating point, got torch.int64. Return the raw"),
            ("NaN", lambda z: z * float("nan"), ValueError, "NaN or infinite scores .* dataset indices .* diverged"),
            ("infinity", lambda z: z + float("inf"), ValueError, "NaN or infinite scores .* dataset indices"),
            ("too few rows", lambda z: z[:1], ValueError, "1 rows? of logits for 2 samples"),
            ("fewer classes than labels", lambda z: z[:, :2], TypeError, "below 2, .*got 2"),
            ("probabilities", lambda z: z.softmax(1), UserWarning, r"look like probabilities.*outputs='probabilities'"),
        )
    ),
    ("no parameters", Empty, {}, ValueError, "no trainable parameter"),
    ("all frozen", lambda: Net().requires_grad_(False), {}, ValueError, "no trainable parameter.*requires_grad"),
    ("lazy layers", Lazy, {}, ValueError, "`net.0.weight` is of a lazy layer.*Call the model"),
    ("lazy layers, Random", Lazy, {"acquisition": Random()}, ValueError, "`net.0.weight` is of a lazy layer.*Call"),
    ("no configure_optimizers", without("configure_optimizers"), {}, ValueError, "has no `configure_optimizers`"),
    ("no optimizer", NoOptimizer, {}, RuntimeError, "`configure_optimizers` .*returned None.*nothing would train"),
    ("an optimizer of other parameters", StrangeOptimizer, {}, RuntimeError, "none of the model's parameters.*Build"),
    ("an optimizer that is kept", KeptOptimizer, {}, ValueError, "made once, as `self.optimizer`.*OptimizerCallable"),
    (
        "an optimizer of a stock command line",
        _stock_command_line,
        {},
        ValueError,
        "by `LightningCLI`.*`lightning-al run`",
    ),
    (
        "a training step without loss",
        NoLoss,
        {},
        RuntimeError,
        "`training_step` of NoLoss returned None .*Return the loss",
    ),
    ("no training step", without("training_step"), {}, ValueError, "has no `training_step`"),
    ("no validation step", without("validation_step"), {}, ValueError, "needs a `validation_step`, which .* lacks"),
    ("no test step", without("test_step"), {"evaluate": "test"}, ValueError, "needs a `test_step`, which .* lacks"),
    ("one label and BatchNorm", lambda: Net(batch_norm=True), {"initial": 1}, ValueError, "a batch of one.*at least 2"),
    ("no way to draw weights anew", lambda: Unknown(), {"reset": "fresh"}, ValueError, "cannot re-draw net.1.scale"),
]


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale


class Unknown(Net):
    def __init__(self) -> None:
        super().__init__()
        self.net[1] = Scale()


class Scored(Acquisition):
    """Scores by a function of the inputs."""

    def __init__(self, score: Any) -> None:
        super().__init__()
        self.of = score

    def score_batch(self, model: Any, batch: Any) -> Any:
        return self.of(batch[0])


class Reserved(Acquisition):
    def rows(self, model: Any, batch: Any) -> Any:
        return {"index": torch.zeros(len(batch[0]))}


class NoRows(Acquisition):
    def rows(self, model: Any, batch: Any) -> Any:
        return batch[0]


class Nothing(Acquisition):
    pass


ACQUISITIONS = [
    ("one score for a batch", lambda: Scored(lambda x: x.sum()), TypeError, "one row per sample, got a single number"),
    ("too few scores", lambda: Scored(lambda x: x[:1, 0]), ValueError, "1 values of 'score' for 2 samples"),
    ("a list of scores", lambda: Scored(lambda x: [1.0] * len(x)), TypeError, "one row per sample, got a list"),
    ("four scores a sample", lambda: Scored(lambda x: x), ValueError, r"one score per sample, \(B,\), got shape .*4"),
    ("NaN", lambda: Scored(lambda x: x[:, 0] * float("nan")), ValueError, "NaN or infinite scores"),
    ("the reserved name", Reserved, ValueError, 'the key "index", which is reserved'),
    ("rows that are no dict", NoRows, TypeError, "`NoRows.rows` must return a dict .*got Tensor"),
    ("no score", Nothing, NotImplementedError, "Nothing must define `score_batch`"),
]


def _with(**options: Any) -> Any:
    return lambda p: p.trainer(**options)


def _callbacks(*callbacks: Any) -> Any:
    def make(p: Project) -> L.Trainer:
        trainer = p.trainer()
        trainer.callbacks = list(callbacks)
        return trainer

    return make


def _fsdp(p: Project) -> L.Trainer:
    trainer = p.trainer()
    trainer._accelerator_connector.strategy = FSDPStrategy()  # Lightning's own guard wants a GPU first
    return trainer


TRAINERS: list[tuple[str, Any, dict[str, Any], type[Exception], str]] = [
    ("none", lambda p: 3, {}, TypeError, "`trainer` must be a `lightning.Trainer`, got int"),
    ("the class", lambda p: L.Trainer, {}, TypeError, "`trainer` must be a `lightning.Trainer`, got the class Trainer"),
    ("no acquisition", _callbacks(), {}, ValueError, r"found 0: none.*callbacks=\[SAAL"),
    ("two acquisitions", lambda p: p.trainer(Random()), {}, ValueError, "exactly one .* found 2: Entropy, Random"),
    ("an acquisition's class", _callbacks(Entropy), {}, TypeError, r"is a class; write `Entropy\(\)`"),
    ("limit_predict_batches=3", _with(limit_predict_batches=3), {}, ValueError, "=3` would silently hide.*Remove"),
    ("limit_predict_batches=1", _with(limit_predict_batches=1), {}, ValueError, "=1` would silently hide.*Remove"),
    ("fast_dev_run", _with(fast_dev_run=True), {}, ValueError, "`fast_dev_run` trains in the first round only.*use"),
    ("overfit_batches=2", _with(overfit_batches=2), {}, ValueError, "`overfit_batches=2.*Remove it"),
    ("limit_train_batches=0", _with(limit_train_batches=0), {}, ValueError, "Nothing would .*limit_train_batches=0"),
    ("limit_train_batches=0.1", _with(limit_train_batches=0.1), {}, ValueError, "=0.1` of the 2 batches .*Remove it"),
    ("limit_val_batches=0", _with(limit_val_batches=0), {}, ValueError, "`limit_val_batches=0`: no round would"),
    ("max_epochs=0", _with(max_epochs=0), {}, ValueError, "Nothing would train: max_epochs=0"),
    ("max_steps=0", _with(max_steps=0), {}, ValueError, "Nothing would train: .*max_steps=0"),
    ("max_time=0", _with(max_time={"seconds": 0}), {}, RuntimeError, "trained 0 optimizer steps.*`max_time`"),
    ("max_epochs=-1", _with(max_epochs=-1), {}, UserWarning, "`max_epochs=-1` without .*Give `max_epochs`"),
    (
        "barebones",
        lambda p: L.Trainer(barebones=True, accelerator="cpu", callbacks=[Entropy()]),
        {},
        ValueError,
        "`barebones=True` .*Remove it",
    ),
    (
        "val_check_interval=100",
        _with(val_check_interval=100),
        {},
        ValueError,
        "=100` is more than the 2 batch.*Give it",
    ),
    ("FSDP", _fsdp, {}, ValueError, "`FSDPStrategy` .*`ModelParallelStrategy`"),
    (
        "two that monitor",
        lambda p: p.trainer(*(ModelCheckpoint(monitor=m) for m in ("a", "b")), enable_checkpointing=True),
        {"weights": "best"},
        ValueError,
        "needs one `ModelCheckpoint.*found 2",
    ),
]


ROWS = [
    *(
        Row(f"model: {name}", error, words, lambda p, make=make, o=options: p.run(model=make(), **o))
        for name, make, options, error, words in MODELS
    ),
    *(
        Row(f"acquisition: {name}", error, words, lambda p, make=make: p.run(acquisition=make()))
        for name, make, error, words in ACQUISITIONS
    ),
    *(
        Row(f"Trainer: {name}", error, words, lambda p, make=make, o=options: p.run(trainer=make(p), **o))
        for name, make, options, error, words in TRAINERS
    ),
]
