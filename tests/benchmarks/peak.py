"""How much the memory of this process grows while something runs."""

import ctypes
import resource
from collections.abc import Callable
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def growth(run: Callable[[], object]) -> float:
    """Run it and return by how much the peak of resident memory lay above what was held before, in MiB."""
    if not CLEAR.exists():  # not Linux: what an earlier peak left room for goes unseen
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run()
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)  # else free memory of before would be taken again, and go unseen
    CLEAR.write_text("5")  # forgets the peak
    before = _kilobytes("VmRSS")
    run()
    return (_kilobytes("VmHWM") - before) / 1024


def _kilobytes(name: str) -> int:
    return next(int(line.split()[1]) for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
