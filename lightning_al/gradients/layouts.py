"""Where the samples are in a layer's inputs and outputs."""

from collections.abc import Hashable
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.gradients.stand_ins import NoRule

Place = tuple[Hashable, int]
"""Who took or gave a tensor, and the how many-th time."""

PICK_BY_INDEX = ("Gather", "IndexAdd", "IndexCopy", "IndexSelect", "Scatter", "ScatterAdd", "Sort", "Topk")


class Layout(NamedTuple):
    """Where a tensor has its rows: along ``dim``, ``each`` of them for every sample; or nowhere (-1): all share it."""

    dim: int
    each: int


def check_rows_keep_their_order(outputs: Any) -> None:
    """Refuse a model that picks rows by an index, which may follow from the data and be another for every batch.

    Sorting by length, or routing samples to experts, would go unseen with samples that are in order already.

    Raises:
        NoRule: If rows are picked along the first dimension anywhere between layers and outputs.
    """
    waiting = [t.grad_fn for t in pytree.tree_leaves(outputs) if isinstance(t, Tensor) and t.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node: Any = waiting.pop()
        name = type(node).__name__.partition("Backward")[0]
        picks = name in PICK_BY_INDEX and node._saved_dim == 0
        if name in ("Index", "IndexPut"):
            picks = node._saved_indices[0] is not None
        if picks or name in ("MaskedSelect", "MaskedScatter"):
            raise NoRule(f"the model picks rows by an index ({name}), which may depend on the data")
        for before, _ in node.next_functions:
            if before is not None and before not in seen:
                seen.add(before)
                waiting.append(before)


def rows_back(y: Tensor, layout: Layout | None) -> Tensor:
    """Return rows to the dimension they came from."""
    return y.transpose(0, layout.dim) if layout is not None and layout.dim > 0 else y
