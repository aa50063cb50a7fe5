"""What collate functions make of samples: one row each, in their order; also of samples without a target."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.inference.division import readings_of_size
from lightning_al.inference.entries import has_entries, samples_at, whole
from lightning_al.tasks.base import Task
from lightning_al.words import cut

Collate = Callable[[list[Any]], Any]

NO_TARGET = -1
"""Stands in a batch where a sample has None."""

_ONE_SIZE = (
    "Bring them to one size in the dataset; or pad them (masks with their `ignore_index`) in a `collate_fn` of the "
    "train loader, or of a `DataLoader` that is given in the dataset's place; or take `batch_size=1`."
)


class SeveralSizes(ValueError):
    """Samples of several sizes that a collate function cannot put into one batch."""


class CollateWithoutTargets:
    """The user's collate function, for samples of which some have no target, or None, where others may have one.

    Args:
        collate: Gets samples as they are, and with -1 in the place of what is missing where it cannot take that.

    Example:
        >>> from torch.utils.data import default_collate
        >>> CollateWithoutTargets(default_collate)([(1.5, None), (2.5,), (3.5, 2)])[1]
        tensor([-1, -1,  2])
    """

    def __init__(self, collate: Collate) -> None:
        self.collate = collate

    def __call__(self, samples: list[Any]) -> Any:
        """Return a batch."""
        try:
            return self.collate(samples)
        except (TypeError, RuntimeError, KeyError):
            filled = _filled(samples)
            if all(new is old for new, old in zip(filled, samples, strict=True)):
                refuse_several_sizes(self.collate, samples)
                raise
        return self.collate(filled)


def refuse_several_sizes(collate: Collate, samples: list[Any]) -> None:
    """Say what to do about samples that a collate function failed on, if that is since their tensors differ in shape.

    Raises:
        SeveralSizes: With two shapes.
    """
    shapes = [[tuple(t.shape) for t in pytree.tree_leaves(sample) if isinstance(t, Tensor)] for sample in samples]
    for one, other in itertools.pairwise(shapes):
        unlike = [pair for pair in zip(one, other, strict=False) if pair[0] != pair[1]]
        if len(one) == len(other) and unlike:
            raise SeveralSizes(
                f"Samples have several sizes, such as {unlike[0][0]} and {unlike[0][1]}, and the "
                f"collate function ({_name_of(collate)}) cannot put them into one batch. {_ONE_SIZE}"
            ) from None


def _filled(samples: list[Any]) -> list[Any]:
    """Return samples with -1 for what they lack; those that lack nothing as they are."""
    if all(isinstance(sample, Mapping) for sample in samples):
        names = list(dict.fromkeys(name for sample in samples for name in sample))
        lacks = [any(sample.get(name) is None for name in names) for sample in samples]
        filled = [{name: _or_none(sample.get(name)) for name in names} for sample in samples]
        return [new if lack else old for new, old, lack in zip(filled, samples, lacks, strict=True)]
    longest = max((len(sample) for sample in samples if type(sample) in (list, tuple)), default=0)
    return [_filled_to(sample, longest) for sample in samples]


def _filled_to(sample: Any, length: int) -> Any:
    if isinstance(sample, Tensor) and length == 2:  # an input alone, beside one with a target
        return sample, NO_TARGET
    if type(sample) not in (list, tuple) or (len(sample) == length and all(value is not None for value in sample)):
        return sample
    return type(sample)([*map(_or_none, sample), *[NO_TARGET] * (length - len(sample))])


def check_collate(collate: Collate, samples: Sequence[Any], task: Task, *, whose: str = "The train loader") -> None:
    """Refuse a collate function under which a row of a batch is not the sample at its place.

    Scores would go to other samples than those that they are of. Samples are collated forwards and backwards: rows in
    an order of their own, or mixed with each other, differ.

    Args:
        collate: The train loader's, which makes the batches of the pool too.
        samples: A few.
        task: Finds inputs and targets.
        whose: For the error.

    Raises:
        ValueError: If rows are in another order, or mixed; or the samples have several sizes.
        TypeError: If the samples are of different kinds and cannot be put together.
    """
    name = _name_of(collate)
    collate = CollateWithoutTargets(collate)
    try:
        forwards, again, backwards = collate([*samples]), collate([*samples]), collate([*samples][::-1])
    except SeveralSizes:
        raise
    except (TypeError, RuntimeError, ValueError, KeyError) as error:
        kinds = list(dict.fromkeys(map(_kind, samples)))
        if len(kinds) == 1:
            return  # Samples that cannot be collated are reported later, where their labels are read.
        raise TypeError(
            f"{whose}'s collate function ({name}) cannot put samples of different kinds together: "
            f"{' and '.join(cut(kind, 120) for kind in kinds[:3])} ({type(error).__name__}: {cut(error, 200)}). "
            f"Give all parts of the dataset samples of one kind, tensors of one type and shape. {_ONE_SIZE}"
        ) from None
    n = len(samples)
    try:
        same_targets = _are_rows(task.targets(forwards), task.targets(backwards), n)
    except (TypeError, LookupError):
        same_targets = True  # There are no targets.
    inputs, inputs_again = task.inputs(forwards), task.inputs(again)
    same_inputs = _are_rows(inputs, task.inputs(backwards), n)
    # Inputs that differ from call to call are augmented here, so their order cannot be seen.
    if same_targets and (same_inputs or not _same_rows(inputs, inputs_again, n)):
        return
    raise ValueError(
        f"{whose}'s collate function ({name}) sorts or mixes samples: rows of its batches are not "
        "the samples at their places, and scores would go to the wrong ones. Keep the order (`pack_padded_sequence` "
        "takes `enforce_sorted=False`), and mix samples (MixUp, CutMix) in `training_step`."
    )


def _name_of(collate: Collate) -> str:
    return str(getattr(collate, "__qualname__", type(collate).__name__))


def _are_rows(forwards: Any, backwards: Any, n: int) -> bool:
    """Whether batches of samples in an order, and in the opposite one, have the same samples."""
    return any(_same_rows(forwards, turned, n) for turned in _turned(backwards, n))


def _turned(batch: Any, n: int) -> Iterator[Any]:
    """Return a batch with its ``n`` samples in the opposite order, in all ways in which it may have them."""
    yield pytree.tree_map(lambda leaf: leaf.flip(0) if isinstance(leaf, Tensor) and leaf.ndim else leaf, batch)
    for reading in readings_of_size(batch, n):
        if has_entries(reading):
            yield whole(samples_at(reading, torch.arange(n).flip(0)))


def _same_rows(one: Any, other: Any, n: int) -> bool:
    """Whether the tensors with ``n`` rows in two batches are the same."""
    pairs = zip(pytree.tree_leaves(one), pytree.tree_leaves(other), strict=False)
    return all(
        a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())  # NaN stands for no label
        for a, b in pairs
        if isinstance(a, Tensor) and isinstance(b, Tensor) and a.ndim and len(a) == n
    )


def _or_none(value: Any) -> Any:
    return NO_TARGET if value is None else value


def _kind(sample: Any) -> str:
    """Return what a sample is made of, for a message."""
    if isinstance(sample, Mapping):
        return f"{{{', '.join(f'{name!r}: {_kind(value)}' for name, value in list(sample.items())[:8])}}}"
    if isinstance(sample, (list, tuple)):
        return f"({', '.join(map(_kind, sample[:8]))})"
    return f"{type(sample).__name__}{tuple(sample.shape)}" if isinstance(sample, Tensor) else type(sample).__name__
