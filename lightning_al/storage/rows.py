"""Rows of many samples, in memory or, past a size, in a file that is mapped into memory."""

import math
import tempfile
from collections.abc import Sequence

import torch
from torch import Tensor

LIMIT = 2**30
"""Bytes up to which rows are kept in memory."""

BLOCK_BYTES = 2**24
"""Bytes that are gathered or checked at a time."""


def empty_rows(shape: Sequence[int], dtype: torch.dtype, limit: int | None = None) -> Tensor:
    """Return a tensor to be filled.

    Args:
        shape: The first dimension counts rows.
        dtype: Of the tensor.
        limit: Bytes up to which it is in memory; default :data:`LIMIT`. A larger one is in an unnamed temporary file
            that is mapped into memory, and vanishes with the tensor.
    """
    size = math.prod(shape)
    # Outputs of a predict pass are inference tensors, of no use to autograd later.
    with torch.inference_mode(False):
        if size * dtype.itemsize <= (LIMIT if limit is None else limit):
            return torch.empty(tuple(shape), dtype=dtype)
        with tempfile.NamedTemporaryFile(prefix="lightning_al_rows_") as file:
            file.truncate(size * dtype.itemsize)
            return torch.from_file(file.name, shared=True, size=size, dtype=dtype).view(tuple(shape))


def rows_at_a_time(shape: Sequence[int], dtype: torch.dtype) -> int:
    """Return how many rows of a tensor like this make a block of a few MiB, at least 1."""
    return max(1, BLOCK_BYTES // max(math.prod(shape[1:]) * dtype.itemsize, 1))


def take_rows(table: Tensor, positions: Tensor) -> Tensor:
    """Return ``table[positions]``, in a file if it is large."""
    taken = RowStore(len(positions))
    for some in positions.split(rows_at_a_time(table.shape, table.dtype)):
        taken.add(table[some])
    return taken.rows()


class RowStore:
    """The rows of one kind that come in batch by batch: in memory, or in a file past a size.

    Args:
        count: How many rows will come.
        limit: Bytes up to which they are kept in memory; default :data:`LIMIT`.

    Example:
        >>> store = RowStore(3)
        >>> store.add(torch.ones(2, 4))
        >>> store.add(torch.zeros(1, 4))
        >>> store.rows().shape
        torch.Size([3, 4])
    """

    def __init__(self, count: int, limit: int | None = None) -> None:
        self.count = count
        self.limit = limit
        self.filled = 0
        self._rows: Tensor | None = None

    def add(self, values: Tensor) -> None:
        """Take the next rows; more than were said to come are counted, not kept."""
        values = values.detach()
        if self._rows is None:
            self._rows = empty_rows((self.count, *values.shape[1:]), values.dtype, self.limit)
        end = self.filled + len(values)
        if end <= self.count:
            self._rows[self.filled : end] = values
        self.filled = end

    def rows(self) -> Tensor:
        """Return the rows that came.

        Raises:
            RuntimeError: If none came, so that nobody knows what a row is.
        """
        if self._rows is None:
            raise RuntimeError(f"None of {self.count} rows came. Call `add` before `rows`, if only with no row in it.")
        return self._rows[: self.filled]
