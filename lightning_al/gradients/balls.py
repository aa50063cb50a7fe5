"""The balls around the weights in which worst-case perturbations stay: the one register, by name.

A ball gives the perturbation of largest loss inside it, to first order, in two ways: of one unit, from all of its
gradients together (:meth:`Ball.perturbation`), and of many units, from gradients that layers contribute one after
another (:class:`Balls`), so that no more than one layer's need exist at a time.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from lightning_al.gradients.norms import (
    brought_in_range,
    global_norm,
    largest_entry,
    norm_together,
    square_norm,
    total_norm,
    whole_scalar,
)

EPSILON = 1e-12  # the papers' own; no other epsilon is added anywhere


class Ball(ABC):
    """A ball around the weights.

    Args:
        rho: Radius.
        p: Of the norm that it is measured in.
        eta: Added to the size of the weights, where that is the scale.
    """

    any_norm: ClassVar[bool] = True
    """Whether ``p`` may be another than 2."""
    any_eta: ClassVar[bool] = False
    """Whether ``eta`` may be another than 0."""

    def __init__(self, rho: float, p: float = 2.0, eta: float = 0.0) -> None:
        self.rho = rho
        self.p = p
        self.eta = eta

    def scales(self, weights: Sequence[Tensor], adaptive: Sequence[bool] | None = None) -> list[Tensor]:
        """Return T, in whose multiples each weight is moved; 1 where all move alike.

        Args:
            weights: Any shapes.
            adaptive: Which of them have a scale other than 1, if the ball has any. Default: all.
        """
        return [torch.ones_like(w) for w in weights]

    @abstractmethod
    def perturbation(
        self, weights: Sequence[Tensor], gradients: Sequence[Tensor], adaptive: Sequence[bool] | None = None
    ) -> list[Tensor]:
        """Return the perturbation of one unit, shaped as its gradients; it also runs under ``torch.func.vmap``."""

    def moved(self, weights: Sequence[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Return ``weights`` of one unit as the perturbation moves them; the gradients are overwritten."""
        everything = slice(None)
        scale, _ = brought_in_range(gradients)
        balls = self.of_units(1, gradients[0].new_tensor([scale]))
        for weight, gradient in zip(weights, gradients, strict=True):
            balls.add(weight, gradient.unsqueeze(0), everything)
        return [balls.moved(w, g.unsqueeze(0), everything).squeeze(0) for w, g in zip(weights, gradients, strict=True)]

    def climb(
        self, weights: Sequence[Tensor], gradients: Sequence[Tensor], adaptive: Sequence[bool] | None = None
    ) -> bool:
        """Add :meth:`perturbation` to ``weights`` in place, unless gradients are not finite; return whether it did."""
        if not math.isfinite(float(whole_scalar(largest_entry(gradients)))):
            return False
        torch._foreach_add_(list(weights), self.perturbation(weights, gradients, adaptive))
        return True

    @abstractmethod
    def of_units(self, units: int, scale: Tensor) -> "Balls":
        """Return such a ball for each unit, for gradients that were divided by ``scale`` (U,)."""


class LpBall(Ball):
    """``‖ε‖_p <= ρ``, SAM's ball."""

    def perturbation(
        self, weights: Sequence[Tensor], gradients: Sequence[Tensor], adaptive: Sequence[bool] | None = None
    ) -> list[Tensor]:
        """Return ``ρ sign(g) |g|^(q-1) / (‖g‖_q^q)^(1/p)``, with ``1/p + 1/q = 1``."""
        if self.p == 2:
            step = self.rho / (global_norm(gradients) + EPSILON)
            return [g * step for g in gradients]
        if math.isinf(self.p):
            return [self.rho * g.sign() for g in gradients]
        # The formula has degree 0 in g, so g may be divided by its largest entry first, which keeps powers in range.
        largest = largest_entry(gradients)
        unit = [g / torch.where(largest > 0, largest, 1.0) for g in gradients]
        q = self.p / (self.p - 1)
        total = torch.stack([u.abs().pow(q).sum() for u in unit]).sum()
        step = self.rho / torch.where(total > 0, total, 1.0).pow(1 / self.p)
        return [u.sign() * u.abs().pow(q - 1) * step for u in unit]

    def moved(self, weights: Sequence[Tensor], gradients: list[Tensor]) -> list[Tensor]:
        """Return ``weights`` of one unit as the perturbation moves them; the gradients are overwritten."""
        if self.p != 2:
            return super().moved(weights, gradients)
        scale, norm = brought_in_range(gradients)
        step = self.rho * scale / (scale * norm + EPSILON)
        if any(g.device.type != "cpu" for g in gradients):  # of which each call would take its time
            torch._foreach_mul_(gradients, step)
            torch._foreach_add_(gradients, list(weights))
            return gradients
        return [torch.add(w, g, alpha=step, out=g) for w, g in zip(weights, gradients, strict=True)]

    def climb(
        self, weights: Sequence[Tensor], gradients: Sequence[Tensor], adaptive: Sequence[bool] | None = None
    ) -> bool:
        """Add the perturbation in place; for p = 2 without any copy of the gradients."""
        if self.p != 2:
            return super().climb(weights, gradients, adaptive)
        norm = total_norm(gradients)
        if not math.isfinite(norm):
            return False
        torch._foreach_add_(list(weights), list(gradients), alpha=self.rho / (norm + EPSILON))
        return True

    def of_units(self, units: int, scale: Tensor) -> "Balls":
        """Return a ball for each unit, by its norm."""
        if self.p == 2:
            return EuclideanBalls(self.rho, units, scale)
        return SignBalls(self.rho) if math.isinf(self.p) else PowerBalls(self.rho, self.p, units, scale)


