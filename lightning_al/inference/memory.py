"""How much memory scoring may take, how much it takes, and which errors say that none is left."""

import contextlib
import functools
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

CPU_MAX_BYTES = 2 * 2**30
"""More brings no speed on a CPU, whose caches are small."""

_LARGEST_BLOCK = 2**25 - 2**16
"""Bytes. glibc's threshold follows blocks up to 2^25, what it adds to them included."""


def default_max_bytes(device: torch.device) -> int:
    """Return the byte budget for what is held beside the model: a quarter of what is free, on a CPU at most 2 GiB."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] // 4)
    free = _available_bytes()
    return CPU_MAX_BYTES if free is None else max(min(free // 4, CPU_MAX_BYTES), 1)


@functools.cache
def keep_freed_memory() -> None:
    """Have memory that is freed stay with the process, up to 64 MiB, in place of going back to the system each time.

    glibc gives the end of its heap back when twice the largest block is free that it ever took from the system by
    itself; and a page that comes fresh from the system costs as much as most layers do with it. So its largest block is
    asked for, once, and freed; nothing is written to it. Other allocators are not changed by this.
    """
    torch.empty(_LARGEST_BLOCK, dtype=torch.uint8)


def whole_bytes(max_bytes: float | None) -> int | None:
    """Return a bound on bytes, any number or infinite, as an integer, of which numbers of samples follow.

    Example:
        >>> whole_bytes(1e9), whole_bytes(math.inf) > 2**60, whole_bytes(None)
        (1000000000, True, None)
    """
    if max_bytes is None:
        return None
    return sys.maxsize if math.isinf(max_bytes) else int(max_bytes)


def _available_bytes() -> int | None:
    """Return what a process could still get without swapping; None where the system does not say."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("can't allocate memory", "not enough memory", "out of memory")
    )


class SavedBytes:
    """Counts the memory of tensors that are saved for a backward pass.

    Args:
        apart: Tensors whose memory is not counted.

    Attributes:
        total: Bytes.
    """

    def __init__(self, apart: Iterable[Tensor]) -> None:
        self.total = 0
        # Kept alive, so that no memory is taken for another's.
        self._seen = {t.untyped_storage().data_ptr(): t for t in apart}

    def forget(self) -> None:
        """Let go of the tensors that were counted; the total stays."""
        self._seen.clear()

    def add(self, tensor: Tensor) -> Tensor:
        """Count a tensor once, and return one of the same memory, without its graph."""
        storage, tensor = tensor.untyped_storage(), tensor.detach()
        if storage.data_ptr() not in self._seen:
            self._seen[storage.data_ptr()] = tensor
            self.total += storage.nbytes()
        return tensor


@contextlib.contextmanager
def saved_bytes(apart: Iterable[Tensor]) -> Iterator[SavedBytes]:
    """Count what is saved for backward passes inside the block, but for the tensors ``apart``.

    A result that is saved with its own graph would keep itself alive, hence without. And what is written to once it is
    saved goes unseen. So this is for forward passes that no backward pass follows.
    """
    saved = SavedBytes(apart)
    try:
        with torch.autograd.graph.saved_tensors_hooks(saved.add, lambda tensor: tensor):
            yield saved
    finally:
        saved.forget()
