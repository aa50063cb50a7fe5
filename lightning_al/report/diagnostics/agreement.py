"""How far two rankings of the same samples agree."""

import torch
from torch import Tensor

from lightning_al.checks import check_k
from lightning_al.functional.selection import top_k


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson's correlation of two values of the same samples, in float64; NaN where one of them is constant.

    Args:
        a: (N,).
        b: (N,).

    Raises:
        ValueError: If they are not of as many samples.

    Example:
        >>> correlation(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([5.0, 7.0, 9.0]))
        1.0
    """
    if a.shape != b.shape or a.ndim != 1:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        raise ValueError(f"Two values of the same samples are compared, (N,) each, got {shapes}.")
    a, b = a.double() - a.double().mean(), b.double() - b.double().mean()
    size = (a.square().sum() * b.square().sum()).sqrt()
    return float((a * b).sum() / size) if size > 0 else float("nan")


def top_k_overlap(a: Tensor, b: Tensor, k: int) -> float:
    """The share of the ``k`` samples of largest ``a`` that are among the ``k`` of largest ``b``; ties by position.

    Args:
        a: (N,).
        b: (N,).
        k: At most N.

    Raises:
        ValueError: If ``k`` is out of range.

    Example:
        >>> top_k_overlap(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([3.0, 0.0, 1.0]), 2)
        0.5
    """
    check_k(k, len(a))
    return int(torch.isin(top_k(a, k), top_k(b, k)).sum()) / k if k else 0.0
