"""Samplers that choose what an epoch trains on: torch's over the labelled part, and those a project makes for it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, cycle, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, Sampler, WeightedRandomSampler

from lightning_al.data.samplers import EpochSampler
from lightning_al.data.views import LabelledView
from lightning_al.distributed.randomness import draws_undone, seed_reading
from lightning_al.words import shown

FACTORY = "sampler_factory"
"""The method of the user's datamodule that makes a sampler, or a batch sampler, of the labelled part."""

Draw = Callable[[LabelledView], Iterable]
"""Makes a sampler, or a batch sampler, of the labelled part."""


@dataclass(frozen=True)
class Redrawn:
    """One of torch's samplers that draw a number of samples of the training set, to draw of the labelled part.

    Weights stay with their samples. The number is as large a part of what is labelled as it was of the training set.

    Args:
        sampler: The user's.
        size: Samples of the training set.

    Example:
        >>> view = LabelledView(range(8), torch.tensor([6, 1]), {}, task=None)
        >>> drawn = Redrawn(WeightedRandomSampler([0.0] * 6 + [1.0] * 2, num_samples=16), 8)(view)
        >>> drawn.weights.tolist(), drawn.num_samples
        ([1.0, 0.0], 4)
    """

    sampler: RandomSampler | WeightedRandomSampler
    size: int

    @property
    def per_label(self) -> float:
        """How many samples are drawn for each that is labelled."""
        return self.sampler.num_samples / self.size

    def __call__(self, labelled: LabelledView) -> Sampler:
        """Return the sampler of the labelled part.

        Raises:
            ValueError: If all of it has weight 0.
        """
        count = max(1, round(len(labelled) * self.per_label))
        replacement = self.sampler.replacement
        if isinstance(self.sampler, RandomSampler):
            return RandomSampler(labelled, replacement=replacement, num_samples=count)  # type: ignore[arg-type]
        weights = self.sampler.weights[torch.tensor(labelled.dataset_indices)]
        positive = int((weights > 0).sum())
        if not positive:
            raise ValueError(
                f"All {len(labelled)} labelled samples have weight 0 in the train loader's `WeightedRandomSampler`, so "
                "none would be drawn. Give each sample a weight, or start with samples that have one."
            )
        count = count if replacement else min(count, positive)
        return WeightedRandomSampler(weights.tolist(), count, replacement=replacement)


