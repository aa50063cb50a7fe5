"""Every private Lightning name this package leans on, so that one test file tells when Lightning changes."""

import contextlib
import copy
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import lightning
import lightning.pytorch as pl
from lightning.fabric.utilities.distributed import _InfiniteBarrier
from lightning.pytorch.callbacks import ModelPruning
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from lightning.pytorch.loops.fit_loop import _FitLoop
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.strategies import DeepSpeedStrategy
from lightning.pytorch.strategies.launchers.multiprocessing import _MultiProcessingLauncher
from lightning.pytorch.trainer import call
from lightning.pytorch.utilities import CombinedLoader
from lightning.pytorch.utilities.compile import from_compiled
from lightning.pytorch.utilities.model_helpers import is_overridden
from lightning.pytorch.utilities.rank_zero import rank_zero_module as rank_zero
from torch._dynamo import OptimizedModule
from torch.utils.data import DataLoader, IterableDataset


def infinite_barrier() -> AbstractContextManager[Any]:
    """A context at whose end every rank waits for the slowest, without the process group's timeout."""
    return _InfiniteBarrier()


def launch(trainer: pl.Trainer, function: Callable[..., Any], *args: Any) -> Any:
    """Run ``function(*args)`` in the Trainer's processes; inside, further Trainer calls run in place.

    Modules must be among ``args``: spawning shares their memory between workers otherwise.
    """
    launcher = trainer.strategy.launcher
    if launcher is None:
        return function(*args)
    return launcher.launch(function, *args, trainer=None)


def launches_copies(trainer: pl.Trainer) -> bool:
    """Whether launching works on copies of our objects (spawn, fork), which must be copied back."""
    return isinstance(trainer.strategy.launcher, _MultiProcessingLauncher)


def saves_folders(trainer: pl.Trainer) -> bool:
    """Whether the strategy makes of a checkpoint a folder, with a file for each process."""
    strategy = trainer.strategy
    return isinstance(strategy, DeepSpeedStrategy) or getattr(strategy, "_save_distributed_checkpoint", False)


def prunes_for_good(callback: ModelPruning) -> bool:
    """Whether the callback makes plain parameters of the pruned ones when a fit ends, so that another can begin."""
    return bool(callback._make_pruning_permanent)


def run_in_place(trainer: pl.Trainer) -> None:
    """Tell the Trainer, inside a launched function, that the processes are there already."""
    trainer.strategy._launcher = None


def lightning_module(model: Any) -> Any:
    """Return the module that ``torch.compile`` was given, with its steps compiled, as the Trainer does; others as are.

    Lightning's own conversion, so that a Trainer may be given either.
    """
    return from_compiled(model) if isinstance(model, OptimizedModule) else model


def connect(trainer: pl.Trainer, model: pl.LightningModule) -> None:
    """Make the model known to the strategy, which some need before they set their processes up."""
    model.trainer = trainer
    trainer.strategy.connect(model)


def attach(trainer: pl.Trainer, datamodule: pl.LightningDataModule) -> None:
    """Make ``datamodule`` the Trainer's, which the model's ``setup`` and ``configure_model`` may look at."""
    trainer._data_connector.attach_datamodule(trainer.lightning_module, datamodule)


def configure_model(trainer: pl.Trainer) -> None:
    """Run the model's ``configure_model`` hook (idempotent by Lightning's contract) where it has one."""
    call._call_configure_model(trainer)


def first_samples(trainer: pl.Trainer, count: int = 2) -> Any:
    """Return the first samples of the data that a fit is about to train on, as a batch; None for several loaders.

    Where they can be had from the dataset, no sampler draws and no worker starts for it.
    """
    loader = trainer.fit_loop._data_source.dataloader()
    if isinstance(loader, (list, tuple, dict, CombinedLoader)):
        return None
    data: Any = getattr(loader, "dataset", None)
    if not isinstance(loader, DataLoader) or isinstance(data, IterableDataset) or loader.batch_sampler is None:
        return next(iter(loader))
    return loader.collate_fn([data[i] for i in range(min(count, len(data)))])


_OF_THE_USER = {"trainer", "max_epochs", "min_epochs", "max_steps", "min_steps"}
_OF_THE_LOGGERS = {"_batches_that_stepped"}


