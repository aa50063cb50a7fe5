"""The two things that are asked of a recorded pass: norms of gradients, and losses under perturbed weights."""

import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.gradients.rules.base import Gradients, Rule
from lightning_al.gradients.stand_ins import NoRule
from lightning_al.gradients.tape import Tape
from lightning_al.gradients.uses import Use

Slot = tuple[str, int | None, int | None]
"""Rows of a parameter, by the parameter's name."""


def _slot(use: Use, short: str) -> Slot:
    name, rows = use.names[short]
    return name, rows.start, rows.stop


def _shared_slots(tape: Tape) -> set[Slot]:
    """What more than one call uses; such gradients must be added before norms are taken.

    Raises:
        NoRule: If calls use overlapping rows of a parameter.
    """
    counts = Counter(_slot(use, short) for use in tape.uses for short in use.names)
    of_name: dict[str, list[tuple[float, float]]] = {}
    for name, start, stop in counts:
        of_name.setdefault(name, []).append((start or 0, math.inf if stop is None else stop))
    for name, stretches in of_name.items():
        stretches.sort()
        if any(after[0] < before[1] for before, after in itertools.pairwise(stretches)):
            raise NoRule(f"calls with overlapping rows of `{name}`")
    return {slot for slot, n in counts.items() if n > 1}


def _shared(use: Use, slots: set[Slot]) -> bool:
    return any(_slot(use, short) in slots for short in use.names)


def _gradients(tape: Tape, rule: Rule, x: Tensor, e: Tensor) -> Gradients:
    found = _apart(rule.gradients(x, e), e)
    tape.formed_bytes = max(tape.formed_bytes, _bytes(found))
    return found


def _apart(gradients: Gradients, e: Tensor) -> Gradients:
    """Return gradients in memory of their own: a bias's may be ``e`` itself, which other layers may have too."""
    shared = e.untyped_storage().data_ptr()
    return {name: g.clone() if g.untyped_storage().data_ptr() == shared else g for name, g in gradients.items()}


def _bytes(tree: Any) -> int:
    return sum(t.numel() * t.element_size() for t in pytree.tree_leaves(tree) if isinstance(t, Tensor))


def _note_held(tape: Tape, summed: dict[Slot, Tensor]) -> None:
    """Write down what is kept once gradients have reached all layers, for the byte budget of the batches to come."""
    held = _bytes(summed) + sum(_bytes((use.pieces, use.e, use.cache)) for use in tape.uses)
    tape.held_bytes = max(tape.held_bytes, held)


def outputs_of(tree: Any) -> list[Tensor]:
    """Return the floating tensors among a model's outputs."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


class Loss:
    """Losses of a recorded pass: their gradient towards the outputs, scaled to about 1 for each unit.

    A float32 gradient of a confident sample is so small that its square is 0, hence the scale.

    Args:
        tape: The recorded pass.
        outputs: The model's, with their graph.
        losses: One for each row, from detached outputs.
    """

    def __init__(self, tape: Tape, outputs: Any, losses: Callable[[Any], Tensor]) -> None:
        self.tape = tape
        self.ends = outputs_of(outputs)
        self.heads = [end.detach().requires_grad_() for end in self.ends]
        replacing = dict(zip(map(id, self.ends), self.heads, strict=True))
        self.outputs = pytree.tree_map(lambda leaf: replacing.get(id(leaf), leaf), outputs)
        with torch.enable_grad():
            self.losses = losses(self.outputs)

    def cotangents(self) -> tuple[list[Tensor | None], Tensor]:
        """Return the gradient of the summed losses towards the outputs divided by its scale, and the scale (U,).

        Outputs that have no part in the losses get None.

        Raises:
            NoRule: If the losses take something else of the model than the tensors it returned, or if these do not
                have the batch first.
        """
        units = self.tape.units
        scale = self.losses.new_zeros(units)
        if not self.losses.requires_grad:
            return [None for _ in self.heads], scale
        wanted = [*self.heads, self.tape.anchor, *self.tape.leaves.values()]
        grads = torch.autograd.grad(self.losses.sum(), wanted, allow_unused=True)
        if any(g is not None for g in grads[len(self.heads) :]):
            raise NoRule("the loss takes more of the model than the tensors it returned")
        found = [None if g is None or g.numel() == 0 else g for g in grads[: len(self.heads)]]
        for g in found:
            if g is None:
                continue
            if g.ndim == 0 or len(g) % units:
                raise NoRule(f"outputs of shape {tuple(g.shape)} for {units} samples")
            scale = torch.maximum(scale, g.abs().reshape(units, -1).amax(1).to(scale.dtype))
        unit = torch.where(scale > 0, scale, 1.0)  # NaN stays NaN, as the gradient itself is

        def scaled(g: Tensor) -> Tensor:
            return g / unit.to(g.dtype).repeat_interleave(len(g) // units).view(-1, *[1] * (g.ndim - 1))

        return [None if g is None else scaled(g) for g in found], scale


def _square_norms(tape: Tape, use: Use, e: Tensor, *, perturb: bool) -> Gradients | None:
    """Return a call's squared norms from inner products, where these cost less and rounding leaves them right."""
    rule = use.rule
    if not (rule.low_rank and rule.prefers_inner_products(use.x, e, perturb)):
        return None
    tape.formed_bytes = max(tape.formed_bytes, rule.inner_product_bytes(use.x, e))
    return rule.square_norms(use.x, e, use.cache)


def _accumulate(summed: dict[Slot, Tensor], use: Use, found: Gradients) -> None:
    for short, gradient in found.items():
        slot = _slot(use, short)
        summed[slot] = summed[slot] + gradient if slot in summed else gradient
