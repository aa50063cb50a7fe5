"""The greedy selectors by their definitions, in float64 and with nothing kept from pick to pick."""

from fractions import Fraction

import torch
from hypothesis import strategies as st

from lightning_al.distributed.randomness import Race

SEEDS = st.integers(0, 2**31)


def generator(seed=0):
    """A generator of this seed."""
    return torch.Generator().manual_seed(seed)


def first_of(values, tolerance=1e-9):
    """The lowest position of the largest value, up to rounding."""
    return int(torch.nonzero(values >= values.max() - tolerance * values.abs().max())[0])


def materialised(residuals, features, k, generator):
    """BADGE over the outer products themselves, in float64; the same race."""
    g = torch.einsum("nc,nd->ncd", residuals.double(), features.double()).flatten(1)
    race = Race(generator, torch.arange(len(g)))
    norms = g.norm(dim=1)
    picks = [first_of(norms)]
    while len(picks) < k:
        weights = torch.cdist(g, g[picks], compute_mode="donot_use_mm_for_euclid_dist").amin(1).square()
        if weights.max() <= 1e-12 * norms.max() ** 2:
            norms[picks] = -1.0
            picks.append(first_of(norms))
        else:
            picks.append(int((weights / race.exponentials(len(picks))).argmax()))
    return picks


def farthest_first(features, k, labelled):
    """Greedy k-center with nothing kept from pick to pick, in float64."""
    x = features.double()
    centres = [] if labelled is None else list(labelled.double())
    picks = []
    while len(picks) < k:
        if not centres:
            key = -(x - x.mean(0)).square().sum(1)
        else:
            key = torch.stack([(x - c).square().sum(1) for c in centres]).amin(0)
            if key.max() <= 1e-12 * x.square().sum(1).max():
                key = torch.zeros(len(x), dtype=torch.float64)
                key[picks] = -1.0
        picks.append(first_of(key))
        centres.append(x[picks[-1]])
    return picks


@st.composite
def rows(draw, width, n=None):
    """Some rows twice, some zero; few values, so that many distances are equal."""
    n = draw(st.integers(1, 12)) if n is None else n
    value = st.sampled_from([-2.0, -0.5, 0.0, 0.0, 1.0, 3.0])
    return torch.tensor(draw(st.lists(st.tuples(*[value] * width), min_size=n, max_size=n)), dtype=torch.float64)


def brute_force(points, k, generator, first=None, ids=None):
    """k-means++ in exact rational arithmetic; the same race."""
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
