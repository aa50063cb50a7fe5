"""The training samples as they are scored and labelled: found in the user's datamodule, beside the training set."""

from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch.utils.data import Dataset

from lightning_al._compat import is_overridden
from lightning_al.data import validation
from lightning_al.data.augmentation import Augment, check_targets_stay
from lightning_al.data.augmented import warn_of_pool
from lightning_al.data.loaders import owner_of
from lightning_al.data.parts import WithTargetsOf
from lightning_al.data.readable import readable
from lightning_al.data.training_samples import TrainingSamples
from lightning_al.tasks.base import Task


def find_training_samples(
    datamodule: pl.LightningDataModule, train_set: Dataset, task: Task, *, source: str
) -> TrainingSamples:
    """Return the training set and the same samples, in their order, as they are scored: without augmentation.

    Args:
        datamodule: The user's, set up.
        train_set: What is trained on.
        task: Reads targets.
        source: ``"auto"``: its ``pool_dataset()`` if it has one, else the training set. ``"predict"``: the dataset of
            its ``predict_dataloader()``.

    Raises:
        TypeError: If it is no map-style dataset.
        ValueError: If there is none, or it does not hold the samples of the training set in their order.
    """
    samples, targets, where = _find(datamodule, train_set, task, source=source)
    warn_of_pool(samples, where)
    if targets is None:
        return samples
    read_from_pool = targets == "augmented" or (targets == "same" and samples.augment is not None)
    return replace(samples, label_set=samples.pool_set if read_from_pool else train_set)


def find_known_samples(
    datamodule: pl.LightningDataModule, train_set: Dataset, task: Task, *, source: str
) -> TrainingSamples:
    """Return the same of a training set that is labelled, beside a pool of others: its samples have their targets.

    Arguments and errors as of :func:`find_training_samples`.
    """
    samples, targets, _ = _find(datamodule, train_set, task, source=source)
    if targets != "hidden":
        return samples
    rows = readable(train_set, validation.spread_over(len(train_set)))  # type: ignore[arg-type]
    check_targets_stay(train_set, rows, task, owner=samples.owner)
    return replace(samples, pool_set=WithTargetsOf(samples.pool_set, train_set, task))


def _find(
    datamodule: pl.LightningDataModule, train_set: Dataset, task: Task, *, source: str
) -> tuple[TrainingSamples, str | None, str | None]:
    """Return the samples, labels read from the training set; what is known of the targets of their pool, and its hook.

    The last two are None where there is no pool beside the training set.
    """
    predict = source == "predict"
    augment, owner = Augment.of(datamodule), owner_of(datamodule)
    samples = TrainingSamples.of(train_set, augment, task, owner)
    if augment is not None:
        rank_zero_info(f"`augment` of {owner} is applied to each training sample, once its label is in.")
    pool_set: Any
    if predict:
        if not is_overridden("predict_dataloader", datamodule):
            raise ValueError(
                '`pool="predict"` needs a `predict_dataloader()` over the training set without augmentation, but '
                f'{owner} has none. Define it, or `pool_dataset()` with `pool="auto"`.'
            )
        where = "predict_dataloader()"
        pool_set = getattr(datamodule.predict_dataloader(), "dataset", None)
    else:
        where = "pool_dataset()"
        make = getattr(datamodule, "pool_dataset", None)
        if make is None:
            return samples, None, None
        pool_set = make()
    validation.check_pool_set(pool_set, train_set, where=where)
    targets = validation.check_same_targets(pool_set, train_set, task, where=where, may_be_hidden=not predict)
    return replace(samples, pool_set=pool_set), targets, where
