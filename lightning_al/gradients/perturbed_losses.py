"""Losses of many samples, each under its own perturbation of the weights."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from lightning_al.gradients.balls import EuclideanBall, ball
from lightning_al.gradients.passes import (
    Loss,
    Slot,
    _accumulate,
    _apart,
    _bytes,
    _gradients,
    _note_held,
    _shared,
    _shared_slots,
    _slot,
    _square_norms,
)
from lightning_al.gradients.rules.base import Gradients, Rule
from lightning_al.gradients.rules.costs import CACHED_WEIGHTS
from lightning_al.gradients.tape import Tape
from lightning_al.gradients.uses import Piece, Use


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
        rho: See :func:`~lightning_al.functional.worst_case_perturbation`.
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
            return whole(
                piece.rule.perturbed(x[piece.rows], moved(use, piece.gradients, piece.at, piece.rule.units))
                for piece in emptied(use.pieces)
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

            y = whole(along(*piece) for piece in _pieces(use, e))
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


def emptied(pieces: list[Piece]) -> Iterator[Piece]:
    """Hand out pieces in order, each let go of once it is used."""
    pieces.reverse()
    while pieces:
        yield pieces.pop()


def whole(parts: Iterator[Tensor]) -> Tensor:
    """Join the parts of a tensor; the only one is not copied."""
    found = list(parts)
    return found[0] if len(found) == 1 else torch.cat(found)
