"""Which way to a layer's norms costs less, by counting.

Counts are in multiply-adds of a convolution kernel. The weights below are rough ratios of speeds, seen with single
kernels on one AMD EPYC core: batched matrix products reached less than half of a convolution's speed, unfolding an
input cost as much as a hundred multiply-adds per number, and forming the gradient of a weight that does not fit the
cache was bound by memory. Elsewhere they may be off; scores do not depend on them, only their speed.
"""

import torch

BATCHED_PRODUCT = {"cpu": 2.3}
UNFOLD = {"cpu": 100.0}
CACHED_WEIGHTS = 2**18
WORTH_A_CALL = 2**22
"""Multiply-adds of one unit from which it is worth a kernel call of its own."""
UNCACHED = {"cpu": 3.5}


def inner_products_are_cheaper(
    positions: int,
    fan_in: int,
    fan_out: int,
    *,
    device: torch.device,
    perturb: bool,
    groups: int = 1,
    unfolds: bool = False,
) -> bool:
    """Whether a layer's two Gram matrices cost less than its per-sample weight gradient.

    Args:
        positions: T, how often the weights are applied to one unit.
        fan_in: Inputs of an output.
        fan_out: Outputs of a position.
        device: Where.
        perturb: Whether a second pass with the perturbed weights follows.
        groups: Of a grouped convolution.
        unfolds: Whether inputs must be unfolded first.
    """
    kind = device.type
    weights = fan_in * fan_out
    slow = UNCACHED.get(kind, 1.0) if weights > CACHED_WEIGHTS else 1.0
    direct = positions * weights * slow
    unfold = UNFOLD.get(kind, 1.0) * fan_in * groups * positions if unfolds else 0.0
    grams = BATCHED_PRODUCT.get(kind, 1.0) * positions**2 * (fan_in * groups + fan_out) + unfold
    if perturb:
        # Per-sample weights take the place of the shared ones; products come on top of the shared layer.
        direct += positions * weights * slow + 4 * weights
        grams += grams + positions * weights
    return grams < direct
