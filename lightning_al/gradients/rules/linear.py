"""Linear layers: the gradient of a weight is ``Σ_t e_t x_tᵀ`` over the positions of a sample."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_al.gradients.costs import LARGE_OUTPUT, LayerCosts, layer_costs
from lightning_al.gradients.rules.base import Gradients, Rule, register_rule, sum_of_products
from lightning_al.gradients.rules.recurrences import Product, product_of


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
            rows, columns = self._positions(x), own.transpose(1, 2)
            y = torch.bmm(rows, columns) if bias is None else torch.baddbmm(bias.unsqueeze(1), rows, columns)
            y = y.view(*x.shape[:-1], -1)
            return y if bias is not None or self.bias is None else y + self.bias  # which may be of any shape
        if bias is None:
            return self.forward(x)
        y = F.linear(x, self.weight)
        return (self._positions(y) + bias.unsqueeze(1)).view(y.shape)

    def product(self, weights: Iterable[Gradients]) -> Product:
        """Return what :meth:`perturbed` does with these weights, one step after another.

        Args:
            weights: Of all units, those of some units after another.
        """
        each = list(weights)
        bias = torch.cat([own["bias"] for own in each]) if "bias" in self.names else self.bias
        if "weight" in self.names:
            return self._of_matrices(torch.cat([own["weight"].transpose(1, 2) for own in each]), bias)
        return product_of(self.weight, bias)

    def product_along(self, then: Tensor, e: Tensor, step: Tensor) -> Product:
        """Return :meth:`product` with ``step`` (U,) times the gradient of ``(then, e)`` added to the weights."""
        then, e, bias = self._positions(then).transpose(1, 2), self._positions(e), self.bias
        if bias is not None and "bias" in self.names:
            bias = torch.addcmul(bias.expand(self.units, -1), e.sum(1), step.unsqueeze(1))
        if "weight" not in self.names:
            return product_of(self.weight, bias)
        weight = self.weight.t().contiguous()
        # The one of a gradient's factors that has fewer numbers, in a recurrent layer, takes the step.
        then = torch.mul(then, step.view(-1, 1, 1), out=then.new_empty(then.shape))
        if 2 * (then[0].numel() + e[0].numel()) < weight.numel():
            # The factors stay in the cache, where products would not.
            def added(values: Tensor, h: Tensor, out: Tensor) -> None:
                torch.addmm(values, h, weight, out=out)
                self._units(out).baddbmm_(torch.bmm(self._units(h), then), e)

            return Product(added, bias)
        return self._of_matrices(torch.baddbmm(weight.expand(self.units, -1, -1), then, e), bias)

    def _of_matrices(self, matrices: Tensor, bias: Tensor | None) -> Product:
        """Return what each unit's own matrix (U, d, g) does."""

        def added(values: Tensor, h: Tensor, out: Tensor) -> None:
            torch.baddbmm(self._units(values), self._units(h), matrices, out=self._units(out))

        return Product(added, bias)

    def _units(self, rows: Tensor) -> Tensor:
        """Return the same memory as (U, N / U, d)."""
        return rows.view(self.units, -1, rows.shape[-1])

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
            if "bias" in self.names:  # a weight that is called on 1
                alike += 1
            moved = moved.baddbmm_(alike.mul_(step), e)
        elif "bias" in self.names:
            moved = moved.addcmul_(e.sum(1, keepdim=True), step)
        return moved.view(y.shape)

    def inner_product_bytes(self, x: Tensor, e: Tensor) -> int:
        """Return about what the inner products hold at once."""
        return 4 * self.units * self.positions(e) ** 2 * e.element_size()
