"""Every private Lightning name this package leans on, so that one test file tells when Lightning changes."""

import contextlib
import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.utilities.distributed import _InfiniteBarrier
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.strategies import DeepSpeedStrategy
from lightning.pytorch.strategies.launchers.multiprocessing import _MultiProcessingLauncher
from lightning.pytorch.trainer import call
from lightning.pytorch.utilities.compile import from_compiled
from lightning.pytorch.utilities.model_helpers import is_overridden
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
    if isinstance(loader, (list, tuple, dict)):
        return None
    data: Any = getattr(loader, "dataset", None)
    if not isinstance(loader, DataLoader) or isinstance(data, IterableDataset) or loader.batch_sampler is None:
        return next(iter(loader))
    return loader.collate_fn([data[i] for i in range(min(count, len(data)))])


def reset_epochs(trainer: pl.Trainer) -> None:
    """Make the next ``trainer.fit`` begin at epoch 0. Totals, which loggers use as steps, go on growing."""
    trainer.fit_loop.epoch_progress.current.reset()


def steps(trainer: pl.Trainer) -> dict[str, int]:
    """Return the counters that must never go back: optimizer steps, and the loggers' step."""
    epoch_loop = trainer.fit_loop.epoch_loop
    return {"optimizer": epoch_loop.global_step, "logged": epoch_loop._batches_that_stepped}


def restore_steps(trainer: pl.Trainer, counters: dict[str, int], *, automatic: bool) -> None:
    """Set the counters of :func:`steps` in a fresh Trainer, so that a resumed campaign's logs go on."""
    epoch_loop = trainer.fit_loop.epoch_loop
    if automatic:
        progress = epoch_loop.automatic_optimization.optim_progress.optimizer.step.total
    else:
        progress = epoch_loop.manual_optimization.optim_step_progress.total
    progress.ready = progress.completed = counters["optimizer"]
    epoch_loop._batches_that_stepped = counters["logged"]


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
def step_limits_from_here(trainer: pl.Trainer) -> Iterator[Callable[[], None]]:
    """Let ``max_steps`` and ``min_steps`` count from the present step instead of from the Trainer's first.

    Yields a function that switches to the raised limits. Until it is called the Trainer shows the limits as the user
    gave them, which is what ``estimated_stepping_batches`` must see while schedulers are made.
    """
    epoch_loop = trainer.fit_loop.epoch_loop
    low, high = epoch_loop.min_steps, epoch_loop.max_steps
    start = epoch_loop.global_step

    def raise_limits() -> None:
        if high != -1:
            epoch_loop.max_steps = start + high
        if low is not None:
            epoch_loop.min_steps = start + low

    try:
        yield raise_limits
    finally:
        epoch_loop.min_steps, epoch_loop.max_steps = low, high


@contextlib.contextmanager
def same_schedule(trainer: pl.Trainer) -> Iterator[None]:
    """Give the Trainer its numbers of epochs and of accumulated batches back, which callbacks set and may leave so.

    ``StochasticWeightAveraging`` leaves one epoch more after a fit that ended early, ``GradientAccumulationScheduler``
    its last number.
    """
    epochs, batches = trainer.fit_loop.max_epochs, trainer.accumulate_grad_batches
    try:
        yield
    finally:
        trainer.fit_loop.max_epochs, trainer.accumulate_grad_batches = epochs, batches


@contextlib.contextmanager
def quiet_infos() -> Iterator[None]:
    """Leave out what Lightning says of devices and the like for every Trainer that is made."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")

    def matters(record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO

    logger.addFilter(matters)
    try:
        yield
    finally:
        logger.removeFilter(matters)


@contextlib.contextmanager
def quiet_repetitions(quiet: bool) -> Iterator[None]:
    """Where ``quiet``, leave out what Lightning says at every fit, which would bury the line of each round."""
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")

    def is_new(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(("`Trainer.fit` stopped", "Loading `train_dataloader`"))

    if quiet:
        logger.addFilter(is_new)
    try:
        yield
    finally:
        logger.removeFilter(is_new)


def share_hyperparameters(wrapper: pl.LightningDataModule, datamodule: pl.LightningDataModule) -> None:
    """Let ``wrapper`` log and save the hyperparameters of the ``datamodule`` inside it."""
    wrapper._log_hyperparams = datamodule._log_hyperparams
    for name in ("_hparams", "_hparams_initial", "_hparams_name"):
        if hasattr(datamodule, name):
            setattr(wrapper, name, getattr(datamodule, name))


__all__ = [
    "attach",
    "configure_model",
    "connect",
    "first_samples",
    "infinite_barrier",
    "is_overridden",
    "launch",
    "launches_copies",
    "lightning_module",
    "quiet_infos",
    "quiet_repetitions",
    "reset_epochs",
    "restore_steps",
    "run_in_place",
    "same_progress",
    "same_schedule",
    "saves_folders",
    "share_hyperparameters",
    "step_limits_from_here",
    "steps",
]
