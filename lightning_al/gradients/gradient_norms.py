"""The norms of the gradients of many samples, from one backward pass."""

import torch
from torch import Tensor

from lightning_al.gradients.loss import Loss
from lightning_al.gradients.norms import square_norm, square_norms_of
from lightning_al.gradients.recorded_calls import RecordedCall
from lightning_al.gradients.rules.base import Gradients
from lightning_al.gradients.shared_gradients import SharedGradients
from lightning_al.gradients.tape import Tape


def gradient_norms(tape: Tape, loss: Loss, norm: str, keep: bool = False) -> Tensor:
    """Return the norm of the gradient of each unit's loss, (U,).

    Args:
        tape: A recorded pass.
        loss: Of its outputs.
        norm: ``"global"`` or ``"tensor_sum"``.
        keep: Whether another backward pass follows.
    """
    squares = _SquareNorms(tape, keep=keep)
    cotangents, scale = loss.cotangents()
    of_loose_parameters = tape.backward(loss.ends, cotangents, squares.receive, keep=keep)
    squares.finish(of_loose_parameters)
    if not squares.totals:  # no trainable parameter has a part in it
        return torch.zeros_like(scale)
    each = torch.stack([v.to(scale.dtype) for v in squares.totals.values()])
    return scale * (each.sum(0).sqrt() if norm == "global" else each.sqrt().sum(0))


class _SquareNorms:
    """Adds up the squared gradient norm of each parameter, (U,) by name, as gradients reach the calls of layers."""

    def __init__(self, tape: Tape, *, keep: bool) -> None:
        self.totals: dict[str, Tensor] = {}
        self.shared = SharedGradients(tape.calls)
        self._keep = keep

    def receive(self, call: RecordedCall, e: Tensor) -> None:
        """Take note of a call's gradient ``e`` towards its output."""
        if self.shared.concern(call):
            self.shared.add(call, e)
            return
        squares = call.square_norms(e, perturb=False)
        if squares is None:
            squares = _square_norms_by_parts(call, e)
        if not self._keep:
            call.cache.clear()
        for short, values in squares.items():
            self._add(call.names[short].name, values)

    def finish(self, of_loose_parameters: Gradients) -> None:
        """Add what is known once gradients have reached all calls: shared parameters', and those of no call."""
        for rows, gradient in self.shared.sums.items():
            self._add(rows.name, square_norm(gradient))
        for name, gradient in of_loose_parameters.items():
            self._add(name, square_norm(gradient))

    def _add(self, name: str, values: Tensor) -> None:
        self.totals[name] = self.totals[name] + values if name in self.totals else values


def _square_norms_by_parts(call: RecordedCall, e: Tensor) -> Gradients:
    parts = [square_norms_of(call.gradients(part, e)) for part in call.parts(e)]
    return {short: torch.cat([part[short] for part in parts]) for short in parts[0]}
