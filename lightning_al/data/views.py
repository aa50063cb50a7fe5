"""The labelled part of a dataset: its samples, with the labels that were told put in, then augmented."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from lightning_al.data.augmentation import Augment
from lightning_al.inference.batches import copy_of
from lightning_al.tasks.base import Task


class LabelledView(Dataset):
    """Some samples of a dataset, with the labels that were told in place of the dataset's.

    Args:
        dataset: Map-style.
        indices: (N,) which samples, in order.
        labels: The labels that were told, encoded, by dataset index; other samples stay as they are.
        task: Puts a label into a sample. It gets copies, so that the dataset and the labels stay as they are.
        augment: Applied to each sample once its label is in, to a copy too.

    Example:
        >>> import torch
        >>> from lightning_al.tasks import ClassificationTask
        >>> samples = [("a", 0), ("b", 0), ("c", 0)]
        >>> view = LabelledView(samples, torch.tensor([2, 1]), {2: 7}, ClassificationTask())
        >>> [view[i] for i in range(len(view))]
        [('c', 7), ('b', 0)]
    """

    def __init__(
        self,
        dataset: Dataset,
        indices: Tensor,
        labels: Mapping[int, Any],
        task: Task,
        *,
        augment: Augment | None = None,
    ) -> None:
        self.dataset = dataset
        self.indices = indices
        self.labels = labels
        self.task = task
        self.augment = augment

    def __len__(self) -> int:
        return len(self.indices)

    def _labelled(self, index: int, sample: Any) -> Any:
        """Return a sample with the label that was told of it, if one was, augmented."""
        told = index in self.labels
        if told or self.augment is not None:
            sample = copy_of(sample)
        if told:
            sample = self.task.with_label(sample, copy_of(self.task.decode_label(self.labels[index])))
        return sample if self.augment is None else self.augment(sample)

    def __getitem__(self, position: int) -> Any:
        index = int(self.indices[position])
        return self._labelled(index, self.dataset[index])

    def __getitems__(self, positions: list[int]) -> list[Any]:
        indices = self.indices[positions].tolist()
        if callable(getattr(self.dataset, "__getitems__", None)):
            samples = self.dataset.__getitems__(indices)  # type: ignore[attr-defined]
        else:
            samples = [self.dataset[i] for i in indices]
        if not self.labels and self.augment is None:
            return list(samples)
        return [self._labelled(i, s) for i, s in zip(indices, samples, strict=True)]
