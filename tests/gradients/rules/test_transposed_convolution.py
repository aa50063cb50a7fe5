import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from lightning_al import functional as F_al
from tests.helpers.exact import BRIEF, FEW, SCORES, assert_exact, messages, probe
from tests.helpers.extent import examples
from tests.helpers.models import B, randn, seeded

KINDS = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


@st.composite
def convolutions(draw, nd):
    groups = draw(st.integers(1, 3))
    kernel, padding, stride, dilation, size = (
        draw(st.tuples(*[st.integers(low, high)] * nd)) for low, high in ((1, 3), (0, 1), (1, 3), (1, 2), (2, 4))
    )
    output_padding = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True))
    of_sides = zip(size, stride, padding, dilation, kernel, output_padding, strict=True)
    assume(all((n - 1) * s - 2 * p + d * (k - 1) + o + 1 >= 1 for n, s, p, d, k, o in of_sides))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "output_padding": output_padding}
    channels = (groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2)))
    return channels, kernel, {**options, "groups": groups}, size, draw(st.booleans())


@pytest.mark.parametrize("nd", [pytest.param(1, marks=pytest.mark.slow), 2, pytest.param(3, marks=pytest.mark.slow)])
@examples(4)
@given(data=st.data())
def test_any_shape_equals_the_loop(nd, data):
    channels, kernel, options, size, bias = data.draw(convolutions(nd))
    net = probe(lambda: KINDS[nd](*channels, kernel, bias=bias, **options))
    assert_exact(net, randn(B, channels[0], *size), FEW)


@pytest.mark.few(1)
@pytest.mark.parametrize("nd", KINDS)
def test_every_score_equals_the_loop(nd):
    net = probe(lambda: KINDS[nd](2, 4, 3, padding=1, stride=2, groups=2))
    assert_exact(net, randn(B, 2, *[3] * nd), tuple(SCORES) if nd == 2 else BRIEF)


@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_a_frozen_part(frozen):
    net = probe(lambda: nn.ConvTranspose2d(2, 3, 2, stride=2))
    getattr(net.layer, frozen).requires_grad_(False)
    assert_exact(net, randn(B, 2, 3, 4), FEW)


@pytest.mark.few(1)
@pytest.mark.parametrize("cached", [2**18, 3])
def test_large_work_goes_one_unit_at_a_time(cached, monkeypatch):
    monkeypatch.setattr("lightning_al.gradients.costs.WORTH_A_CALL", {"cpu": 1})
    for module in ("rules.convolution", "perturbed_losses"):
        monkeypatch.setattr(f"lightning_al.gradients.{module}.CACHED_WEIGHTS", cached)
    for options in ({"groups": 2}, {"padding": 1, "output_padding": 1}):
        assert_exact(probe(lambda o=options: nn.ConvTranspose2d(4, 4, 3, stride=2, **o)), randn(B, 4, 3, 4), FEW)


@pytest.mark.parametrize("size", [(7, 8), [8, 9], None])
def test_the_size_of_the_output_is_asked_for(size):
    """As a U-Net does whose maps are halved to whole numbers."""
    net = probe(lambda: nn.ConvTranspose2d(2, 3, 2, stride=2), lambda layer, x: layer(x, output_size=size))
    assert_exact(net, randn(B, 2, 3, 4) if size == (7, 8) else randn(B, 2, 4, 4), BRIEF)


def test_the_size_of_the_output_by_position():
    net = probe(lambda: nn.ConvTranspose2d(2, 3, 3, stride=2), lambda layer, x: layer(x, [8, 10]))
    assert_exact(net, randn(B, 2, 3, 4), BRIEF)


def test_by_products_as_on_an_accelerator(monkeypatch):
    """Elsewhere than on a CPU gradients are products of what is unfolded."""
    from lightning_al.gradients.rules.transposed_convolution import TransposedConvolutionRule

    layer = seeded(lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2).double())
    x, e = randn(B, 4, 3, 4), randn(B, 6, 6, 8)
    rule = TransposedConvolutionRule(layer, ("weight",), B)
    by_kernel = rule.gradients(x, e)["weight"]
    monkeypatch.setattr(TransposedConvolutionRule, "_is_pointwise", lambda self: True)
    torch.testing.assert_close(rule.gradients(x, e)["weight"], by_kernel)


def test_no_layer_of_a_u_net_is_left_to_torch_func():
    from tests.helpers.segmenters import UNet, images

    for up in ("transposed", "interpolated"):
        with messages() as engine:
            F_al.saal(UNet(up), images(4))
        assert engine.passes
        assert engine.said == []
