"""A part of the rows, in the process that made them."""

import math
from collections.abc import Callable
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from lightning_al.checks import blocks_of_rows, rows_not_finite
from lightning_al.distributed.ranks import T, gather_objects, gather_rows


class Shard:
    """The part of a list of rows that this process holds: one contiguous block of positions.

    Made by :meth:`whole` or :meth:`of_blocks`. A process may hold no row at all (its tensors then have length 0, and
    the same dtype and width as elsewhere), and several may hold the same block, as tensor-parallel ranks do. The
    methods take what belongs to the rows of this block and return the same on every process; every process calls them.
    """

    def __init__(self, block: range, total: int, owners: dict[range, int] | None, device: torch.device) -> None:
        self.block = block
        self.total = total
        self._owners = owners  # each block, in order, and the first rank that holds it; None: one process holds all
        self._device = device

    @classmethod
    def whole(cls, total: int) -> "Shard":
        """All rows in this process, which communicates with no other, whether or not there are any."""
        return cls(range(total), total, None, torch.device("cpu"))

    @classmethod
    def of_blocks(cls, block: range, total: int, device: torch.device) -> "Shard":
        """This process's ``block`` of the positions 0 to ``total - 1``, dealt out over the process group.

        Args:
            block: The positions held here.
            total: The number of rows over all processes.
            device: Where the process group's backend can reach tensors. The rows themselves stay where they are.

        Raises:
            ValueError: On every rank, if the blocks do not fit together.
        """
        blocks = gather_objects(block)
        owners = {held: blocks.index(held) for held in sorted(blocks, key=lambda b: b.start) if len(held)}
        edges = [0, *(held.stop for held in owners)]
        if [held.start for held in owners] != edges[:-1] or edges[-1] != total:
            raise ValueError(f"The blocks of rows {blocks} of the processes do not make up 0 to {total} exactly once.")
        return cls(block, total, owners if len(blocks) > 1 else None, device)

    def gather(self, value: T) -> list[T]:
        """``value`` of each block that has rows, in the order of the blocks."""
        return [value] if self._owners is None else [gather_objects(value)[rank] for rank in self._owners.values()]

    def concatenate(self, rows: Tensor) -> Tensor:
        """Further rows, of which every process has some or none, put together in rank order."""
        return rows if self._owners is None else gather_rows({"rows": rows}, self._device)["rows"]

    def largest(
        self, values: "Tensor | Ordered", slack: Callable[[int, float], float] | None = None
    ) -> tuple[float, int]:
        """The largest of all values and its position, the lowest one on ties. One small all-gather.

        Args:
            values: (N,), one per row of this block; no NaN. Or what finds the largest of them.
            slack: From an index and its value, how far that may be off by rounding. Values less than that below the
                largest count as equal to it.

        Returns:
            The largest value, and the lowest position over all processes that has it.
        """
        ordered = _Values(values) if isinstance(values, Tensor) else values
        mine = [-math.inf, -math.inf, float(self.total)]
        if (first := ordered.top()) is not None:
            index, top = first
            bound = top - slack(index, top) if slack is not None and top > -math.inf else top
            mine = [top, bound, self._first(ordered, bound)]
        of_ranks = self._all_gather(mine)
        top, bound, _ = max(of_ranks)
        if any(its_bound != bound and largest >= bound for largest, its_bound, _ in of_ranks):
            # What ties with its own process's largest need not tie with the largest of all: look again from there.
            of_ranks = [[top, bound, position] for [position] in self._all_gather([self._first(ordered, bound)])]
        return top, min(int(position) for _, its_bound, position in of_ranks if its_bound == bound)

    def _first(self, ordered: "Ordered", bound: float) -> float:
        index = ordered.first(bound)
        return float(self.total if index is None else self.block.start + index)

    def row(self, position: int, *tensors: Tensor) -> list[Tensor]:
        """The row at ``position`` of each tensor (N, ...), which travels as float64. One broadcast."""
        if self._owners is None:
            return [values[position] for values in tensors]
        rank = next(rank for held, rank in self._owners.items() if position in held)
        sizes = [values.shape[1:].numel() for values in tensors]
        if rank == dist.get_rank():
            wire = torch.cat([values[position - self.block.start].reshape(-1).double() for values in tensors])
        else:
            wire = torch.empty(sum(sizes), dtype=torch.float64)
        wire = wire.to(self._device)
        dist.broadcast(wire, src=rank)
        parts = zip(wire.cpu().split(sizes), tensors, strict=True)
        return [part.reshape(values.shape[1:]).to(values.dtype) for part, values in parts]

    def _all_gather(self, numbers: list[float]) -> list[list[float]]:
        if self._owners is None:
            return [numbers]
        mine = torch.tensor(numbers, dtype=torch.float64, device=self._device)
        gathered = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, mine)
        return torch.stack(gathered).tolist()


class Ordered(Protocol):
    """What finds the largest of a number of values."""

    def top(self) -> tuple[int, float] | None:
        """An index of the largest, and its value; None if there are none."""

    def first(self, bound: float) -> int | None:
        """The lowest index of a value of at least ``bound``; None if there is none."""


class _Values:
    def __init__(self, values: Tensor) -> None:
        self.values = values

    def top(self) -> tuple[int, float] | None:
        if not len(self.values):
            return None
        index = int(self.values.argmax())
        return index, float(self.values[index])

    def first(self, bound: float) -> int | None:
        reached = self.values >= bound
        index = int(reached.view(torch.uint8).argmax()) if len(reached) else 0
        return index if len(reached) and bool(reached[index]) else None


def check_finite(x: Tensor, name: str, shard: Shard) -> float:
    """Refuse NaN and infinite values, on every process, with their positions.

    Returns:
        The largest absolute value anywhere, 0 if there is none.
    """
    largest, count = 0.0, 0
    bad: list[int] = []
    size = blocks_of_rows(x)
    for start, part in zip(range(0, len(x), size), x.split(size), strict=False):
        low, high = (float(v) for v in part.aminmax())
        if math.isfinite(low) and math.isfinite(high):
            largest = max(largest, high, -low)
        else:
            wrong = rows_not_finite(part)
            count += len(wrong)
            bad += (wrong[: 10 - len(bad)] + shard.block.start + start).tolist()
    of_ranks = shard.gather((largest, count, bad))
    if count := sum(n for _, n, _ in of_ranks):
        positions = [position for *_, some in of_ranks for position in some][:10]
        raise ValueError(f"`{name}` has NaN or infinite values at positions {positions} ({count} in all).")
    return max((size for size, *_ in of_ranks), default=0.0)
