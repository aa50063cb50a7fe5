"""Embedding tables: the gradient of a row is the sum over the positions that looked it up."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_al.gradients.rules.base import Gradients, Rule, register_rule


@register_rule(nn.Embedding)
class EmbeddingRule(Rule):
    """``y_t = W[x_t]``; the row of ``padding_idx`` has no gradient."""

    low_rank = True

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        """Whether the rule holds for this very layer.

        Renormalising the table changes it, and scaled gradients are no derivatives.
        """
        return "weight" in module._parameters and module.max_norm is None and not module.scale_grad_by_freq

    def _table(self) -> Tensor:
        return self.module.weight  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output."""
        return F.embedding(x, self._table())

    def _positions(self, x: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """Indices (U, T) and gradients (U, T, d), zero where nothing is learnt."""
        x, e = x.reshape(self.units, -1), e.reshape(self.units, -1, e.shape[-1])
        padding: Any = self.module.padding_idx
        return (x, e) if padding is None else (x, e * (x != padding).unsqueeze(2))

    def prefers_inner_products(self, x: Tensor, e: Tensor, perturb: bool) -> bool:
        """Whether inner products cost less than gradients for these sizes.

        Only rows that were looked up have a gradient.
        """
        return True

    def gradients(self, x: Tensor, e: Tensor) -> Gradients:
        """Return each unit's gradient of each parameter, (U, *shape)."""
        x, e = self._positions(x, e)
        grads = e.new_zeros(self.units, *self._table().shape)
        grads.scatter_add_(1, x.unsqueeze(2).expand_as(e), e)
        return {"weight": grads}

    def perturbed(self, x: Tensor, weights: Gradients) -> Tensor:
        """Return the output where each unit has its own weights."""
        index = x.reshape(self.units, -1, 1).expand(-1, -1, self._table().shape[1])
        return weights["weight"].gather(1, index).view(*x.shape, -1)

    def _of_unit(self, x: Tensor) -> Tensor:
        """Tell the rows of one unit from those of another, (U, T)."""
        return x + len(self._table()) * torch.arange(self.units, device=x.device).unsqueeze(1)

    def _sums(self, x: Tensor, e: Tensor, cache: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """The rows that were looked up, in order, and their gradients."""
        x, e = self._positions(x, e)
        if "rows" not in cache:
            cache["rows"] = self._of_unit(x).flatten().unique(return_inverse=True)
        rows, inverse = cache["rows"]
        return rows, e.new_zeros(len(rows), e.shape[2]).index_add_(0, inverse, e.flatten(0, 1))

    def square_norms(self, x: Tensor, e: Tensor, cache: dict[str, Any]) -> Gradients:
        """Return the squared L2 norm of each parameter's gradient from inner products, (U,)."""
        rows, sums = self._sums(x, e, cache)
        unit = rows.div(len(self._table()), rounding_mode="floor")
        return {"weight": sums.new_zeros(self.units).index_add_(0, unit, sums.square().sum(1))}

    def moved_along(self, x: Tensor, then: Tensor, e: Tensor, step: Tensor, cache: dict[str, Any]) -> Tensor:
        """Return the output with a multiple of each unit's gradient added to the weights."""
        rows, sums = self._sums(then, e, cache)
        now = self._of_unit(x.reshape(self.units, -1))
        at = torch.searchsorted(rows, now).clamp(max=len(rows) - 1)
        moved = (rows[at] == now).to(sums.dtype) * step.view(-1, 1)
        return self.forward(x) + (sums[at] * moved.unsqueeze(2)).view(*x.shape, -1)

    def inner_product_bytes(self, x: Tensor, e: Tensor) -> int:
        """Return about what the inner products hold at once."""
        return 3 * e.numel() * e.element_size()
