"""What becomes of a model's parameters: layers with rules, layers through torch.func, parameters that fit nowhere."""

import gc

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients.network import Network
from tests.helpers.exact import FEW, SCORES, assert_exact, messages
from tests.helpers.models import B, C, Model, randn, seeded
from tests.helpers.ways import WAYS, only


def test_frozen_parts_and_parts_without_gradient():
    def model(freeze):
        net = seeded(
            lambda: nn.Sequential(
                nn.Linear(4, 4),
                nn.Tanh(),
                nn.Linear(4, 4),
                nn.LayerNorm(4),
                nn.MultiheadAttention(4, 2),
                nn.Linear(4, C),
            )
        )
        freeze(net)
        net[4] = nn.Sequential()  # keeps numbers
        return net

    def some(net):
        net[0].requires_grad_(False)
        net[2].bias.requires_grad_(False)
        net[3].weight.requires_grad_(False)

    assert_exact(model(some), randn(B, 4))
    assert_exact(model(lambda net: net[2:].requires_grad_(False)), randn(B, 4), FEW)
    assert_exact(model(lambda net: net[:5].requires_grad_(False)), randn(B, 4), FEW)
    unused = seeded(lambda: Model(lambda m, x: m.head(x), head=nn.Linear(4, C), never=nn.GRU(2, 2)))
    assert_exact(unused, randn(B, 4), FEW)
    detached = seeded(
        lambda: Model(lambda m, x: m.head(x) + m.side(x).detach(), head=nn.Linear(4, C), side=nn.Linear(4, C))
    )
    assert_exact(detached, randn(B, 4), FEW)
    nothing = seeded(lambda: nn.Linear(4, C))
    for name in FEW:
        score, loop, options = SCORES[name]
        with messages() as engine:
            got = score(nothing, randn(B, 4), forward=lambda m, x: m(x).detach(), **options)
        assert not engine.fell_back
        if name == "tensor_sum":
            assert torch.equal(got, torch.zeros(B, dtype=torch.float64))


@pytest.mark.parametrize("shared", [False, True])
def test_a_layer_that_runs_without_gradients(shared):
    """Its own weights have no gradient then; where they have one from another call, they move in both."""

    def forward(m, x):
        with torch.no_grad():
            aside = m.side(x)
        return m.head(m.first(x).tanh() + aside + (m.side(x) if shared else 0))

    net = seeded(lambda: Model(forward, first=nn.Linear(4, 4), side=nn.Linear(4, 4), head=nn.Linear(4, C)))
    assert_exact(net, randn(B, 4), FEW)


def test_a_parametrized_norm():
    def build():
        norm = nn.LayerNorm(4)
        nn.utils.parametrize.register_parametrization(norm, "weight", nn.Softplus())
        return nn.Sequential(nn.Linear(4, 4), norm, nn.Linear(4, C))

    assert_exact(seeded(build), randn(B, 4), FEW)


def test_a_layers_own_forward_of_the_instance_stays():
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, C)))
    same = nn.Sequential(net[0], nn.Tanh(), net[1])
    want = {name: SCORES[name][0](same, randn(B, 4), **SCORES[name][2]) for name in FEW}
    own = net[0].forward

    def replaced(x):
        return own(x).tanh()

    net[0].forward = replaced
    for name in FEW:
        with messages() as engine:
            torch.testing.assert_close(SCORES[name][0](net, randn(B, 4), **SCORES[name][2]), want[name])
        assert not engine.fell_back
        assert net[0].forward is replaced


class Asking(nn.Module):
    """Does something else where a weight is no parameter, and so do layers with and without a rule in it."""

    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.rand(4))

        def forward(self, x):
            return x * self.scale if isinstance(self.scale, nn.Parameter) else x

    def __init__(self):
        super().__init__()
        self.first, self.scale, self.head = nn.Linear(4, 4), self.Scale(), nn.Linear(4, C)
        self.own = nn.Parameter(torch.rand(4))

    def forward(self, x):
        h = self.first(x)
        h = h.sin() if isinstance(self.first.weight, nn.Parameter) else h
        h = h * self.own if isinstance(self.own, nn.Parameter) else h
        return self.head(self.scale(h).tanh())


@pytest.mark.parametrize("way", WAYS)
def test_models_that_ask_whether_a_weight_is_a_parameter(way, monkeypatch):
    max_bytes = only(way, monkeypatch)
    net, x = seeded(Asking), randn(B, 4)
    for name in FEW:
        score, loop, options = SCORES[name]
        got = score(net, x, max_bytes=max_bytes, **options)
        torch.testing.assert_close(got, loop(net, x, **options), rtol=1e-9, atol=1e-9)


def test_nothing_of_a_call_is_kept():
    """Not even until circles of references are collected: gradients of many samples are large."""
    net = seeded(lambda: Model(lambda m, x: m.head(m.layer(m.layer(x))), layer=nn.Linear(4, 4), head=nn.Linear(4, C)))
    F_al.saal(net, randn(B, 4), rho=0.3)
    gc.collect()
    gc.disable()
    try:
        F_al.saal(net, randn(B, 4), rho=0.3)
        assert not [made for made in gc.get_objects() if type(made) is Network]
    finally:
        gc.enable()
