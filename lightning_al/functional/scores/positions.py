"""The step from the values of a sample's positions (pixels, boxes, labels) to one value for the sample."""

from collections.abc import Callable

from torch import Tensor

Reduce = Callable[[Tensor], Tensor]
"""``reduce(values) -> (B,)``: one value for each sample from those of its positions, (B, ...), each row by itself."""


def mean_over_positions(values: Tensor, first: int = 1) -> Tensor:
    """Average over all dimensions from ``first`` on: (B, ...) to (B,), or with ``first=2`` (B, C, ...) to (B, C)."""
    return values.flatten(first).mean(first) if values.ndim > first else values
