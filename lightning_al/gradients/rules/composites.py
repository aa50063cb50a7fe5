"""Layers that are made of linear ones: they are written out, and the rule of linear layers serves their parts."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from lightning_al.gradients.parameters import Names, ParameterRows
from lightning_al.gradients.rules.base import registered
from lightning_al.gradients.rules.recurrences import Sequences, State


class Projection(nn.Module):
    """A linear layer of weights that another layer keeps."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.weight: Any = weight
        self.bias: Any = bias

    def forward(self, x: Tensor) -> Tensor:
        """Return what it gives where it is frozen."""
        return F.linear(x, self.weight, self.bias)


class LinearPart(NamedTuple):
    """A linear part of a layer.

    Attributes:
        layer: Does it.
        names: Its parameters that are asked for; none where it is frozen.
    """

    layer: Projection
    names: Names


class Recurrent(NamedTuple):
    """The linear parts of a recurrent layer, in one direction.

    Attributes:
        of_input: Is called on all steps of a sequence.
        of_state: Is called on the h before each step.
    """

    of_input: LinearPart
    of_state: LinearPart

    @property
    def weights(self) -> list[Tensor]:
        """Both weights, and both biases, if there are any."""
        return weights_in_order(*((part.layer.weight, part.layer.bias) for part in self))


class Parts(ABC):
    """Does the linear parts of a layer that is made of them; their names are those that they have in the layer."""

    @abstractmethod
    def apply(self, part: LinearPart, x: Tensor) -> Tensor:
        """Return what a part gives for ``x``."""

    @abstractmethod
    def by_rules(self) -> contextlib.AbstractContextManager[None]:
        """Inside, all that is done keeps samples apart."""

    @abstractmethod
    def repeat(self, parts: Recurrent, sequences: Sequences) -> tuple[Tensor, State]:
        """Return the h after each step, (N, T, d), and the last state."""


class Composite(NamedTuple):
    """How a layer is written out.

    Attributes:
        forward: ``forward(parts, layer, *args, **kwargs)``: what the layer's own forward gives for these arguments.
        accepts: Whether that holds for this very layer.
        inside: Attributes that are layers themselves, which are never called but by ``forward``.
    """

    forward: Callable[..., Any]
    accepts: Callable[[nn.Module], bool]
    inside: tuple[str, ...]


_COMPOSITES: dict[type[nn.Module], Composite] = {}


def register_composite(
    *layers: type[nn.Module], accepts: Callable[[nn.Module], bool] = lambda module: True, inside: tuple[str, ...] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Function decorator: write these layers out so, and derived ones that inherit ``forward`` as it is."""

    def register(forward: Callable[..., Any]) -> Callable[..., Any]:
        for layer in layers:
            _COMPOSITES[layer] = Composite(forward, accepts, inside)
        return forward

    return register


def find_composite(module: nn.Module) -> Composite | None:
    """Return how a layer is written out, if it is one of these."""
    composite = registered(_COMPOSITES, module)
    return composite if composite is not None and composite.accepts(module) else None


def weights_in_order(*parts: tuple[Tensor, Tensor | None]) -> list[Tensor]:
    """Return the weights of linear parts, then their biases, if there are any, as torch's kernels take them."""
    return [t for tensors in zip(*parts, strict=True) for t in tensors if t is not None]


def linear_part(m: Any, weight: str, bias: str) -> LinearPart:
    """Return the linear part with these parameters of a layer, of which there may be no bias."""
    b = getattr(m, bias, None)
    names = {"weight": ParameterRows(weight)} | ({} if b is None else {"bias": ParameterRows(bias)})
    return LinearPart(Projection(getattr(m, weight), b), names)
