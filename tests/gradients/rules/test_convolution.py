import itertools

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients.rules.convolution import ConvolutionRule
from tests.helpers import reference
from tests.helpers.exact import BRIEF, FEW, SCORES, assert_exact, assert_exact_otherwise, messages, probe
from tests.helpers.extent import examples
from tests.helpers.marks import slow
from tests.helpers.models import B, randn, seeded

KINDS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
WAYS = {
    "inner products of pixels": (True, (0, 1)),
    "inner products, unfolded": (True, (1, 0)),
    "gradients": (False, ()),
}


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    inner_products, costs = WAYS[request.param]
    monkeypatch.setattr(ConvolutionRule, "prefers_inner_products", lambda *a, **k: inner_products)
    if costs:
        monkeypatch.setattr(ConvolutionRule, "inner_product_costs", lambda *a, **k: costs)


@st.composite
def convolutions(draw, nd):
    groups = draw(st.integers(1, 3))
    mode = draw(st.sampled_from(["zeros", "zeros", "reflect", "circular", "replicate"]))
    kernel = draw(st.tuples(*[st.integers(1, 3)] * nd))
    padding = draw(st.one_of(st.sampled_from(["same", "valid"]), st.tuples(*[st.integers(0, 2)] * nd)))
    stride = (1,) * nd if padding == "same" else draw(st.tuples(*[st.integers(1, 3)] * nd))
    dilation = draw(st.tuples(*[st.integers(1, 2)] * nd))
    size = draw(st.tuples(*[st.integers(3, 5)] * nd))
    sides = (0,) * nd if padding == "valid" else padding
    sides = [d * (k - 1) / 2 for d, k in zip(dilation, kernel)] if padding == "same" else sides
    assume(all(n + 2 * p >= d * (k - 1) + 1 for n, p, d, k in zip(size, sides, dilation, kernel)))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "padding_mode": mode}
    channels = (groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2)))
    return channels, kernel, options, size, draw(st.booleans())


@pytest.mark.parametrize("nd", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)])
@examples(4)
@given(data=st.data())
def test_any_shape_equals_the_loop(way, nd, data):
    channels, kernel, options, size, bias = data.draw(convolutions(nd))
    net = probe(lambda: KINDS[nd](*channels, kernel, bias=bias, **options))
    assert_exact(net, randn(B, channels[0], *size), FEW)


@pytest.mark.few(3)
@pytest.mark.parametrize("nd", KINDS)
def test_every_score_equals_the_loop(way, nd):
    net = probe(lambda: KINDS[nd](2, 4, 3, padding=1, stride=2, groups=2))
    assert_exact(net, randn(B, 2, *[5] * nd), tuple(SCORES) if nd == 2 else BRIEF)


@pytest.mark.few(2)
@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_a_frozen_part(way, frozen):
    net = probe(lambda: nn.Conv2d(2, 3, 3))
    getattr(net.layer, frozen).requires_grad_(False)
    assert_exact(net, randn(B, 2, 5, 5), FEW)


def test_an_even_kernel_pads_one_side_more(way):
    assert_exact(probe(lambda: nn.Conv2d(2, 3, (2, 4), padding="same", dilation=(1, 3))), randn(B, 2, 6, 5), FEW)


def test_large_work_goes_one_unit_at_a_time(way, monkeypatch):
    monkeypatch.setattr("lightning_al.gradients.costs.WORTH_A_CALL", {"cpu": 1})
    assert_exact(probe(lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2)), randn(B, 4, 5, 4), FEW)


def test_large_gradients_go_some_units_at_a_time(way, monkeypatch):
    monkeypatch.setattr("lightning_al.gradients.costs.FORMED_AT_ONCE", {"cpu": 2 * 4 * 4 * 9 + 8})
    for nd in KINDS:
        assert_exact(probe(lambda: KINDS[nd](4, 4, 3, padding=1)), randn(B, 4, *[4] * nd), BRIEF)


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("nd", "frozen"),
    [
        case if case[0] == 2 or case[1] is None else slow(*case)
        for case in itertools.product(KINDS, (None, "weight", "bias"))
    ],
)
def test_weights_that_do_not_fit_the_cache_go_some_channels_at_a_time(way, nd, frozen, monkeypatch):
    monkeypatch.setattr("lightning_al.gradients.costs.WORTH_A_CALL", {"cpu": 1})
    for module in ("rules.convolution", "perturbed_losses"):
        monkeypatch.setattr(f"lightning_al.gradients.{module}.CACHED_WEIGHTS", 3 * 2 * 3**nd)
    net = probe(lambda: KINDS[nd](2, 7, 3, padding=1, stride=2))
    if frozen:
        getattr(net.layer, frozen).requires_grad_(False)
    assert_exact(net, randn(B, 2, *[4] * nd), BRIEF)


def test_a_view_of_images_with_channels_last_is_left_to_plain_memory(way):
    """`view` needs plain memory, which is found out on the first samples."""
    net = probe(lambda: nn.Conv2d(2, 3, 3, padding=1), lambda layer, x: layer(x).view(len(x), -1))
    assert_exact(net, randn(B, 2, 4, 4), FEW)


@pytest.mark.few(1)
def test_frames_merged_into_the_batch(way):
    net = probe(lambda: nn.Conv2d(2, 3, 3), lambda layer, x: layer(x.flatten(0, 1)).unflatten(0, (len(x), -1)))
    assert_exact(net, randn(B, 4, 2, 5, 5), FEW)


@pytest.mark.few(1)
def test_called_twice(way):
    def twice(layer, x):
        return layer(layer(x).relu_())

    assert_exact(probe(lambda: nn.Conv2d(3, 3, 3, padding=1), twice), randn(B, 3, 4, 4), FEW)


class Standardised(nn.Conv2d):
    """A derived layer with its own way to convolve."""

    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight - weight.mean((1, 2, 3), keepdim=True), bias)


def test_a_derived_layer_that_convolves_in_its_own_way_has_no_rule():
    net = probe(lambda: Standardised(2, 3, 3))
    with messages() as engine:
        SCORES["sam"][0](net, randn(B, 2, 4, 4))
    assert engine.said == ["No rule for Standardised: their parameters go through torch.func."]
    assert_exact(net, randn(B, 2, 4, 4), FEW)


def test_samples_without_a_batch_dimension_are_refused():
    class OneByOne(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(2, 3, 2)

        def forward(self, x):
            return torch.stack([self.conv(v).mean(-1) for v in x])

    assert_exact_otherwise(seeded(OneByOne), randn(B, 2, 4), "depends on the number of samples")


@pytest.mark.few(1)
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize(
    "changed", [{"padding": "valid"}, {"dilation": (2, 2)}, {"padding": (1, 0)}, {"stride": (2, 1)}]
)
def test_options_that_were_changed_since_the_layer_was_made(groups, changed):
    def build():
        layer = nn.Conv2d(3, 3, 3, padding="valid" if "stride" in changed else "same", groups=groups)
        vars(layer).update(changed)
        return layer

    assert_exact(probe(build), randn(B, 3, 6, 5), FEW)
    net = probe(build).float()
    x = randn(B, 3, 20, 20).float()
    want = reference.gradient_norm(probe(build), x.double())
    torch.testing.assert_close(F_al.gradient_norm(net, x).double(), want, rtol=2e-4, atol=1e-9)
