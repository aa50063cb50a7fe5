"""What the user brought, checked together before anything is launched."""

from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, ModelPruning, Timer
from lightning.pytorch.profilers import PyTorchProfiler
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch.nn.parameter import UninitializedParameter
from torch.utils.data import DataLoader

from lightning_al._compat import is_overridden, launches_copies, prunes_for_good
from lightning_al.acquisition.base import Acquisition
from lightning_al.checks import Findings, check_type
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.loaders import ModuleLoaders, owner_of
from lightning_al.fitting.optimizers import check_optimizers
from lightning_al.loop.settings import Settings
from lightning_al.oracle.base import Oracle
from lightning_al.oracle.simulated import NoisyOracle
from lightning_al.oracle.truth import Truth
from lightning_al.scoring.subject import Subject, check_package, check_strategy, find_limit
from lightning_al.words import WITHOUT_METRICS

_SHORT = {"validate": "val", "test": "test"}
STEPS = {"validate": "validation_step", "test": "test_step"}
"""The model's method that each stage calls."""


@dataclass(frozen=True)
class Project(Subject):
    """What the user brought, for one launch."""

    data: ActiveDataModule
    oracle: Oracle
    acquisition: Acquisition

    @classmethod
    def checked(
        cls, trainer: pl.Trainer, model: pl.LightningModule, data: ActiveDataModule, settings: Settings
    ) -> "Project":
        """Put a project together, and refuse one that cannot be opened, with all else that is wrong with it.

        What is wrong with one that can be opened is said then, with what is wrong with its parts.

        Raises:
            TypeError: If an object is of the wrong kind or package.
            ValueError: If there is not one acquisition or no train loader, or the Trainer cannot score.
        """
        check_package("trainer", trainer)
        check_type("trainer", trainer, pl.Trainer, "a `lightning.Trainer`")
        acquisitions = [c for c in trainer.callbacks if isinstance(c, Acquisition)]
        with Findings() as findings:
            findings.of(_check_acquisition, trainer, acquisitions)
            findings.of(_check_strategy, trainer, settings.oracle)
            _find_in_passes(findings, trainer)
            find_no_train_loader(findings, data.datamodule)
            if findings.errors or launches_copies(trainer):  # from a copy an error comes back as one of another kind
                find_in_trainer(findings, trainer, model, settings)
                find_in_model(findings, model, data.datamodule, settings.evaluate)
        _warn_of_endless_rounds(trainer)
        if settings.evaluate is None:
            rank_zero_info(
                "`evaluate=None`: nothing is evaluated after a round, and its `metrics` are empty. For metrics pass "
                'the loop `evaluate="validate"` or `"test"`.'
            )
        return cls(
            trainer=trainer,
            model=model,
            data=data,
            task=data.task,
            oracle=settings.oracle,
            acquisition=acquisitions[0],
            pool_precision=settings.pool_precision,
        )

    @property
    def truth(self) -> Truth:
        """Where the labels are that a simulated oracle answers with; the data are open, and the oracle is bound."""
        return self.oracle.truth or Truth(self.data.samples.pool.label_set, self.task)


# -- before a launch -----------------------------------------------------------------------------------------------


def datamodule_of(model: Any, datamodule: Any) -> pl.LightningDataModule:
    """Return the user's datamodule, or else the loaders that the model defines, as one.

    Raises:
        TypeError: If it is no datamodule of Lightning's.
    """
    if datamodule is None and isinstance(model, pl.LightningModule):
        return ModuleLoaders(model)
    check_package("datamodule", datamodule)
    if isinstance(datamodule, (DataLoader, list, tuple)):
        raise TypeError(
            f"`datamodule` must be a `lightning.LightningDataModule`, got {type(datamodule).__name__}. Of loaders make "
            "one: `Loaders(train_loader, val_loader)` of `lightning_al`."
        )
    check_type("datamodule", datamodule, pl.LightningDataModule, "a `lightning.LightningDataModule`")
    return datamodule


def _check_acquisition(trainer: pl.Trainer, acquisitions: list[Acquisition]) -> None:
    for callback in trainer.callbacks:
        if isinstance(callback, type) and issubclass(callback, Acquisition):
            raise TypeError(f"{callback.__name__} among the callbacks is a class; write `{callback.__name__}()`.")
    if len(acquisitions) != 1:
        names = ", ".join(type(c).__name__ for c in acquisitions) or "none"
        raise ValueError(
            f"The loop needs exactly one acquisition among the Trainer's callbacks, found {len(acquisitions)}: {names}."
            " For example `Trainer(callbacks=[SAAL(rho=0.05)])`."
        )


def _check_strategy(trainer: pl.Trainer, oracle: Oracle) -> None:
    check_strategy(trainer)
    if launches_copies(trainer) and isinstance(oracle, NoisyOracle) and oracle.delay > 0:
        raise ValueError(
            f"`NoisyOracle(delay={oracle.delay})` counts in memory, and under a strategy that spawns or forks "
            'every run asks a new copy of it: its answers would never come. Use `strategy="ddp"`.'
        )


def _find_in_passes(findings: Findings, trainer: pl.Trainer) -> None:
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        findings.refuse(
            "`fast_dev_run` trains in the first round only and hides most of the pool. For a quick trial use "
            "`limit_train_batches=2, max_epochs=1` and `ActiveLearningLoop(..., rounds=1, subpool_size=...)`.",
        )
        return  # it sets the other limits itself
    find_limit(findings, trainer, "use `ActiveLearningLoop(..., subpool_size=...)`")


