"""Worst-case perturbations of many units at once, from statistics that layers contribute one after another.

The formulas are those of :func:`lightning_al.functional.worst_case_perturbation`, which takes all
gradients of one unit together; here no more than one layer's gradients need exist at a time.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from lightning_al.gradients.rules.base import square_norm

EPSILON = 1e-12  # the papers' own; no other epsilon is added anywhere


def _per_unit(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))


class Ball(ABC):
    """The perturbation of largest loss, to first order, inside a ball around the weights.

    Args:
        rho: Radius.
    """

    linear = False
    """Whether the perturbation is a multiple of the gradient, so that no gradient need be formed."""

    def __init__(self, rho: float) -> None:
        self.rho = rho

    @abstractmethod
    def add(self, weight: Tensor, gradient: Tensor, at: slice) -> None:
        """Take note of the gradients (u, *shape) of ``weight`` (*shape), of the units ``at``."""

    @abstractmethod
    def moved(self, weight: Tensor, gradient: Tensor, at: slice) -> Tensor:
        """Return ``weight`` as each unit's perturbation moves it, (u, *shape). The gradients are overwritten."""


class EuclideanBall(Ball):
    """``ε = ρ g / (‖g‖ + 1e-12)``, where the true gradient is ``scale · g``."""

    linear = True

    def __init__(self, rho: float, units: int, scale: Tensor) -> None:
        super().__init__(rho)
        self.squares = scale.new_zeros(units)
        self.scale = scale
        self._steps: list[float] | None = None  # of all units, once nothing more is added

    def add_squares(self, squares: Tensor) -> None:
        """Take note of squared norms (U,)."""
        self.squares = self.squares + squares
        self._steps = None

    def add(self, weight: Tensor, gradient: Tensor, at: slice) -> None:
        """See :class:`Ball`."""
        self.squares[at] += square_norm(gradient)
        self._steps = None

    @property
    def step(self) -> Tensor:
        """The multiple of each unit's gradient, (U,)."""
        return self.rho * self.scale / (self.scale * self.squares.sqrt() + EPSILON)

    def moved(self, weight: Tensor, gradient: Tensor, at: slice) -> Tensor:
        """See :class:`Ball`."""
        return gradient.mul_(_per_unit(self.step[at], gradient)).add_(weight)


class AdaptiveBall(EuclideanBall):
    """``ε = ρ T² g / (‖T g‖ + 1e-12)`` with ``T = |θ|``."""

    linear = False

    def __init__(self, rho: float, units: int, scale: Tensor) -> None:
        super().__init__(rho, units, scale)
        self._scratch = scale.new_empty(0)

    def add(self, weight: Tensor, gradient: Tensor, at: slice) -> None:
        """See :class:`Ball`."""
        if _look_of(self._scratch) != _look_of(gradient):
            self._scratch = torch.empty_like(gradient)  # new memory for each unit would cost more than the product
        super().add(weight, torch.mul(gradient, weight, out=self._scratch), at)

    def moved(self, weight: Tensor, gradient: Tensor, at: slice) -> Tensor:
        """See :class:`Ball`."""
        gradient.mul_(weight)
        if len(gradient) > 1:
            return super().moved(weight, gradient.mul_(weight), at)
        if self._steps is None:
            self._steps = self.step.tolist()
        return torch.addcmul(weight, weight, gradient, value=self._steps[at][0], out=gradient)


def _look_of(tensor: Tensor) -> tuple[object, ...]:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device


class SignBall(Ball):
    """``ε = ρ sign(g)``, the ball of ``p = inf``."""

    def add(self, weight: Tensor, gradient: Tensor, at: slice) -> None:
        """See :class:`Ball`."""

    def moved(self, weight: Tensor, gradient: Tensor, at: slice) -> Tensor:
        """See :class:`Ball`."""
        return gradient.sign_().mul_(self.rho).add_(weight)


class PowerBall(Ball):
    """``ε = ρ sign(g) |g|^(q-1) / (‖g‖_q^q)^(1/p)``; of degree 0 in g, so g is divided by its largest entry."""

    def __init__(self, rho: float, p: float, units: int, like: Tensor) -> None:
        super().__init__(rho)
        self.p = p
        self.q = p / (p - 1)
        self.largest = like.new_zeros(units)
        self.total = like.new_zeros(units)

    def add(self, weight: Tensor, gradient: Tensor, at: slice) -> None:
        """See :class:`Ball`."""
        if gradient.numel() == 0:
            return
        before = self.largest[at]
        largest = torch.maximum(before, gradient.abs().unsqueeze(-1).flatten(1).amax(1))
        unit = torch.where(largest > 0, largest, 1.0)
        powers = (gradient / _per_unit(unit, gradient)).abs().pow(self.q).unsqueeze(-1).flatten(1).sum(1)
        self.total[at] = self.total[at] * (before / unit).pow(self.q) + powers
        self.largest[at] = largest

    def moved(self, weight: Tensor, gradient: Tensor, at: slice) -> Tensor:
        """See :class:`Ball`."""
        largest, total = self.largest[at], self.total[at]
        unit = gradient / _per_unit(torch.where(largest > 0, largest, 1.0), gradient)
        step = self.rho / torch.where(total > 0, total, 1.0).pow(1 / self.p)
        return unit.sign().mul_(unit.abs().pow_(self.q - 1)).mul_(_per_unit(step, unit)).add_(weight)


def ball(rho: float, perturbation: str, p: float, units: int, scale: Tensor) -> Ball:
    """Return the ball of ``worst_case_perturbation``'s options, for gradients that were divided by ``scale`` (U,)."""
    if perturbation == "asam":
        return AdaptiveBall(rho, units, scale)
    if p == 2:
        return EuclideanBall(rho, units, scale)
    if math.isinf(p):
        return SignBall(rho)
    return PowerBall(rho, p, units, scale)
