"""Checks of the user's data: the training set, the pool beside it, the split, the size of an epoch."""

import functools
import math
from collections.abc import Iterable
from typing import Any, Literal

import lightning.pytorch as pl
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from lightning_al.data.augmentation import draws, same
from lightning_al.data.readable import readable
from lightning_al.data.stream import check_counted, check_map_style, is_stream
from lightning_al.data.template import Epoch
from lightning_al.tasks.base import Task, name_in
from lightning_al.words import WITHOUT_METRICS, cut, shown


def spread_over(n: int) -> list[int]:
    """Return up to 16 indices from all over a dataset of ``n`` samples.

    Example:
        >>> spread_over(46)
        [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 42, 45]
    """
    return sorted({round(k * (n - 1) / 15) for k in range(16)}) if n else []


def spread_over_parts(dataset: Any) -> list[int]:
    """Return a few indices from all over a dataset, one of each part of a ``ConcatDataset`` among them."""
    few = spread_over(len(dataset))[::2]
    if isinstance(dataset, ConcatDataset):
        few += [end - 1 for end in dataset.cumulative_sizes[:16] if end > 0]
    return sorted(set(few))


def check_last_sample(dataset: Any, *, may_be_empty: bool = False) -> None:
    """Refuse a training set that is empty, or whose last sample is not there.

    Args:
        dataset: What is trained on.
        may_be_empty: Whether there are samples beside it.

    Raises:
        ValueError: If it is empty.
        IndexError: If it has fewer samples than its length says.
    """
    check_counted(dataset, "The training set")
    size = len(dataset)
    if size == 0 and may_be_empty:
        return
    if size == 0:
        raise ValueError("The training set is empty: `train_dataloader()` has 0 samples.")
    try:
        dataset[size - 1]
    except (IndexError, KeyError) as error:
        raise IndexError(
            f"The training set ({type(dataset).__name__}) says that it has {size} samples and gives no sample "
            f"{size - 1} ({cut(error)}). Correct its `__len__`."
        ) from None
    except Exception:  # a damaged file, say, which may never be asked for
        return


# -- the pool, beside the training set ---------------------------------------------------------------------------------


def check_pool_set(pool_set: Any, train_set: Dataset, *, where: str) -> None:
    """Refuse a pool that cannot hold the samples of the training set, index for index.

    Args:
        pool_set: What the user's datamodule gave.
        train_set: What is trained on.
        where: The hook that gave the pool, for the error.

    Raises:
        TypeError: If the pool is no map-style dataset.
        ValueError: If its length is not that of the training set.
    """
    check_map_style(pool_set, f"`{where}`")
    n = len(train_set)  # type: ignore[arg-type]
    if len(pool_set) != n:
        raise ValueError(
            f"The pool of `{where}` has {len(pool_set)} samples and the training set {n}. Both must hold the same "
            "samples in the same order."
        )


def check_same_targets(
    pool_set: Dataset, train_set: Dataset, task: Task, *, where: str, may_be_hidden: bool = True
) -> Literal["hidden", "same", "augmented"]:
    """Refuse a pool of other data, or in another order, which would silently have wrong samples picked.

    A target that differs is compared only if the training set gives it again when the sample is drawn again: one that
    is augmented with its input does not.

    Args:
        pool_set: As long as the training set.
        train_set: What is trained on.
        task: Reads targets.
        where: The hook that gave the pool, for the error.
        may_be_hidden: Whether the pool may have no targets, or one and the same for all samples.

    Returns:
        ``"hidden"`` where the pool has no targets, ``"augmented"`` where the training set's are another in each draw.

    Raises:
        ValueError: If targets of a few samples differ, or are missing and may not be.
    """
    rows = readable(pool_set, readable(train_set, spread_over(len(train_set))))  # type: ignore[arg-type]
    read = functools.partial(_encoded, task)
    try:
        train_targets, pool_targets = ([read(data[i]) for i in rows] for data in (train_set, pool_set))
    except (TypeError, ValueError, LookupError):
        if may_be_hidden:
            return "hidden"
        raise ValueError(
            _not_compared("has no targets that could be compared with those of the training set")
        ) from None
    if may_be_hidden and len(set(map(str, pool_targets))) == 1:
        return "hidden"
    seen_again, augmented = False, False
    for i, in_train, in_pool in zip(rows, train_targets, pool_targets, strict=True):
        if same(in_train, in_pool):
            seen_again = True
            continue
        # Once a predict set has been found to hold one target, it is known to hold the same samples.
        until = None if may_be_hidden or seen_again else in_pool
        moves, found = _moves(draws(train_set, i, read), in_train, until=until)
        seen_again, augmented = seen_again or found, augmented or moves
        if not moves:
            if _moves(draws(pool_set, i, read), in_pool)[0]:
                raise ValueError(
                    f"`{where}` augments input and target together: the target of sample {i} is another each time it "
                    "is read, and in the training set it is not. Return the training samples without augmentation."
                )
            raise ValueError(
                f"`{where}`: sample {i} has target {shown(in_train)} in the training set and {shown(in_pool)} in the "
                "pool: they are other data, or in another order. Return the training samples in their order from "
                "`pool_dataset()`."
            )
    if not may_be_hidden and not seen_again:
        raise ValueError(_not_compared("has none of the targets of the training set, which augments them"))
    return "augmented" if augmented else "same"


def _moves(values: Iterable[Any], first: Any, *, until: Any = None) -> tuple[bool, bool]:
    """Whether a target is not always the same, and whether ``until``, if it is looked for, is among the values."""
    moves = False
    for value in values:
        moves = moves or not same(value, first)
        if until is not None and same(value, until):
            return moves, True
        if moves and until is None:
            break
    return moves, False


