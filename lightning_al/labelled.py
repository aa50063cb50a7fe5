"""The labelled part of a data set: samples with the labels that were told, in an order that can be resumed."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from lightning_al.randomness import derive_seed
from lightning_al.task import Task


class LabelledView(Dataset):
    """Some samples of a data set, with the labels that were told in place of the data set's own.

    Args:
        dataset: Map-style.
        indices: Which samples, in order.
        labels: What was told, encoded, by dataset index; other samples stay as they are.
        task: Puts a label into a sample.
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int], labels: Mapping[int, Any], task: Task) -> None:
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
        index = self.indices[position]
        return self._told(index, self.dataset[index])

    def __getitems__(self, positions: list[int]) -> list[Any]:
        indices = [self.indices[p] for p in positions]
        if callable(getattr(self.dataset, "__getitems__", None)):
            samples = self.dataset.__getitems__(indices)  # type: ignore[attr-defined]
        else:
            samples = [self.dataset[i] for i in indices]
        return [self._told(i, s) for i, s in zip(indices, samples, strict=True)]


class EpochSampler(DistributedSampler):
    """A sampler whose order, and the seeds of the loader's workers, follow from (seed, epoch) alone.

    So a round that was killed and resumed sees the same batches.
    """

    def __init__(self, dataset: Dataset, *, num_replicas: int, rank: int, shuffle: bool, seed: int) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=shuffle, seed=seed % 2**31)
        self.generator = torch.Generator()
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Begin ``epoch``; Lightning calls this."""
        super().set_epoch(epoch)
        self.generator.manual_seed(derive_seed(self.seed, self.rank, "workers", epoch))


def check_train_loader(loader: Any) -> DataLoader:
    """Return the user's train loader if it can be carried over to the labelled part.

    Raises:
        TypeError: If it is not one ``DataLoader`` over a map-style data set with a plain sampler.
    """
    if not isinstance(loader, DataLoader):
        raise TypeError(
            f"`train_dataloader()` must return one `torch.utils.data.DataLoader`, got {type(loader).__name__}: the "
            "loop must know which samples are in it. Return the one with the samples to be labelled; from others (of "
            "unlabelled samples, say) let `training_step` take batches itself."
        )
    if isinstance(loader.dataset, IterableDataset) or not hasattr(loader.dataset, "__len__"):
        raise TypeError(
            f"The training set is iterable ({type(loader.dataset).__name__}); active learning needs stable indices. "
            "Use a map-style data set, with `__getitem__` and `__len__`."
        )
    if loader.batch_size is None or type(loader.batch_sampler) is not BatchSampler:
        raise TypeError(
            f"The train loader has a batch sampler of its own ({type(loader.batch_sampler).__name__}), which draws "
            "positions of the whole training set and cannot be carried over to the labelled part. Use `batch_size=` "
            "with `shuffle=`."
        )
    sampler = loader.sampler
    plain = type(sampler) in (RandomSampler, SequentialSampler, DistributedSampler)
    if not plain or getattr(sampler, "replacement", False) or getattr(sampler, "_num_samples", None) is not None:
        raise TypeError(
            f"The train loader has a sampler of its own ({type(sampler).__name__}), which draws positions of the whole "
            "training set and cannot be carried over to the labelled part. Use `shuffle=True`; weight classes in the "
            "loss."
        )
    return loader


def check_validation(trainer: pl.Trainer | None, batches: int, count: int) -> None:
    """Refuse an interval of validation that an epoch never reaches.

    Raises:
        ValueError: With the interval, and the batches that ``count`` labels give.
    """
    every = getattr(trainer, "val_check_interval", 1.0)
    if isinstance(every, int) and every > batches and getattr(trainer, "check_val_every_n_epoch", None) is not None:
        raise ValueError(
            f"`val_check_interval={every}` is more than the {batches} batch(es) that {count} labels give each process "
            "in an epoch. Give it as a share of the epoch (`val_check_interval=1.0`), or let it count on over epochs: "
            "`check_val_every_n_epoch=None`."
        )
