"""What the budget still covers, where labels have prices. What is asked for and not yet answered counts as spent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_al.oracle import costs

if TYPE_CHECKING:
    from lightning_al.loop import ActiveLearningLoop

_ROUNDING = 1e-9  # of the budget: ten labels for 0.1 each cost 1


def affordable(loop: ActiveLearningLoop, indices: Tensor) -> Tensor:
    """Return those of dataset ``indices`` whose label alone the budget covers, in their order."""
    return indices if loop.budget is None else indices[_covered(loop, _costs(loop, indices))]


def count_affordable(loop: ActiveLearningLoop, indices: Tensor) -> int:
    """Return how many of dataset ``indices`` the budget covers together, if they are the cheapest."""
    if loop.budget is None:
        return len(indices)
    return int(_covered(loop, _costs(loop, indices).sort().values.cumsum(0)).sum())


def within_budget(loop: ActiveLearningLoop, picked: dict[str, Any]) -> dict[str, Any]:
    """Return the first of what was picked, best first, as many as the budget covers together."""
    count = int(_covered(loop, _costs(loop, picked["indices"]).cumsum(0)).sum())
    return {**picked, **{name: picked[name][:count] for name in ("indices", "keys", "scores")}}


def _costs(loop: ActiveLearningLoop, indices: list[int] | Tensor) -> Tensor:
    assert loop.oracle is not None
    return costs(loop.oracle, indices)


def _covered(loop: ActiveLearningLoop, spent: Tensor) -> Tensor:
    if loop.budget is None:
        return spent < math.inf
    promised = float(_costs(loop, loop.pool.pending).sum())  # `ask` may come before all answers
    return spent <= loop.budget * (1 + _ROUNDING) - loop.pool.spent - promised
