"""What acquisitions get that need a single decision of each sample: its class scores, (B, C)."""

from typing import Any

from torch import Tensor, nn

from lightning_al.inference.calling import Forward
from lightning_al.tasks.base import Task


def logits_of_one_decision(task: Task, name: str, way_out: str) -> Forward:
    """Return a forward that gives a task's logits and refuses those of samples of several decisions.

    Args:
        task: Of the loop.
        name: Of the acquisition that needs them.
        way_out: Why, and what to use; ends the sentence of the error, which is a ``ValueError``.
    """

    def logits(model: nn.Module, inputs: Any) -> Tensor:
        made: Any = task.logits(model, inputs)
        if not isinstance(made, Tensor) or made.ndim != 2:
            got = tuple(made.shape) if isinstance(made, Tensor) else f"a {type(made).__name__}"
            raise ValueError(f"`{name}` needs logits of shape (B, C), got {got}: {way_out}")
        return made

    return logits
