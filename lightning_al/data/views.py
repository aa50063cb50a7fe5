"""The labelled part of a dataset: its samples, with the labels that were told put in, then augmented."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils.data import Dataset, Subset

from lightning_al.data.augmentation import Augment
from lightning_al.data.parts import Parts, samples_of
from lightning_al.inference.batches import copy_of
from lightning_al.tasks.base import Task


class _Part(NamedTuple):
    """Which samples a view holds, and what is done to them."""

    dataset: Any
    indices: Tensor
    labels: Mapping[int, Any]
    task: Task
    augment: Augment | None


class LabelledView(Dataset):
    """Some samples of a dataset, with the labels that were told in place of the dataset's.

    It stands for the dataset in a loader: what is no sample is read from the dataset and written to it, so that a
    curriculum that sets ``trainer.train_dataloader.dataset.level`` reaches it. What has an entry for each sample of the
    dataset is not handed on: those that nobody labelled would be among them.

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

    _part: _Part

    def __init__(
        self,
        dataset: Dataset,
        indices: Tensor,
        labels: Mapping[int, Any],
        task: Task,
        *,
        augment: Augment | None = None,
    ) -> None:
        object.__setattr__(self, "_part", _Part(dataset, indices, labels, task, augment))

    def __getattr__(self, name: str) -> Any:  # of names that a view does not have
        if name == "_part" or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)  # asked for while a copy is made
        dataset, indices, *_ = self._part
        value = getattr(dataset, name)
        if name == "indices" and isinstance(dataset, Subset):
            return [value[i] for i in indices.tolist()]
        users = dataset.last if isinstance(dataset, Parts) else dataset
        if name != "dataset" and _is_of_each_sample(value, len(users)):
            raise AttributeError(
                f"`{name}` of {type(users).__name__} is of all {len(users)} samples, and {len(self)} are labelled: "
                f"read what you need from the samples themselves, `[y for _, y in dataset]`, say. If `{name}` of all "
                "is meant, take it from the dataset that your datamodule holds."
            )
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._part.dataset, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._part.dataset, name)

    def __len__(self) -> int:
        return len(self._part.indices)

    @property
    def dataset_indices(self) -> list[int]:
        """Which samples these are, by dataset index."""
        return self._part.indices.tolist()

    def labels_put_in(self) -> Mapping[int, Any]:
        """Return the labels that are put in, encoded, by dataset index."""
        return self._part.labels

    def sample_with_label(self, position: int) -> Any:
        """Return a sample with its label, before it is augmented."""
        index = int(self._part.indices[position])
        return self._with_label(index, self._part.dataset[index])

    def _with_label(self, index: int, sample: Any) -> Any:
        _, _, labels, task, augment = self._part
        if index in labels or augment is not None:
            sample = copy_of(sample)
        if index in labels:
            sample = task.with_label(sample, copy_of(task.decode_label(labels[index])))
        return sample

    def _augmented(self, sample: Any) -> Any:
        return sample if self._part.augment is None else self._part.augment(sample)

    def __getitem__(self, position: int) -> Any:
        return self._augmented(self.sample_with_label(position))

    def __getitems__(self, positions: list[int]) -> list[Any]:
        indices = self._part.indices.numpy()[positions].tolist()  # as torch's own indexing, in a fifth of its time
        samples = samples_of(self._part.dataset, indices)
        if not self._part.labels and self._part.augment is None:
            return samples
        return [self._augmented(self._with_label(i, s)) for i, s in zip(indices, samples, strict=True)]


def _is_of_each_sample(value: Any, count: int) -> bool:
    """Whether a value has an entry for each sample, or is a few such values (``TensorDataset.tensors``)."""
    parts = value if isinstance(value, (list, tuple)) and len(value) != count else [value]
    return any(hasattr(type(part), "__getitem__") and _length(part) == count for part in parts[:8])


def _length(value: Any) -> int | None:
    try:
        return None if isinstance(value, (str, bytes)) else len(value)
    except TypeError:  # it has none
        return None
