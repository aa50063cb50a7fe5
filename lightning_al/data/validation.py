"""What a collate function must keep: one row for each sample, in their order, for itself."""

from collections.abc import Callable, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from lightning_al.tasks.base import Task

Collate = Callable[[list[Any]], Any]


def check_collate(collate: Collate, samples: Sequence[Any], task: Task) -> None:
    """Refuse a collate function under which a row of a batch is not the sample at its place.

    Scores would go to other samples than those that they are of. Samples are collated forwards and backwards: rows in
    an order of their own, or mixed with each other, differ.

    Args:
        collate: Of the train loader, which the pool is scored with too.
        samples: A few.
        task: Finds inputs and targets.

    Raises:
        ValueError: If rows are in another order, or mixed.
    """
    try:
        forwards, again, backwards = collate([*samples]), collate([*samples]), collate([*samples][::-1])
    except TypeError:
        return  # what is wrong with such samples, their labels are asked for
    n = len(samples)
    try:
        kept = _same_rows(task.targets(forwards), _flipped(task.targets(backwards)), n)
    except TypeError:
        kept = True  # no targets
    one, two, flipped = task.inputs(forwards), task.inputs(again), _flipped(task.inputs(backwards))
    # Inputs that are others each time are augmented here.
    if kept and (_same_rows(one, flipped, n) or not _same_rows(one, two, n)):
        return
    name = getattr(collate, "__qualname__", type(collate).__name__)
    raise ValueError(
        f"The train loader's collate function ({name}) sorts or mixes samples: rows of its batches are not "
        "the samples at their places, and scores would go to the wrong ones. Keep the order (`pack_padded_sequence` "
        "takes `enforce_sorted=False`), and mix samples (MixUp, CutMix) in `training_step`."
    )


def _flipped(batch: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.flip(0) if isinstance(leaf, Tensor) and leaf.ndim else leaf, batch)


def _same_rows(one: Any, other: Any, n: int) -> bool:
    """Whether the tensors with ``n`` rows in two batches are the same."""
    pairs = zip(pytree.tree_leaves(one), pytree.tree_leaves(other), strict=False)
    return all(
        a.shape == b.shape and torch.equal(a, b)
        for a, b in pairs
        if isinstance(a, Tensor) and isinstance(b, Tensor) and a.ndim and len(a) == n
    )


def check_last_sample(dataset: Any) -> None:
    """Refuse a training set that is empty, or whose last sample cannot be read."""
    size = len(dataset)
    if size == 0:
        raise ValueError("The training set is empty: `train_dataloader()` has 0 samples.")
    try:
        dataset[size - 1]
    except (IndexError, KeyError) as error:
        raise IndexError(
            f"The training set ({type(dataset).__name__}) says that it has {size} samples and gives no sample "
            f"{size - 1} ({error}). Mend its `__len__`."
        ) from None


def is_empty(loader: DataLoader) -> bool:
    """Whether a loader is known to have no batch."""
    return hasattr(loader.dataset, "__len__") and not isinstance(loader.dataset, IterableDataset) and len(loader) == 0


def spread_over(n: int) -> list[int]:
    """Return up to 16 indices from all over a data set of ``n`` samples."""
    return sorted({round(k * (n - 1) / 15) for k in range(16)}) if n else []


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
