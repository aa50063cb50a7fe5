"""The calls of layers that a pass recorded, with what their gradients need, and what that costs."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.gradients.costs import CACHED_WEIGHTS
from lightning_al.gradients.parameters import Names
from lightning_al.gradients.rules.base import Gradients, Rule


def bytes_of(tree: Any) -> int:
    """Return how many bytes the tensors of a pytree take."""
    return sum(t.numel() * t.element_size() for t in pytree.tree_leaves(tree) if isinstance(t, Tensor))


class Part(NamedTuple):
    """What of a call is worked on at once: some units, their rows, and the rule for them."""

    units: slice
    rows: slice
    rule: Rule


class RecordedCall:
    """One call of one layer.

    Args:
        rule: Of the layer.
        names: The parameters that it uses.
        x: What it was called on, rows first.
        y: What it gave, of which the shape is kept.
    """

    def __init__(self, rule: Rule, names: Names, x: Tensor, y: Tensor) -> None:
        self.rule = rule
        self.names = names
        self.x = x
        self.like_output = y.detach().new_empty(()).expand(y.shape)
        self.cache: dict[str, Any] = {}
        """What the rule keeps from one question to the next."""
        self._by_inner_products: dict[bool, bool] = {}
        self._beyond_loop: dict[bool, float] = {}

    def among(self, units: int) -> "RecordedCall":
        """Return it as a call on the rows of so many units, wherever these are, to count by how many numbers it has."""
        return RecordedCall(self.rule.for_units(units), self.names, self.x, self.like_output)

    @property
    def whole(self) -> Part:
        """All of the call."""
        return Part(slice(None), slice(None), self.rule)

    def parts(self, e: Tensor) -> Iterator[Part]:
        """Split the call into what is worked on at once, for the gradient ``e`` towards its output."""
        rule = self.rule
        size = rule.units_at_once(self._weights, e)
        if size >= rule.units:
            yield self.whole
            return
        rows = len(self.x) // rule.units
        for start in range(0, rule.units, size):
            stop = min(start + size, rule.units)
            if start == 0 or stop - start < size:
                part = rule.for_units(stop - start)
            yield Part(slice(start, stop), slice(start * rows, stop * rows), part)

    def gradients(self, part: Part, e: Tensor) -> Gradients:
        """Return the gradients of a part's units, for the gradient ``e`` towards the output of the whole call."""
        e = e[part.rows]
        return in_own_memory(part.rule.gradients(self.x[part.rows], e), e)

    def square_norms(self, e: Tensor, *, perturb: bool) -> Gradients | None:
        """Return squared norms from inner products, where these cost less and rounding leaves them right."""
        if not self._prefers_inner_products(perturb=perturb):
            return None
        return self.rule.square_norms(self.x, e, self.cache)

    def _prefers_inner_products(self, *, perturb: bool) -> bool:
        """Whether inner products cost less, which is counted once."""
        if perturb not in self._by_inner_products:
            rule = self.rule
            self._by_inner_products[perturb] = rule.low_rank and rule.prefers_inner_products(
                self.x, self.like_output, perturb
            )
        return self._by_inner_products[perturb]

    # -- what it is going to cost, as far as shapes tell ------------------------------------------------------------

    def beyond_loop(self, *, perturb: bool) -> float:
        """Return how much more one unit costs with others than by itself; see :meth:`Rule.beyond_loop`."""
        if perturb not in self._beyond_loop:
            self._beyond_loop[perturb] = self.rule.beyond_loop(self.x, self.like_output, perturb)
        return self._beyond_loop[perturb]

    def bytes_kept(self, *, perturb: bool) -> int:
        """Return about what is kept of it until the second pass: gradients if they are small, else what forms them."""
        e = self.like_output.numel() * self.like_output.element_size() if perturb else 0
        if self._prefers_inner_products(perturb=perturb):
            return e
        weights = self._weights
        return self.rule.units * weights * self.x.element_size() if perturb and weights <= CACHED_WEIGHTS else e

    def bytes_formed(self, units: int, *, perturb: bool) -> int:
        """Return about what the gradients of so many units take while they are formed, or what stands for them."""
        rule = self.rule
        if self._prefers_inner_products(perturb=perturb):
            return rule.inner_product_bytes(self.x, self.like_output) * units // rule.units
        weights = self._weights
        units = min(rule.units_at_once(weights, self.like_output), units)
        return 2 * units * weights * self.like_output.element_size()

    @functools.cached_property
    def _weights(self) -> int:
        """How many of the layer's weights are asked for."""
        return sum(getattr(self.rule.module, short).numel() for short in self.names)

    def release(self) -> None:
        """Let go of all tensors."""
        self.x = self.x.new_empty(0)
        self.cache.clear()


def in_own_memory(gradients: Gradients, e: Tensor) -> Gradients:
    """Return gradients in memory of their own: a bias's may be ``e`` itself, which other layers may have too."""
    shared = e.untyped_storage().data_ptr()
    return {name: g.clone() if g.untyped_storage().data_ptr() == shared else g for name, g in gradients.items()}
