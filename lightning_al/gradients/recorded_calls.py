"""The calls of layers that a pass recorded, with what their gradients need, and the bytes that this takes."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.gradients.parameters import Names
from lightning_al.gradients.rules.base import Gradients, Rule


class BytesHeld:
    """About how many bytes the passes of a batch hold at once, as far as they write it down.

    Attributes:
        seen: What went into the layers.
        held: What is kept beside it once gradients have reached all layers.
        formed: The most that one layer's gradients took at once.
    """

    def __init__(self) -> None:
        self.seen = 0
        self.held = 0
        self.formed = 0

    def note_seen(self, x: Tensor) -> None:
        """Count what a layer is called on."""
        self.seen += bytes_of(x)

    def note_held(self, tree: Any) -> None:
        """Count what is kept until the second pass."""
        self.held = max(self.held, bytes_of(tree))

    def note_formed(self, size: int) -> None:
        """Count the bytes of a layer's gradients, or of what stands for them."""
        self.formed = max(self.formed, size)

    def total(self, copies: int) -> int:
        """Return all of it, with the layers' graph and the gradients of ``copies`` bytes of parameters."""
        return 6 * self.seen + 3 * copies + self.held + self.formed


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
        bytes_held: Where the bytes of its gradients are written down.
    """

    def __init__(self, rule: Rule, names: Names, x: Tensor, bytes_held: BytesHeld) -> None:
        self.rule = rule
        self.names = names
        self.x = x
        self.cache: dict[str, Any] = {}
        """What the rule keeps from one question to the next."""
        self.bytes_held = bytes_held
        bytes_held.note_seen(x)

    @property
    def whole(self) -> Part:
        """All of the call."""
        return Part(slice(None), slice(None), self.rule)

    def parts(self, e: Tensor) -> Iterator[Part]:
        """Split the call into what is worked on at once, for the gradient ``e`` towards its output."""
        rule = self.rule
        weights = sum(getattr(rule.module, short).numel() for short in self.names)
        size = rule.units_at_once(weights, e)
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
        gradients = in_own_memory(part.rule.gradients(self.x[part.rows], e), e)
        self.bytes_held.note_formed(bytes_of(gradients))
        return gradients

    def square_norms(self, e: Tensor, *, perturb: bool) -> Gradients | None:
        """Return squared norms from inner products, where these cost less and rounding leaves them right."""
        rule = self.rule
        if not (rule.low_rank and rule.prefers_inner_products(self.x, e, perturb)):
            return None
        self.bytes_held.note_formed(rule.inner_product_bytes(self.x, e))
        return rule.square_norms(self.x, e, self.cache)

    def release(self) -> None:
        """Let go of all tensors."""
        self.x = self.x.new_empty(0)
        self.cache.clear()


def in_own_memory(gradients: Gradients, e: Tensor) -> Gradients:
    """Return gradients in memory of their own: a bias's may be ``e`` itself, which other layers may have too."""
    shared = e.untyped_storage().data_ptr()
    return {name: g.clone() if g.untyped_storage().data_ptr() == shared else g for name, g in gradients.items()}
