"""Transposed convolutions of one to three dimensions, with stride, padding, output padding, dilation and groups."""

import copy
import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lightning_al.gradients.rules.base import Gradients, Move, Rule, register_rule
from lightning_al.gradients.rules.convolution import ConvolutionRule

_CONVOLVE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@register_rule(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
class TransposedConvolutionRule(ConvolutionRule):
    """``y = wᵀ * x + b``: what a convolution with these weights, from ``y`` to ``x``, sends back.

    So its weights' gradient is that convolution's, with ``e`` for its input and ``x`` for the gradient towards its
    output.
    """

    low_rank = False

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        """Whether the rule holds for this very layer."""
        return "weight" in module._parameters

    @classmethod
    def with_options(cls, module: nn.Module, x: Tensor, *args: Any, **kwargs: Any) -> nn.Module:
        """Return the layer whose own output has the ``output_size`` that this call asks for."""
        size = args[0] if args else kwargs.pop("output_size", None)
        if len(args) > 1 or kwargs:
            return super().with_options(module, x, *args, **kwargs)
        if size is None:
            return module
        m: Any = module
        asked: Any = copy.copy(module)
        nd = len(m.kernel_size)
        padding = m._output_padding(x, list(size), m.stride, m.padding, m.kernel_size, nd, m.dilation)
        asked.output_padding = tuple(padding)
        return asked  # type: ignore[no-any-return]

    def positions(self, e: Tensor) -> int:
        """Return how often the weights were applied to one unit: at each position of the input."""
        return max(super().positions(e) // math.prod(self.stride), 1)

    def gradients(self, x: Tensor, e: Tensor) -> Gradients:
        """Return each unit's gradient of each parameter, (U, *shape)."""
        result: Gradients = {}
        if "weight" in self.names:
            padding: Any = self.module.padding
            # Output padding of a stride or more leaves room for further positions, of which there are none.
            further = [m - n for m, n in zip(self._sizes(e, padding), x.shape[2:], strict=True)]
            if any(further):
                x = F.pad(x, [side for n in reversed(further) for side in (0, n)])
            result["weight"] = self._weight_gradients(e, padding, x)
        if "bias" in self.names:
            result["bias"] = self.sum_rows(e.flatten(2).sum(2))
        return result

    def blocks(self, x: Tensor, e: Tensor) -> Iterator[tuple[slice, Gradients]]:
        """Yield all gradients at once: rows of the weights are inputs, those of the bias outputs."""
        return Rule.blocks(self, x, e)

    def perturbed_along(self, x: Tensor, then: Tensor, e: Tensor, move: Move) -> Tensor:
        """Return the output with the weights that ``move`` makes of the gradients."""
        return Rule.perturbed_along(self, x, then, e, move)

    def perturbed(self, x: Tensor, weights: Gradients) -> Tensor:
        """Return the output where each unit has its own weights."""
        own, bias = weights.get("weight"), weights.get("bias")
        if own is None:
            y = self._send_back(x, self.weight, None if bias is not None else self.bias, self.groups)
            return y if bias is None else y + self.per_row(bias, y, 1)
        if bias is None and self.bias is not None:
            bias = self.bias.expand(self.units, -1)
        own_bias = None if bias is None else bias.reshape(-1)
        y = self._send_back(self._merge(x), own.flatten(0, 1), own_bias, self.groups * self.units)
        return y.unflatten(1, (self.units, -1)).transpose(0, 1).flatten(0, 1)

    def _send_back(self, x: Tensor, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
        m: Any = self.module
        options = {"stride": m.stride, "padding": m.padding, "output_padding": m.output_padding}
        return _CONVOLVE[self.nd](x, weight, bias, **options, groups=groups, dilation=m.dilation)
