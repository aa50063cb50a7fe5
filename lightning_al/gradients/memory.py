"""How much memory scoring may take, and what it looks like when there is none left."""

import os

import torch

CPU_MAX_BYTES = 256 * 2**20
"""More brings no speed on a CPU, whose caches are small."""


def default_max_bytes(device: torch.device) -> int:
    """Return the byte budget for what is held beside the model: a quarter of what is free, on a CPU at most 256 MiB."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] // 4)
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not every system says
        return CPU_MAX_BYTES
    return max(min(free // 4, CPU_MAX_BYTES), 1)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("can't allocate memory", "not enough memory", "out of memory")
    )
