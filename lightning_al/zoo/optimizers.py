"""What the zoo's modules with a schedule return from ``configure_optimizers``."""

from typing import Any, Literal

from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable, ReduceLROnPlateau


def optimizer_and_schedule(
    model: LightningModule,
    optimizer: OptimizerCallable,
    scheduler: LRSchedulerCallable | None,
    interval: Literal["step", "epoch"] = "epoch",
) -> Any:
    """Return a new optimizer of a model's weights, and a new schedule if there is one, in a form of Lightning's.

    Args:
        model: The weights' module.
        optimizer: Weights to optimizer.
        scheduler: Optimizer to learning-rate schedule; what ``ReduceLROnPlateau`` monitors goes with it.
        interval: Whether the schedule goes by the ``"step"`` or the ``"epoch"``.
    """
    made = optimizer(model.parameters())
    if scheduler is None:
        return made
    schedule = scheduler(made)
    options: dict[str, Any] = {"scheduler": schedule, "interval": interval}
    if isinstance(schedule, ReduceLROnPlateau):
        options["monitor"] = schedule.monitor
    return {"optimizer": made, "lr_scheduler": options}
