"""Checks that every fit trains with optimizers of its own, made anew, and not with those of an earlier fit."""

import contextlib
import functools
from collections.abc import Iterator
from types import MethodType
from typing import Any

import lightning.pytorch as pl
from torch.optim import Optimizer

from lightning_al._compat import is_overridden
from lightning_al.inference.replaced import replaced


def check_optimizers(model: pl.LightningModule) -> None:
    """Refuse a model whose optimizer was made once, before any fit.

    A stock ``LightningCLI`` does so: it makes one optimizer at start and returns it at every fit.

    Raises:
        ValueError: Saying where the optimizer is.
    """
    method = vars(model).get("configure_optimizers")
    function = method.__func__ if isinstance(method, MethodType) else method
    shared = isinstance(function, functools.partial) and any(
        isinstance(v, Optimizer) for v in [*function.args, *function.keywords.values()]
    )
    attributes = [name for name, value in vars(model).items() if isinstance(value, Optimizer)]
    if shared or attributes:
        where = "by `LightningCLI` from the `optimizer:` section" if shared else f"as `self.{attributes[0]}`"
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


class OptimizerGuard:
    """Looks at what the model's ``configure_optimizers`` returns, fit after fit.

    Attributes:
        last: The optimizers of the last fit.
    """

    def __init__(self, model: pl.LightningModule) -> None:
        self.model = model
        self.last: list[Optimizer] = []

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, check the optimizers of each ``configure_optimizers``."""
        model = self.model
        if not is_overridden("configure_optimizers", model):
            yield
            return
        original = model.configure_optimizers

        def configure_optimizers() -> Any:
            configured = original()
            if configured is None and model.automatic_optimization:
                raise RuntimeError(
                    f"`configure_optimizers` of {type(model).__name__} returned None, so nothing would train. Return "
                    "an optimizer."
                )
            self.check(optimizers_in(configured))
            return configured

        with replaced(model, "configure_optimizers", configure_optimizers):
            yield

    def check(self, optimizers: list[Optimizer]) -> None:
        """Refuse optimizers that are not this fit's own, and remember them for the next fit.

        Raises:
            RuntimeError: If one was used in the fit before, is kept on the model, or trains other parameters.
        """
        parameters = {id(p) for p in self.model.parameters()}
        attributes = {id(value) for value in vars(self.model).values() if isinstance(value, Optimizer)}
        fix = (
            "Build the optimizer inside `configure_optimizers`, or let the module take an `OptimizerCallable`; on the "
            "command line run `lightning-al run`, which builds it afresh each round."
        )
        for optimizer in optimizers:
            if any(optimizer is old for old in self.last) or id(optimizer) in attributes:
                raise RuntimeError(
                    f"`configure_optimizers` returned the same {type(optimizer).__name__} object again: learning rate "
                    f"and momentum would run on from round to round. {fix}"
                )
            trained = [p for group in optimizer.param_groups for p in group["params"]]
            if trained and not any(id(p) in parameters for p in trained):
                raise RuntimeError(
                    f"`configure_optimizers` returned a {type(optimizer).__name__} that holds none of the model's "
                    f"parameters, so nothing would train. {fix}"
                )
        self.last = optimizers
