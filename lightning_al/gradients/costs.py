"""Which way to a layer's norms costs less, and how many samples to work on at once, by counting.

Counts are in multiply-adds of a matrix product. The weights below are rough ratios of speeds, seen with single layers
on one AMD EPYC core. Elsewhere they may be off; scores do not depend on them, only their speed.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

CACHED_WEIGHTS = 2**18
"""Weights of one unit up to which they stay in a core's cache."""

FORM = 40.0
"""Writing a weight's gradient and reading it again for its norm: bound by memory."""

KERNEL = {"cpu": 0.6}
"""A multiply-add of a convolution kernel, its weights cached."""

UNCACHED = {"cpu": 2.2}
"""How much more it costs where they are not."""

UNFOLD = {"cpu": 80.0}
"""Copying one number of what an output position sees."""

ADD = {"cpu": 6.0}
"""Adding one number of a strided view."""

PIXELS = {"cpu": 1.5}
"""A multiply-add of the products of all pixels: their matrices are small and of odd sizes."""

WORTH_A_CALL = {"cpu": 2**22}
"""Multiply-adds of one unit from which it is worth a kernel call of its own, which stays in the cache."""

FORMED_AT_ONCE = {"cpu": 2**21}
"""Weights formed in one call. Larger blocks cost as fresh memory where the system gets them back each time, as it did
when this was seen: see :func:`~lightning_al.inference.memory.keep_freed_memory`."""

ALONE = {"cpu": 1.5e6}
"""What a call of a layer costs beside its numbers, once for every unit where each runs alone, in each pass."""

STEP = {"cpu": 250e3}
"""What a step of a recurrent layer costs a batch, whatever its size, beyond torch's kernel for all steps of one,
in each pass that goes step by step."""

STEP_ALONE = {"cpu": 1.4e6}
"""What a step costs each unit alone where torch has no kernel for all steps of one, in each pass there and back."""

CALL = {"cpu": 3.2e6}
"""What a call of a layer costs a batch beside its numbers, whatever its size, in each pass there and back."""

CALL_ON_MAPS = {"cpu": 4.5e6}
"""The same of a layer that is called on maps."""

UNIT_ALONE = {"cpu": 3e6}
"""What one more unit costs where each runs alone beside its layers, in each pass there and back."""

WORK_OF_STEP = 2**17
"""Multiply-adds by the weights of the state in a step, of all samples, up to which torch's kernel for all steps costs
less on a CPU than they do one by one, though what was between is computed after it."""

KERNEL_OF_STEPS = {"cpu": 500e3}
"""What one more call of torch's kernel for all steps of a recurrent layer costs beside its numbers."""

OWN_WEIGHT = {"cpu": 2.0}
"""How much more a weight of the state costs in a step where each unit has its own, which are too many for the cache,
than where one unit goes through all its steps before the next."""

ELEMENT = {"cpu": 115.0}
"""How much more a number of a layer's output costs in a batch, where each unit's weights are its own, in each pass."""

SMALL_KERNEL = 9
"""Weights of a channel up to which torch's kernel for the weight gradient of a depthwise convolution is fast."""

SMALL_MAP = 256
"""Positions up to which several units' gradients of such small kernels cost less in one call: it is calls that cost."""

LARGE_MAP = 2**16
"""Positions up to which the sums of such a convolution, one number after another, are about as exact as torch's."""

FEW_PAIRS = 81
"""Pairs of a position and an input up to which all their products cost no more than any convolution."""

COPIED_PER_PIXEL = 64
"""Weights of kernels for each pixel of an image up to which it is worth copying them into another order. Of the loop's
time with channels last, an SSD took 0.88 on an Intel Xeon core and 0.94 on an AMD EPYC one; a ResNet-50, which has more
weights, 0.96 and 1.05."""

GAINED = 0.08
"""Of the loop's convolutions, what it gains by channels last where it goes so: an SSD gained that and more."""

LARGE_IMAGE = 2**15
"""Pixels from which convolutions of groups of channels are no slower with channels last: a MobileNetV3 took 0.98 of the
loop's time on the Intel Xeon core, and 1.3 with 64 by 64 pixels."""

