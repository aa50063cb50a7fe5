"""Embedding tables in the plain loop: gradients of the rows that a sample looks up, not of all."""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al.gradients.rules.base import find_rule
from lightning_al.gradients.rules.embedding import EmbeddingRule
from lightning_al.inference.module_state import modules_of

_LARGE = 2**16
"""Numbers of a table from which it is felt that its gradient is written, and read, for the sake of a few rows."""


@contextlib.contextmanager
def gradients_of_rows_alone(root: nn.Module, inputs: Any) -> Iterator[None]:
    """Have large tables on a CPU give sparse gradients inside, where there are inputs that may look rows up."""
    tables = _tables_of(root) if any(map(_may_look_up, pytree.tree_leaves(inputs))) else []
    try:
        for table in tables:
            table.sparse = True
        yield
    finally:
        for table in tables:
            table.sparse = False


def _may_look_up(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and not leaf.is_floating_point() and leaf.device.type == "cpu"


def _tables_of(root: nn.Module) -> list[Any]:
    tables: list[Any] = [m for m in modules_of(root) if find_rule(m) is EmbeddingRule]
    return [table for table in tables if not table.sparse and table.weight.numel() >= _LARGE]