def _not_compared(why: str) -> str:
    return (
        f'`pool="predict"`: the predict set {why}, so it may be other data. Define `pool_dataset()` on the datamodule '
        "instead."
    )


def _encoded(task: Task, sample: Any) -> Any:
    return task.encode_label(task.targets(sample))


# -- what is evaluated -------------------------------------------------------------------------------------------------


def check_split_is_fixed(before: Dataset, now: Dataset, task: Task, *, hook: str, owner: str) -> None:
    """Refuse a split drawn anew, which would train on samples that nobody labelled, or evaluate those trained on.

    Args:
        before: The training set after ``setup("fit")``.
        now: The training set after ``hook``.
        task: Names samples and reads targets.
        hook: What was called since, for the error.
        owner: Whose it is, for the error.

    Raises:
        ValueError: If the two hold other samples.
    """
    same_indices = True
    while same_indices and isinstance(before, Subset) and isinstance(now, Subset):
        same_indices = list(before.indices) == list(now.indices)
        before, now = before.dataset, now.dataset
    if not same_indices or not (before is now or _look_alike(before, now, task)):
        raise ValueError(
            f"`{hook}` of {owner} drew another training set than "
            '`setup("fit")`, so that training samples would be among those that are evaluated. Split once (`if '
            'not hasattr(self, "train_set")`), or with a generator of fixed seed.'
        )


def _look_alike(one: Dataset, other: Dataset, task: Task) -> bool:
    """Whether two datasets have the same length, and the same names and targets of a few samples.

    Both are drawn with the same random numbers, so that augmented targets are the same too. Those of a dataset with
    random numbers of its own, which it does not give twice, cannot be compared.
    """
    n = len(one)  # type: ignore[arg-type]
    if len(other) != n:  # type: ignore[arg-type]
        return False
    for i in readable(one, spread_over(n)):
        if name_in(task, one, i) != name_in(task, other, i):
            return False
        read = functools.partial(_encoded, task)
        try:
            [look], [other_look] = draws(one, i, read, 1), draws(other, i, read, 1)
            if not same(look, other_look) and same(look, *draws(one, i, read, 1)):
                return False
        except (TypeError, ValueError, LookupError):
            return True  # Without targets there is nothing to compare.
    return True


def check_evaluated(loaders: Any, *, hook: str, owner: str) -> None:
    """Refuse loaders from which no metrics would come.

    Args:
        loaders: One loader or several, as the hook returned them.
        hook: Its name, for the error.
        owner: Whose it is, for the error.

    Raises:
        ValueError: If there is no loader, or one is known to have no batch.
    """
    several = loaders if isinstance(loaders, (list, tuple)) else [loaders]
    if not several or any(loader is None or _is_empty(loader) for loader in several):
        raise ValueError(
            f"`{hook}()` of {owner} gives no batch, so no round would have "
            f"metrics. Give it samples, or {WITHOUT_METRICS}."
        )


def _is_empty(loader: Any) -> bool:
    """Whether a loader is known to have no batch."""
    if not isinstance(loader, DataLoader) or is_stream(loader.dataset):
        return False
    return hasattr(loader.dataset, "__len__") and len(loader) == 0


# -- the size of an epoch ----------------------------------------------------------------------------------------------


def check_drop_last(epoch: Epoch) -> None:
    """Refuse labels that are all in the last batch, where that is dropped.

    Raises:
        ValueError: With the number of labels that is enough.
    """
    if epoch.drop_last and epoch.samples < epoch.batch_size:
        raise ValueError(
            f"The train loader drops its last batch (`drop_last=True`, batch size {epoch.batch_size}), and "
            f"{epoch.labels} labels give {epoch.samples} per process: not one batch, so nothing would train. Start "
            f"with at least {math.ceil(epoch.batch_size * epoch.num_replicas / epoch.per_label)} labels, or set "
            "`drop_last=False`."
        )


def check_train_limit(trainer: pl.Trainer, epoch: Epoch) -> None:
    """Refuse a share of the batches, ``limit_train_batches``, that is none of them.

    Raises:
        ValueError: With the limit and the number of batches.
    """
    limit = trainer.limit_train_batches
    if isinstance(limit, float) and limit > 0 and int(epoch.batches * limit) == 0:
        raise ValueError(
            f"`limit_train_batches={limit}` of the {epoch.batches} batches that {epoch.labels} labels give is none: "
            "nothing would train. Remove it."
        )


def check_validation_interval(trainer: pl.Trainer, epoch: Epoch) -> None:
    """Refuse an interval of validation, ``val_check_interval``, that an epoch never reaches.

    Raises:
        ValueError: With the interval and the number of batches.
    """
    every = getattr(trainer, "val_check_interval", None)  # not there where it is a time
    if isinstance(every, int) and every > epoch.batches and trainer.check_val_every_n_epoch is not None:
        raise ValueError(
            f"`val_check_interval={every}` is more than the {epoch.batches} batch(es) that {epoch.labels} labels give "
            "each process in an epoch. Give it as a share of the epoch (`val_check_interval=1.0`), or let it count on "
            "over epochs: `check_val_every_n_epoch=None`."
        )


def check_batch_norm(epoch: Epoch) -> None:
    """Refuse an epoch of one sample in each process, on which BatchNorm cannot be trained.

    Raises:
        ValueError: With the number of labels.
    """
    if epoch.samples == 1:
        raise ValueError(
            f"{epoch.labels} labelled sample(s) give one per process: a batch of one, which BatchNorm cannot train "
            "on. Start with at least 2 per process."
        )
