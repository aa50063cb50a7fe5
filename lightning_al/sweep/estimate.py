"""When it will end: how long steps take, and jobs that run side by side."""

import heapq
import math
from collections.abc import Sequence
from statistics import fmean


def seconds_left(seconds: Sequence[float], left: int) -> float:
    """Return what further steps will take, if each takes longer than the one before by as much as so far.

    The line of least squares through what the steps took goes on; it never falls, since a campaign's rounds do not get
    shorter, and few of them are noisy.

    Args:
        seconds: What each finished step took.
        left: How many steps there are still.

    Returns:
        Seconds; NaN if none is finished and some are left.

    Example:
        >>> seconds_left([1.0, 2.0, 3.0], 2), seconds_left([3.0, 1.0], 2)
        (9.0, 4.0)
    """
    if left == 0:
        return 0.0
    if not seconds:
        return math.nan
    n, mean = len(seconds), fmean(seconds)
    middle = (n - 1) / 2
    spread = sum((i - middle) ** 2 for i in range(n))
    slope = sum((i - middle) * s for i, s in enumerate(seconds)) / spread if n > 1 else 0.0
    slope = max(slope, 0.0)
    return sum(mean + slope * (n + i - middle) for i in range(left))


def time_until_all_end(running: Sequence[float], waiting: Sequence[float], slots: int) -> float:
    """Return when the last of some jobs ends, if each that waits starts, in order, as soon as a slot is free.

    Args:
        running: Seconds that each running job still takes.
        waiting: Seconds that each waiting one will take, in the order in which they start.
        slots: How many run at a time.

    Returns:
        Seconds; NaN if one of them is NaN.

    Example:
        >>> time_until_all_end([5.0, 1.0], [3.0, 3.0], slots=2)
        7.0
    """
    if any(math.isnan(seconds) for seconds in (*running, *waiting)):
        return math.nan
    ends = [*running, *[0.0] * (slots - len(running))]
    heapq.heapify(ends)
    for seconds in waiting:
        heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends, default=0.0)
