"""One use of a layer in a forward pass, with what its gradients need."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_al.gradients.rules.attention import Names
from lightning_al.gradients.rules.base import Gradients, Rule


class Piece(NamedTuple):
    """Some units of a layer's call, their rows, the rule for them and their gradients."""

    at: slice
    rows: slice
    rule: Rule
    gradients: Gradients


class Use:
    """One call of one layer."""

    def __init__(self, rule: Rule, names: Names, x: Tensor) -> None:
        self.rule = rule
        self.names = names
        self.x = x
        self.e: Tensor | None = None
        self.pieces: list[Piece] = []
        self.cache: dict[str, Any] = {}

    def release(self) -> None:
        """Let go of all tensors."""
        self.x, self.e = self.x.new_empty(0), None
        self.pieces.clear()
        self.cache.clear()


class Anchor(torch.autograd.Function):
    """Lets a graph begin at a layer's output, where neither weights nor inputs ask for gradients."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, anchor: Tensor) -> Tensor:
        """Pass ``y`` on, and tie it to the anchor."""
        return y.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        """Stop at the anchor, whose gradient is asked for only so that hooks run."""
        return None, grads[0].new_zeros(())


class Alone(nn.Module):
    """A layer's own forward without its hooks, which the call from outside runs."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self._forward = layer.forward  # before it is replaced

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function."""
        return self._forward(*args, **kwargs)
