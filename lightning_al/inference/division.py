"""How a batch of inputs is divided into samples.

Every tensor of a batch has the samples as its first dimension, or a list has one entry for each of them, such as images
of different sizes. Both may look the same: three images ``(3, H, W)`` are also three columns for three samples. What
the model makes of them decides then.
"""

from collections.abc import Hashable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al.inference.calling import Forward
from lightning_al.inference.compiled import unwrapped
from lightning_al.inference.entries import (
    OnePerSample,
    batch_size_of,
    is_per_sample,
    no_batch,
    size_of_part,
    slice_of,
)
from lightning_al.inference.memory import is_out_of_memory
from lightning_al.inference.outputs import plain_outputs

_SHARED = (bool, int, float, complex, type(None))
"""What means the same for all samples, in however many it stands."""


_READINGS: WeakKeyDictionary[nn.Module, dict[Hashable, str]] = WeakKeyDictionary()
"""Of each model, by what its inputs look like, how they are divided."""


def as_samples(model: nn.Module, inputs: Any, forward: Forward | None = None) -> Any:
    """Find out how a batch of inputs is divided into samples.

    Args:
        model: Asked, once for inputs that look alike, only where they could be divided in two ways.
        inputs: Any pytree. A tensor has the samples as its first dimension, a list or tuple may have an entry for each.
        forward: ``forward(model, inputs) -> outputs``. Default: ``model(inputs)``.

    Returns:
        The inputs, with each list or tuple of one entry a sample as :class:`OnePerSample`.

    Raises:
        ValueError: If they have no common number of samples.
    """
    readings = _readings(inputs)
    if not readings:
        raise no_batch({size_of_part(leaf) for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)})
    if len(readings) == 1:
        return readings[0]
    leaves, spec = pytree.tree_flatten(inputs)
    key = str(spec), tuple(map(_look, leaves)), getattr(forward, "__code__", getattr(forward, "__qualname__", None))
    known = _READINGS.setdefault(unwrapped(model), {})
    if key not in known:
        known[key] = _division(_as_the_model(model, inputs, readings, forward))
    return next((reading for reading in readings if _division(reading) == known[key]), readings[0])


def targets_as_samples(targets: Any, size: int) -> Any:
    """Divide targets of ``size`` samples into samples, see :func:`as_samples`.

    Raises:
        ValueError: If they are not of as many.
    """
    readings = readings_of_size(targets, size)
    if readings:
        return readings[0]
    sizes = {size_of_part(leaf) for leaf in pytree.tree_leaves(targets) if isinstance(leaf, Tensor)}
    raise no_batch(sizes, "targets", f"{size}, the batch of `inputs`")


def readings_of_size(inputs: Any, size: int) -> list[Any]:
    """Return the ways in which inputs can be ``size`` samples, tensors along their first dimension first."""
    readings = (_read(inputs, size, entries_first) for entries_first in (False, True))
    return [reading for reading in readings if reading is not _NO_READING]


# -- how inputs can be read ----------------------------------------------------------------------------------------

_NO_READING = object()


def _readings(inputs: Any) -> list[Any]:
    """Return the ways in which inputs can be divided into samples, tensors along their first dimension first."""
    leaves = pytree.tree_leaves(inputs)
    sizes = [leaf.shape[0] for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim]
    sizes += _lengths(inputs)
    readings: list[Any] = []
    for entries_first in (False, True):
        for size in dict.fromkeys(sizes):
            reading = _read(inputs, size, entries_first)
            if reading is _NO_READING or not _counts(reading):
                continue
            if all(_division(reading) != _division(other) for other in readings):
                readings.append(reading)
    return readings


def _read(node: Any, size: int, entries_first: bool) -> Any:
    """Return a part of inputs read as ``size`` samples, ``_NO_READING`` where it cannot be."""
    if isinstance(node, Tensor):
        return node if node.ndim and node.shape[0] == size else _NO_READING
    children, spec = pytree.tree_flatten(node, is_leaf=lambda x: x is not node)
    if pytree.tree_is_leaf(node) or not children:
        return node
    alike = type(node) in (list, tuple) and _alike(node)
    per_sample = alike and len(node) == size
    if alike and isinstance(node[0], Mapping) and _counts(node[0]):  # nobody calls a model with columns like these
        return OnePerSample(node, type(node)) if per_sample else _NO_READING
    if per_sample and entries_first:
        return OnePerSample(node, type(node))
    parts = [_read(child, size, entries_first) for child in children]
    is_read = all(part is not _NO_READING for part in parts)
    if is_read and (not per_sample or any(map(_counts, parts))):
        return pytree.tree_unflatten(parts, spec)
    return OnePerSample(node, type(node)) if per_sample else _NO_READING


def _alike(entries: Any) -> bool:
    """Whether entries could be one for each sample: of one kind, and no plain numbers."""
    first = entries[0]
    if isinstance(first, _SHARED) or any(type(entry) is not type(first) for entry in entries):
        return False
    if isinstance(first, Tensor):
        return all(entry.dtype == first.dtype and entry.ndim == first.ndim for entry in entries)
    return not isinstance(first, Mapping) or all(entry.keys() == first.keys() for entry in entries)


def _lengths(node: Any) -> list[int]:
    """Return the lengths of all lists and tuples, inner ones first."""
    children, _ = pytree.tree_flatten(node, is_leaf=lambda x: x is not node)
    if pytree.tree_is_leaf(node):
        return []
    own = [len(node)] if type(node) in (list, tuple) and len(node) else []
    return [length for child in children for length in _lengths(child)] + own


def _counts(reading: Any) -> bool:
    """Whether anything in a reading says how many samples there are."""
    leaves = pytree.tree_leaves(reading, is_leaf=is_per_sample)
    return any(isinstance(leaf, (Tensor, OnePerSample)) for leaf in leaves)


def _division(reading: Any) -> str:
    """Return what tells one reading of the same inputs from another."""
    return str(pytree.tree_structure(reading, is_leaf=is_per_sample))


def _look(leaf: Any) -> Hashable:
    return (leaf.ndim, leaf.dtype) if isinstance(leaf, Tensor) else str(type(leaf))


# -- what the model makes of them ----------------------------------------------------------------------------------


def _as_the_model(model: nn.Module, inputs: Any, readings: list[Any], forward: Forward | None) -> Any:
    """Return the reading under which the model gives as many rows as there are samples."""
    rows = _rows_of(model, inputs, forward)
    fitting = [reading for reading in readings if batch_size_of(reading) in rows] or readings[:1]
    for reading in fitting[1:]:  # of as many samples: entries, if one less makes one row less
        size = batch_size_of(reading)
        if size > 1:
            try:
                fewer = _rows_of(model, slice_of(reading, 0, size - 1), forward)
            except Exception as error:
                if is_out_of_memory(error):
                    raise
                continue
            if size - 1 in fewer and size not in fewer:  # there may be other numbers, in a list of outputs of one each
                return reading
    return fitting[0]


def _rows_of(model: nn.Module, inputs: Any, forward: Forward | None) -> set[int]:
    """Return how many samples the model's outputs may be of."""
    devices = {leaf.device for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)}
    with torch.random.fork_rng([device for device in devices if device.type == "cuda"]):
        outputs = plain_outputs(model, inputs, forward)
    if isinstance(outputs, Tensor):
        return {outputs.shape[0]} if outputs.ndim else set()
    return {batch_size_of(reading) for reading in _readings(outputs)}