MEETING = 0.02
"""Of the numbers that operations work on, how many may meet others of another order in memory. An SSDlite (1.4 %) took
0.9 of the loop's time with channels last, an EfficientNet (3.3 %) 1.03, two convolutions and a mean (12 %) 1.3; a U-Net
(3.5 %) 0.95 and, on the AMD EPYC core, up to 1.4."""

FEW = 12_000
"""Numbers of one unit's output up to which they cost no more: those of some units stay in the cache."""

LARGE_OUTPUT = 2**18
"""Numbers of one unit's output from which those of a few units are read from memory, not from the caches."""


class LayerCosts(NamedTuple):
    """What each unit's gradient of a layer costs, and its second pass if there is one, beside the shared passes.

    Attributes:
        by_gradients: By forming each unit's gradient.
        by_inner_products: By two Gram matrices in its stead.
        forming: Of ``by_gradients``, forming it once.
    """

    by_gradients: float = 0.0
    by_inner_products: float = math.inf
    forming: float = 0.0

    def beyond_loop(self, weights: int, elements: float, device: torch.device, *, perturb: bool) -> float:
        """Return how much more it costs in a batch than with each unit alone; below 0, how much less.

        Args:
            weights: Of the layer.
            elements: Numbers of one unit's output that cost more in a batch.
            device: Where.
            perturb: Whether there is a second pass.
        """
        kind = device.type
        if kind not in ALONE:  # an accelerator has room for many units at a time
            return 0.0
        passes = 2 if perturb else 1
        direct = self.by_gradients + ELEMENT[kind] * max(elements - FEW, 0.0) * passes
        if perturb and weights > CACHED_WEIGHTS:
            direct += self.forming  # once more, rather than kept
        return min(direct, self.by_inner_products) - self.by_gradients - ALONE[kind] * passes


def has_onednn() -> bool:
    """Whether torch's kernels on a CPU are those of oneDNN."""
    onednn = torch.backends.mkldnn
    return bool(onednn.is_available() and onednn.enabled)  # type: ignore[attr-defined]


def prefers_channels_last(weights: int, pixels: int, *, grouped: bool) -> bool:
    """Whether convolutions of one image after another are faster on a CPU with channels last in memory.

    Args:
        weights: Of their kernels, which are copied into that order once for some images.
        pixels: Of one image.
        grouped: Whether some take groups of channels, which is slower so for small images.
    """
    if not has_onednn():
        return False
    return weights <= COPIED_PER_PIXEL * pixels and (not grouped or pixels >= LARGE_IMAGE)


def gained_by_channels_last(work: float, device: torch.device, *, perturb: bool) -> float:
    """Return what the loop gains by channels last.

    Args:
        work: Multiply-adds of one unit's convolutions, forward.
        device: Where.
        perturb: Whether a second pass follows: a backward pass is two more than the first.
    """
    return GAINED * KERNEL.get(device.type, 0.0) * work * (4 if perturb else 3)


def cost_of_batch(calls: Sequence[torch.Tensor], device: torch.device, *, steps: int, perturb: bool) -> float:
    """Return how much more a batch costs than units alone, whatever its size.

    Args:
        calls: What layers are called on.
        device: Where.
        steps: Those of recurrent layers where torch has a kernel for all steps of one unit.
        perturb: Whether a second pass follows.
    """
    kind = device.type
    of_calls = sum((CALL_ON_MAPS if x.ndim > 3 else CALL).get(kind, 0.0) for x in calls)
    of_steps = STEP.get(kind, 0.0) * steps
    return of_calls * _there_and_back(perturb=perturb) + of_steps * (2 if perturb else 1)


def cost_of_steps_alone(steps: int, device: torch.device, *, perturb: bool) -> float:
    """Return what the steps of recurrent layers cost a unit alone where torch has no kernel for all of them."""
    return STEP_ALONE.get(device.type, 0.0) * steps * _there_and_back(perturb=perturb)


def cost_of_unit_alone(device: torch.device, *, perturb: bool) -> float:
    """Return what one more unit costs the plain loop beside what its layers do."""
    return UNIT_ALONE.get(device.type, 0.0) * _there_and_back(perturb=perturb)


