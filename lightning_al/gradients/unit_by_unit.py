"""Calls of layers without a rule: once for each unit, on its rows and with its own copies of the parameters."""

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.utils import _pytree as pytree

from lightning_al.gradients.differentiators import fallbacks_unsaid
from lightning_al.gradients.errors import NoRule
from lightning_al.gradients.layouts import RowFinder, RowLayout, rows_back
from lightning_al.gradients.stand_ins import Functions, LooseParameter
from lightning_al.inference.memory import is_out_of_memory

LayerFunction = Callable[..., Any]
"""``call(copies, *args, **kwargs)``: a layer under these copies of its parameters."""


class Alone(nn.Module):
    """A layer's own forward without its hooks, which the call from outside runs."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self._forward = layer.forward  # before it is replaced

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the layer's own forward."""
        return self._forward(*args, **kwargs)


class UnitByUnit:
    """Calls functions for each unit by itself, all at once through ``torch.func.vmap`` where that can be.

    Args:
        finder: Where tensors have their rows.
        units: How many units there are.
        not_vectorized: Whose calls failed under ``vmap`` before; others are added.
    """

    def __init__(self, finder: RowFinder, units: int, not_vectorized: set[Hashable]) -> None:
        self.finder = finder
        self.units = units
        self.not_vectorized = not_vectorized

    def __call__(
        self,
        call: LayerFunction,
        *,
        owner: Hashable,
        copies: dict[str, Tensor],
        functions: Functions,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        """Return ``call(copies, *args, **kwargs)`` of all units, joined as the layer itself would have them.

        Args:
            call: The layer as a function of its parameters.
            owner: Whose call it is.
            copies: Each unit's copies of the parameters, (U, *shape).
            functions: Take what is done with outputs that have no rows.
            args: Of the call; tensors with rows are cut into those of each unit.
            kwargs: The same.
        """
        leaves, spec = pytree.tree_flatten((args, kwargs or {}))
        layouts = [self._layout_of(leaf, owner) if isinstance(leaf, Tensor) else None for leaf in leaves]
        if self.finder.layouts is None:
            return self._called_once(call, leaves, spec, owner=owner, copies=copies)
        per_unit = [self._cut(leaf, layout) for leaf, layout in zip(leaves, layouts, strict=True)]

        def one(own: dict[str, Tensor], *own_rows: Tensor) -> Any:
            of_unit = iter(own_rows)
            filled = [
                leaf if cut is None else rows_back(next(of_unit), layout)
                for leaf, cut, layout in zip(leaves, per_unit, layouts, strict=True)
            ]
            own_args, own_kwargs = pytree.tree_unflatten(filled, spec)
            return call(own, *own_args, **own_kwargs)

        outputs = self._for_each(one, owner, copies, [t for t in per_unit if t is not None])
        return pytree.tree_map_only(Tensor, lambda t: self._joined(t, owner, functions), outputs)

    def _called_once(
        self,
        call: LayerFunction,
        leaves: list[Any],
        spec: pytree.TreeSpec,
        *,
        owner: Hashable,
        copies: dict[str, Tensor],
    ) -> Any:
        """Call it on everything, to see the shapes of what it gives."""
        plain = [leaf.copies[0] if isinstance(leaf, LooseParameter) else leaf for leaf in leaves]
        args, kwargs = pytree.tree_unflatten(plain, spec)
        outputs = call({a: c[0] for a, c in copies.items()}, *args, **kwargs)
        pytree.tree_map_only(Tensor, lambda t: self._layout_of(t, owner), outputs)
        return outputs

    def _layout_of(self, tensor: Tensor, owner: Hashable) -> RowLayout:
        return self.finder.layout_of(tensor.shape, owner)

    def _cut(self, leaf: Any, layout: RowLayout | None) -> Tensor | None:
        """Return each unit's own of an argument, (U, ...); None if all get the same."""
        if layout is not None and layout.dim >= 0:
            return self.finder.rows_first(leaf, layout).unflatten(0, (self.units, -1))
        return leaf.copies if isinstance(leaf, LooseParameter) else None

    def _for_each(
        self, one: Callable[..., Any], owner: Hashable, copies: dict[str, Tensor], per_unit: list[Tensor]
    ) -> Any:
        """Return ``one(copies, *per_unit)`` of all units, stacked."""
        if owner not in self.not_vectorized:
            try:
                with fallbacks_unsaid():
                    return vmap(one)(copies, *per_unit)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                self.not_vectorized.add(owner)  # it asks for a number, say
        each = [one({a: c[i] for a, c in copies.items()}, *[t[i] for t in per_unit]) for i in range(self.units)]
        return pytree.tree_map(_stacked, *each)

    def _joined(self, outputs: Tensor, owner: Hashable, functions: Functions) -> Tensor:
        """Put the units' outputs, (U, ...), together as the layer itself would have."""
        layout = self.finder.layout_of(outputs.shape[1:], owner, samples=self.finder.samples // self.units)
        if layout.dim < 0:
            return LooseParameter(outputs, functions)
        joined = outputs.transpose(1, 1 + layout.dim).flatten(0, 1)
        self.finder.check_rows(len(joined), layout)
        return rows_back(joined, layout)


def _stacked(*each: Any) -> Any:
    """Return one tensor of the units' own, or what is the same for all of them."""
    if isinstance(each[0], Tensor):
        return torch.stack(each)
    if any(other != each[0] for other in each[1:]):
        raise NoRule(f"a layer gives {each[0]!r} for one sample and {each[-1]!r} for another")
    return each[0]
