"""Gradients of depthwise convolutions' weights, against torch's."""

import copy

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lightning_al.gradients.errors import NoRule
from lightning_al.gradients.rules import convolution, depthwise
from lightning_al.gradients.rules.depthwise import Window, depthwise_gradients, has_faster_way, has_slow_gradient
from tests.helpers.exact import FEW, assert_exact, probe
from tests.helpers.extent import examples
from tests.helpers.marks import with_onednn
from tests.helpers.models import B, randn

KINDS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


@pytest.fixture(params=["pairs", "convolution"])
def way(request, monkeypatch):
    monkeypatch.setattr(depthwise, "_prefers_pairs", lambda *_: request.param == "pairs")
    monkeypatch.setattr(depthwise, "_prefers_convolution", lambda *_: request.param == "convolution")


@st.composite
def windows(draw, nd):
    kernel, size = (draw(st.tuples(*[st.integers(1, n)] * nd)) for n in (4, 6))
    stride, padding, dilation = (draw(st.tuples(*[st.integers(*ends)] * nd)) for ends in ((1, 3), (0, 3), (1, 2)))
    assume(all(n + 2 * p >= d * (k - 1) + 1 for n, k, p, d in zip(size, kernel, padding, dilation)))
    return Window(kernel, stride, padding, dilation), size


@pytest.mark.parametrize("nd", KINDS)
@examples(20)
@given(data=st.data(), rows=st.integers(1, 3), channels=st.integers(1, 3))
def test_any_window_equals_autograd(way, nd, data, rows, channels):
    window, size = data.draw(windows(nd))
    x, weight = randn(rows, channels, *size), randn(channels, 1, *window.kernel).requires_grad_()
    y = CONVOLVE[nd](x, weight, None, *window[1:], groups=channels)
    e = randn(*y.shape)
    (want,) = torch.autograd.grad(y, weight, e)
    torch.testing.assert_close(depthwise_gradients(x, e, window), want)


@pytest.mark.parametrize(
    "options", [{}, {"stride": 2, "padding": 2, "bias": False}, {"padding_mode": "reflect", "padding": 1}]
)
@pytest.mark.parametrize("nd", KINDS)
def test_every_score_equals_the_loop(way, nd, options, monkeypatch):
    formed, form = [], depthwise_gradients
    monkeypatch.setattr(convolution, "depthwise_gradients", lambda *args: formed.append(1) or form(*args))
    assert_exact(probe(lambda: KINDS[nd](3, 3, 3, groups=3, **options)), randn(B, 3, *[5] * nd), FEW)
    assert formed


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_inputs_that_no_position_sees_do_not_count(way, value):
    window = Window((2, 2), (3, 3), (0, 0), (1, 1))
    x, e = randn(1, 3, 6, 6), randn(1, 3, 2, 2)
    want = depthwise_gradients(x, e, window)
    x[:, :, -1, -1] = x[:, :, 2, 2] = value
    torch.testing.assert_close(depthwise_gradients(x, e, window), want, rtol=0, atol=0)


def test_one_that_gives_more_channels_is_none_of_these(way):
    assert_exact(probe(lambda: nn.Conv2d(3, 6, 3, groups=3)), randn(B, 3, 5, 5), FEW)


def test_a_transposed_one(way):
    net = probe(lambda: nn.ConvTranspose2d(3, 3, 3, stride=2, padding=1, output_padding=1, groups=3))
    assert_exact(net, randn(B, 3, 4, 4), FEW)


def window_of(kernel=5, stride=1, padding=2, dilation=1, nd=2):
    return Window(*((each,) * nd for each in (kernel, stride, padding, dilation)))


