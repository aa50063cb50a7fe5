"""How many labels can still be paid, what is pending counted as spent. ``settings.py`` refuses wrong budgets."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from lightning_al.data.pool import Pool
from lightning_al.oracle.base import Oracle, cost_the_same, costs

_ROUNDING = 1e-9  # of the budget: ten labels for 0.1 each cost 1


class Budget:
    """How many labels can still be paid.

    Args:
        limit: What may be spent in all; None: anything.
        oracle: Has the prices.
        pool: Knows what was spent, and what is asked for.
        least: How many labels the least is that may be asked for of a sample, as the pixels of a region.
        pending: Gives how many labels the question for a sample is for, by dataset index.
    """

    def __init__(
        self,
        limit: float | None,
        oracle: Oracle,
        pool: Pool,
        *,
        least: int = 1,
        pending: Callable[[int], int] = lambda index: 1,
    ) -> None:
        self.limit = limit
        self.oracle = oracle
        self.pool = pool
        self.least = least
        self.pending = pending

    def affordable(self, indices: Tensor) -> Tensor:
        """Return those of dataset ``indices`` of which the least alone is covered, in their order."""
        return indices if self.limit is None else indices[self._covered(self.least * costs(self.oracle, indices))]

    @property
    def is_used_up(self) -> bool:
        """Whether nothing that is left to ask for is covered."""
        return self.pool.is_used_up or (self.limit is not None and len(self.affordable(self.pool.askable)) == 0)

    def count(self, indices: Tensor) -> int:
        """Return how many of dataset ``indices`` are covered together, if they are the cheapest."""
        if self.limit is None:
            return len(indices)
        prices = costs(self.oracle, indices)
        return int(self._covered((prices if cost_the_same(self.oracle) else prices.sort().values).cumsum(0)).sum())

    def count_in_order(self, indices: Sequence[int], sizes: Sequence[int] | None = None) -> int:
        """Return how many of dataset ``indices``, from the first on, are covered together.

        Args:
            indices: A sample may come several times.
            sizes: Of how many labels each counts; default 1.
        """
        if self.limit is None:
            return len(indices)
        distinct = list(dict.fromkeys(indices))
        price = dict(zip(distinct, costs(self.oracle, distinct).tolist(), strict=True))
        prices = torch.tensor([price[index] for index in indices], dtype=torch.float64)
        if sizes is not None:
            prices *= torch.tensor(sizes, dtype=torch.float64)
        return int(self._covered(prices.cumsum(0)).sum())

    def _covered(self, spent: Tensor) -> Tensor:
        if self.limit is None:
            return spent < math.inf
        pending = self.pool.pending.tolist()  # `ask` may come before all answers
        sizes = torch.tensor([self.pending(index) for index in pending], dtype=torch.float64)
        promised = float((costs(self.oracle, pending) * sizes).sum())
        return spent <= self.limit * (1 + _ROUNDING) - self.pool.spent - promised
