"""Functions that all ranks call together: work of rank 0, values and rows of every rank gathered and compared."""

import atexit
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import Strategy
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor

from lightning_al._compat import connect, infinite_barrier
from lightning_al.storage.rows import empty_rows, rows_at_a_time

T = TypeVar("T")


def end_process_group() -> None:
    """Leave the process group, which gloo must do before the interpreter ends, or it may abort."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def end_process_group_at_exit() -> None:
    """Leave a gloo process group when the interpreter ends; Lightning leaves NCCL's itself."""
    if dist.is_available() and dist.is_initialized() and dist.get_backend() == "gloo":
        atexit.unregister(end_process_group)
        atexit.register(end_process_group)


def begin_processes(trainer: pl.Trainer, model: pl.LightningModule) -> None:
    """Let the processes of a Trainer find each other, for a model; a group that they make is left in the end."""
    connect(trainer, model)
    trainer.strategy.setup_environment()
    end_process_group_at_exit()


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
    outcome: tuple[bool, Any] = (False, None)
    with infinite_barrier():
        if strategy.is_global_zero:
            try:
                result = function()
                outcome = (True, result)
            except Exception as e:
                error = e
                outcome = (False, "".join(traceback.format_exception_only(e)).strip())
    ok, value = strategy.broadcast(outcome, 0)
    if error is not None:
        raise error
    if not ok:
        raise RuntimeError(f"Rank 0 failed: {value}")
    return result if strategy.is_global_zero else value


class Ranks:
    """The processes of one launch, of which the first does the work that must be done once.

    Args:
        strategy: The Trainer's, its process group already set up. None: outside of a launch, where processes cannot
            tell each other anything, so that each does what is asked of the first.
    """

    def __init__(self, strategy: Strategy | None = None) -> None:
        self._strategy = strategy

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return rank_zero_only.rank == 0 if self._strategy is None else self._strategy.is_global_zero

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process to tell anything."""
        return self._strategy is None or not dist.is_available() or not dist.is_initialized()

    def gather(self, value: T) -> list[T]:
        """Return the ``value`` of every rank, in rank order; alone, its own."""
        return [value] if self.is_alone else gather_objects(value)

    def first(self, function: Callable[[], T]) -> T:
        """Run ``function`` on the first rank alone and return its result on every rank; see :func:`on_rank_zero`."""
        return function() if self._strategy is None else on_rank_zero(self._strategy, function)


def gather_objects(value: T) -> list[T]:
    """Return the ``value`` of every rank, in rank order."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return [value]
    gathered: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def gather_rows(rows: dict[str, Tensor], device: torch.device, *, keep: bool = True) -> dict[str, Tensor]:
    """Concatenate the rows of all ranks in rank order; ranks may hold different numbers of rows, or none.

    ``all_gather`` on unequal lengths aborts the process, so lengths are exchanged first, and rows are padded and cut.
    Rows travel block by block: on the device there are never more than a few MiB of each rank's.

    Args:
        rows: Tensors with equal first dimension; a rank without rows gives an empty dict.
        device: Where the process group's backend can reach tensors.
        keep: Whether this rank gets the rows; a rank that does not must take part all the same.

    Returns:
        The same keys, on the CPU; tensors beyond :data:`lightning_al.storage.rows.LIMIT` are backed by a file.
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
    """Refuse a ``value`` that is not the same on all ranks.

    Args:
        value: This rank's.
        what: What it is, for the error.

    Raises:
        RuntimeError: On every rank, with the value of each.
    """
    values = gather_objects(value)
    if len(set(values)) > 1:
        raise RuntimeError(
            f"The processes disagree about {what}: {dict(enumerate(values))}. Every rank must run the same script with "
            "the same seed, and `tell()` must be called with the same labels on every rank."
        )
