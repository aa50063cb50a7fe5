"""What is scored: a model and samples, on a Trainer, and the checks that hold for every pass over samples."""

from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.strategies import FSDPStrategy

from lightning_al._compat import launches_copies
from lightning_al.checks import Findings, check_type
from lightning_al.data.scored_data import ScoredData
from lightning_al.inference.precision import FULL
from lightning_al.tasks.base import Task


@dataclass(frozen=True)
class Subject:
    """A model and the samples that it is to look at, for one launch.

    Args:
        trainer: Runs the passes.
        model: Looks at the samples.
        data: The samples.
        task: What a batch means.
        pool_precision: In which precision the model makes forward passes over them, as the loop has it.
    """

    trainer: pl.Trainer
    model: pl.LightningModule
    data: ScoredData
    task: Task
    pool_precision: str | int = field(default=FULL, kw_only=True)


def check_package(name: str, value: Any) -> None:
    """Refuse objects of the ``pytorch_lightning`` package, whose classes are not those of ``lightning``.

    Raises:
        TypeError: Naming the import to change.
    """
    if any(base.__module__.split(".")[0] == "pytorch_lightning" for base in type(value).__mro__):
        raise TypeError(
            f"`{name}` is a {type(value).__name__} of the `pytorch_lightning` package, whose classes are not those of "
            "`lightning`. Change `import pytorch_lightning as pl` to `import lightning.pytorch as pl` in your project."
        )


def check_model(model: Any) -> None:
    """Refuse what is no module of Lightning's.

    Raises:
        TypeError: With its type.
    """
    check_package("model", model)
    check_type("model", model, pl.LightningModule, "a `lightning.LightningModule`")


def check_strategy(trainer: pl.Trainer) -> None:
    """Refuse a strategy under which samples cannot be scored.

    Raises:
        ValueError: With those that can be taken.
    """
    if isinstance(trainer.strategy, FSDPStrategy):
        raise ValueError(
            "`FSDPStrategy` keeps weights flat outside of forward, so samples cannot be scored. Use "
            '`strategy="ddp"`, or `ModelParallelStrategy` (FSDP2).'
        )
    if launches_copies(trainer) and trainer.num_nodes > 1:
        raise ValueError(
            f"`num_nodes={trainer.num_nodes}` with a strategy that spawns or forks: what its processes did is copied "
            'back on one machine alone. Use `strategy="ddp"`, started on every machine (`torchrun`, `srun`).'
        )


def find_limit(findings: Findings, trainer: pl.Trainer, fewer: str) -> None:
    """Find a limit that hides samples; ``fewer`` says how fewer are scored."""
    limit = trainer.limit_predict_batches
    findings.refuse_if(
        not (isinstance(limit, float) and limit == 1.0),  # an integer 1 is one batch
        f"`limit_predict_batches={limit}` would silently hide the rest of the pool. Remove it; to score fewer "
        f"samples {fewer}.",
    )
