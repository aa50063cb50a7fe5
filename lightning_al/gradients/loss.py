"""The losses of a recorded pass, and their gradient towards the model's outputs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.gradients.errors import NoRule
from lightning_al.gradients.tape import Tape
from lightning_al.inference.outputs import floating_tensors


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
        self.ends = floating_tensors(outputs)
        self.heads = [end.detach().requires_grad_() for end in self.ends]
        replacing = dict(zip(map(id, self.ends), self.heads, strict=True))
        self.outputs = pytree.tree_map(lambda leaf: replacing.get(id(leaf), leaf), outputs)
        with torch.enable_grad(), tape.noting_losses():
            self.losses = losses(self.outputs)

    def cotangents(self) -> tuple[list[Tensor | None], Tensor]:
        """Return the gradient of the summed losses towards the outputs divided by its scale, and the scale (U,).

        Outputs that have no part in the losses get None. Where no backward pass follows gradients are not divided.

        Raises:
            NoRule: If the losses take something else of the model than the tensors it returned, or if these do not
                have the batch first.
        """
        units = self.tape.units
        scale = self.losses.new_zeros(units)
        if not self.losses.requires_grad:
            return [None for _ in self.heads], scale
        inputs = [*self.heads, self.tape.anchor, *self.tape.leaves.values()]
        grads = torch.autograd.grad(self.losses.sum(), inputs, allow_unused=True)
        if any(g is not None for g in grads[len(self.heads) :]):
            raise NoRule("the loss takes more of the model than the tensors it returned")
        of_heads = [None if g is None or g.numel() == 0 else g for g in grads[: len(self.heads)]]
        if not self.tape.goes_back:
            return of_heads, scale
        for g in of_heads:
            if g is not None:
                scale = torch.maximum(scale, self._largest_of_units(g).to(scale.dtype))
        divisor = torch.where(scale > 0, scale, 1.0)  # NaN stays NaN, as the gradient itself is
        return [None if g is None else self._divided(g, divisor) for g in of_heads], scale

    def _largest_of_units(self, g: Tensor) -> Tensor:
        units = self.tape.units
        if g.ndim == 0 or len(g) % units:
            raise NoRule(f"outputs of shape {tuple(g.shape)} for {units} samples")
        return g.abs().reshape(units, -1).amax(1)

    def _divided(self, g: Tensor, by: Tensor) -> Tensor:
        rows = by.to(g.dtype).repeat_interleave(len(g) // self.tape.units)
        return g / rows.view(-1, *[1] * (g.ndim - 1))
