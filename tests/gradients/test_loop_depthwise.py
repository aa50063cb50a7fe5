"""Depthwise convolutions in the plain loop: whatever a model does with one, scores are as by the layer itself."""

import copy
import types

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients import loop
from lightning_al.gradients.loop import _HOLDS
from lightning_al.gradients.rules import depthwise
from tests.helpers import reference
from tests.helpers.exact import SCORES
from tests.helpers.marks import with_onednn
from tests.helpers.models import C, Notes, images, seeded
from tests.helpers.ways import only


class Depthwise(nn.Module):
    """A depthwise convolution of a large kernel, which notes whether its forward is another one; `inside` uses it."""

    def __init__(self, inside=None):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.deep = nn.Conv2d(6, 6, 5, padding=2, groups=6)
        self.head = nn.Linear(6, C)
        self.inside = inside or (lambda layer, h: layer(h))
        self.seen = Notes()

    def forward(self, x):
        self.seen.append(type(self.deep) is depthwise.Conv2d)
        return self.head(self.inside(self.deep, self.stem(x).relu()).square().mean((2, 3)))


def of_a_copy(layer, h):
    other = copy.deepcopy(layer)
    with torch.no_grad():
        other.weight.mul_(2.0)
    return other(h)


def of_a_shallow_copy(layer, h):
    other = copy.copy(layer)
    other._parameters = {**layer._parameters, "weight": 2 * layer.weight}
    return other(h)


def of_a_replica(layer, h):
    other = layer._replicate_for_data_parallel()
    other.weight, other.bias = 2 * layer.weight, layer.bias
    return other(h)


def wider(layer, h):
    other = copy.copy(layer)
    other.dilation, other.padding = (2, 2), (4, 4)
    return layer(h) + other(h)


def circular(layer, h):
    layer.padding_mode = "circular"
    y = layer(h)
    layer.padding_mode = "zeros"
    return y


def convolved_otherwise(layer, h):
    layer._conv_forward = lambda x, weight, bias: nn.functional.conv2d(x, weight.flip(-1), bias, padding=2, groups=6)
    y = layer(h)
    del layer._conv_forward
    return y


def of_another_type(layer, h):
    return layer(h) if type(layer) is nn.Conv2d else layer(2 * h)