@with_onednn
def test_which_way_is_faster():
    large, small, tiny = (torch.empty(1, 8, n, n) for n in (56, 14, 2))
    assert has_faster_way(large, window_of())
    assert not has_faster_way(large, window_of(3, padding=1))
    assert has_faster_way(small, window_of(3, padding=1), units=4)
    assert not has_faster_way(small, window_of(3, padding=1), units=1)
    assert has_faster_way(tiny, window_of(3, padding=1))
    assert has_faster_way(tiny.double(), window_of())
    assert not has_faster_way(large.double(), window_of())
    assert not has_faster_way(large, window_of(dilation=2))
    assert not has_faster_way(torch.empty(1, 8, 4, 4), window_of(9, padding=4))  # torch has no kernel as small as that
    assert not has_faster_way(torch.empty(1, 8, 400), window_of(31, padding=15, nd=1))
    assert not has_faster_way(large.to("meta"), window_of())
    assert not has_faster_way(tiny.to(torch.complex64), window_of())
    assert not has_faster_way(torch.empty(1, 1, 257, 256), window_of())  # sums of so many numbers one after another
    with torch.backends.mkldnn.flags(enabled=False):
        assert not has_faster_way(large, window_of())


# -- in the plain loop -----------------------------------------------------------------------------------------------


def bound(layer):
    layer.__class__ = depthwise.Conv2d
    return layer


OPTIONS = [
    {},
    {"bias": False},
    {"stride": 2, "padding": 2},
    {"padding": "same"},
    {"padding": "same", "kernel_size": 5, "dilation": 2},
    {"padding": "valid"},
    {"padding": 1, "dilation": 2},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("rows", [1, 2])
def test_the_layer_gives_what_it_gave_and_its_gradients(way, options, rows):
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 3, groups=3, **{"kernel_size": 4, **options}).double()
    x = randn(rows, 3, 9, 8).requires_grad_()
    leaves = [x, *layer.parameters()]

    def grads():
        y = layer(x)
        first = torch.autograd.grad(y.sin().sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), leaves)
        return y, *first, *second

    want = grads()
    bound(layer)
    torch.testing.assert_close(grads(), want)


@pytest.mark.parametrize("asked", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_what_is_asked_for_is_formed(way, asked):
    layer, x = nn.Conv2d(3, 3, 4, groups=3).double(), randn(2, 3, 9, 8)
    leaves = [t.requires_grad_(want) for t, want in zip((x, layer.weight, layer.bias), asked, strict=True) if want]
    layer.requires_grad_(False)
    [t.requires_grad_() for t in leaves]
    want = torch.autograd.grad(layer(x).sin().sum(), leaves)
    bound(layer)
    torch.testing.assert_close(torch.autograd.grad(layer(x).sin().sum(), leaves), want)


def test_other_calls_are_the_layers_own(monkeypatch):
    layer = bound(nn.Conv2d(3, 3, 4, groups=3))
    monkeypatch.setattr(depthwise._Convolution, "apply", None)
    assert layer(torch.ones(3, 9, 8)).shape == (3, 6, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.ones(1, 3, 9, 8)).dtype == torch.bfloat16
    with pytest.raises(RuntimeError, match="type"):
        layer(torch.ones(1, 3, 9, 8).double())
    layer.padding = "same"
    assert layer(torch.ones(1, 3, 9, 8)).shape == (1, 3, 9, 8)


def test_which_layers_are_slow():
    slow = nn.Conv2d(8, 8, 5, groups=8)
    assert has_slow_gradient(slow)
    for other in (
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 16, 5, groups=8),
        nn.Conv2d(8, 8, 5, groups=4),
        nn.Conv2d(8, 8, 5, groups=8, padding_mode="reflect"),
        nn.Conv1d(8, 8, 31, groups=8),
    ):
        assert not has_slow_gradient(other)
    assert has_slow_gradient(copy.deepcopy(slow))


def test_strides_that_torch_refuses_are_refused():
    layer = bound(nn.Conv2d(3, 3, 5, padding="same", groups=3))
    layer.stride = (2, 1)
    with pytest.raises(RuntimeError, match="strided"):
        layer(torch.ones(1, 3, 9, 8))


def test_positions_that_are_not_those_of_the_window_are_refused(way):
    with pytest.raises(NoRule, match="options"):
        depthwise_gradients(randn(1, 2, 9, 9), randn(1, 2, 5, 5), window_of(5, padding=2))
