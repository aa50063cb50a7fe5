"""Passes with dropout by hand: masks drawn and put on one sample at a time, in float64."""

import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.distributed.randomness import generator
from tests.helpers.models import C

T, SEED = 4, 3
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def keep(shape, p, layer, number, call=0, seed=SEED):
    """The mask of a pass, as the docstring says that it follows."""
    return (torch.rand(shape, generator=generator(seed, layer, call, number)) >= p).double()


def passes(model, x, **options):
    return F_al.mc_dropout(model, x, **{"passes": T, "seed": SEED, **options}).detach()


def alone(model, x, **options):
    """Every sample by itself, pass by pass."""
    return torch.cat([passes(model, x[i : i + 1], max_bytes=1, **options) for i in range(len(x))])


def by_hand(model, x):
    """``model(x, number)`` is one pass on one sample."""
    with torch.no_grad():
        return torch.stack([torch.stack([model(s, t) for t in range(T)]) for s in x]).log_softmax(2)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.drop, self.b = nn.Linear(4, 4), nn.Dropout(0.3), nn.Linear(4, C)

    def forward(self, x):
        return self.b(x + self.drop(self.a(x).tanh()))


def plain(x, m, p):
    return x * m / (1 - p) if p < 1 else x * 0


def alpha(x, m, p):
    """Klambauer et al., 2017, section "new dropout technique"."""
    low = -1.0507009873554805 * 1.6732632423543772
    a = ((1 - p) * (1 + p * low**2)) ** -0.5
    return a * (x * m + low * (1 - m)) - a * low * p