class Squared(torch.overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.conv2d:
            args = (args[0], args[1] * args[1].abs(), *args[2:])
        return func(*args, **(kwargs or {}))


def in_a_mode(layer, h):
    with Squared():
        return layer(h)


class Loud(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.conv2d:
            args = (2 * args[0], *args[1:])
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


def of_a_subclass(layer, h):
    return layer(h.as_subclass(Loud))


def mapped(layer, h):
    return torch.func.vmap(lambda one: layer(one[None])[0])(h)


def differentiated(layer, h):
    (slope,) = torch.autograd.grad(layer(h).sin().sum(), layer.weight, create_graph=True)
    return layer(h) + 1e-3 * slope.mean((1, 2, 3)).view(1, -1, 1, 1)


def in_bfloat16(layer, h):
    with torch.autocast("cpu", torch.bfloat16):
        return layer(h).float()


WHATEVER = {
    of_a_copy: True,
    differentiated: True,
    in_bfloat16: True,
    in_a_mode: True,  # these calls are the layer's own
    of_a_subclass: True,
    circular: True,
    of_a_shallow_copy: True,
    of_a_replica: True,
    wider: True,
    convolved_otherwise: True,
    of_another_type: False,
    mapped: False,
}


@with_onednn
@pytest.mark.parametrize("name", SCORES)
def test_depthwise_gradients_are_those_of_the_loop_written_by_hand(name, monkeypatch):
    only("one by one", monkeypatch)
    net, x = seeded(Depthwise).float(), images(4)
    formed, form = [], depthwise.depthwise_gradients
    monkeypatch.setattr(depthwise, "depthwise_gradients", lambda *args: formed.append(1) or form(*args))
    score, by_hand, options = SCORES[name]
    got, want = score(net, x, **options), by_hand(seeded(Depthwise).double(), x.double(), **options)
    torch.testing.assert_close(got.double(), want, rtol=2e-4, atol=2e-4 * float(want.abs().max()))
    assert formed
    assert net.seen[-1]
    assert type(net.deep) is not depthwise.Conv2d


def assert_as_by_the_layer(build, x):
    """Against the same loop without what is faster."""
    net, plain = (seeded(build).float() for _ in range(2))
    got = F_al.gradient_norm(net, x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "has_slow_gradient", lambda _: False)
        patch.setattr(loop, "prefers_channels_last", lambda *args, **kwargs: False)
        want = F_al.gradient_norm(plain, x)
    assert not any(plain.seen)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=0)
    F_al.gradient_norm(net, x)
    assert type(net.deep) is not depthwise.Conv2d
    return net


@with_onednn
@pytest.mark.parametrize(("inside", "ours"), WHATEVER.items(), ids=[inside.__name__ for inside in WHATEVER])
def test_whatever_a_model_does_with_a_depthwise_layer(inside, ours, monkeypatch):
    only("one by one", monkeypatch)
    net = assert_as_by_the_layer(lambda: Depthwise(inside), images(4))
    assert net.seen[-1] == ours


@with_onednn
@pytest.mark.parametrize("inside", [of_a_shallow_copy, of_a_replica, wider])
def test_copies_that_the_first_sample_does_not_show(inside, monkeypatch):
    """Its gradient is about the same with and without."""
    only("one by one", monkeypatch)
    net, double = seeded(lambda: Depthwise(inside)).float(), seeded(lambda: Depthwise(inside)).double()
    F_al.gradient_norm(net, 1e-4 * images(1))
    want = reference.gradient_norm(double, images(4).double())
    torch.testing.assert_close(F_al.gradient_norm(net, images(4)).double(), want, rtol=2e-4, atol=0)


class Itself(torch.Tensor):
    """A weight that convolves in its own way."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.conv2d:
            with torch._C.DisableTorchFunctionSubclass():
                weight = args[1].as_subclass(torch.Tensor)
                return func(args[0], weight * weight.abs(), *args[2:], **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs or {})


@with_onednn
def test_a_weight_that_convolves_in_its_own_way(monkeypatch):
    only("one by one", monkeypatch)

    def build(own):
        net = Depthwise(
            None if own else lambda layer, h: layer._conv_forward(h, layer.weight * layer.weight.abs(), layer.bias)
        )
        if own:
            net.deep.weight = nn.Parameter(net.deep.weight.detach().as_subclass(Itself))
            net.deep.register_forward_hook(lambda m, x, y: y.as_subclass(torch.Tensor))
        return net

    own, written_out = (
        F_al.gradient_norm(seeded(lambda own=own: build(own)).float(), images(4)) for own in (True, False)
    )
    torch.testing.assert_close(own, written_out, rtol=2e-4, atol=0)


class Doubling(nn.Conv2d):
    def forward(self, x):
        return super().forward(2 * x)


class Flipped(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight.flip(-1), bias)


class Causal(nn.Conv1d):
    """As many write it: its attributes are others."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.kernel_size = 5

    def forward(self, x):
        y = nn.functional.conv1d(x.flatten(2), self.weight, self.bias, padding=4, groups=self.groups)
        return y[:, :, :-4].unsqueeze(-1)


def tiled(layer):
    def convolve(self, x, weight, bias):
        return nn.functional.conv2d(nn.functional.pad(x, (2,) * 4, mode="circular"), weight, bias, groups=6)

    layer._conv_forward = types.MethodType(convolve, layer)
    return layer


def with_a_number(layer):
    layer.kernel_size = 5
    layer.padding_mode = "reflect"
    return layer


LAYERS = {
    "an image's kernel size that is a number": lambda: with_a_number(nn.Conv2d(6, 6, 5, padding=2, groups=6)),
    "an own forward": lambda: Doubling(6, 6, 5, padding=2, groups=6),
    "an own _conv_forward": lambda: Flipped(6, 6, 5, padding=2, groups=6),
    "a _conv_forward of this one": lambda: tiled(nn.Conv2d(6, 6, 5, groups=6)),
    "a kernel size that is a number": lambda: Causal(6, 6, 5, groups=6),
}


@with_onednn
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_that_do_something_else_are_left_as_they_are(layer, monkeypatch):
    only("one by one", monkeypatch)

    def build():
        net = Depthwise()
        net.deep = LAYERS[layer]()
        return net

    assert not assert_as_by_the_layer(build, images(4)).seen[-1]


@with_onednn
@pytest.mark.parametrize("first", [True, False])
def test_convolutions_that_somebody_has_put_others_in_the_place_of(first, monkeypatch):
    only("one by one", monkeypatch)
    x, convolve = images(4), nn.Conv2d._conv_forward
    net = seeded(Depthwise).float()
    if not first:  # and so after it was scored
        F_al.gradient_norm(net, x)
        assert net.seen[-1]
    monkeypatch.setattr(
        nn.Conv2d, "_conv_forward", lambda self, x, weight, bias: convolve(self, x, weight * weight.abs(), bias)
    )
    want = []
    double = seeded(Depthwise).double()
    for one in x.double():
        p = double(one[None]).softmax(1)
        grads = torch.autograd.grad(-(p * p.log()).sum(), list(double.parameters()))
        want.append(torch.cat([g.flatten() for g in grads]).norm())
    torch.testing.assert_close(F_al.gradient_norm(net, x).double(), torch.stack(want), rtol=2e-4, atol=0)


@with_onednn
def test_what_was_drawn_before_a_faster_way_failed_is_drawn_again(monkeypatch):
    only("one by one", monkeypatch)
    x = images(4)

    def inside(layer, h):
        h = nn.functional.dropout(h, 0.5)
        return mapped(layer, h)

    calls = []
    for first in (True, False):
        net = seeded(lambda: Depthwise(inside)).float()
        if not first:
            F_al.gradient_norm(net, x)
        torch.manual_seed(3)
        calls.append((F_al.gradient_norm(net, x), torch.rand(3)))
    torch.testing.assert_close(*calls)


@with_onednn
def test_channels_last_where_depthwise_layers_are_left_as_they_are(monkeypatch):
    only("one by one", monkeypatch)
    net = seeded(lambda: Depthwise(of_another_type)).float()
    monkeypatch.setattr(loop, "prefers_channels_last", lambda *args, **kwargs: True)
    monkeypatch.setattr(loop, "MEETING", 1.0)
    seen = []
    net.stem.register_forward_hook(lambda m, x, y: seen.append(y.is_contiguous(memory_format=torch.channels_last)))
    for _ in range(2):
        F_al.gradient_norm(net, images(4))
    assert seen[-1]
    assert not net.seen[-1]


@with_onednn
def test_depthwise_gradients_without_channels_last(monkeypatch):
    """Where one of the two ways does not hold, the other one may."""
    only("one by one", monkeypatch)
    net, x = seeded(lambda: Depthwise(lambda layer, h: layer(h).view(len(h), -1).view(h.shape))).float(), images(4)
    monkeypatch.setattr(loop, "prefers_channels_last", lambda *args, **kwargs: True)
    F_al.gradient_norm(net, x)
    assert net.seen[-1]
    assert sorted(_HOLDS[net].values()) == [False, True]
