"""The labelled part of a data set: samples with the labels that were told, in an order that can be resumed."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from lightning_al.tasks.base import Task


class LabelledView(Dataset):
    """Some samples of a data set, with the labels that were told in place of the data set's own.

    Args:
        dataset: Map-style.
        indices: (N,) which samples, in order.
        labels: What was told, encoded, by dataset index; other samples stay as they are.
        task: Puts a label into a sample.
    """

    def __init__(self, dataset: Dataset, indices: Tensor, labels: Mapping[int, Any], task: Task) -> None:
        self.dataset = dataset
        self.indices = indices
        self.labels = labels
        self.task = task

    def __len__(self) -> int:
        return len(self.indices)

    def _told(self, index: int, sample: Any) -> Any:
        if index not in self.labels:
            return sample
        return self.task.with_label(sample, self.task.decode_label(self.labels[index]))

    def __getitem__(self, position: int) -> Any:
        index = int(self.indices[position])
        return self._told(index, self.dataset[index])

    def __getitems__(self, positions: list[int]) -> list[Any]:
        indices = self.indices[positions].tolist()
        if callable(getattr(self.dataset, "__getitems__", None)):
            samples = self.dataset.__getitems__(indices)  # type: ignore[attr-defined]
        else:
            samples = [self.dataset[i] for i in indices]
        return [self._told(i, s) for i, s in zip(indices, samples, strict=True)]