def _there_and_back(*, perturb: bool) -> int:
    """How many passes there are: a second one, if it follows, and the backward one count as much as the first."""
    return 3 if perturb else 2


def prefers_kernel_of_steps(x: torch.Tensor, weights: int, *, fused: bool) -> bool:
    """Whether a recurrent layer costs less by torch's kernel for all steps than step by step.

    The kernel does not say what was between: that is computed after it.

    Args:
        x: What the layer is called on, (N, T, c).
        weights: Of the state.
        fused: Whether the kernel does not go step by step itself on a CPU.
    """
    if x.device.type not in STEP:
        return True
    return fused and len(x) * weights < WORK_OF_STEP and x.dtype == torch.float32 and has_onednn()


def prefers_own_kernel(x: torch.Tensor, units: int, weights: int) -> bool:
    """Whether a recurrent layer under each unit's own weights costs less by a call of torch's kernel for each unit.

    Step by step, each step is of all units.

    Args:
        x: What the layer is called on, (N, T, c).
        units: How many there are.
        weights: Of the state, each unit's own.
    """
    kind = x.device.type
    if kind not in STEP or x.dtype != torch.float32 or not has_onednn():
        return False
    stepwise = x.shape[1] * (STEP[kind] + units * OWN_WEIGHT[kind] * weights)
    return units * KERNEL_OF_STEPS[kind] < stepwise


def whole_weights(weights: int, device: torch.device, *, times: int = 1) -> float:
    """Return what it costs one unit to have weights, or gradients, of its own written and read again.

    Args:
        weights: How many.
        device: Where; nothing where an accelerator works on many units at a time.
        times: How often.
    """
    return FORM * weights * times if device.type in ALONE else 0.0


def layer_costs(
    positions: int,
    fan_in: int,
    fan_out: int,
    *,
    gram: float,
    device: torch.device,
    perturb: bool,
    convolves: bool = False,
) -> LayerCosts:
    """Return what a layer's per-sample weight gradient costs, and what two Gram matrices do.

    Args:
        positions: T, how often the weights are applied to one unit.
        fan_in: Inputs of an output.
        fan_out: Outputs of a position.
        gram: What the Gram matrix of the inputs costs.
        device: Where.
        perturb: Whether a second pass with the perturbed weights follows.
        convolves: Whether gradients come from a convolution kernel, else from a matrix product.
    """
    kind = device.type
    weights = fan_in * fan_out
    work = float(positions * weights)
    if convolves:
        work *= KERNEL.get(kind, 1.0) * (UNCACHED.get(kind, 1.0) if weights > CACHED_WEIGHTS else 1.0)
    forming = work + FORM * weights
    direct = forming
    grams = gram + positions**2 * fan_out
    if perturb:
        # Per-sample weights take the place of the shared ones; products come on top of the shared layer.
        direct += forming
        grams += grams + work
    return LayerCosts(direct, grams, forming)


def costs_of_inner_products(
    pixels: int, positions: int, channels: int, *, kernel: int, groups: int, device: torch.device
) -> tuple[float, float]:
    """Return what the inner products of a convolution's inputs cost: by those of pixels, and by unfolding.

    Args:
        pixels: Of one unit, padding included.
        positions: Of one unit's output.
        channels: Of the input.
        kernel: Weights of an input channel.
        groups: Of channels.
        device: Where.
    """
    kind = device.type
    by_pixels = PIXELS.get(kind, 1.0) * pixels**2 * channels + ADD.get(kind, 1.0) * kernel * groups * positions**2
    by_unfolding = positions**2 * channels * kernel + UNFOLD.get(kind, 1.0) * channels * kernel * positions
    return by_pixels, by_unfolding


def units_at_once(units: int, weights: int, positions: int, device: torch.device) -> int:
    """Return how many units' gradients to form in one call.

    Args:
        units: How many there are.
        weights: Of the layer.
        positions: How often they are applied to one unit.
        device: Where.
    """
    kind = device.type
    if kind not in WORTH_A_CALL:
        return units
    if weights * positions >= WORTH_A_CALL[kind]:
        return 1
    return min(units, max(1, FORMED_AT_ONCE[kind] // max(weights, 1)))
