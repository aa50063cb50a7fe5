"""Convolutions of one to three dimensions, with stride, padding, dilation and groups."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_al.gradients.costs import (
    CACHED_WEIGHTS,
    LayerCosts,
    costs_of_inner_products,
    layer_costs,
)
from lightning_al.gradients.product import product
from lightning_al.gradients.rules.base import Gradients, Move, Rule, register_rule, sum_of_products
from lightning_al.gradients.rules.depthwise import (
    CONVOLVE,
    Window,
    depthwise_gradients,
    has_faster_way,
    is_depthwise,
    sides_of,
)


@register_rule(nn.Conv1d, nn.Conv2d, nn.Conv3d)
class ConvolutionRule(Rule):
    """``y = w * x + b``.

    The gradient of a unit's own weights is one group of a grouped convolution over all units, and so is the output
    under its own perturbed weights.
    """

    low_rank = True
    features_dim = 1
    takes_images = True

    @classmethod
    def accepts(cls, module: nn.Module) -> bool:
        """Whether the rule holds for this very layer.

        Weights that other weights parametrize are not the layer's own.
        """
        convolve = getattr(module, "_conv_forward", None)  # `forward` is only a call of it
        convolve = getattr(convolve, "__func__", convolve)
        inherited = convolve in (nn.Conv1d._conv_forward, nn.Conv2d._conv_forward, nn.Conv3d._conv_forward)
        return "weight" in module._parameters and inherited

    def __init__(self, module: nn.Module, names: tuple[str, ...], units: int) -> None:
        super().__init__(module, names, units)
        self.nd = len(module.kernel_size)  # type: ignore[arg-type]
        self.stride: tuple[int, ...] = module.stride  # type: ignore[assignment]
        self.dilation: tuple[int, ...] = module.dilation  # type: ignore[assignment]
        self.kernel: tuple[int, ...] = tuple(self.weight.shape[2:])
        self.groups: int = module.groups  # type: ignore[assignment]

    @property
    def weight(self) -> Tensor:
        """(out, in / groups, *kernel)."""
        return self.module.weight  # type: ignore[return-value]

    @property
    def bias(self) -> Tensor | None:
        """(out,) or None."""
        return self.module.bias  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output; of single pixels as a linear layer does it, which is faster."""
        if not self._is_pointwise() or x.shape[2:].numel() != 1 or any(self._padded(x)[1]):
            return super().forward(x)
        return F.linear(x.flatten(1), self.weight.flatten(1), self.bias).view(len(x), -1, *[1] * self.nd)

    def _padded(self, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """Return the input and the zero padding that is left for the kernel to do."""
        module: Any = self.module
        if module.padding_mode != "zeros":
            return F.pad(x, module._reversed_padding_repeated_twice, mode=module.padding_mode), (0,) * self.nd
        if not isinstance(module.padding, str):
            return x, module.padding
        sides = self._sides()
        if all(before == behind for before, behind in sides):
            return x, tuple(before for before, _ in sides)
        return F.pad(x, [side for both in reversed(sides) for side in both]), (0,) * self.nd

    def _sides(self) -> list[tuple[int, int]]:
        """What is padded before and behind along each axis, by the layer's options as they are."""
        module: Any = self.module
        if module.padding_mode != "zeros":  # padded so when it was made, whatever its options are now
            flat = module._reversed_padding_repeated_twice
            return list(zip(flat[::2], flat[1::2], strict=True))[::-1]
        return sides_of(module)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None, padding: Any, groups: int) -> Tensor:
        convolve = CONVOLVE[self.nd]
        return convolve(x, weight, bias, stride=self.stride, padding=padding, dilation=self.dilation, groups=groups)

    def costs(self, x: Tensor, e: Tensor, perturb: bool) -> LayerCosts:
        """Return what gradients cost for these sizes, and what inner products do."""
        return layer_costs(
            self.positions(e),
            self.weight.numel() // len(self.weight),
            len(self.weight),
            gram=min(self.inner_product_costs(x, self.positions(e))),
            device=x.device,
            perturb=perturb,
            convolves=True,
        )

    def units_at_once(self, weights: int, e: Tensor) -> int:
        """Return how many units' gradients to form in one call.

        Merged into one call, volumes gain, and many groups lose.
        """
        if e.device.type == "cpu" and not self._is_product():
            if self.nd == 3:
                return self.units
            if self.groups > 1 and weights * self.positions(e) >= 2**16 and not self._is_faster_by_depth(e):
                return 1
        return super().units_at_once(weights, e)

    # -- gradients -------------------------------------------------------------------------------------------------

    def gradients(self, x: Tensor, e: Tensor) -> Gradients:
        """Return each unit's gradient of each parameter, (U, *shape)."""
        result: Gradients = {}
        if "weight" in self.names:
            result["weight"] = self._weight_gradients(*self._padded(x), e)
        if "bias" in self.names:
            result["bias"] = self.sum_rows(e.flatten(2).sum(2))
        return result

    def _weight_gradients(self, x: Tensor, padding: tuple[int, ...], e: Tensor) -> Tensor:
        shape, units = self.weight.shape, self.units
        if units == 1 and self._is_product():
            return product(self._by_group(e)[0], self._unfold(x, padding)[0]).view(1, *shape)
        # Grouped kernels are slow on accelerators, batched products are fast.
        if x.device.type != "cpu" or self._is_pointwise():
            return torch.bmm(self._by_group(e), self._unfold(x, padding).transpose(1, 2)).view(units, *shape)
        x, e = self._merge(x), self._merge(e)
        if self._is_faster_by_depth(e):
            return depthwise_gradients(x, e, self._window(padding)).view(units, *shape)
        # Weights are asked for, of which the values do not count; in another order than the images' they are copied.
        is_last = self.nd == 2 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        order = torch.channels_last if is_last else torch.contiguous_format
        like = torch.empty(units * shape[0], *shape[1:], dtype=x.dtype, device=x.device, memory_format=order)
        options = (self.stride, padding, self.dilation, False, [0] * self.nd, self.groups * units)
        grads: Tensor = torch.ops.aten.convolution_backward(e, x, like, None, *options, [False, True, False])[1]
        return grads.view(units, *shape)

    def _is_pointwise(self) -> bool:
        """Whether an output position sees one pixel, so that nothing need be unfolded for a product."""
        return math.prod(self.kernel) == 1 and self.groups == 1

    def _is_faster_by_depth(self, e: Tensor) -> bool:
        """Whether each channel has one kernel of its own, whose gradient torch is slow at."""
        window = self._window(tuple(map(max, self._sides())))
        return is_depthwise(self.module) and has_faster_way(e, window, self.units)

    def _window(self, padding: tuple[int, ...]) -> Window:
        return Window(self.kernel, self.stride, padding, self.dilation)

    def _is_product(self) -> bool:
        """Whether one unit's weights are so many that convolution kernels, which copy them first, lose to a product."""
        weight = self.weight
        return (
            self.groups == 1
            and weight.device.type == "cpu"
            and weight.numel() > CACHED_WEIGHTS
            and weight.is_contiguous()
        )

    def blocks(self, x: Tensor, e: Tensor) -> Iterator[tuple[slice, Gradients]]:
        """Yield the gradients a part at a time.

        Large products some output channels at a time, which stay in the cache.
        """
        if self.units > 1 or "weight" not in self.names or not self._is_product():
            yield from super().blocks(x, e)
            return
        weight = self.weight
        unfolded, folded = self._unfold(*self._padded(x))[0], self._by_group(e)[0]
        size = max(1, CACHED_WEIGHTS // len(unfolded))
        for start in range(0, len(weight), size):
            some = slice(start, min(start + size, len(weight)))
            result = {"weight": product(folded[some], unfolded).view(1, -1, *weight.shape[1:])}
            if "bias" in self.names:
                result["bias"] = folded[some].sum(1).unsqueeze(0)
            yield some, result

    def perturbed_along(self, x: Tensor, then: Tensor, e: Tensor, move: Move) -> Tensor:
        """Return the output with the weights that ``move`` makes of the gradients."""
        if self.units > 1 or "weight" not in self.names or not self._is_product() or len(x) > 1:
            return super().perturbed_along(x, then, e, move)
        x, padding = self._padded(x)
        unfolded = self._unfold(x, padding)[0].t().contiguous()
        y = x.new_empty(len(self.weight), len(unfolded))
        for some, gradients in self.blocks(then, e):
            weights = move(some, gradients)
            y[some] = product(weights["weight"].flatten(2)[0], unfolded)
            bias = weights["bias"][0] if "bias" in weights else None if self.bias is None else self.bias[some]
            if bias is not None:
                y[some] += bias.unsqueeze(1)
        return y.view(1, -1, *self._sizes(x, padding))

    def _sizes(self, x: Tensor, padding: tuple[int, ...]) -> list[int]:
        """Height and the like of the output."""
        each = zip(x.shape[2:], padding, self.dilation, self.kernel, self.stride, strict=True)
        return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, p, d, k, s in each]

    def _merge(self, x: Tensor) -> Tensor:
        """Make the units groups of channels, (N, C, ...) -> (N / U, U * C, ...)."""
        if self.units == 1:  # views would lose how the channels lie in memory, and be copied for it
            return x
        return x.unflatten(0, (self.units, -1)).transpose(0, 1).flatten(1, 2)

    def perturbed(self, x: Tensor, weights: Gradients) -> Tensor:
        """Return the output where each unit has its own weights."""
        x, padding = self._padded(x)
        own, bias = weights.get("weight"), weights.get("bias")
        if own is not None:
            if bias is None and self.bias is not None:
                bias = self.bias.expand(self.units, -1)
            return self._with_weights(x, own, bias, padding)
        y = self._convolve(x, self.weight, None if bias is not None else self.bias, padding, self.groups)
        return y if bias is None else y + self.per_row(bias, y, 1)

    def _with_weights(self, x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...]) -> Tensor:
        """Return the output under each unit's own weights (U, *shape) and biases (U, out)."""
        units = self.units
        if len(x) == units and (self._is_pointwise() or (units == 1 and self._is_product())):
            unfolded, flat = self._unfold(x, padding), weight.flatten(2)
            y = torch.bmm(flat, unfolded) if units > 1 else product(flat[0], unfolded[0].t().contiguous())
            y = y.view(units, -1, *self._sizes(x, padding))
            return y if bias is None else y.add_(self.per_row(bias, y, 1))
        own_bias = None if bias is None else bias.reshape(-1)  # at no cost in the kernel
        y = self._convolve(self._merge(x), weight.flatten(0, 1), own_bias, padding, self.groups * units)
        return y if units == 1 else y.unflatten(1, (units, -1)).transpose(0, 1).flatten(0, 1)

    # -- inner products --------------------------------------------------------------------------------------------

    def inner_product_costs(self, x: Tensor, positions: int) -> tuple[float, float]:
        """Return what :meth:`_alike` costs for one unit by pixels, and by unfolding."""
        kernel = math.prod(self.kernel)
        return costs_of_inner_products(
            self._pixels(x), positions, x.shape[1], kernel=kernel, groups=self.groups, device=x.device
        )

    def _pixels(self, x: Tensor) -> int:
        """Return how many pixels one unit has, padding included."""
        sizes = (n + sum(both) for n, both in zip(x.shape[2:], self._sides(), strict=False))
        return len(x) // self.units * math.prod(sizes)

    def inner_product_bytes(self, x: Tensor, e: Tensor) -> int:
        """Return about what the inner products hold at once."""
        positions = self.positions(e)
        by_pixels, by_unfolding = self.inner_product_costs(x, positions)
        if by_pixels <= by_unfolding:
            inputs = self.groups * self._pixels(x) ** 2
        else:
            inputs = 2 * x.shape[1] * math.prod(self.kernel) * positions
        return self.units * (inputs + 3 * self.groups * positions**2) * e.element_size()

    def _alike(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the inner products of what the output positions of ``a`` and of ``b`` see, (U * groups, T, T).

        They are sums of inner products of pixels, one for each weight of the kernel, ``Σ_o ⟨a[t + o], b[t' + o]⟩``, so
        that nothing need be unfolded.
        """
        unpadded = a
        (a, padding), (b, _) = self._padded(a), self._padded(b)
        sizes = self._sizes(a, padding)
        rows = len(a) // self.units
        positions = rows * math.prod(sizes)
        by_pixels, by_unfolding = self.inner_product_costs(unpadded, positions)
        if by_unfolding < by_pixels:
            return torch.bmm(self._unfold(a, padding).transpose(1, 2), self._unfold(b, padding))
        sides = [side for p in reversed(padding) for side in (p, p)]
        a, b = F.pad(a, sides), F.pad(b, sides)
        pixels = torch.bmm(self._by_group(a).transpose(1, 2), self._by_group(b))
        grid = pixels.view(-1, rows, *a.shape[2:], rows, *b.shape[2:])
        first, *others = (grid[index] for index in self._offsets(sizes))
        total = first.clone(memory_format=torch.contiguous_format)
        for products in others:
            total.add_(products)
        return total.view(len(pixels), positions, -1)

    def _offsets(self, sizes: list[int]) -> Iterator[tuple[slice, ...]]:
        """Yield, for each weight of the kernel, where the pixels under it are in a grid of pixels by pixels."""
        everything = slice(None)
        for offsets in itertools.product(*map(range, self.kernel)):
            starts = [o * d for o, d in zip(offsets, self.dilation, strict=True)]
            at = tuple(slice(o, o + s * (n - 1) + 1, s) for o, s, n in zip(starts, self.stride, sizes, strict=True))
            yield everything, everything, *at, everything, *at

    def _unfold(self, x: Tensor, padding: tuple[int, ...]) -> Tensor:
        """Return what each output position sees, (N, C, ...) -> (U * groups, in / groups * kernel, T)."""
        if all(k == 1 for k in self.kernel) and not any(padding):
            everything = slice(None)
            index = (everything, everything, *(slice(None, None, s) for s in self.stride))
            patches = x[index].flatten(2)
        elif self.nd == 2:
            patches = F.unfold(x, self.kernel, dilation=self.dilation, padding=padding, stride=self.stride)
        else:
            sides = [side for p in reversed(padding) for side in (p, p)]
            view = F.pad(x, sides)
            for axis, (k, d, s) in enumerate(zip(self.kernel, self.dilation, self.stride, strict=True)):
                view = view.unfold(2 + axis, (k - 1) * d + 1, s)[..., ::d]
            patches = view.permute(0, 1, *range(2 + self.nd, 2 + 2 * self.nd), *range(2, 2 + self.nd))
            patches = patches.reshape(len(x), x.shape[1] * self.weight[0, 0].numel(), -1)
        return self._by_group(patches)

    def _by_group(self, values: Tensor) -> Tensor:
        """(N, C, ...) -> (U * groups, C / groups, T)."""
        values = values.flatten(2)
        if len(values) != self.units:
            values = values.unflatten(0, (self.units, -1)).transpose(1, 2).flatten(2)
        return values.reshape(self.units * self.groups, -1, values.shape[-1])

    def square_norms(self, x: Tensor, e: Tensor, cache: dict[str, Any]) -> Gradients | None:
        """Return the squared L2 norm of each parameter's gradient from inner products, (U,)."""
        result: Gradients = {}
        if "weight" in self.names:
            if "gram" not in cache:
                cache["gram"] = self._alike(x, x)
            folded = self._by_group(e)
            squares = sum_of_products(torch.bmm(folded.transpose(1, 2), folded), cache["gram"], self.units)
            if squares is None:
                return None
            result["weight"] = squares
        if "bias" in self.names:
            result["bias"] = self.sum_rows(e.flatten(2).sum(2)).square().sum(1)
        return result

    def moved_along(self, x: Tensor, then: Tensor, e: Tensor, step: Tensor, cache: dict[str, Any]) -> Tensor:
        """Return the output with a multiple of each unit's gradient added to the weights."""
        y = self.forward(x)
        if "weight" in self.names:
            products = self._alike(then, x)
            steps = step.repeat_interleave(self.groups).view(-1, 1, 1)
            update = torch.bmm(self._by_group(e) * steps, products).view(self.units, e.shape[1], -1)
            rows = len(y) // self.units
            if rows > 1:
                update = update.unflatten(2, (rows, -1)).transpose(1, 2).flatten(0, 1)
            y = y + update.view(y.shape)
        if "bias" in self.names:
            y = y + self.per_row(self.sum_rows(e.flatten(2).sum(2)) * step.view(-1, 1), y, 1)
        return y
