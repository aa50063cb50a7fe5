"""Gradients of a depthwise convolution's weights, for which torch's kernels on a CPU take up to fifty times as long.

``dL/dw[c, k] = Σ_t e[c, t] x[c, s t + d k - p]`` with the stride s, the dilation d and the padding p: a depthwise
convolution of ``x`` itself, whose kernel is ``e``, which is what torch is fast at.
"""

import contextlib
import functools
import math
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import _get_current_function_mode

from lightning_al.gradients.costs import FEW_PAIRS, LARGE_MAP, SMALL_KERNEL, SMALL_MAP, has_onednn
from lightning_al.gradients.errors import NoRule

CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}

Sizes = tuple[int, ...]


class Window(NamedTuple):
    """Which inputs an output position sees, along each axis."""

    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes


def is_depthwise(layer: nn.Module) -> bool:
    """Whether each channel of a convolution has one kernel of its own."""
    return bool(layer.groups == layer.in_channels == layer.out_channels)


def has_faster_way(e: Tensor, window: Window, units: int = 1) -> bool:
    """Whether :func:`depthwise_gradients` costs less than torch's kernel.

    Args:
        e: The gradient towards the layer's output, (N, C, *positions).
        window: Of the layer.
        units: How many gradients are formed in one call, if channels of ``e`` are those of several.
    """
    on_cpu = e.device.type == "cpu" and e.is_floating_point()
    return on_cpu and (_prefers_pairs(e, window) or _prefers_convolution(e, window, units))


