"""Parameters that several calls or layers use."""

import torch
from torch import nn

from tests.helpers.exact import FEW, assert_exact
from tests.helpers.models import B, C, Model, Scale, randn, seeded, tied

WORDS = torch.randint(6, (B, 4), generator=torch.Generator().manual_seed(2))


def test_layers_used_twice_and_tied_weights():
    def square():
        return nn.Linear(4, 4)

    twice = seeded(lambda: Model(lambda m, x: m.head(m.first(m.first(x).tanh())), first=square(), head=nn.Linear(4, C)))
    assert_exact(twice, randn(B, 4))
    both = tied(
        lambda m, x: m.head(m.second(m.first(x).tanh())), first=square, second=square, head=lambda: nn.Linear(4, C)
    )
    assert_exact(both, randn(B, 3, 4).mean(1), FEW)
    language = tied(
        lambda m, x: m.second(m.first(x).tanh().mean(1)),
        first=lambda: nn.Embedding(6, 4),
        second=lambda: nn.Linear(4, 6),
    )
    assert_exact(language, WORDS, FEW)
    across = tied(
        lambda m, x: m.head(m.second(m.first(x.flatten(2).transpose(1, 2)).transpose(1, 2)).flatten(1)),
        first=lambda: nn.LayerNorm(4),
        second=lambda: nn.BatchNorm1d(4),
        head=lambda: nn.Linear(12, C),
    )
    assert_exact(across, randn(B, 4, 3), FEW)


def test_a_layer_under_two_names():
    def build():
        layer = nn.Linear(4, 4)
        return nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(4, C))

    assert_exact(seeded(build), randn(B, 4), FEW)


def test_parameters_tied_across_a_layer_with_and_one_without_a_rule():
    def build():
        net = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), Scale(), nn.Linear(4, C))
        net[2].scale = net[1].weight
        return net

    assert_exact(seeded(build), randn(B, 4), FEW)
