"""Rules of one's own."""

import torch
from torch import nn

from lightning_al.gradients import Rule, register_rule
from lightning_al.gradients.network import Network
from lightning_al.gradients.rules.base import find_rule
from tests.helpers.exact import BRIEF, SCORES, Probe, assert_exact, messages, probe
from tests.helpers.models import B, C, randn, seeded


def test_a_rule_of_ones_own():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.rand(4))

        def forward(self, x):
            return x * self.scale

    class Derived(Gate):
        pass

    @register_rule(Gate)
    class GateRule(Rule):
        def gradients(self, x, e):
            assert self.module.scale.dtype == x.dtype
            assert not self.module.scale.requires_grad
            return {"scale": self.sum_rows((e * x).flatten(1, -2).sum(1) if x.ndim > 2 else e * x)}

        def perturbed(self, x, weights):
            return x * self.per_row(weights["scale"], x)

    for kind in (Gate, Derived):
        assert find_rule(kind()) is GateRule
        net = seeded(lambda: nn.Sequential(nn.Linear(4, 4), kind(), nn.Linear(4, C)))
        assert not Network(net, dict(net.named_parameters()), {}).traced
        assert_exact(net, randn(B, 4))
        assert_exact(probe(kind), randn(B, 3, 4), BRIEF)


def test_a_wrong_rule_is_found_out():
    """A factor of 1 + 1e-5 is below what a comparison in float32 sees."""

    class Slightly(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.rand(4))

        def forward(self, x):
            return x * self.scale

    @register_rule(Slightly)
    class WrongRule(Rule):
        def gradients(self, x, e):
            return {"scale": self.sum_rows(e * x) * (1 + 1e-5)}

        def perturbed(self, x, weights):
            return x * self.per_row(weights["scale"], x)

    net = seeded(lambda: Probe(Slightly())).float()
    with messages() as engine:
        SCORES["tensor_sum"][0](net, randn(B, 4).float(), loss="pseudo_label")
    assert "where the plain loop gives" in engine.fell_back[0]
