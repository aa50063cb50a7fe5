"""Norms of the gradients of many samples."""

import torch
from torch import Tensor

from lightning_al.gradients.passes import (
    Loss,
    Slot,
    _accumulate,
    _gradients,
    _note_held,
    _shared,
    _shared_slots,
    _square_norms,
)
from lightning_al.gradients.perturbed_losses import _pieces
from lightning_al.gradients.rules.base import square_norm, square_norms_of
from lightning_al.gradients.tape import Tape
from lightning_al.gradients.uses import Use


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