def renew_counters(trainer: pl.Trainer) -> None:
    """Let the next ``trainer.fit`` count from zero, in every loop, as that of a new Trainer does.

    Epochs, ``global_step``, ``total_batch_idx`` and the loops' other state start afresh. The step that loggers use goes
    on, so that their x axes grow.
    """
    fresh = _FitLoop(trainer)

    def renew(loop: _Loop, new: _Loop) -> None:
        for name, value in vars(new).items():
            present = vars(loop).get(name)
            if isinstance(value, _Loop) and isinstance(present, _Loop):
                renew(present, value)
            elif name not in _OF_THE_USER | _OF_THE_LOGGERS:
                setattr(loop, name, value)

    renew(trainer.fit_loop, fresh)


def logged_step(trainer: pl.Trainer) -> int:
    """Return the step that loggers use, which must never go back."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def restore_steps(trainer: pl.Trainer, *, logged: int, optimizer: int, automatic: bool) -> None:
    """Set the step that loggers use, and ``global_step``."""
    epoch_loop = trainer.fit_loop.epoch_loop
    if automatic:
        progress = epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
    else:
        progress = epoch_loop.manual_optimization.optim_step_progress.total
    progress.ready = progress.completed = optimizer
    epoch_loop._batches_that_stepped = logged


@contextlib.contextmanager
def same_progress(trainer: pl.Trainer) -> Iterator[None]:
    """Give the Trainer its counters of epochs, steps and batches back at the end, as if fits inside had not been."""
    state = copy.deepcopy(trainer.fit_loop.state_dict())

    def put_back(loop: _Loop, prefix: str) -> None:
        loop._load_from_state_dict(state, prefix)  # not `load_state_dict`, after which the next fit is a restart
        for name, part in vars(loop).items():
            if isinstance(part, _Loop):
                put_back(part, f"{prefix}{name}.")

    try:
        yield
    finally:
        put_back(trainer.fit_loop, "")


@contextlib.contextmanager
def same_options(trainer: pl.Trainer) -> Iterator[None]:
    """Give the Trainer its options back (limits, intervals, accumulation), which callbacks set and may leave so.

    ``StochasticWeightAveraging`` leaves one epoch more after a fit that ended early, ``GradientAccumulationScheduler``
    its last number.
    """
    fit_loop, not_options = trainer.fit_loop, {"should_stop", "val_check_batch", "datamodule"}
    owners = {
        fit_loop: ("max_epochs", "min_epochs"),
        fit_loop.epoch_loop: ("max_steps", "min_steps"),
        trainer: [
            name
            for name, value in vars(trainer).items()
            if isinstance(value, (int, float, str, type(None))) and name[0] != "_" and name not in not_options
        ],
    }
    before = [(owner, name, getattr(owner, name)) for owner, names in owners.items() for name in names]
    try:
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


@contextlib.contextmanager
def no_reseeding() -> Iterator[None]:
    """Keep Trainers on several processes from drawing again, at every call, from the seed of ``seed_everything``.

    They seed all generators anew when they set their processes up, at each fit and each pass: every round, and every
    process, would have the same draws, and others than on one process.
    """
    seed = os.environ.pop("PL_GLOBAL_SEED", None)
    try:
        yield
    finally:
        if seed is not None:
            os.environ["PL_GLOBAL_SEED"] = seed


@contextlib.contextmanager
def no_found_checkpoints(trainer: pl.Trainer) -> Iterator[None]:
    """Keep a Trainer that is given a model from loading a checkpoint that it finds by itself.

    On Slurm that is the last ``hpc_ckpt_*.ckpt`` that a requeued job left, and with an ``OnExceptionCheckpoint`` the
    last of any: weights and epochs of one round would replace those of every later fit, evaluation and pass.
    """
    connector = trainer._checkpoint_connector
    found = connector._parse_ckpt_path

    def as_told(state_fn: Any, ckpt_path: Any, model_provided: bool, model_connected: bool) -> Any:
        if ckpt_path is None and model_provided:
            return None
        return found(state_fn, ckpt_path, model_provided=model_provided, model_connected=model_connected)

    connector._parse_ckpt_path = as_told
    try:
        yield
    finally:
        del connector._parse_ckpt_path


@contextlib.contextmanager
def quiet_infos() -> Iterator[None]:
    """Leave out what Lightning says of devices and the like for every Trainer that is made, and of seeds."""
    with _filtered("lightning.fabric.utilities.seed", lambda record: record.levelno > logging.INFO):
        yield


@contextlib.contextmanager
def _filtered(other: str, may_be_logged: Callable[[logging.LogRecord], bool]) -> Iterator[None]:
    """Inside, of Lightning's notes and those of another logger, by its name, come only some."""
    # Where `pytorch_lightning` was imported too, its notes are logged in that name, those of `lightning` as well.
    loggers = (rank_zero.log, logging.getLogger(other))
    for logger in loggers:
        logger.addFilter(may_be_logged)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(may_be_logged)