class DrawnSampler(EpochSampler):
    """A sampler that deals out among the ranks what another one draws; its items are positions, or whole batches.

    Every epoch is drawn by the one sampler, in the order of epochs, with torch's, NumPy's and Python's global
    generators seeded by (seed, epoch): a fit that is resumed draws the epochs before once more, so that generators of
    the sampler's own are where they were. Every rank draws the same and takes every n-th item; where they do not divide
    evenly, or are fewer than the sampler's length says, the first ones come again, as with ``DistributedSampler``.

    Args:
        labelled: What is drawn from.
        draw: Makes the sampler.
        num_replicas: Number of ranks.
        rank: This rank.
        seed: Any non-negative integer.

    Raises:
        TypeError: If it makes no sampler with a length.
        ValueError: If that draws nothing, or positions of other samples, or deals out among ranks itself.

    Example:
        >>> from torch.utils.data import BatchSampler, SequentialSampler
        >>> view = LabelledView("abcde", torch.arange(5), {}, task=None)
        >>> pairs = lambda labelled: BatchSampler(SequentialSampler(labelled), 2, drop_last=False)
        >>> [list(DrawnSampler(view, pairs, num_replicas=2, rank=r, seed=0)) for r in (0, 1)]
        [[[0, 1], [4]], [[2, 3], [0, 1]]]
    """

    def __init__(self, labelled: LabelledView, draw: Draw, *, num_replicas: int, rank: int, seed: int) -> None:
        super().__init__(labelled, num_replicas=num_replicas, rank=rank, shuffle=True, seed=seed)
        self._size = len(labelled)
        self._make = lambda: self._made(draw, labelled)
        self._begin()
        self._length = _length_of(self._sampler)
        self.batched = bool(self.items(0)) and isinstance(self.items(0)[0], list)

    def _made(self, draw: Draw, labelled: LabelledView) -> Iterable:
        with draws_undone():
            seed_reading(self.seed, "sampler")
            sampler = draw(labelled)
        for part in (sampler, getattr(sampler, "sampler", None)):
            if isinstance(part, DistributedSampler) and part.num_replicas > 1:
                raise ValueError(
                    f"`{FACTORY}()` made a {type(part).__name__} for {part.num_replicas} processes. Return one for all "
                    "samples (`RandomSampler`, say): what it draws is dealt out among the processes."
                )
        return sampler

    def _begin(self) -> None:
        self._sampler = self._make()
        self._drawn: list[Any] = []
        self._last = -1

    def items(self, epoch: int) -> list[Any]:
        """Return what is drawn for an epoch on all ranks together: positions, or lists of positions."""
        if epoch < self._last:
            self._begin()
        while self._last < epoch:
            self._last += 1
            self._drawn = self._draw(self._last)
        return self._drawn

    def _draw(self, epoch: int) -> list[Any]:
        with draws_undone():
            seed_reading(self.seed, "draws", epoch)
            if callable(set_epoch := getattr(self._sampler, "set_epoch", None)):
                set_epoch(epoch)
            drawn = [_as_positions(item) for item in islice(self._sampler, self._length)]
        flat = chain.from_iterable(item if isinstance(item, list) else [item] for item in drawn)
        if outside := [position for position in flat if not 0 <= position < self._size]:
            raise ValueError(
                f"The sampler of `{FACTORY}(labelled)` ({type(self._sampler).__name__}) drew position {outside[0]}, "
                f"and {self._size} samples are labelled. Draw from `labelled`: its positions are from 0 to "
                "`len(labelled) - 1`."
            )
        if not drawn or [] in drawn:
            raise ValueError(
                f"The sampler of the train loader ({type(self._sampler).__name__}) drew "
                f"{'an empty batch' if drawn else 'nothing'} of {self._size} labelled samples, so nothing would train. "
                "Start with more labels, or leave out `drop_last`."
            )
        return drawn

    def check_draws_again(self) -> None:
        """Refuse a sampler that draws otherwise when it is made again, as each process and a resumed fit do.

        Raises:
            ValueError: With what to do.
        """
        before = self.items(0)
        self._begin()
        if self.items(0) != before:
            raise ValueError(
                f"The sampler of `{FACTORY}(labelled)` ({type(self._sampler).__name__}) draws otherwise when it is "
                "made again: processes would train on different batches, and a killed round could not go on with its "
                "own. Let it draw from torch's global generator (`generator=None`), or seed its own."
            )

    def __iter__(self) -> Iterator[Any]:
        # Not before the first is asked for: a Trainer may make the iterator before it knows the epoch.
        items = cycle(self.items(self.epoch))
        yield from islice(items, self.rank, len(self) * self.num_replicas, self.num_replicas)

    def __len__(self) -> int:
        return -(-self._length // self.num_replicas)


def _length_of(sampler: Any) -> int:
    if isinstance(sampler, (str, Tensor)) or not hasattr(sampler, "__iter__") or not hasattr(sampler, "__len__"):
        raise TypeError(
            f"`{FACTORY}(labelled)` must return a sampler or a batch sampler with `__iter__` and `__len__`, got "
            f"{shown(sampler)} ({type(sampler).__name__})."
        )
    return len(sampler)


def _as_positions(item: Any) -> int | list[int]:
    """Return a position, or a batch of them, as plain numbers."""
    try:
        if isinstance(item, (Tensor, np.ndarray)):
            item = item.tolist()
        return [int(position) for position in item] if isinstance(item, Sequence) else int(item)
    except (TypeError, ValueError):
        raise TypeError(
            f"The sampler of `{FACTORY}(labelled)` drew {shown(item)} ({type(item).__name__}): it must draw positions, "
            "or lists of them."
        ) from None


class BatchLoader(DataLoader):
    """A loader by batches that are dealt out among the ranks already, as a Trainer sees by its sampler.

    Torch puts a sampler of the whole dataset beside a batch sampler, which Lightning would replace, and the batches
    with it.
    """

    @property  # type: ignore[override]
    def sampler(self) -> Any:
        """What says which samples there are: the batch sampler."""
        return self.batch_sampler

    @sampler.setter
    def sampler(self, value: Any) -> None:
        """Torch's own has no part in this."""
