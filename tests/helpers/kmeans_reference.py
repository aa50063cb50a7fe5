"""k-means++ by its definition."""

from fractions import Fraction

import torch

from lightning_al.distributed.randomness import Race


def brute_force(points, k, generator, first=None, ids=None):
    """The definition, in exact rational arithmetic; the same race."""
    points = [[Fraction(v) for v in (p if isinstance(p, list) else [p])] for p in points]
    race = Race(generator, torch.tensor(range(len(points)) if ids is None else ids))

    def squared(a, b):
        return sum((u - v) ** 2 for u, v in zip(a, b, strict=True))

    zero = [Fraction(0)] * len(points[0])
    norms = [squared(p, zero) for p in points]
    picks = [max(range(len(points)), key=lambda i: (norms[i], -i)) if first is None else first]
    while len(picks) < k:
        weights = [min(squared(p, points[c]) for c in picks) for p in points]
        if not any(weights):  # the rest by value, or by norm
            value = norms if len(points[0]) > 1 else [p[0] for p in points]
            rest = sorted((i for i in range(len(points)) if i not in picks), key=lambda i: (-value[i], i))
            return picks + rest[: k - len(picks)]
        arrivals = race.exponentials(len(picks)).tolist()
        picks.append(max(range(len(points)), key=lambda i: (weights[i] / Fraction(arrivals[i]), -i)))
    return picks
