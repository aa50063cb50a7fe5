"""What is refused before anything trains or is written, with the value seen and the way out."""

from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch.nn.parameter import UninitializedParameter

from lightning_al._compat import is_overridden, launches_copies
from lightning_al.acquisition.base import Acquisition
from lightning_al.checks import kind_of
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.loaders import owner_of
from lightning_al.fitting.optimizers import check_optimizers
from lightning_al.loop.settings import Settings, check_package
from lightning_al.oracle.base import Oracle
from lightning_al.oracle.simulated import NoisyOracle
from lightning_al.tasks.base import Task


def check_project(
    trainer: Any, model: pl.LightningModule, data: ActiveDataModule, oracle: Oracle, settings: Settings
) -> Acquisition:
    """Refuse a Trainer or module with which the loop would silently do the wrong thing; return the acquisition.

    Raises:
        TypeError: If an object is of the wrong kind or package.
        ValueError: If an option of the Trainer cannot work.
    """
    check_package(trainer, "trainer")
    if not isinstance(trainer, pl.Trainer):
        raise TypeError(f"`trainer` must be a `lightning.Trainer`, got {kind_of(trainer)}.")
    for callback in trainer.callbacks:
        if isinstance(callback, type) and issubclass(callback, Acquisition):
            raise TypeError(f"{callback.__name__} among the callbacks is a class; write `{callback.__name__}()`.")
    found = [c for c in trainer.callbacks if isinstance(c, Acquisition)]
    if len(found) != 1:
        names = ", ".join(type(c).__name__ for c in found) or "none"
        raise ValueError(
            f"The loop needs exactly one acquisition among the Trainer's callbacks, found {len(found)}: {names}. "
            "For example `Trainer(callbacks=[SAAL(rho=0.05)])`."
        )
    if isinstance(trainer.strategy, FSDPStrategy):
        raise ValueError(
            "`FSDPStrategy` keeps weights flat outside of forward, so samples cannot be scored. Use "
            '`strategy="ddp"`, or `ModelParallelStrategy` (FSDP2).'
        )
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        raise ValueError(
            "`fast_dev_run` trains in the first round only and hides most of the pool. For a quick trial use "
            "`limit_train_batches=2, max_epochs=1` and `ActiveLearningLoop(..., rounds=1, subpool_size=...)`."
        )
    if launches_copies(trainer) and isinstance(oracle, NoisyOracle) and oracle.delay > 0:
        raise ValueError(
            f"`NoisyOracle(delay={oracle.delay})` counts in memory, and under a strategy that spawns or forks "
            'every run asks a new copy of it: its answers would never come. Use `strategy="ddp"`.'
        )
    limit = trainer.limit_predict_batches
    if not (isinstance(limit, float) and limit == 1.0):  # an integer 1 is one batch
        raise ValueError(
            f"`limit_predict_batches={trainer.limit_predict_batches}` would silently hide the rest of the pool. Remove "
            "it; to score fewer samples use `ActiveLearningLoop(..., subpool_size=...)`."
        )
    if trainer.overfit_batches > 0:
        raise ValueError(f"`overfit_batches={trainer.overfit_batches}` trains on a fixed few batches. Remove it.")
    if trainer.limit_train_batches == 0 or trainer.max_epochs == 0 or trainer.max_steps == 0:
        raise ValueError(
            f"Nothing would train: max_epochs={trainer.max_epochs}, max_steps={trainer.max_steps}, "
            f"limit_train_batches={trainer.limit_train_batches}."
        )
    if trainer.barebones:
        raise ValueError(
            "`barebones=True` switches validation and logging off: no round would have metrics. Remove it."
        )
    if trainer.max_epochs == -1 and trainer.max_steps == -1 and not _may_stop(trainer):
        rank_zero_warn(
            "`max_epochs=-1` without `max_steps`, `max_time` or an `EarlyStopping`: a round ends only if the model or "
            "one of your callbacks stops it. Give `max_epochs`."
        )
    _check_evaluation(trainer, model, data, settings)
    check_optimizers(model)
    if not is_overridden("training_step", model):
        raise ValueError(f"{type(model).__name__} has no `training_step`, so nothing would train.")
    if model.automatic_optimization and not is_overridden("configure_optimizers", model):
        raise ValueError(f"{type(model).__name__} has no `configure_optimizers`, so nothing would train.")
    return found[0]


def _may_stop(trainer: pl.Trainer) -> bool:
    return any(isinstance(c, (EarlyStopping, Timer)) for c in trainer.callbacks)


def _check_evaluation(
    trainer: pl.Trainer, model: pl.LightningModule, data: ActiveDataModule, settings: Settings
) -> None:
    short = "val" if settings.evaluate == "validate" else "test"
    inner = data.datamodule
    if not is_overridden("train_dataloader", inner):
        raise ValueError(
            f"{owner_of(inner)} has no `train_dataloader()`, so there is nothing to label. Give the loop a datamodule "
            "that has one, or `Loaders(train_loader, val_loader)` of `lightning_al`."
        )
    if not is_overridden(f"{short}_dataloader", inner):
        other = "test" if short == "val" else "validate"
        raise ValueError(
            f'`evaluate="{settings.evaluate}"` needs a `{short}_dataloader()`, which {owner_of(inner)} does not have. '
            f'Define it, or use `evaluate="{other}"`.'
        )
    step = "validation_step" if short == "val" else "test_step"
    if not is_overridden(step, model):
        raise ValueError(f'`evaluate="{settings.evaluate}"` needs a `{step}`, which {type(model).__name__} lacks.')
    if getattr(trainer, f"limit_{short}_batches") == 0:
        raise ValueError(
            f'`evaluate="{settings.evaluate}"` and `limit_{short}_batches=0`: no round would have metrics. Remove the '
            "limit, or evaluate on the other set."
        )
    monitored = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor is not None]
    if settings.weights == "best" and len(monitored) != 1 and not is_overridden("configure_callbacks", model):
        raise ValueError(
            '`weights="best"` needs one `ModelCheckpoint(monitor=...)` among the callbacks, saying what best means; '
            f"found {len(monitored)}."
        )


def check_shapes(model: pl.LightningModule) -> None:
    """Refuse lazy layers that have not seen a batch: their weights could neither be kept nor reset.

    Raises:
        ValueError: Naming one.
    """
    lazy = [name for name, p in model.named_parameters() if isinstance(p, UninitializedParameter)]
    if lazy:
        raise ValueError(
            f"`{lazy[0]}` is of a lazy layer, which has no shape before it sees a batch. Call the model on one before "
            "it is given to the loop."
        )


def check_parameters(model: pl.LightningModule) -> None:
    """Refuse a model in which nothing can train.

    Raises:
        ValueError: With the number of parameters.
    """
    parameters = list(model.parameters())
    if not any(p.requires_grad for p in parameters):
        raise ValueError(
            f"{type(model).__name__} has no trainable parameter (of {len(parameters)}), so nothing would train. "
            "Unfreeze some (`requires_grad=True`), and make layers in `__init__` or `configure_model`."
        )


@dataclass(frozen=True)
class Project:
    """What the user brought, for one launch."""

    trainer: pl.Trainer
    model: pl.LightningModule
    data: ActiveDataModule
    task: Task
    oracle: Oracle
    acquisition: Acquisition
