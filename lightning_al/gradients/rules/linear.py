"""Linear layers: the gradient of a weight is ``Σ_t e_t x_tᵀ`` over the positions of a sample."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_al.gradients.costs import LARGE_OUTPUT, LayerCosts, layer_costs
from lightning_al.gradients.rules.base import Gradients, Rule, register_rule, sum_of_products


@register_rule(nn.Linear)
class LinearRule(Rule):
    """``y = x Wᵀ + b``, with any number of position dimensions between batch and features."""

    low_rank = True

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        """Whether the rule holds for this very layer.

        Weights that other weights parametrize are not the layer's own.
        """
        return "weight" in module._parameters

    @property
    def weight(self) -> Tensor:
        """(out, in)."""
        return self.module.weight  # type: ignore[return-value]

    @property
    def bias(self) -> Tensor | None:
        """(out,) or None."""
        return self.module.bias  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output."""
        return F.linear(x, self.weight, self.bias)

    def _positions(self, values: Tensor) -> Tensor:
        """(N, ..., d) -> (U, T, d)."""
        return values.reshape(self.units, -1, values.shape[-1])

    def costs(self, x: Tensor, e: Tensor, perturb: bool) -> LayerCosts:
        """Return what gradients cost for these sizes, and what inner products do."""
        positions, fan_in, fan_out = self.positions(e), x.shape[-1], e.shape[-1]
        return layer_costs(positions, fan_in, fan_out, gram=positions**2 * fan_in, device=x.device, perturb=perturb)

    def dearer_numbers(self, e: Tensor) -> float:
        """Return how many numbers of one unit's output cost more in a batch: products of matrices do not."""
        numbers = super().dearer_numbers(e)
        return numbers if numbers > LARGE_OUTPUT else 0.0

    def gradients(self, x: Tensor, e: Tensor) -> Gradients:
        """Return each unit's gradient of each parameter, (U, *shape)."""
        x, e = self._positions(x), self._positions(e)
        result: Gradients = {}
        if "weight" in self.names:
            result["weight"] = torch.bmm(e.transpose(1, 2), x)
        if "bias" in self.names:
            result["bias"] = e.sum(1)
        return result

    def perturbed(self, x: Tensor, weights: Gradients) -> Tensor:
        """Return the output where each unit has its own weights."""
        own, bias = weights.get("weight"), weights.get("bias")
        if own is not None:
            y = self._product(own.transpose(1, 2), bias)(x)
            return y if bias is not None or self.bias is None else y + self.bias  # which may be of any shape
        if bias is None:
            return self.forward(x)
        y = F.linear(x, self.weight)
        return (self._positions(y) + bias.unsqueeze(1)).view(y.shape)

    def _of_units(self, bias: Tensor | None) -> Tensor | None:
        """Return each unit's own bias (U, out), the layer's if it is None."""
        return bias if bias is not None or self.bias is None else self.bias.expand(self.units, -1)

    def product(self, weights: Iterable[Gradients]) -> Callable[[Tensor], Tensor]:
        """Return :meth:`perturbed` of rows (N, d), with these weights, as a function that is called many times.

        Args:
            weights: Of all units, those of some units after another.
        """
        each = list(weights)
        if "weight" in self.names:
            matrices = torch.cat([own["weight"].transpose(1, 2) for own in each])
        else:
            matrices = self.weight.t().expand(self.units, -1, -1).contiguous()
        bias = torch.cat([own["bias"] for own in each]) if "bias" in self.names else None
        return self._product(matrices, self._of_units(bias))

    def product_along(self, then: Tensor, e: Tensor, step: Tensor) -> Callable[[Tensor], Tensor]:
        """Return :meth:`product` with ``step`` (U,) times the gradient of ``(then, e)`` added to the weights."""
        # The one of a gradient's factors that has fewer numbers, in a recurrent layer, takes the step.
        then, e = self._positions(then).transpose(1, 2) * step.view(-1, 1, 1), self._positions(e)
        moved = self._of_units(None)
        if moved is not None and "bias" in self.names:
            moved = torch.addcmul(moved, e.sum(1), step.unsqueeze(1))
        weight = self.weight.t().contiguous()
        if "weight" in self.names and 2 * (then[0].numel() + e[0].numel()) < weight.numel():
            # The factors stay in the cache, where products would not.
            then = then.contiguous()
            return lambda x: self._along(x, weight, moved, then, e)
        matrices = weight.expand(self.units, -1, -1)
        if "weight" in self.names:
            matrices = torch.baddbmm(matrices, then, e)
        return self._product(matrices.contiguous(), moved)

    def _along(self, x: Tensor, weight: Tensor, bias: Tensor | None, then: Tensor, e: Tensor) -> Tensor:
        """Return ``x (M + A B) + b`` of rows (N, d), with M (d, g) and each unit's own (U, d, T), (U, T, g), (U, g)."""
        inner = torch.bmm(self._positions(x), then)
        y = torch.bmm(inner, e) if bias is None else torch.baddbmm(bias.unsqueeze(1), inner, e)
        return y.view(len(x), -1).addmm_(x, weight)

    def _product(self, matrices: Tensor, bias: Tensor | None) -> Callable[[Tensor], Tensor]:
        """Return ``x ↦ x M + b`` of rows (N, ..., d), with each unit's own (U, d, g) and (U, g)."""
        if bias is None:
            return lambda x: torch.bmm(self._positions(x), matrices).view(*x.shape[:-1], -1)
        each = bias.unsqueeze(1)
        return lambda x: torch.baddbmm(each, self._positions(x), matrices).view(*x.shape[:-1], -1)

    def square_norms(self, x: Tensor, e: Tensor, cache: dict[str, Any]) -> Gradients | None:
        """Return the squared L2 norm of each parameter's gradient from inner products, (U,)."""
        x, e = self._positions(x), self._positions(e)
        result: Gradients = {}
        if "weight" in self.names:
            if "gram" not in cache:
                cache["gram"] = torch.bmm(x, x.transpose(1, 2))
            squares = sum_of_products(torch.bmm(e, e.transpose(1, 2)), cache["gram"], self.units)
            if squares is None:
                return None
            result["weight"] = squares
        if "bias" in self.names:
            result["bias"] = e.sum(1).square().sum(1)
        return result

    def moved_along(self, x: Tensor, then: Tensor, e: Tensor, step: Tensor, cache: dict[str, Any]) -> Tensor:
        """Return the output with a multiple of each unit's gradient added to the weights."""
        y = self.forward(x)
        moved, e, step = self._positions(y), self._positions(e), step.view(-1, 1, 1)
        if "weight" in self.names:
            alike = torch.bmm(self._positions(x), self._positions(then).transpose(1, 2))
            moved = moved.baddbmm_(alike.mul_(step), e)
        if "bias" in self.names:
            moved = moved.addcmul_(e.sum(1, keepdim=True), step)
        return moved.view(y.shape)

    def inner_product_bytes(self, x: Tensor, e: Tensor) -> int:
        """Return about what the inner products hold at once."""
        return 4 * self.units * self.positions(e) ** 2 * e.element_size()
