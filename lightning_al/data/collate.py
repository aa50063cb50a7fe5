"""The check that a collate function keeps one row for each sample, in their order, independent of the others."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.tasks.base import Task

Collate = Callable[[list[Any]], Any]


def check_collate(collate: Collate, samples: Sequence[Any], task: Task) -> None:
    """Refuse a collate function under which a row of a batch is not the sample at its place.

    Scores would go to other samples than those that they are of. Samples are collated forwards and backwards: rows in
    an order of their own, or mixed with each other, differ.

    Args:
        collate: The train loader's, which makes the batches of the pool too.
        samples: A few.
        task: Finds inputs and targets.

    Raises:
        ValueError: If rows are in another order, or mixed.
    """
    try:
        forwards, again, backwards = collate([*samples]), collate([*samples]), collate([*samples][::-1])
    except TypeError:
        return  # Samples that cannot be collated are reported later, where their labels are read.
    n = len(samples)
    try:
        same_targets = _same_rows(task.targets(forwards), _flipped(task.targets(backwards)), n)
    except (TypeError, LookupError):
        same_targets = True  # There are no targets.
    inputs, inputs_again = task.inputs(forwards), task.inputs(again)
    same_inputs = _same_rows(inputs, _flipped(task.inputs(backwards)), n)
    # Inputs that differ from call to call are augmented here, so their order cannot be seen.
    if same_targets and (same_inputs or not _same_rows(inputs, inputs_again, n)):
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
