"""What several processes do together: the same value on every rank, unequal rows put together, a slow rank 0."""

import atexit
import math
import traceback
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from lightning.pytorch.strategies import Strategy
from torch import Tensor

from lightning_al._compat import infinite_barrier
from lightning_al.storage import empty_rows, rows_at_a_time

T = TypeVar("T")


def end_process_group() -> None:
    """Leave the process group, which gloo must do before the interpreter ends, or it may abort."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def end_process_group_at_exit() -> None:
    """Leave a gloo process group when the interpreter ends; Lightning sees to NCCL's."""
    if dist.is_available() and dist.is_initialized() and dist.get_backend() == "gloo":
        atexit.unregister(end_process_group)
        atexit.register(end_process_group)


def on_rank_zero(strategy: Strategy, function: Callable[[], T]) -> T:
    """Run ``function`` on rank 0 alone and return its result on every rank.

    The others wait for as long as it takes: a person may be labelling. An exception on rank 0 is raised on every
    rank, so that none is left waiting.

    Args:
        strategy: The Trainer's strategy, its process group already set up.
        function: Returns something picklable.

    Raises:
        RuntimeError: On ranks other than 0, with the text of what rank 0 raised.
    """
    result: Any = None
    error: Exception | None = None
    told: tuple[bool, Any] = (False, None)
    with infinite_barrier():
        if strategy.is_global_zero:
            try:
                result = function()
                told = (True, result)
            except Exception as e:
                error = e
                told = (False, "".join(traceback.format_exception_only(e)).strip())
    ok, value = strategy.broadcast(told, 0)
    if error is not None:
        raise error
    if not ok:
        raise RuntimeError(f"Rank 0 failed: {value}")
    return result if strategy.is_global_zero else value


class Ranks:
    """The processes of one launch, where something is done by the first of them and known to all.

    Args:
        strategy: The Trainer's, its process group already set up; None: this process alone.
    """

    def __init__(self, strategy: Strategy | None = None) -> None:
        self._strategy = strategy

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self._strategy is None or self._strategy.is_global_zero

    def first(self, function: Callable[[], T]) -> T:
        """:func:`on_rank_zero`."""
        return function() if self._strategy is None else on_rank_zero(self._strategy, function)


def gather_objects(value: T) -> list[T]:
    """Return ``value`` of every rank, in rank order."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return [value]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def gather_rows(rows: dict[str, Tensor], device: torch.device, *, keep: bool = True) -> dict[str, Tensor]:
    """Concatenate the rows of all ranks in rank order; ranks may hold different numbers of rows, or none.

    ``all_gather`` on unequal lengths aborts the process, hence lengths first, then padding, then a cut. Goes block by
    block: on the device there are never more than a few MiB of each rank's.

    Args:
        rows: Tensors with equal first dimension; a rank without rows gives an empty dict.
        device: Where the process group's backend can reach tensors.
        keep: Whether this rank wants them; else it takes part, and gets none.

    Returns:
        The same keys, on the CPU; in a file past :data:`lightning_al.storage.LIMIT`.
    """
    # Names, shapes and dtypes travel too: a rank without rows does not know them.
    shapes = gather_objects({name: (tuple(t.shape), t.dtype) for name, t in sorted(rows.items())})
    if len(shapes) == 1:
        return {name: t.cpu() for name, t in rows.items()}
    layout = next((s for s in shapes if s), {})
    gathered: dict[str, Tensor] = {}
    for name, (shape, dtype) in layout.items():
        lengths = [s[name][0][0] if s else 0 for s in shapes]
        whole = empty_rows((sum(lengths) if keep else 0, *shape[1:]), dtype)
        step = rows_at_a_time(shape, dtype)
        for start in range(0, max(lengths), step):
            padded = torch.zeros((min(step, max(lengths) - start), *shape[1:]), dtype=dtype, device=device)
            if name in rows:
                mine = rows[name][start : start + step]
                padded[: len(mine)] = mine.to(device)
            parts = [torch.empty_like(padded) for _ in lengths]
            dist.all_gather(parts, padded)
            for rank, (part, length) in enumerate(zip(parts, lengths, strict=True)):
                count = min(max(length - start, 0), len(part))
                if keep and count:
                    at = sum(lengths[:rank]) + start
                    whole[at : at + count] = part[:count].cpu()
        gathered[name] = whole
    return gathered


def check_same_on_every_rank(value: int | str, what: str) -> None:
    """Compare ``value`` over all ranks.

    Raises:
        RuntimeError: Naming ``what`` differs, and between which ranks.
    """
    values = gather_objects(value)
    if len(set(values)) > 1:
        raise RuntimeError(
            f"The processes disagree about {what}: {dict(enumerate(values))}. Every rank must run the same script with "
            "the same seed, and `tell()` must be called with the same labels on every rank."
        )


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
        if (found := ordered.top()) is not None:
            index, top = found
            bound = top - slack(index, top) if slack is not None and top > -math.inf else top
            mine = [top, bound, self._first(ordered, bound)]
        told = self._all_gather(mine)
        top, bound, _ = max(told)
        if any(own != bound and largest >= bound for largest, own, _ in told):
            # What ties with its own process's largest need not tie with the largest of all: look again from there.
            told = [[top, bound, position] for [position] in self._all_gather([self._first(ordered, bound)])]
        return top, min(int(position) for _, own, position in told if own == bound)

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
