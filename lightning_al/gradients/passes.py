"""The two things that are asked of a recorded pass: norms of gradients, and losses under perturbed weights."""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.gradients.ball import EuclideanBall, ball
from lightning_al.gradients.costs import CACHED_WEIGHTS
from lightning_al.gradients.engine import Piece, Tape, Use
from lightning_al.gradients.loose import NoRule
from lightning_al.gradients.rule import Gradients, Rule, square_norm, square_norms_of

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


def gradient_norms(tape: Tape, loss: Loss, norm: str, keep: bool = False) -> Tensor:
    """Return the norm of the gradient of each unit's loss, (U,).

    Args:
        tape: A recorded pass.
        loss: Of its outputs.
        norm: ``"global"`` or ``"tensor_sum"``.
        keep: Whether another backward pass follows.
    """
    squares: dict[str, Tensor] = {}
    summed: dict[Slot, Tensor] = {}
    shared = _shared_slots(tape)
    cotangents, scale = loss.cotangents()

    def note(name: str, values: Tensor) -> None:
        squares[name] = squares[name] + values if name in squares else values

    def receive(use: Use, e: Tensor) -> None:
        if _shared(use, shared):
            _accumulate(summed, use, _gradients(tape, use.rule, use.x, e))
            return
        found = _square_norms(tape, use, e, perturb=False)
        if found is None:
            parts = [square_norms_of(_gradients(tape, part, use.x[rows], e[rows])) for _, rows, part in _pieces(use, e)]
            found = {short: torch.cat([part[short] for part in parts]) for short in parts[0]}
        if not keep:
            use.cache.clear()
        for short, values in found.items():
            note(use.names[short][0], values)

    loose = tape.backward(loss.ends, cotangents, receive, keep=keep)
    _note_held(tape, summed)
    for (name, _, _), gradient in summed.items():
        note(name, square_norm(gradient))
    for name, gradient in loose.items():
        note(name, square_norm(gradient))
    if not squares:  # no trainable parameter has a part in it
        return torch.zeros_like(scale)
    each = torch.stack([v.to(scale.dtype) for v in squares.values()])
    return scale * (each.sum(0).sqrt() if norm == "global" else each.sqrt().sum(0))


def _accumulate(summed: dict[Slot, Tensor], use: Use, found: Gradients) -> None:
    for short, gradient in found.items():
        slot = _slot(use, short)
        summed[slot] = summed[slot] + gradient if slot in summed else gradient


