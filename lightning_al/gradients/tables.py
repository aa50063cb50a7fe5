"""Embedding tables in the plain loop: gradients of the rows that a sample looks up, not of all, and moved in these."""

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from lightning_al.distributed.randomness import Draws
from lightning_al.gradients.rules.base import find_rule
from lightning_al.gradients.rules.embedding import EmbeddingRule
from lightning_al.gradients.shape_only import ShapeOnly
from lightning_al.inference.memory import is_out_of_memory
from lightning_al.inference.module_state import modules_of
from lightning_al.inference.replaced import replaced_in_each

T = TypeVar("T")

_LARGE = 2**16
"""Numbers of a table from which it is felt that its gradient is written, and read, for the sake of a few rows."""

_FEW = 8
"""The part of a table's rows, one in so many, that a group looks up at most where it is worth it."""

_NEED_WHOLE: WeakSet[nn.Module] = WeakSet()
"""Models that do something with a table's gradient which takes all of it."""


def with_rows(table: Tensor, rows: Tensor, others: Tensor) -> Tensor:
    """Return a table (R, d) with other ``rows``, which are in order, (r, d)."""
    return MovedTable(table, rows, others) if len(rows) else table


class MovedTable(ShapeOnly):
    """A table of which a few rows are others: all of it is written out only if more is asked of it than rows.

    Args:
        table: The table, (R, d).
        rows: Which are others, in order, one at least.
        others: These, (r, d).
    """

    table: Tensor
    rows: Tensor
    others: Tensor
    written: Tensor | None
    """All of it, once more than rows was asked for."""

    @staticmethod
    def __new__(cls, table: Tensor, rows: Tensor, others: Tensor) -> "MovedTable":  # noqa: D102
        made: MovedTable = cls.like(table)
        made.table, made.rows, made.others, made.written = table, rows, others, None
        return made

    @classmethod
    def operate(cls, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Look rows up, or do anything else with all of the table."""
        if func is F.embedding and kwargs.get("max_norm") is None:
            ids, table = args
            if isinstance(table, cls) and table.written is None and not isinstance(ids, cls):
                return table._looked_up(ids)
        args, kwargs = pytree.tree_map_only(cls, cls._whole, (args, kwargs))
        return func(*args, **kwargs)

    def _looked_up(self, ids: Tensor) -> Tensor:
        at = torch.searchsorted(self.rows, ids.long().contiguous()).clamp_(max=len(self.rows) - 1)
        are_others, others = self.rows[at] == ids, F.embedding(at, self.others)
        if bool(are_others.all()):
            return others
        return torch.where(are_others.unsqueeze(-1), others, F.embedding(ids, self.table))

    def _whole(self) -> Tensor:
        if self.written is None:
            self.written = self.table.index_copy(0, self.rows, self.others)
        return self.written


def by_gradients_of_rows(root: nn.Module, inputs: Any, group_size: int, run: Callable[[], T]) -> T:
    """Return ``run()``, with gradients of the rows that are looked up where these are few, and that goes.

    What a row without a gradient has in it plays no part then: NaN times 0 is no number otherwise, in ASAM's norm.
    """
    tables = [] if root in _NEED_WHOLE else large_tables(root, inputs, group_size)
    if not tables:
        return run()
    draws = Draws()
    try:
        with replaced_in_each("sparse", dict.fromkeys(tables, True)):
            return run()
    except Exception as error:  # of what sparse tensors cannot do, in a hook say; the model's own comes again
        if is_out_of_memory(error):
            raise
        draws.put_back()
    result = run()
    _NEED_WHOLE.add(root)
    return result


def large_tables(root: nn.Module, inputs: Any, group_size: int) -> list[nn.Embedding]:
    """Return the tables of a model of which groups look up few rows, as far as inputs on a CPU show it."""
    ids = [leaf for leaf in pytree.tree_leaves(inputs) if _may_look_up(leaf)]
    if not ids:
        return []
    rows = _FEW * group_size * max(leaf[0].numel() for leaf in ids)
    return [m for m in modules_of(root) if type(m) is nn.Embedding and _is_large(m, rows)]


def _may_look_up(leaf: Any) -> bool:
    is_tensor = isinstance(leaf, Tensor) and leaf.device.type == "cpu" and len(leaf) > 0
    return is_tensor and not leaf.is_floating_point() and not leaf.is_complex()


def _is_large(table: nn.Embedding, rows: int) -> bool:
    return (
        find_rule(table) is EmbeddingRule
        and not table.sparse
        and len(table.weight) >= rows
        and table.weight.numel() >= _LARGE
    )
