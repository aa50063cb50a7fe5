"""Datasets made of the user's: one after the other, in the form of another's samples, or with another's targets."""

from collections.abc import Sequence
from typing import Any

from torch.utils.data import ConcatDataset, Dataset, Subset

from lightning_al.inference.batches import copy_of
from lightning_al.tasks.base import Task
from lightning_al.tasks.keys import name_of
from lightning_al.tasks.texts import given_text


def samples_of(dataset: Any, indices: Sequence[int]) -> list[Any]:
    """Return several samples, at once where the dataset can."""
    if callable(getattr(dataset, "__getitems__", None)):
        return list(dataset.__getitems__(list(indices)))
    return [dataset[index] for index in indices]


_OF_PARTS = ("datasets", "cumulative_sizes")


class Parts(ConcatDataset):
    """Datasets one after the other, each of which is asked for its samples of a batch at once.

    What is no sample is read from the last of them and written to it, the user's training set.

    Args:
        datasets: Map-style.

    Example:
        >>> Parts([["a", "b"], ["c"]]).__getitems__([2, 0, 1])
        ['c', 'a', 'b']
    """

    @property
    def last(self) -> Any:
        """The last of the datasets."""
        return self.datasets[-1]

    def __getattr__(self, name: str) -> Any:  # of names that it does not have
        if name in _OF_PARTS or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)  # asked for while a copy is made
        return getattr(self.last, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OF_PARTS:
            super().__setattr__(name, value)
        else:
            setattr(self.last, name, value)

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

    def sample_key(self, index: int) -> str | None:
        """Return the name of a sample, where the dataset has one."""
        return name_of(self.dataset, index)

    def sample_text(self, index: int) -> str | None:
        """Return what people read of a sample, where the dataset says it."""
        return given_text(self.dataset, index)

    def __getitems__(self, indices: list[int]) -> list[Any]:
        return [self.task.completed(sample, copy_of(self.example)) for sample in samples_of(self.dataset, indices)]


class WithClasses(Subset):
    """A dataset, all of it, with names of classes that it does not have; what else is read is the dataset's.

    Args:
        dataset: Map-style.
        classes: Names, by class index.

    Example:
        >>> from lightning_al.data.classes import class_names
        >>> class_names(WithClasses(["a", "b"], ["cat", "dog"]))
        ['cat', 'dog']
    """

    def __init__(self, dataset: Any, classes: Sequence[str]) -> None:
        super().__init__(dataset, range(len(dataset)))
        self.classes = list(classes)

    def __getattr__(self, name: str) -> Any:  # of names that it does not have
        if name == "dataset" or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)  # asked for while a copy is made
        return getattr(self.dataset, name)


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
