"""Batches and samples as they came: copies, so that what changes one in place leaves the other as it was."""

import copy
import types
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lightning_al.inference.parts import parts_of

_PLAIN = (str, bytes, bool, int, float, complex, type(None), type, types.FunctionType, types.ModuleType)
"""What nothing can be written to."""
_NO_DATA = (nn.Module, nn.Parameter, Dataset)
"""What a batch may refer to and is no part of it."""
_ALIGNED = 16  # bytes; a multiple of every element's size


def copy_of(batch: Any) -> Any:
    """Return a copy of a batch, or of a sample, that shares nothing with it that could be written to.

    Every tensor is copied once, with its strides, so that a forward pass over the copy gives the same bits; tensors
    that overlap in memory overlap in the copy. Containers and other objects (data classes, graphs, packed sequences)
    are copied by ``copy.deepcopy``. Modules, parameters and datasets that a batch refers to stay the same objects, and
    so do those that cannot be copied, such as locks and generators. Time: one pass over the batch's memory, and a few
    microseconds for each object in it.

    Args:
        batch: Anything.

    Example:
        >>> batch = {"x": torch.zeros(2), "names": ["a", "b"]}
        >>> kept = copy_of(batch)
        >>> _ = batch["x"].add_(1), batch.pop("names")
        >>> kept
        {'x': tensor([0., 0.]), 'names': ['a', 'b']}
    """
    copies: dict[int, Any] = {}  # as `copy.deepcopy` has them: by the `id` of the original
    tensors: list[Tensor] = []
    for part in _parts(batch):
        if isinstance(part, _NO_DATA):
            copies[id(part)] = part
        elif isinstance(part, Tensor):
            tensors.append(part)
    for together in _by_memory(tensors):
        copies.update(zip(map(id, together), _copied(together), strict=True))
    return _deep_copy(batch, copies)


def _parts(batch: Any) -> Iterator[Any]:
    """Give everything that a batch is made of, each object once."""
    seen: set[int] = set()
    waiting: deque[Any] = deque([batch])
    while waiting:
        part = waiting.popleft()
        if isinstance(part, _PLAIN) or id(part) in seen:
            continue
        seen.add(id(part))
        yield part
        if not isinstance(part, (Tensor, *_NO_DATA)):
            waiting.extend(parts_of(part))


def _by_memory(tensors: list[Tensor]) -> list[list[Tensor]]:
    """Put those together that share memory."""
    groups: dict[Any, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(_memory(tensor) or id(tensor), []).append(tensor)
    return list(groups.values())


def _memory(tensor: Tensor) -> tuple[torch.device, int] | None:
    """Return where a plain tensor's memory begins; None of tensors that only ``clone`` knows how to copy."""
    plain = type(tensor) is Tensor and tensor.layout == torch.strided and not tensor.is_nested
    if not plain or tensor.requires_grad or tensor.is_conj() or tensor.is_neg() or tensor.numel() == 0:
        return None
    begin = tensor.untyped_storage().data_ptr()
    return (tensor.device, begin) if begin else None


def _copied(together: list[Tensor]) -> list[Tensor]:
    """Copy tensors that share memory, or a single one."""
    first = together[0]
    if len(together) == 1:
        if first.grad_fn is not None:  # the graph goes on through the copy
            return [first.clone()]
        clone = first.detach().clone().requires_grad_(first.requires_grad)
        if _memory(first) is None or clone.stride() == first.stride():
            return [clone]
    ranges = [_bytes_of(tensor) for tensor in together]
    start, stop = min(r.start for r in ranges) // _ALIGNED * _ALIGNED, max(r.stop for r in ranges)
    memory = torch.empty(0, dtype=torch.uint8, device=first.device)
    copied = memory.set_(first.untyped_storage(), start, (stop - start,), (1,)).clone().untyped_storage()
    return [
        torch.empty(0, dtype=t.dtype, device=t.device).set_(
            copied, (r.start - start) // t.element_size(), t.size(), t.stride()
        )
        for t, r in zip(together, ranges, strict=True)
    ]


def _bytes_of(tensor: Tensor) -> range:
    """Return which bytes of its storage a tensor spans."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.size(), tensor.stride(), strict=True))
    start = tensor.storage_offset() * tensor.element_size()
    return range(start, start + (last + 1) * tensor.element_size())


def _deep_copy(value: Any, copies: dict[int, Any]) -> Any:
    """``copy.deepcopy``, but what cannot be copied stays as it is, in a copy of what holds it."""
    if id(value) in copies:
        return copies[id(value)]
    trial = dict(copies)
    try:
        copied = copy.deepcopy(value, trial)
    except Exception:  # whatever the objects of a batch raise
        copied = _shallow_copy(value, copies)
    else:
        copies.update(trial)
    copies[id(value)] = copied
    return copied


def _shallow_copy(value: Any, copies: dict[int, Any]) -> Any:
    """Copy a container or object, and each of its parts as far as that goes."""
    if isinstance(value, tuple):
        parts = [_deep_copy(part, copies) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    try:
        copied = copy.copy(value)
    except Exception:
        return value
    copies[id(value)] = copied
    if isinstance(copied, dict):
        copied.update((key, _deep_copy(part, copies)) for key, part in value.items())
    elif isinstance(copied, list):
        copied[:] = [_deep_copy(part, copies) for part in value]
    if copied is not value:
        attributes = getattr(copied, "__dict__", {})
        attributes.update((name, _deep_copy(part, copies)) for name, part in list(attributes.items()))
    return copied