class AdaptiveBall(Ball):
    """``‖ε / T‖_2 <= ρ`` with ``T = |θ| + η``, ASAM's ball."""

    any_norm = False
    any_eta = True

    def scales(self, weights: Sequence[Tensor], adaptive: Sequence[bool] | None = None) -> list[Tensor]:
        """Return ``|θ| + η``."""
        scaled = [True] * len(weights) if adaptive is None else adaptive
        return [w.abs() + self.eta if a else torch.ones_like(w) for w, a in zip(weights, scaled, strict=True)]

    def perturbation(
        self, weights: Sequence[Tensor], gradients: Sequence[Tensor], adaptive: Sequence[bool] | None = None
    ) -> list[Tensor]:
        """Return ``ρ T² g / ‖T g‖``."""
        scales = self.scales([_raised(w, g) for w, g in zip(weights, gradients, strict=True)], adaptive)
        step = self.rho / (global_norm([t * g for t, g in zip(scales, gradients, strict=True)]) + EPSILON)
        return [t * t * g * step for t, g in zip(scales, gradients, strict=True)]

    def climb(
        self, weights: Sequence[Tensor], gradients: Sequence[Tensor], adaptive: Sequence[bool] | None = None
    ) -> bool:
        """Add the perturbation in place, without more memory than one of the tensors takes."""
        scaled = [True] * len(weights) if adaptive is None else adaptive
        each = list(zip(weights, gradients, scaled, strict=True))

        def times_scale(w: Tensor, tensor: Tensor, a: bool) -> Tensor:
            if not a:
                return tensor
            # Without η the signs of θ cancel in T², so it stands for T.
            return _raised(w, tensor).abs().add_(self.eta).mul_(tensor) if self.eta else w * tensor

        norms = [torch.linalg.vector_norm(times_scale(w, g, a)) for w, g, a in each]
        norm = norm_together(norms, lambda: [times_scale(w, g, a) for w, g, a in each])
        if not math.isfinite(norm):
            return False
        step = self.rho / (norm + EPSILON)
        for w, g, a in each:
            if a and not self.eta and w.dtype == g.dtype:
                w.addcmul_(w * g, w, value=step)
            else:
                w.add_(times_scale(w, times_scale(w, g, a), a), alpha=step)
        return True

    def of_units(self, units: int, scale: Tensor) -> "Balls":
        """Return a ball for each unit; its scale is ``|θ|``.

        Raises:
            ValueError: If ``eta`` is not 0.
        """
        if self.eta:
            raise ValueError(f"The perturbations of many samples at once know `eta=0` only, got {self.eta!r}.")
        return AdaptiveBalls(self.rho, units, scale)


BALLS: dict[str, type[Ball]] = {"sam": LpBall, "asam": AdaptiveBall}
"""The balls by the names that options have for them."""


class Balls(ABC):
    """A ball for each of many units."""

    @abstractmethod
    def add(self, weight: Tensor, gradient: Tensor, at: slice) -> None:
        """Take note of the gradients (u, *shape) of ``weight`` (*shape), of the units ``at``."""

    @abstractmethod
    def moved(self, weight: Tensor, gradient: Tensor, at: slice) -> Tensor:
        """Return ``weight`` as each unit's perturbation moves it, (u, *shape). The gradients are overwritten."""


