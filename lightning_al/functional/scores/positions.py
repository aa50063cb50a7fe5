"""The step from the values of a sample's positions (pixels, boxes, labels) to one value for the sample."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeVar

import torch
from torch import Tensor

from lightning_al.checks import check_choice, check_number

Reduce = Callable[[Tensor], Tensor]
"""``reduce(values) -> (B,)``: one value for each sample from those of its positions, (B, ...), each row by itself."""

Count = TypeVar("Count", int, Tensor)

REDUCTIONS = ("mean", "sum", "max")
"""What makes one value of many; and there is any share above 0 and at most 1, the mean of the largest."""


def check_reduce(reduce: Any) -> None:
    """Refuse what names no way to make one value of many."""
    if isinstance(reduce, str) or reduce is None:
        check_choice("reduce", reduce, REDUCTIONS, or_else="a share above 0 and at most 1")
    check_number("reduce", 1.0 if isinstance(reduce, str) else reduce, above=0, most=1)


def mean_over_positions(values: Tensor, first: int = 1) -> Tensor:
    """Average over all dimensions from ``first`` on: (B, ...) to (B,), or with ``first=2`` (B, C, ...) to (B, C)."""
    return values.flatten(first).mean(first) if values.ndim > first else values


def reduced(values: Tensor, how: str | float, valid: Tensor | None = None) -> Tensor:
    """Return one value for each sample from those of its positions, (B, ...) -> (B,), differentiably.

    Args:
        values: One for each position.
        how: ``"mean"``, ``"sum"``, ``"max"``; or a share s above 0 and at most 1: the mean of the ceil(s N) largest of
            N values.
        valid: Which positions count, as ``values``; of a sample without any the value is 0. None: all.

    Example:
        >>> values = torch.tensor([[1.0, 4.0, 3.0, 2.0]])
        >>> reduced(values, "max"), reduced(values, 0.5), reduced(values, "mean", values < 4)
        (tensor([4.]), tensor([3.5000]), tensor([2.]))
    """
    if valid is not None:
        return _reduced_where(values.reshape(len(values), -1), how, valid.reshape(len(valid), -1))
    if how == "mean":
        return mean_over_positions(values)
    flat = values.reshape(len(values), -1)
    if how == "sum":
        return flat.sum(1)
    if isinstance(how, str):
        return flat.amax(1)
    return flat.topk(count_of_share(how, flat.shape[1]), dim=1).values.mean(1)


def _reduced_where(values: Tensor, how: str | float, valid: Tensor) -> Tensor:
    counts = valid.sum(1)
    if how in ("mean", "sum"):
        total = torch.where(valid, values, 0).sum(1)
        return total / counts.clamp(min=1) if how == "mean" else total
    ranked = torch.where(valid, values, -torch.inf)
    if isinstance(how, str):
        return torch.where(counts > 0, ranked.amax(1), 0)
    wanted = torch.where(counts > 0, count_of_share(how, counts), 0)
    largest = ranked.topk(count_of_share(how, values.shape[1]), dim=1).values
    ranks = torch.arange(largest.shape[1], device=values.device)
    total = torch.where(ranks < wanted.unsqueeze(1), largest, 0).sum(1)
    return total / wanted.clamp(min=1)


def count_of_share(share: float, count: Count) -> Count:
    """Return ceil(share * count), at least 1, of a number or of integers (B,), without rounding errors.

    Example:
        >>> count_of_share(0.1, 30), count_of_share(0.1, torch.tensor([29, 30, 31]))
        (3, tensor([3, 3, 4]))
    """
    exact = Fraction(share).limit_denominator(1_000_000)
    taken = (count * exact.numerator + exact.denominator - 1) // exact.denominator
    return taken.clamp(min=1) if isinstance(taken, Tensor) else max(taken, 1)
