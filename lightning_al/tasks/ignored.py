"""Decisions without a target: pixels, boxes or labels that a loss leaves out."""

import torch
from torch import Tensor

from lightning_al.functional.scores.positions import Reduce
from lightning_al.functional.scores.probabilities import cross_entropy

IGNORED = (-100, -1, 255)
"""What stands for no target in masks and multi-hot labels: torch's own, and those of the usual data sets."""


def is_ignored(targets: Tensor, classes: int) -> Tensor:
    """Where targets stand for none: one of the usual values, and no class.

    Example:
        >>> is_ignored(torch.tensor([0, 2, 255, -100]), 3)
        tensor([False, False,  True,  True])
    """
    values = [value for value in IGNORED if not 0 <= value < classes]
    return torch.stack([targets == value for value in values]).any(0)


def may_be_ignored(targets: object) -> bool:
    """Whether targets of several decisions a sample hold a value that may stand for none."""
    if not isinstance(targets, Tensor) or targets.ndim < 2:
        return False
    return bool(is_ignored(targets, 0).any())


def loss_of_decisions(logits: Tensor, targets: Tensor, reduce: Reduce) -> Tensor:
    """Return the cross-entropies of each sample's decisions, reduced to one, (B,), without those that are ignored.

    Args:
        logits: (B, C), or (B, C, ...) for samples of several decisions.
        targets: Class indices (B) or (B, ...).
        reduce: ``reduce(values) -> (B,)``; gets the decisions that are left of a sample as a row, (1, N).
    """
    ignored = is_ignored(targets, logits.shape[1])
    return reduced_without(cross_entropy(logits, targets.masked_fill(ignored, 0)), ignored, reduce)


def reduced_without(values: Tensor, ignored: Tensor, reduce: Reduce) -> Tensor:
    """Return one value for each sample from those of its decisions that are not ignored, (B, ...) -> (B,); 0 of none.

    Args:
        values: Of each decision.
        ignored: Which are left out.
        reduce: ``reduce(values) -> (B,)``; gets the decisions that are left of a sample as a row, (1, N).
    """
    rows = [
        reduce(row[~left_out].unsqueeze(0)) if not bool(left_out.all()) else 0 * row.flatten()[:1]
        for row, left_out in zip(values, ignored, strict=True)
    ]
    return torch.cat(rows)
