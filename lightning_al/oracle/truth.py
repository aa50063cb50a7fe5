"""The true labels of samples that nobody has asked for yet, which a simulated campaign may look at."""

from dataclasses import dataclass
from typing import Any

from lightning_al.data.readable import readable
from lightning_al.data.validation import spread_over
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
        """Return all labels as the ledger would keep them.

        By the list of targets that torchvision's datasets have, if one sample of each class, and some from all over,
        have the labels that stand there; else all samples are read.
        """
        with draws_undone():
            listed = self._listed()
            return [self._encoded(index) for index in range(len(self.dataset))] if listed is None else listed

    def _encoded(self, index: int) -> Any:
        return self.task.encode_label(self.label(index))

    def _listed(self) -> list[Any] | None:
        size, targets = len(self.dataset), getattr(self.dataset, "targets", None)
        try:
            labels = [self.task.encode_label(target) for target in targets]  # type: ignore[union-attr]
        except (TypeError, ValueError):  # there is no list, or one of something else
            return None
        if len(labels) != size:
            return None
        first_of_each = {str(label): index for index, label in reversed(list(enumerate(labels)))}
        some = readable(self.dataset, sorted({*spread_over(size), *first_of_each.values()}))
        return labels if all(str(self._encoded(index)) == str(labels[index]) for index in some) else None
