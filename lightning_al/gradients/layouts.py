"""Where the samples' rows are in the tensors that layers take and give."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.gradients.errors import NoRule
from lightning_al.gradients.graphs import nodes_of
from lightning_al.gradients.stand_ins import LooseParameter

Place = tuple[Hashable, int]
"""Who took or gave a tensor, and the how many-th time."""
Shape = tuple[int, ...]

_CALLS_DIFFER = "the number of layer calls depends on the number of samples"
PICK_BY_INDEX = ("Gather", "IndexAdd", "IndexCopy", "IndexSelect", "Scatter", "ScatterAdd", "Sort", "Topk")


class RowLayout(NamedTuple):
    """Where a tensor has its rows: along ``dim``, ``each`` of them for every sample; or nowhere (-1): all share it."""

    dim: int
    each: int


class OtherPass(NamedTuple):
    """A pass of another number of samples: what differs from it shows where tensors have their rows.

    Attributes:
        shapes: Of the tensors at each place.
        samples: How many.
    """

    shapes: Mapping[Place, Shape]
    samples: int

    def shows(self, place: Place, shape: Shape, samples: int) -> RowLayout:
        """Tell where a tensor of so many samples has its rows, by the dimension that is another there.

        Raises:
            NoRule: If calls depend on the number of samples, or anything but one dimension grows with it.
        """
        if place not in self.shapes:
            raise NoRule(_CALLS_DIFFER)
        other = self.shapes[place]
        if len(shape) != len(other):
            raise NoRule(f"a layer's input has other dimensions in a larger batch: {shape}, {other}")
        differ = [d for d, (m, n) in enumerate(zip(shape, other, strict=True)) if m != n]
        if not differ:
            return RowLayout(-1, 0)
        if len(differ) > 1:
            raise NoRule(f"a layer's input has more than one dimension that grows with the batch: {shape}, {other}")
        if shape[differ[0]] * self.samples != other[differ[0]] * samples:
            raise NoRule(f"a layer's input does not grow with the batch: {shape}, {other}")
        return RowLayout(differ[0], shape[differ[0]] // samples)


class RowFinder:
    """Tells where each tensor of a layer's call has its rows, by whose it is and the how many-th of its owner's.

    Args:
        known: What is known of each place, or a pass that shows it; None: rows come first everywhere, and the shapes
            are noted.
        samples: How many rows the model's inputs have.
    """

    def __init__(self, known: Mapping[Place, RowLayout] | OtherPass | None, samples: int) -> None:
        self._other = known if isinstance(known, OtherPass) else None
        self.layouts: dict[Place, RowLayout] | None = None
        if known is not None:
            self.layouts = {} if isinstance(known, OtherPass) else dict(known)
        self.samples = samples
        self.shapes: dict[Place, Shape] = {}
        self._by_shape: dict[tuple[Hashable, Shape], RowLayout] = {}
        self._seen: Counter[Hashable] = Counter()  # tensors, by whose they are
        self._between_passes = False

    def begin_pass(self) -> None:
        """Count the tensors of each owner from the first again."""
        self._seen.clear()
        self._between_passes = False

    def end_pass(self) -> None:
        """Go by shapes until the next pass: a checkpointed block runs again in the backward pass, in any order.

        Raises:
            NoRule: If a pass of another number of samples had more calls.
        """
        if self._other is not None and self.layouts is not None and len(self.layouts) != len(self._other.shapes):
            raise NoRule(_CALLS_DIFFER)
        self._between_passes = True

    def layout_of(self, shape: Sequence[int], owner: Hashable, *, samples: int | None = None) -> RowLayout:
        """Return where the next tensor that its owner takes or gives has its rows.

        Args:
            shape: Of the tensor.
            owner: Whose it is.
            samples: How many it is of. Default: all.

        Raises:
            NoRule: If there is none, or the other pass does not show it.
        """
        shape = tuple(shape)
        if self._between_passes:
            return self._by_shape[owner, shape]
        place = owner, self._seen[owner]
        self._seen[owner] += 1
        if self.layouts is None:
            self.shapes[place] = shape
            return RowLayout(0, 0)
        if self._other is not None and place not in self.layouts:
            self.layouts[place] = self._other.shows(place, shape, samples or self.samples)
        if place not in self.layouts:
            raise NoRule("the calls of layers depend on the data")
        layout = self._by_shape[owner, shape] = self.layouts[place]
        return layout

    def check_rows(self, rows: int, layout: RowLayout) -> None:
        """Refuse another number of rows than the layout has for so many samples."""
        if self.layouts is not None and rows != layout.each * self.samples:
            raise NoRule(f"a layer was called on {rows} rows, not on {layout.each} for each of {self.samples} samples")

    def rows_first(self, x: Tensor, layout: RowLayout) -> Tensor:
        """Return a layer's input with its rows first."""
        if isinstance(x, LooseParameter) or layout.dim >= x.ndim:
            raise NoRule(f"a layer was called on {tuple(x.shape)} without rows")
        rows = x.transpose(0, layout.dim) if layout.dim else x
        self.check_rows(len(rows), layout)
        return rows


def rows_back(y: Tensor, layout: RowLayout | None) -> Tensor:
    """Return rows to the dimension they came from."""
    return y.transpose(0, layout.dim) if layout is not None and layout.dim > 0 else y


def check_rows_keep_their_order(outputs: Any) -> None:
    """Refuse a model that picks rows by an index, which may follow from the data and be another for every batch.

    Sorting by length, or routing samples to experts, would go unseen with samples that are in order already.

    Raises:
        NoRule: If rows are picked along the first dimension anywhere between layers and outputs.
    """
    for node in nodes_of(t for t in pytree.tree_leaves(outputs) if isinstance(t, Tensor)):
        saved: Any = node
        name = node.name().partition("Backward")[0]
        picks = name in PICK_BY_INDEX and saved._saved_dim == 0
        if name in ("Index", "IndexPut"):
            picks = saved._saved_indices[0] is not None
        if picks or name in ("MaskedSelect", "MaskedScatter"):
            raise NoRule(f"the model picks rows by an index ({name}), which may depend on the data")
