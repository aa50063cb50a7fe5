"""From scores to a batch: which ``k`` positions to take. Deterministic, distinct, lowest position on ties."""

import torch
from torch import Tensor


def _check_count(k: int, n: int) -> None:
    if not 0 <= k <= n:
        raise ValueError(f"Cannot pick k = {k} of {n} candidates: k must be between 0 and {n}.")


def _check_finite(values: Tensor, name: str) -> None:
    if not bool(torch.isfinite(values).all()):
        bad = torch.nonzero(~torch.isfinite(values.reshape(len(values), -1)).all(1)).flatten()
        raise ValueError(f"`{name}` has NaN or infinite values at positions {bad[:10].tolist()} ({len(bad)} in all).")


def _row_norms(x: Tensor) -> Tensor:
    """(N, d) -> (N,): L2 norms by squares that neither under- nor overflow."""
    largest = x.abs().amax(1, keepdim=True)
    unit = torch.where(largest > 0, largest, 1.0)
    return unit.squeeze(1) * torch.linalg.vector_norm(x / unit, dim=1)


def top_k(scores: Tensor, k: int) -> Tensor:
    """Positions of the ``k`` largest scores, largest first; among equal scores the lowest position first.

    ``torch.topk`` gives no such promise about ties, hence a stable sort. O(N log N) time, O(N) memory.

    Args:
        scores: (N,), finite.
        k: How many, 0 to N.

    Returns:
        LongTensor (k,) of distinct positions, on the CPU.

    Raises:
        ValueError: If ``k`` is out of range, ``scores`` is not one-dimensional or not finite.

    Example:
        >>> top_k(torch.tensor([1.0, 3.0, 3.0, 2.0]), 3)
        tensor([1, 2, 3])
    """
    if scores.ndim != 1:
        raise ValueError(f"`scores` must be one-dimensional, (N,), got shape {tuple(scores.shape)}.")
    _check_count(k, len(scores))
    scores = scores.detach().cpu()
    _check_finite(scores, "scores")
    return torch.sort(scores, descending=True, stable=True).indices[:k]


def kmeans_plusplus(points: Tensor, k: int, *, generator: torch.Generator, first: int | None = None) -> Tensor:
    """k-means++ seeding (Arthur & Vassilvitskii 2007): spread-out positions, drawn with probability ∝ D².

    ``D`` is the distance to the nearest point picked so far. No Lloyd steps follow. On scalar scores this is what
    SAAL's authors call "w/ k-means++". Where fewer than ``k`` distinct points exist, the rest is filled up by the
    largest value (scalars) or the largest norm (vectors). float64 throughout; O(N k d) time, O(N d) memory.

    Args:
        points: (N,) scalar scores or (N, d) vectors, finite.
        k: How many, 0 to N.
        generator: A CPU generator, the only source of randomness.
        first: Position of the first pick; default the largest norm (for scalars the largest absolute value).

    Returns:
        LongTensor (k,) of distinct positions in the order of the draws, on the CPU.

    Raises:
        ValueError: If ``k`` or ``first`` is out of range, or ``points`` has another shape or is not finite.

    Example:
        >>> scores = torch.tensor([0.0, 1.0, 5.0, 9.0])
        >>> kmeans_plusplus(scores, 3, generator=torch.Generator().manual_seed(0))
        tensor([3, 2, 1])
    """
    if points.ndim not in (1, 2) or (points.ndim == 2 and points.shape[1] == 0):
        raise ValueError(f"`points` must have shape (N,) or (N, d), d >= 1, got {tuple(points.shape)}.")
    n = len(points)
    _check_count(k, n)
    if first is not None and not 0 <= first < n:
        raise ValueError(f"`first` must be a position between 0 and {n - 1}, got {first}.")
    x = points.detach().cpu().double()
    _check_finite(x, "points")
    if k == 0:
        return torch.empty(0, dtype=torch.long)
    largest = x.abs().max()
    x = x / torch.where(largest > 0, largest, 1.0)  # only ratios matter, and now no difference overflows
    preference = x if x.ndim == 1 else _row_norms(x)
    x = x.reshape(n, -1)

    picks = [int(_row_norms(x).argmax()) if first is None else first]
    nearest = torch.full((n,), torch.inf, dtype=torch.float64)
    taken = torch.zeros(n, dtype=torch.bool)
    while True:
        newest = picks[-1]
        taken[newest] = True
        nearest = torch.minimum(nearest, _row_norms(x - x[newest]))
        nearest[newest] = 0.0
        if len(picks) == k:
            return torch.tensor(picks)
        largest = nearest.max()
        if largest == 0:
            rest = [i for i in top_k(preference, n).tolist() if not taken[i]]
            return torch.tensor(picks + rest[: k - len(picks)])
        cumulative = (nearest / largest).square().cumsum(0)
        draw = torch.rand((), dtype=torch.float64, generator=generator) * cumulative[-1]
        position = int(torch.searchsorted(cumulative, draw, right=True))
        if position >= n:  # the product above rounded up to the total
            position = int(torch.nonzero(nearest).flatten()[-1])
        picks.append(position)
