"""The true labels of samples that nobody has asked for yet, which a simulated campaign may look at."""

from dataclasses import dataclass
from typing import Any

from lightning_al.distributed.randomness import draws_undone
from lightning_al.tasks.base import Task


@dataclass(frozen=True)
class Truth:
    """A dataset that has them, index for index the samples that may be asked for.

    Args:
        dataset: Map-style.
        task: Finds the label in a sample.

    Example:
        >>> from lightning_al.tasks import ClassificationTask
        >>> Truth([("a", 2), ("b", 0)], ClassificationTask()).label(1)
        0
    """

    dataset: Any
    task: Task

    def label(self, index: int) -> Any:
        """Return the label of a sample, as its dataset gives it."""
        return self.task.targets(self.dataset[index])

    def encoded(self) -> list[Any]:
        """Return all labels as the ledger would keep them, by the list of them that torchvision's datasets have."""
        with draws_undone():
            size, targets = len(self.dataset), getattr(self.dataset, "targets", None)
            if targets is not None and len(targets) == size:
                return [self.task.encode_label(target) for target in targets]
            return [self.task.encode_label(self.label(index)) for index in range(size)]