def find_no_train_loader(findings: Findings, datamodule: pl.LightningDataModule) -> None:
    """Find that there is nothing to label."""
    findings.refuse_if(
        not is_overridden("train_dataloader", datamodule),
        f"{owner_of(datamodule)} has no `train_dataloader()`, so there is nothing to label. Give the loop a datamodule "
        "that has one, or `Loaders(train_loader, val_loader)` of `lightning_al`.",
    )


def find_in_trainer(findings: Findings, trainer: pl.Trainer, model: pl.LightningModule, settings: Settings) -> None:
    """Find options of the Trainer with which nothing would train, or no round have the metrics that are asked for."""
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return  # it sets the other limits itself
    findings.refuse_if(
        trainer.overfit_batches > 0,
        f"`overfit_batches={trainer.overfit_batches}` trains on a fixed few batches. Remove it.",
    )
    findings.refuse_if(
        trainer.limit_train_batches == 0 or trainer.max_epochs == 0 or trainer.max_steps == 0,
        f"Nothing would train: max_epochs={trainer.max_epochs}, max_steps={trainer.max_steps}, "
        f"limit_train_batches={trainer.limit_train_batches}.",
    )
    if settings.evaluate is not None:
        findings.refuse_if(
            trainer.barebones,
            "`barebones=True` switches validation and logging off: no round would have metrics. Remove it, or "
            f"{WITHOUT_METRICS}.",
        )
        limit = f"limit_{_SHORT[settings.evaluate]}_batches"
        findings.refuse_if(
            getattr(trainer, limit) == 0,
            f'`evaluate="{settings.evaluate}"` and `{limit}=0`: no round would have metrics. Remove the limit, or '
            f"{WITHOUT_METRICS}.",
        )
    monitored = [c for c in trainer.checkpoint_callbacks if isinstance(c, ModelCheckpoint) and c.monitor is not None]
    findings.refuse_if(
        settings.weights == "best" and len(monitored) != 1 and not is_overridden("configure_callbacks", model),
        '`weights="best"` needs one `ModelCheckpoint(monitor=...)` among the callbacks, saying what best '
        f"means; found {len(monitored)}.",
    )
    findings.refuse_if(
        any(isinstance(c, ModelPruning) and not prunes_for_good(c) for c in trainer.callbacks),
        "`ModelPruning(make_pruning_permanent=False)` leaves masks in place of the pruned weights, so the next round "
        "could not start from weights of its own. Use `make_pruning_permanent=True`.",
    )
    findings.refuse_if(
        isinstance(trainer.profiler, PyTorchProfiler),
        "`PyTorchProfiler` fails when a Trainer that has it fits, validates and predicts again and again. Profile one "
        '`trainer.fit` with it; `profiler="simple"` or `"advanced"` measure all rounds.',
    )


def find_in_model(
    findings: Findings, model: pl.LightningModule, datamodule: pl.LightningDataModule, evaluate: str | None
) -> None:
    """Find what model and datamodule lack to be evaluated and trained."""
    if evaluate in _SHORT:
        _find_in_evaluation(findings, model, datamodule, evaluate)
    _find_in_training(findings, model)


def _find_in_evaluation(
    findings: Findings, model: pl.LightningModule, datamodule: pl.LightningDataModule, evaluate: str
) -> None:
    has_loader, has_step = _has_parts(model, datamodule, evaluate)
    [other] = set(_SHORT) - {evaluate}
    ways = WITHOUT_METRICS
    if all(_has_parts(model, datamodule, other)):  # never a way that leads back here
        ways = f'pass `evaluate="{other}"`, or {ways}'
    findings.refuse_if(
        not has_loader,
        f'`evaluate="{evaluate}"` needs a `{_SHORT[evaluate]}_dataloader()`, which {owner_of(datamodule)} does not '
        f"have. Define it, or {ways}.",
    )
    ways = f" Define it, or {ways}." if has_loader else ""  # said already
    findings.refuse_if(
        not has_step, f'`evaluate="{evaluate}"` needs a `{STEPS[evaluate]}`, which {type(model).__name__} lacks.{ways}'
    )


def _has_parts(model: pl.LightningModule, datamodule: pl.LightningDataModule, stage: str) -> tuple[bool, bool]:
    """Whether there is a loader for a stage, and a step of the model's."""
    return is_overridden(f"{_SHORT[stage]}_dataloader", datamodule), is_overridden(STEPS[stage], model)


def _find_in_training(findings: Findings, model: pl.LightningModule) -> None:
    """Find what a model lacks to be trained."""
    findings.of(_check_trains, model, "training_step")
    if findings.of(check_optimizers, model):
        findings.of(_check_trains, model, "configure_optimizers")


def _check_trains(model: pl.LightningModule, hook: str) -> None:
    by_hand = hook == "configure_optimizers" and not model.automatic_optimization
    if not by_hand and not is_overridden(hook, model):
        raise ValueError(f"{type(model).__name__} has no `{hook}`, so nothing would train.")


def _warn_of_endless_rounds(trainer: pl.Trainer) -> None:
    may_stop = any(isinstance(c, (EarlyStopping, Timer)) for c in trainer.callbacks)
    if trainer.max_epochs == -1 and trainer.max_steps == -1 and not may_stop:
        rank_zero_warn(
            "`max_epochs=-1` without `max_steps`, `max_time` or an `EarlyStopping`: a round ends only if the model or "
            "one of your callbacks stops it. Give `max_epochs`."
        )


# -- once its layers are made --------------------------------------------------------------------------------------


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


def check_frozen(model: pl.LightningModule) -> None:
    """Refuse a model all of whose parameters are frozen, unless some are made of the first samples it sees.

    Raises:
        ValueError: With the number of parameters.
    """
    if any(True for _ in model.parameters()) and not hasattr(model, "on_first_inputs"):
        check_parameters(model)


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