def depthwise_gradients(x: Tensor, e: Tensor, window: Window) -> Tensor:
    """Return the gradient of the weights, (C, 1, *kernel).

    Args:
        x: What the layer was called on, (N, C, *size); rows are added up.
        e: The gradient towards its output, (N, C, *positions).
        window: Of the layer.

    Raises:
        NoRule: If the positions are not those of the window.
    """
    for n, positions, kernel, stride, padding, dilation in zip(x.shape[2:], e.shape[2:], *window, strict=True):
        if positions != (n + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1:
            raise NoRule(f"a convolution whose options are not those that it has gone by ({window})")
    rows, way = len(x), _by_pairs if _prefers_pairs(e, window) else _by_convolution
    of_channels = way(x.flatten(0, 1), e.flatten(0, 1), window)
    return of_channels if rows == 1 else of_channels.unflatten(0, (rows, -1)).sum(0)


def _prefers_pairs(e: Tensor, window: Window) -> bool:
    return e.shape[2:].numel() ** 2 * math.prod(window.stride) <= FEW_PAIRS


def _prefers_convolution(e: Tensor, window: Window, units: int) -> bool:
    """Whether torch has a fast kernel for the convolution whose kernel is ``e``, and none for the gradient."""
    sizes = e.shape[2:]
    if len(sizes) == 1 or max(window.dilation) > 1 or e.dtype != torch.float32 or not has_onednn():
        return False
    if sizes.numel() > LARGE_MAP:
        return False
    if any(p > s * (n - 1) for n, s, p in zip(sizes, window.stride, window.padding, strict=True)):
        return False
    return math.prod(window.kernel) > SMALL_KERNEL or (units > 1 and sizes.numel() <= SMALL_MAP)


def _by_convolution(x: Tensor, e: Tensor, window: Window) -> Tensor:
    """Return the gradient of the weights for ``x`` (C, *size) and ``e`` (C, *positions)."""
    convolve = CONVOLVE[x.ndim - 1]
    stride, dilation = window.dilation, window.stride
    sums = convolve(x[None], e[:, None], stride=stride, padding=window.padding, dilation=dilation, groups=len(x))
    for axis, weights in enumerate(window.kernel, 2):
        sums = sums.narrow(axis, 0, weights)  # a stride leaves inputs over that no position sees
    return sums[0].unsqueeze(1)


def _by_pairs(x: Tensor, e: Tensor, window: Window) -> Tensor:
    """The same by the products of all positions with all inputs, each of which belongs to one weight or to none."""
    axes = []
    for axis, sizes in enumerate(zip(x.shape[1:], e.shape[1:], *window, strict=True), 1):
        seen = _seen(*sizes, like=x)
        inputs, positions = (seen.any(others).nonzero()[:, 0] for others in ((0, 2), (1, 2)))
        # The others have no part in the gradient, whatever they are: no product is made of them.
        x, e = x.index_select(axis, inputs), e.index_select(axis, positions)
        axes.append(seen[positions][:, inputs])
    which = functools.reduce(torch.kron, axes)  # (positions, inputs, weights)
    pairs = e.flatten(1).unsqueeze(2) * x.flatten(1).unsqueeze(1)
    return (pairs.flatten(1) @ which.flatten(0, 1)).view(len(x), 1, *window.kernel)


def _seen(
    inputs: int, positions: int, kernel: int, stride: int, padding: int, dilation: int, *, like: Tensor
) -> Tensor:
    """Return 1 where a position sees an input under a weight along one axis, else 0."""
    at, of, under = (torch.arange(n, device=like.device) for n in (positions, inputs, kernel))
    sees = at[:, None, None] * stride + under * dilation - padding
    return (sees == of[:, None]).to(like.dtype)


class _Convolution(torch.autograd.Function):
    """A depthwise convolution, whose weights' gradient is ours."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, window: Window) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.window, ctx.biases = window, None if bias is None else [len(bias)]
        y: Tensor = CONVOLVE[x.ndim - 2](x, weight, bias, *window[1:], groups=len(weight))
        return y

    @staticmethod
    def backward(ctx: Any, e: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        window: Window = ctx.window
        to_x, to_weight, to_bias, _ = ctx.needs_input_grad
        own = to_weight and has_faster_way(e, window)
        of_weight = depthwise_gradients(x, e, window) if own else None
        of_bias = e.flatten(2).sum((0, 2)) if own and to_bias else None  # torch's comes with the weight's, slowly
        asked = [to_x, to_weight and not own, to_bias and not own]
        options = (*window[1:], False, [0] * len(window.kernel), len(weight), asked)
        others = torch.ops.aten.convolution_backward(e, x, weight, ctx.biases, *options)
        return others[0], others[1] if of_weight is None else of_weight, others[2] if of_bias is None else of_bias, None


def has_slow_gradient(layer: nn.modules.conv._ConvNd) -> bool:
    """Whether :func:`forward` may be faster for a convolution than its own."""
    large = type(layer) in _FASTER and layer.weight.shape[2:].numel() > SMALL_KERNEL
    return large and is_depthwise(layer) and layer.padding_mode == "zeros"


def sides_of(layer: Any) -> list[tuple[int, int]]:
    """Return how many zeros are before and behind along each axis, by a layer's options as they are."""
    if layer.padding == "valid":
        return [(0, 0)] * (layer.weight.ndim - 2)
    if layer.padding == "same":
        totals = [d * (k - 1) for d, k in zip(layer.dilation, layer.weight.shape[2:], strict=True)]
        return [(total // 2, total - total // 2) for total in totals]
    return [(p, p) for p in layer.padding]


def _padding_of(layer: Any) -> Sizes | None:
    """Return the padding, the same on both sides; None where there is none such, or torch refuses it."""
    sides = sides_of(layer)
    refused = layer.padding == "same" and max(layer.stride) > 1
    return None if refused or any(before != behind for before, behind in sides) else tuple(p for p, _ in sides)


_OWN = {nd: (kind.forward, kind._conv_forward) for nd, kind in ((2, nn.Conv2d), (3, nn.Conv3d))}


def forward(layer: Any, input: Tensor) -> Tensor:
    """Return what a depthwise convolution gives, so that its gradients come faster.

    Calls that others have their hands in, and those of anything but plain tensors, are as torch does them.
    """
    nd = layer.weight.ndim - 2
    kind: Any = {2: nn.Conv2d, 3: nn.Conv3d}[nd]
    padding = _padding_of(layer)
    if (
        type(input) is Tensor
        and input.ndim == 2 + nd
        and input.dtype == layer.weight.dtype
        and type(layer.weight) in (Tensor, nn.Parameter)
        and layer.padding_mode == "zeros"
        and padding is not None
        and (kind.forward, kind._conv_forward) == _OWN[nd]
        and getattr(F, f"conv{nd}d") is CONVOLVE[nd]
        and "_conv_forward" not in vars(layer)
        and _get_current_function_mode() is None
        and not torch.is_autocast_enabled(input.device.type)
    ):
        window = Window(tuple(layer.weight.shape[2:]), layer.stride, padding, layer.dilation)
        return _Convolution.apply(input, layer.weight, layer.bias, window)  # type: ignore[no-untyped-call, no-any-return]
    y: Tensor = kind.forward(layer, input)
    return y


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` with this forward: a class, since a copy that a model makes of a layer has it as well."""

    forward = forward


class Conv3d(nn.Conv3d):
    """``nn.Conv3d`` with this forward."""

    forward = forward


_FASTER: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: Conv2d, nn.Conv3d: Conv3d}
_PLAIN = {faster: plain for plain, faster in _FASTER.items()}


@contextlib.contextmanager
def faster(layers: Collection[nn.Module]) -> Iterator[None]:
    """Give these layers the faster forward inside."""
    try:
        for layer in layers:
            layer.__class__ = _FASTER[type(layer)]
        yield
    finally:
        for layer in layers:
            if type(layer) in _PLAIN:
                layer.__class__ = _PLAIN[type(layer)]
