"""How many labels can still be paid, what is pending counted as spent. ``settings.py`` refuses wrong budgets."""

import math
from collections.abc import Sequence

from torch import Tensor

from lightning_al.data.pool import Pool
from lightning_al.oracle.base import Oracle, costs

_ROUNDING = 1e-9  # of the budget: ten labels for 0.1 each cost 1


class Budget:
    """How many labels can still be paid.

    Args:
        limit: What may be spent in all; None: anything.
        oracle: Has the prices.
        pool: Knows what was spent, and what is asked for.
    """

    def __init__(self, limit: float | None, oracle: Oracle, pool: Pool) -> None:
        self.limit = limit
        self.oracle = oracle
        self.pool = pool

    def affordable(self, indices: Tensor) -> Tensor:
        """Return those of dataset ``indices`` whose label alone is covered, in their order."""
        return indices if self.limit is None else indices[self._covered(costs(self.oracle, indices))]

    def count(self, indices: Tensor) -> int:
        """Return how many of dataset ``indices`` are covered together, if they are the cheapest."""
        if self.limit is None:
            return len(indices)
        return int(self._covered(costs(self.oracle, indices).sort().values.cumsum(0)).sum())

    def count_in_order(self, indices: Sequence[int]) -> int:
        """Return how many of dataset ``indices``, from the first on, are covered together."""
        return int(self._covered(costs(self.oracle, indices).cumsum(0)).sum())

    def _covered(self, spent: Tensor) -> Tensor:
        if self.limit is None:
            return spent < math.inf
        promised = float(costs(self.oracle, self.pool.pending).sum())  # `ask` may come before all answers
        return spent <= self.limit * (1 + _ROUNDING) - self.pool.spent - promised