class Hints:
    """What Lightning said of a project, so that it says it once: at every fit, evaluation and pass it says it again.

    These are its warnings, which count as said again if numbers alone are others ("The number of training batches (3)
    is smaller than the logging interval"), and its notes on the Trainer ("`Trainer.fit` stopped: `max_epochs=30`
    reached."). What its callbacks tell of a fit, and all that others say, comes as ever.
    """

    def __init__(self) -> None:
        self._said: set[tuple[str, str]] = set()

    def _is_new(self, kind: str, text: str) -> bool:
        is_new = (kind, text) not in self._said
        self._said.add((kind, text))
        return is_new

    def _may_be_logged(self, record: logging.LogRecord) -> bool:
        return not _on_the_trainer(record.pathname) or self._is_new("note", record.getMessage())

    @contextlib.contextmanager
    def once(self) -> Iterator[None]:
        """Inside, nothing comes again that came before, inside or in an earlier one."""
        show = warnings.showwarning

        def show_new(message: Warning | str, category: type[Warning], filename: str, *where: Any, **more: Any) -> None:
            if not _of_lightning(filename) or self._is_new(category.__name__, re.sub(r"\d+", "#", str(message))):
                show(message, category, filename, *where, **more)

        warnings.showwarning = show_new
        try:
            with _filtered("lightning.pytorch.accelerators.cuda", self._may_be_logged):
                yield
        finally:
            warnings.showwarning = show


class NoStepHooks:
    """Callbacks that take no part in steps: Lightning calls what can be called, in a context of its profiler each."""

    on_train_batch_start: Any = None
    on_before_zero_grad: Any = None
    on_before_backward: Any = None
    on_after_backward: Any = None
    on_before_optimizer_step: Any = None


_LIGHTNING = Path(lightning.__file__).parent


def _of_lightning(file: str) -> bool:
    return Path(file).is_relative_to(_LIGHTNING)


def _on_the_trainer(file: str) -> bool:
    return _of_lightning(file) and "callbacks" not in Path(file).relative_to(_LIGHTNING).parts


class _BesideBars:
    """The present standard error, on which lines stand beside progress bars, and not in them."""

    def write(self, text: str) -> None:
        with Tqdm.external_write_mode():
            sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


@contextlib.contextmanager
def notes_beside_bars() -> Iterator[None]:
    """Inside, what Lightning's logger writes to a terminal does not end up in a progress bar, or under it.

    Its handler holds the stream from when Lightning was imported, which bars do not know of.
    """
    handlers: list[Any] = [
        handler
        for name in ("lightning.pytorch", "lightning.fabric", "lightning")
        for handler in logging.getLogger(name).handlers
        if type(handler) is logging.StreamHandler and handler.stream is sys.stderr and sys.stderr.isatty()
    ]
    for handler in handlers:
        handler.stream = _BesideBars()
    try:
        yield
    finally:
        for handler in handlers:
            handler.stream = sys.stderr


def leaves_full(bar: Any) -> bool:
    """Whether a progress bar of Lightning's was made with ``leave=True``, to stay when it is full."""
    return bool(bar._leave)


def console_of(bar: Any) -> Any:
    """Return a console as a ``RichProgressBar`` will make one."""
    from rich.console import Console

    return Console(**bar._console_kwargs)


def rename_tasks(bar: Any, words: Callable[[str], str] | None, of_epoch: Callable[[], str] | None) -> None:
    """Have a ``RichProgressBar`` call its tasks otherwise; None: as ever.

    Args:
        bar: The callback.
        words: From what it calls a task to what that is called.
        of_epoch: What the task of an epoch is called.
    """
    vars(bar).pop("_add_task", None)
    vars(bar).pop("_get_train_description", None)
    if words is None or of_epoch is None:
        return
    add = bar._add_task

    def add_task(total: float, description: str, visible: bool = True) -> Any:
        return add(total, words(description), visible)

    bar._add_task, bar._get_train_description = add_task, lambda epoch: of_epoch()


__all__ = [
    "Hints",
    "NoStepHooks",
    "attach",
    "configure_model",
    "connect",
    "console_of",
    "first_samples",
    "infinite_barrier",
    "is_overridden",
    "launch",
    "launches_copies",
    "leaves_full",
    "lightning_module",
    "logged_step",
    "no_found_checkpoints",
    "no_reseeding",
    "notes_beside_bars",
    "prunes_for_good",
    "quiet_infos",
    "rename_tasks",
    "renew_counters",
    "restore_steps",
    "run_in_place",
    "same_options",
    "same_progress",
    "saves_folders",
]