class QuadraticBalls(Balls):
    """Balls of the L2 norm of some direction v, whose true value is ``scale · v``: ``ρ v / (‖v‖ + 1e-12)``."""

    def __init__(self, rho: float, units: int, scale: Tensor) -> None:
        self.rho = rho
        self.scale = scale
        self.squares = scale.new_zeros(units)
        self._step: Tensor | None = None  # once nothing more is added

    def add_squares(self, squares: Tensor, at: slice = slice(None)) -> None:
        """Take note of squared norms (u,) of what the units ``at`` have."""
        self.squares[at] += squares
        self._step = None

    @property
    def step(self) -> Tensor:
        """The multiple of each unit's direction, (U,)."""
        if self._step is None:
            self._step = self.rho * self.scale / (self.scale * self.squares.sqrt() + EPSILON)
        return self._step

    def stepped(self, weight: Tensor, direction: Tensor, at: slice) -> Tensor:
        """Return ``weight`` moved along each unit's direction, which is overwritten."""
        return torch.addcmul(weight, direction, _per_unit(self.step[at], direction), out=direction)


class EuclideanBalls(QuadraticBalls):
    """``ε = ρ g / (‖g‖ + 1e-12)``: of the gradients, only their norms need be known."""

    def add(self, weight: Tensor, gradient: Tensor, at: slice) -> None:
        """Add to ``‖g‖²``."""
        self.add_squares(square_norm(gradient), at)

    def moved(self, weight: Tensor, gradient: Tensor, at: slice) -> Tensor:
        """Return ``θ + ε``."""
        return self.stepped(weight, gradient, at)


class AdaptiveBalls(QuadraticBalls):
    """``ε = ρ T² g / (‖T g‖ + 1e-12)`` with ``T = |θ|``; signs of θ cancel, so it stands for T."""

    def __init__(self, rho: float, units: int, scale: Tensor) -> None:
        super().__init__(rho, units, scale)
        self._scratch = scale.new_empty(0)

    def add(self, weight: Tensor, gradient: Tensor, at: slice) -> None:
        """Add to ``‖T g‖²``."""
        if _memory_of(self._scratch) != _memory_of(gradient):
            self._scratch = torch.empty_like(gradient)  # new memory for each unit would cost more than the product
        self.add_squares(square_norm(torch.mul(gradient, weight, out=self._scratch)), at)

    def moved(self, weight: Tensor, gradient: Tensor, at: slice) -> Tensor:
        """Return ``θ + ε``."""
        if len(gradient) > 1:
            # Twice: the square of a large weight, of a mask say, is infinite, and times a gradient of 0 no number.
            return self.stepped(weight, gradient.mul_(weight).mul_(weight), at)
        return torch.addcmul(weight, weight, gradient.mul_(weight), value=float(self.step[at]), out=gradient)


class SignBalls(Balls):
    """``ε = ρ sign(g)``, of ``p = inf``."""

    def __init__(self, rho: float) -> None:
        self.rho = rho

    def add(self, weight: Tensor, gradient: Tensor, at: slice) -> None:
        """Do nothing: signs need no norm."""

    def moved(self, weight: Tensor, gradient: Tensor, at: slice) -> Tensor:
        """Return ``θ + ε``."""
        return gradient.sign_().mul_(self.rho).add_(weight)


class PowerBalls(Balls):
    """``ε = ρ sign(g) |g|^(q-1) / (‖g‖_q^q)^(1/p)``; of degree 0 in g, so g is divided by its largest entry."""

    def __init__(self, rho: float, p: float, units: int, like: Tensor) -> None:
        self.rho = rho
        self.p = p
        self.q = p / (p - 1)
        self.largest = like.new_zeros(units)
        self.total = like.new_zeros(units)

    def add(self, weight: Tensor, gradient: Tensor, at: slice) -> None:
        """Add to ``‖g‖_q^q``, and to the largest entry."""
        if gradient.numel() == 0:
            return
        before = self.largest[at]
        largest = torch.maximum(before, gradient.abs().unsqueeze(-1).flatten(1).amax(1))
        unit = torch.where(largest > 0, largest, 1.0)
        powers = (gradient / _per_unit(unit, gradient)).abs().pow(self.q).unsqueeze(-1).flatten(1).sum(1)
        self.total[at] = self.total[at] * (before / unit).pow(self.q) + powers
        self.largest[at] = largest

    def moved(self, weight: Tensor, gradient: Tensor, at: slice) -> Tensor:
        """Return ``θ + ε``."""
        largest, total = self.largest[at], self.total[at]
        unit = gradient / _per_unit(torch.where(largest > 0, largest, 1.0), gradient)
        step = self.rho / torch.where(total > 0, total, 1.0).pow(1 / self.p)
        return unit.sign().mul_(unit.abs().pow_(self.q - 1)).mul_(_per_unit(step, unit)).add_(weight)


def _raised(weight: Tensor, gradient: Tensor) -> Tensor:
    """A weight in the precision of its gradient, if that is the higher one."""
    return weight.to(torch.promote_types(weight.dtype, gradient.dtype))


def _per_unit(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.ndim - 1))


def _memory_of(tensor: Tensor) -> tuple[object, ...]:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device
