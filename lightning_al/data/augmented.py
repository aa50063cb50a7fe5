"""What is said where samples augment themselves that are scored, or that are augmented once more as they train."""

import contextlib
import functools
import time
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch.utils.data import Dataset

from lightning_al.data.augmentation import incomparable, moving, target_of
from lightning_al.data.readable import readable
from lightning_al.data.training_samples import TrainingSamples
from lightning_al.data.validation import spread_over
from lightning_al.tasks.base import Task

_COMPARISONS = 16  # a flip of every second draw goes unseen once in 65,000 times
_SECONDS = 5.0  # after which no other sample is looked at: large images may take long to read


def warn_of_pool(samples: TrainingSamples, where: str | None) -> None:
    """Warn if the samples that are scored are others each time they are read, or if that cannot be told.

    Args:
        samples: Those of a pool that is the training set.
        where: The hook that gives the samples as they are scored; None: there is none.
    """
    owner, twice = samples.owner, samples.augment is not None
    plain = "the same samples in the same order, without augmentation, from a method `pool_dataset()`"
    moved = moving_sample(samples.pool_set, samples.task)
    scored = f"sample {moved} is another each time it is read. So the pool is scored as a random draw has it"
    if moved is None:
        unknown = None if where is not None else _incomparable(samples.pool_set, samples.task)
        if unknown is not None:
            rank_zero_warn(
                f"{owner} has no `pool_dataset()`, so the pool is scored on the training set as it is. Whether that "
                f"augments its samples cannot be told: they hold a {unknown}, and two of these cannot be compared. If "
                f"it does, return {plain}, before the campaign begins."
            )
    elif where is not None:
        rank_zero_warn(
            f"`{where}` of {owner} augments its samples: {scored}{_and_twice(twice)}. Return them without augmentation."
        )
    elif twice:
        rank_zero_warn(
            f"The training set of {owner} augments its samples: {scored}{_and_twice(twice)}. Leave all augmentation to "
            f"`augment(sample)`, or return {plain}, before the campaign begins."
        )
    else:
        rank_zero_warn(
            f"{owner} has no `pool_dataset()`, and its training set augments: {scored}; where targets move with it, "
            "the labels that the ledger keeps are those of one random draw. "
            f"Return {plain}, before the campaign begins."
        )


def warn_of_both(pool: TrainingSamples, known: TrainingSamples, *, hook: str) -> None:
    """Say where some samples would be augmented and others not, once they train beside each other.

    Inside of the training set augmentation does not reach what is labelled later; inside of the pool, it is scored.

    Args:
        pool: What may be asked for.
        known: The training set beside it.
        hook: What gives the pool.
    """
    way = "Leave the augmentation to a method `augment(sample)`, which all samples then go through as they train."
    twice = known.augment is not None
    if moving_sample(pool.train_set, pool.task) is not None:
        rank_zero_warn(
            f"`{hook}()` of {known.owner} augments its samples: they are scored as a random draw has them, so that "
            f"scores and picks are of augmented samples{_and_twice(twice)}. {way}"
        )
    elif moving_sample(known.trained_on, known.task) is not None:
        if twice:
            where = "The training set" if known.trained_on is known.train_set else "`pool_dataset()`"
            rank_zero_warn(f"{where} of {known.owner} augments its samples{_and_twice(twice)}. {way}")
            return
        scored = known.pool_set is known.train_set
        neither = "neither `augment(sample)` nor `pool_dataset()`" if scored else "no `augment(sample)`"
        beside = ", and what looks at labelled samples sees augmented ones" if scored else ""
        rank_zero_warn(
            f"{known.owner} augments its training set, and has {neither}: samples of `{hook}()` train without "
            f"augmentation once they are labelled{beside}. {way}"
        )


def warn_of_scored(dataset: Dataset, task: Task, name: str) -> None:
    """Warn if samples that belong to no campaign are others each time they are read.

    Args:
        dataset: Map-style.
        task: Reads inputs and targets.
        name: What the dataset is, at the beginning of a sentence.
    """
    moved = moving_sample(dataset, task)
    if moved is not None:
        rank_zero_warn(
            f"{name} augments its samples: sample {moved} is another each time it is read. So scores and picks are "
            "those of a random draw. Give the samples without augmentation."
        )


def moving_sample(dataset: Any, task: Task) -> int | None:
    """Return the first of a few samples of which another draw has another input or target; None where all stay.

    Which cannot be read is a matter of scoring.
    """
    few, until = _few(dataset), time.monotonic() + _SECONDS
    read = functools.partial(_input_and_target, task)
    for index in few:
        with contextlib.suppress(Exception):
            if moving(dataset, [index], read, comparisons=-(-_COMPARISONS // len(few))) is not None:
                return index
        if time.monotonic() > until:
            break
    return None


def _incomparable(dataset: Dataset, task: Task) -> str | None:
    """Return the type of what cannot be compared in the samples of a dataset, if there is such."""
    found = (incomparable(_input_and_target(task, dataset[index])) for index in readable(dataset, _few(dataset), 1))
    return next(found, None)


def _few(dataset: Any) -> list[int]:
    return spread_over(len(dataset))[::2]


def _and_twice(twice: bool) -> str:
    return ", and augmented twice as they train: there, and by `augment(sample)`" if twice else ""


def _input_and_target(task: Task, sample: Any) -> Any:
    """Return what is compared of a sample, all of it where the task knows batches alone."""
    try:
        found = task.inputs(sample)
    except Exception:
        return sample
    try:
        return found, target_of(task, sample)
    except Exception:  # it has none
        return found
