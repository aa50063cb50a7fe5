"""The gradients of parameters that more than one call uses: they are added up before anything is made of them."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from lightning_al.gradients.errors import NoRule
from lightning_al.gradients.parameters import ParameterRows
from lightning_al.gradients.recorded_calls import RecordedCall


class SharedGradients:
    """Adds up each unit's gradients of the parameters that more than one of these calls uses.

    Raises:
        NoRule: If calls use overlapping rows of a parameter.
    """

    def __init__(self, calls: Sequence[RecordedCall]) -> None:
        self.sums: dict[ParameterRows, Tensor] = {}
        counts = Counter(rows for call in calls for rows in call.names.values())
        _check_apart(counts)
        self._shared = {rows for rows, n in counts.items() if n > 1}

    def concern(self, call: RecordedCall) -> bool:
        """Whether another call uses some of the call's parameters, too."""
        return any(rows in self._shared for rows in call.names.values())

    def add(self, call: RecordedCall, e: Tensor) -> None:
        """Take note of a call's gradients, for the gradient ``e`` towards its output."""
        for short, gradient in call.gradients(call.whole, e).items():
            rows = call.names[short]
            self.sums[rows] = self.sums[rows] + gradient if rows in self.sums else gradient


def _check_apart(used: Counter[ParameterRows]) -> None:
    stretches: dict[str, list[tuple[float, float]]] = {}
    for name, start, stop in used:
        stretches.setdefault(name, []).append((start or 0, math.inf if stop is None else stop))
    for name, each in stretches.items():
        each.sort()
        if any(after[0] < before[1] for before, after in itertools.pairwise(each)):
            raise NoRule(f"calls with overlapping rows of `{name}`")
