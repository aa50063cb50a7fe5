"""Numbers as charts, tables and sentences have them: how many decimals."""

import math
from collections.abc import Callable, Iterable

_MOST_DECIMALS = 7
_WHOLE = 1000  # numbers from here on have no decimals


def decimals(values: Iterable[float]) -> int:
    """Return how many decimals show four figures of the largest value: 4 of accuracies, 2 of percent.

    Example:
        >>> decimals([0.5, 0.93]), decimals([93.0]), decimals([0.004]), decimals([])
        (4, 2, 6, 4)
    """
    largest = max((abs(value) for value in values if math.isfinite(value)), default=1.0)
    return min(10, max(1, 4 - math.ceil(math.log10(largest)))) if largest > 0 else 4


def number(value: float) -> str:
    """Return a number that stands alone.

    Example:
        >>> number(0.612345), number(12.0), number(1234567.0), number(math.nan)
        ('0.6123', '12', '1,234,567', '-')
    """
    if not math.isfinite(value):
        return "-"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def alike(values: Iterable[float]) -> Callable[[float], str]:
    """Return what writes numbers that stand in one line, table or chart: all with the same decimals.

    They are as many as any of the numbers needs, and at most those that show four figures of the largest. A number that
    these would make a zero is written in full.

    Args:
        values: The numbers.

    Example:
        >>> [alike(row)(value) for row in ([0.755, 0.80642], [0.5, 0.6000000238], [20, 4.5]) for value in row]
        ['0.7550', '0.8064', '0.5', '0.6', '20.0', '4.5']
        >>> [alike([2.5, 0.00001, 0.0])(value) for value in (2.5, 0.00001, 0.0)]
        ['2.5', '1e-05', '0.0']
    """
    known = [value for value in values if math.isfinite(value)]
    digits = 0 if max(map(abs, known), default=0.0) >= _WHOLE else decimals(known)
    while digits and all(round(value, digits) == round(value, digits - 1) for value in known):
        digits -= 1
    if digits > _MOST_DECIMALS:
        return number

    def write(value: float) -> str:
        if not math.isfinite(value) or (value != 0 and round(value, digits) == 0):
            return number(value)
        return f"{value:,.{digits}f}"

    return write
