import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lightning_al.gradients.rules.linear import LinearRule
from tests.helpers.exact import FEW, SCORES, assert_exact, probe
from tests.helpers.extent import examples
from tests.helpers.models import B, randn

WAYS = {"inner products": True, "gradients": False}


@pytest.fixture(params=WAYS, autouse=True)
def way(request, monkeypatch):
    monkeypatch.setattr(LinearRule, "prefers_inner_products", lambda *a, **k: WAYS[request.param])


@examples(5)
@given(
    positions=st.lists(st.integers(1, 4), max_size=2),
    fan_in=st.integers(1, 5),
    fan_out=st.integers(1, 5),
    bias=st.booleans(),
    frozen=st.sampled_from([None, "weight", "bias"]),
)
def test_any_shape_equals_the_loop(way, positions, fan_in, fan_out, bias, frozen):
    net = probe(lambda: nn.Linear(fan_in, fan_out, bias=bias))
    if bias and frozen:
        getattr(net.layer, frozen).requires_grad_(False)
    assert_exact(net, randn(B, *positions, fan_in), FEW)


def test_every_score_equals_the_loop(way):
    assert_exact(probe(lambda: nn.Linear(4, 6)), randn(B, 3, 4))


def test_batch_in_the_second_dimension(way):
    net = probe(lambda: nn.Linear(4, 6), lambda layer, x: layer(x.transpose(0, 1)).transpose(0, 1))
    assert_exact(net, randn(B, 3, 4), FEW)


def test_batch_merged_with_positions(way):
    net = probe(lambda: nn.Linear(4, 6), lambda layer, x: layer(x.flatten(0, 1)).unflatten(0, (len(x), -1)))
    assert_exact(net, randn(B, 3, 4), FEW)


@pytest.mark.parametrize("shape", [(), (1,), (6,), (1, 6), (B, 6)])
def test_a_bias_that_broadcasts(way, shape):
    """One number for all outputs, or other ones at each position, of which there are as many as samples."""

    def forward(layer, x):
        return F.linear(x, layer.weight, randn(*shape).to(x))

    assert_exact(probe(lambda: nn.Linear(4, 6, bias=False), forward), randn(B, B, 4), (*FEW, "asam"))


def test_called_by_keyword(way):
    assert_exact(probe(lambda: nn.Linear(4, 6), lambda layer, x: layer(input=x)), randn(B, 4), FEW)


def test_shape_that_fits_by_chance(way):
    """As many positions as samples: the first dimension alone does not tell which is the batch."""
    net = probe(lambda: nn.Linear(4, 6), lambda layer, x: layer(x.transpose(0, 1)).transpose(0, 1))
    assert_exact(net, randn(B, B, 4), FEW)


def test_what_the_layer_sees_may_not_need_gradients(way):
    net = probe(lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 6)))
    net.layer[0].requires_grad_(False)
    assert_exact(net, randn(B, 4), FEW)
    assert torch.equal(net.layer[0].weight, net.layer[0].weight)


@pytest.mark.parametrize("layer", [lambda: nn.Linear(16, 32), lambda: nn.Conv1d(16, 32, 1)])
def test_inner_products_that_cancel_are_not_trusted_in_float32(layer):
    """Gradients of sum 0 over the positions, as before a normalisation over them, and inputs of large mean."""

    def call(layer, x):
        y = layer(x) if isinstance(layer, nn.Linear) else layer(x.transpose(1, 2)).transpose(1, 2)
        return y - y.mean(1, keepdim=True)

    net = probe(layer, call).float()
    x = (randn(B, 9, 16) + 300).float()
    for name in ("sam", "tensor_sum", "entropy"):
        score, loop, options = SCORES[name]
        got, want = score(net, x, **options), loop(net, x, **options)
        exact = loop(copy.deepcopy(net).double(), x.double(), **options)
        assert float((got - exact).abs().max()) <= 10 * float((want - exact).abs().max()) + 1e-6 * float(exact.max())
