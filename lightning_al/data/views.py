"""The labelled part of a dataset: its samples, with the labels that were told put in, then augmented."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

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
        samples = samples_of(self.dataset, indices)
        return [self._labelled(i, s) for i, s in zip(indices, samples, strict=True)]


def samples_of(dataset: Any, indices: Sequence[int]) -> list[Any]:
    """Return several samples, at once where the dataset can."""
    if callable(getattr(dataset, "__getitems__", None)):
        return list(dataset.__getitems__(list(indices)))
    return [dataset[index] for index in indices]


class Parts(ConcatDataset):
    """Datasets one after the other, each of which is asked for its samples of a batch at once.

    Args:
        datasets: Map-style.

    Example:
        >>> Parts([["a", "b"], ["c"]]).__getitems__([2, 0, 1])
        ['c', 'a', 'b']
    """

    def __getitems__(self, indices: list[int]) -> list[Any]:
        samples: dict[int, Any] = {}
        start = 0
        for part, end in zip(self.datasets, self.cumulative_sizes, strict=True):
            here = [index for index in indices if start <= index < end]
            if here:
                samples.update(zip(here, samples_of(part, [index - start for index in here]), strict=True))
            start = end
        return [samples[index] for index in indices]


class CompletedSamples(Dataset):
    """Samples that may have no target, in the form of those of a training set.

    Args:
        dataset: Map-style.
        example: A training sample.
        task: Completes samples, see :meth:`~lightning_al.tasks.Task.completed`.

    Example:
        >>> from lightning_al.tasks import ClassificationTask
        >>> CompletedSamples(["a", "b"], ("c", 2), ClassificationTask())[1]
        ('b', 2)
    """

    def __init__(self, dataset: Dataset, example: Any, task: Task) -> None:
        self.dataset = dataset
        self.example = example
        self.task = task

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        return self.task.completed(self.dataset[index], copy_of(self.example))

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self.task.completed(sample, copy_of(self.example)) for sample in samples_of(self.dataset, indices)]


class WithTargetsOf(Dataset):
    """Samples of one dataset with the targets of another, index for index the same samples.

    Args:
        dataset: Its targets are hidden.
        labelled: Has them.
        task: Reads targets, and puts them in.
    """

    def __init__(self, dataset: Dataset, labelled: Dataset, task: Task) -> None:
        self.dataset = dataset
        self.labelled = labelled
        self.task = task

    def __len__(self) -> int:
        return len(self.dataset)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        return self.task.with_label(copy_of(self.dataset[index]), self.task.targets(self.labelled[index]))
