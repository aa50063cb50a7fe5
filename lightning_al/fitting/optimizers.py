"""Optimizers that are made anew for each fit, or keep their state."""

import functools
from types import MethodType
from typing import Any

import lightning.pytorch as pl
from torch.optim import Optimizer


def check_optimizers(model: pl.LightningModule) -> None:
    """A stock ``LightningCLI`` makes one optimizer at start and returns it at every fit."""
    method = vars(model).get("configure_optimizers")
    function = method.__func__ if isinstance(method, MethodType) else method
    shared = isinstance(function, functools.partial) and any(
        isinstance(v, Optimizer) for v in [*function.args, *function.keywords.values()]
    )
    kept = [name for name, value in vars(model).items() if isinstance(value, Optimizer)]
    if shared or kept:
        where = "by `LightningCLI` from the `optimizer:` section" if shared else f"as `self.{kept[0]}`"
        raise ValueError(
            f"The optimizer was made once, {where}, and would be used in every round: its learning rate and momentum "
            "would run on, and after a reset it would train old parameters. Run `lightning-al run` (or "
            "`ActiveLearningCLI`), which makes it afresh each round, or build it inside `configure_optimizers`, for "
            "example from an `OptimizerCallable` argument."
        )


def optimizers_in(configured: Any) -> list[Optimizer]:
    """Find the optimizers in any of the forms that ``configure_optimizers`` may return."""
    if isinstance(configured, Optimizer):
        return [configured]
    if isinstance(configured, dict):
        return optimizers_in(configured.get("optimizer"))
    if isinstance(configured, (list, tuple)):
        return [optimizer for part in configured for optimizer in optimizers_in(part)]
    return []
