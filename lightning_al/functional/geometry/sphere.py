"""Distances between features of length 1: fast by matrix products, and exact wherever the product cannot tell.

A product of rows gives ``-½ ‖a - b‖²`` up to rounding, which depends on the block a pair falls in. What is decided
by it (closer than a bound, the nearest) is looked up again from the difference ``a - b``, in float64, for the few
pairs within rounding of the decision. So coinciding points tie exactly, ``a`` is as far from ``b`` as ``b`` from
``a``, and neither block sizes nor the number of threads matter.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_al.checks import check_tensor
from lightning_al.distributed.shard import Shard, check_finite
from lightning_al.inference.replaced import kept

TILE_ENTRIES = 2**18  # of a block of products: 1 or 2 MiB, so that it stays in the cache
TILE_COLUMNS = 2**10  # of a block of many rows, at least


@dataclass(frozen=True)
class SpherePoints:
    """Features on the sphere.

    Attributes:
        rows: (N, d), each of length 1, or 0.
        half: (N,) half the squared length: 0.5 or 0.
    """

    rows: Tensor
    half: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, positions: Tensor | slice) -> "SpherePoints":
        """Some of the points."""
        return SpherePoints(self.rows[positions], self.half[positions])


def join(first: SpherePoints, second: SpherePoints) -> SpherePoints:
    """The points of both, in this order."""
    return SpherePoints(torch.cat([first.rows, second.rows]), torch.cat([first.half, second.half]))


def on_sphere(features: Tensor, name: str = "features", dtype: torch.dtype | None = None) -> SpherePoints:
    """Divide each row by its L2 norm; zero rows stay zero. O(N d) time; one copy of the features.

    Norms neither under- nor overflow. float64 stays float64, all else becomes float32.

    Args:
        features: (N, d) with d >= 1, finite; may be memory-mapped.
        name: What errors call it.
        dtype: float32 or float64 instead of what follows from the features.

    Raises:
        TypeError: If ``features`` is no tensor.
        ValueError: If it has another shape, or is not finite.
    """
    check_tensor(name, features)
    if features.ndim != 2 or features.shape[1] == 0:
        raise ValueError(f"`{name}` must have shape (N, d), d >= 1, got {tuple(features.shape)}.")
    features = features.detach()
    rows = torch.empty(features.shape, dtype=dtype or _dtype(features))
    largest = torch.empty(len(features), dtype=torch.float64)
    for block in slices(len(features), features.shape[1]):
        x = features[block].cpu().double()
        largest[block] = x.abs().amax(1)
        x = x / torch.where(largest[block] > 0, largest[block], 1.0).unsqueeze(1)
        norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        rows[block] = x / torch.where(norms > 0, norms, 1.0)
    check_finite(largest, name, Shard.whole(len(largest)))
    return SpherePoints(rows, (largest > 0).to(rows.dtype) / 2)


def on_both_spheres(features: Tensor, labelled: Tensor | None) -> tuple[SpherePoints, SpherePoints]:
    """:func:`on_sphere` of candidates and labelled samples (default none), in the same precision."""
    check_tensor("features", features)
    if labelled is None:
        points = on_sphere(features)
        return points, points.at(slice(0))
    check_tensor("labelled", labelled)
    dtype = _dtype(features, labelled)
    points = on_sphere(features, dtype=dtype)
    if labelled.ndim != 2 or labelled.shape[1] != features.shape[1]:
        raise ValueError(f"`labelled` must have shape (M, {features.shape[1]}), got {tuple(labelled.shape)}.")
    return points, on_sphere(labelled, "labelled", dtype)


def _dtype(*features: Tensor) -> torch.dtype:
    return torch.float64 if any(x.dtype == torch.float64 for x in features) else torch.float32


def slices(rows: int, columns: int) -> Iterator[slice]:
    """Cut ``rows`` into blocks of at most ``TILE_ENTRIES`` entries (a row at least)."""
    step = max(TILE_ENTRIES // max(columns, 1), 1)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def tiles(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    """Cut (rows, columns) into blocks of at most ``TILE_ENTRIES`` entries."""
    width = max(TILE_COLUMNS, TILE_ENTRIES // max(rows, 1))
    for left in range(0, columns, width):
        across = slice(left, min(left + width, columns))
        for down in slices(rows, across.stop - left):
            yield down, across


@contextmanager
def full_precision() -> Iterator[None]:
    """Products in the precision of their inputs: neither bfloat16 nor TF32, whatever the user chose for training."""
    matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    with kept(matmul, "fp32_precision"), torch.no_grad(), torch.autocast("cpu", enabled=False):
        matmul.fp32_precision = "ieee"
        yield


def closeness(a: SpherePoints, b: SpherePoints) -> Tensor:
    """(A, B): ``-½ ‖a - b‖²``, up to :func:`slack`."""
    return torch.addmm(b.half, a.rows, b.rows.T, beta=-1).sub_(a.half.unsqueeze(1))


def slack(points: SpherePoints) -> float:
    """A bound on the rounding of :func:`closeness`: d roundings of a sum of magnitude at most 1, with room to spare."""
    return (points.rows.shape[1] + 8) * torch.finfo(points.rows.dtype).eps


def distances(a: SpherePoints, b: SpherePoints, i: Tensor, j: Tensor) -> Tensor:
    """(P,) float64: ``‖a_i - b_j‖`` for each pair of positions, from differences."""
    out = torch.empty(len(i), dtype=torch.float64)
    for part in slices(len(i), a.rows.shape[1]):
        difference = a.rows[i[part]].double().sub_(b.rows[j[part]])
        torch.linalg.vector_norm(difference, dim=1, out=out[part])
    return out


def within(a: SpherePoints, b: SpherePoints, bound: float) -> Tensor:
    """(A, B) of 1.0 where ``‖a - b‖ < bound`` and 0.0 elsewhere."""
    close = closeness(a, b)
    least, room = -bound * bound / 2, slack(a)
    sure = torch.empty_like(close)
    torch.gt(close, least + room, out=sure)
    unsure = close.gt_(least - room).sub_(sure)
    columns = unsure.sum(0).nonzero().flatten()
    if len(columns):
        i, j = unsure[:, columns].nonzero(as_tuple=True)
        j = columns[j]
        sure[i, j] = (distances(a, b, i, j) < bound).to(sure.dtype)
    return sure


def nearest(a: SpherePoints, b: SpherePoints, count: int = 1, allowed: Tensor | None = None) -> Tensor:
    """(A, count) float64: distances from each ``a`` to its ``count`` nearest ``b``, ascending; inf where there is none.

    Args:
        a: SpherePoints.
        b: At least ``count`` points.
        count: How many.
        allowed: (A, B) bool: which ``b`` count for which ``a``; default all.
    """
    close = closeness(a, b)
    if allowed is not None:
        close.masked_fill_(~allowed, -torch.inf)
    last = close.topk(count, dim=1).values[:, -1:] if count > 1 else close.amax(1, keepdim=True)
    i, j = (close >= last - 2 * slack(a)).logical_and_(close > -torch.inf).nonzero(as_tuple=True)
    exact = torch.full(close.shape, torch.inf, dtype=torch.float64)
    exact[i, j] = distances(a, b, i, j)
    return exact.topk(count, dim=1, largest=False).values
