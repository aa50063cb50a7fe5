"""Points as the greedy selectors see them: how far each one is from a few of them, in one pass over the data."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from lightning_al.checks import blocks_of_rows
from lightning_al.distributed.shard import Shard, check_finite

_CACHED = 2**22  # numbers; larger tensors come from memory on every pass


def _scale(largest: float, limit: int, most: int) -> float:
    """A power of two that brings ``largest`` to about 1 if its exponent is beyond ``limit``, else 1."""
    exponent = math.frexp(largest)[1]
    return math.ldexp(1.0, -max(exponent, -most)) if abs(exponent) > limit else 1.0


class Space(ABC):
    """Points, and how far they are from others.

    Attributes:
        tensors: What the points are made of, each with a point in a row.
        tolerance: The share of a length, or of its square, that rounding may make of it.
    """

    squared: ClassVar[bool]
    """Whether distances are given squared."""
    tensors: list[Tensor]
    tolerance: float

    @abstractmethod
    def centres(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """What :meth:`distances` needs of M centres, rows of each tensor; each has them in its first dimension."""

    @abstractmethod
    def distances(self, rows: slice, centres: Sequence[Tensor]) -> Tensor:
        """(n,): how far those rows are from the nearest of the centres."""


class Scalars(Space):
    """Numbers on a line, in float64: differences are taken directly, so only equal numbers coincide."""

    squared = False  # squares of small differences underflow
    tolerance = 0.0

    def __init__(self, values: Tensor, name: str, shard: Shard) -> None:
        values = values.detach().cpu().double()
        # Only ratios matter, and now no difference overflows.
        self.values = values * _scale(check_finite(values, name, shard), 200, 1000)
        self.tensors = [self.values]

    def centres(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """What :meth:`distances` needs of centres, (M,) rows of the tensor; each has them in its first dimension."""
        return list(rows)

    def distances(self, rows: slice, centres: Sequence[Tensor]) -> Tensor:
        """(n,): how far those rows are from the nearest of the centres."""
        return (self.values[rows].unsqueeze(1) - centres[0]).abs_().amin(1)


class OuterProducts(Space):
    """The rows of a tensor, or the outer products of the rows of two, never made; and distances between them.

    ``⟨q ⊗ h, q' ⊗ h'⟩ = (q·q') (h·h')``, hence ``D² = ‖q‖²‖h‖² + ‖q'‖²‖h'‖² - 2 (q·q') (h·h')``: a matrix product per
    tensor, in float32 (from half precision too) or float64, all else in float64. The inner products carry rounding
    errors of some ulp of the squares, which depend on where in a block a row lies. So a ``D²`` of no more than 32 ulp
    of the squares of two points that coincide counts as 0, and :meth:`rounding` says what counts as a tie.

    The tensors are read block by block, where they are: memory is that of a few MB and some numbers a row.

    Args:
        tensors: One or two of (N, d), by the names that error messages use.
        shard: Which rows these are.
        centred: Take inner products from the mean of all rows, which does not change distances and rounds less. For
            one tensor only.
    """

    squared = True

    def __init__(self, tensors: dict[str, Tensor], shard: Shard, *, centred: bool = False) -> None:
        self.tensors = [x.detach().cpu() for x in tensors.values()]
        exact = any(x.dtype == torch.float64 or not x.is_floating_point() for x in self.tensors)
        self.dtype = torch.float64 if exact else torch.float32
        self.tolerance = 32 * torch.finfo(self.dtype).eps
        # Squares far from 1 would under- or overflow.
        sizes = [check_finite(x, name, shard) for name, x in zip(tensors, self.tensors, strict=True)]
        self._scales = [_scale(size, 200, 1000) if exact else _scale(size, 20, 120) for size in sizes]
        self.mean: Tensor | None = None
        self._offset = 0.0  # twice the mean's length
        self.lengths = self._squares()  # squared lengths of the points, from the origin
        self.squares = self.lengths  # and from the mean
        if centred:
            sum_here = torch.zeros(self.tensors[0].shape[1], dtype=torch.float64)
            for rows in self._blocks():
                sum_here += self._part(0, self.tensors[0][rows]).sum(0, dtype=torch.float64)
            total = torch.stack([sum_here * 0, *shard.gather(sum_here)]).sum(0)
            self.mean = (total / max(shard.total, 1)).to(self.dtype)
            self._offset = 2 * float(_length(self.mean))
            self.squares = self._squares()

    def centres(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """What :meth:`distances` needs of centres, (M, d) rows of each tensor; each has them in its first dimension."""
        centres = [self._part(i, c) for i, c in enumerate(rows)]
        own = torch.zeros(len(centres[0]), dtype=torch.float64)
        if self.mean is not None:
            centres = [centres[0] - self.mean]
            own = 2 * (centres[0].double() @ self.mean.double())
        own += math.prod(_length(c).square() for c in centres)
        return [own, *centres]

    def distances(self, rows: slice, centres: Sequence[Tensor]) -> Tensor:
        """(n,): the squared distances of those rows to the nearest of the centres."""
        own, *columns = centres
        products = [
            (self._part(i, x[rows]) @ self._columns(x, c))[:, : len(own)]
            for i, (x, c) in enumerate(zip(self.tensors, columns, strict=True))
        ]
        inner = products[0] if len(products) == 1 else products[0].mul_(products[1])
        squared = torch.sub(own, inner, alpha=2)
        least = squared[:, 0] if len(own) == 1 else squared.amin(1)
        squares = self.squares[rows]
        least.add_(squares)
        zero = self.tolerance * (2 * squares + self._offset * squares.sqrt())
        return least.masked_fill_(least <= zero, 0.0)

    def rounding(self, index: int, squared: float) -> float:
        """How far the squared distance of that row to a centre may be off."""
        square = float(self.squares[index])
        return self.tolerance * (squared + square + self._offset * math.sqrt(square))

    def _blocks(self) -> Iterator[slice]:
        size = min(map(blocks_of_rows, self.tensors))
        return (slice(start, start + size) for start in range(0, len(self.tensors[0]), size))

    def _part(self, i: int, rows: Tensor) -> Tensor:
        rows = rows.to(self.dtype)
        return rows if self._scales[i] == 1.0 else rows * self._scales[i]

    def _squares(self) -> Tensor:
        squares = torch.ones(len(self.tensors[0]), dtype=torch.float64)
        for rows in self._blocks():
            for i, x in enumerate(self.tensors):
                part = self._part(i, x[rows])
                squares[rows] *= _length(part if self.mean is None else part - self.mean).square_()
        return squares

    @staticmethod
    def _columns(x: Tensor, centres: Tensor) -> Tensor:
        if len(centres) == 1 and x.shape[1] >= 64 and x.numel() > _CACHED:
            # From memory, MKL reads long rows for two columns at up to twice the speed that it does for one.
            centres = centres.repeat(2, 1)
        return centres.T


def _length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=-1, dtype=torch.float64)