def perturbed_losses(
    tape: Tape,
    inputs: Callable[[], Any],
    loss: Loss,
    losses: Callable[[Any], Tensor],
    *,
    rho: float,
    perturbation: str,
    p: float,
) -> Tensor:
    """Return each row's loss under its unit's own worst-case perturbation, (N,).

    Args:
        tape: A recorded pass.
        inputs: Gives the pass's inputs anew.
        loss: Of its outputs; a unit's perturbation is that of the sum over its rows.
        losses: One for each row, from the perturbed outputs.
        rho: See :func:`~lightning_al.functional.perturbation.worst_case_perturbation`.
        perturbation: See there.
        p: See there.
    """
    params = tape.network.params
    shared = _shared_slots(tape)
    summed: dict[Slot, Tensor] = {}
    everything = slice(None)
    cotangents, scale = loss.cotangents()
    space = ball(rho, perturbation, p, tape.units, scale)

    weights: dict[Slot, Tensor] = {}

    def weight_of(slot: Slot) -> Tensor:
        name, start, stop = slot
        return weights.setdefault(slot, params[name] if start is None else params[name][start:stop])

    def receive(use: Use, e: Tensor) -> None:
        rule = use.rule
        if _shared(use, shared):
            _accumulate(summed, use, _gradients(tape, rule, use.x, e))
        elif isinstance(space, EuclideanBall) and space.linear:
            found = _square_norms(tape, use, e, perturb=True)
            if found is not None:
                for squares in found.values():
                    space.add_squares(squares)
                use.e = e
            else:
                use.pieces = [
                    Piece(at, rows, part, _gradients(tape, part, use.x[rows], e[rows]))
                    for at, rows, part in _pieces(use, e)
                ]
                for piece in use.pieces:
                    for short, gradient in piece.gradients.items():
                        space.add(weight_of(_slot(use, short)), gradient, piece.at)
        else:
            keep = sum(weight_of(_slot(use, short)).numel() for short in use.names) <= CACHED_WEIGHTS
            use.e = None if keep else e  # large ones are formed again, which costs less than keeping them
            for at, rows, part in _pieces(use, e):
                if keep:
                    gradients = _gradients(tape, part, use.x[rows], e[rows])
                    use.pieces.append(Piece(at, rows, part, gradients))
                    blocks = iter([(everything, gradients)])
                else:
                    blocks = part.blocks(use.x[rows], e[rows])
                for some, gradients in blocks:
                    tape.formed_bytes = max(tape.formed_bytes, _bytes(gradients))
                    for short, gradient in gradients.items():
                        space.add(weight_of(_slot(use, short))[some], gradient, at)

    loose = tape.backward(loss.ends, cotangents, receive, keep=False)
    _note_held(tape, summed)
    for slot, gradient in summed.items():
        space.add(weight_of(slot), gradient.clone(), everything)
    for name, gradient in loose.items():
        space.add(params[name], gradient.clone(), everything)

    def moved(use: Use, gradients: Gradients, at: slice, units: int, some: slice = everything) -> Gradients:
        """Each unit's own weights, ``some`` of their rows; those that no gradient reaches stay."""
        found = {}
        for short in use.names:
            weight = weight_of(_slot(use, short))[some]
            gradient = gradients.get(short)
            if gradient is None:
                found[short] = weight.expand(units, *weight.shape)
            else:
                found[short] = space.moved(weight, gradient, at)
        return found

    def run(use: Use, x: Tensor) -> Tensor:
        rule = use.rule
        if _shared(use, shared):
            total = {k: summed[_slot(use, k)].clone() for k in use.names if _slot(use, k) in summed}
            return rule.perturbed(x, moved(use, total, everything, tape.units)) if total else rule.forward(x)
        if use.pieces:
            return _whole(
                piece.rule.perturbed(x[piece.rows], moved(use, piece.gradients, piece.at, piece.rule.units))
                for piece in _emptied(use.pieces)
            )
        if use.e is None:  # no gradient reaches this call
            return rule.forward(x)
        if isinstance(space, EuclideanBall) and space.linear:
            y = rule.moved_along(x, use.x, use.e, space.step.to(use.e.dtype), use.cache)
        else:
            then, e = use.x, use.e

            def along(at: slice, rows: slice, part: Rule) -> Tensor:
                def move(some: slice, found: Gradients) -> Gradients:
                    return moved(use, _apart(found, e), at, part.units, some)

                return part.perturbed_along(x[rows], then[rows], e[rows], move)

            y = _whole(along(*piece) for piece in _pieces(use, e))
        use.e = None
        use.cache.clear()
        return y

    copies = {
        name: space.moved(params[name], loose[name], everything)
        if name in loose
        else params[name].expand(tape.units, *params[name].shape)
        for name in tape.leaves
    }
    with torch.no_grad():
        return losses(tape.replay(inputs(), run, copies))


def _pieces(use: Use, e: Tensor) -> Iterator[tuple[slice, slice, Rule]]:
    """Split a call into what is worked on at once: units, their rows, and the rule for them."""
    rule = use.rule
    weights = sum(getattr(rule.module, short).numel() for short in use.names)
    size = rule.units_at_once(weights, e)
    if size >= rule.units:
        yield slice(None), slice(None), rule
        return
    rows = len(use.x) // rule.units
    for start in range(0, rule.units, size):
        stop = min(start + size, rule.units)
        if start == 0 or stop - start < size:
            part = rule.for_units(stop - start)
        yield slice(start, stop), slice(start * rows, stop * rows), part


def _emptied(pieces: list[Piece]) -> Iterator[Piece]:
    """Hand out pieces in order, each let go of once it is used."""
    pieces.reverse()
    while pieces:
        yield pieces.pop()


def _whole(parts: Iterator[Tensor]) -> Tensor:
    found = list(parts)
    return found[0] if len(found) == 1 else torch.cat(found)
