"""The plain loop with convolutions as they are faster: the same scores, and who is left as it is."""

import copy
import functools
import types

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_al import functional as F_al
from lightning_al.gradients import loop
from lightning_al.gradients.costs import COPIED_PER_PIXEL, LARGE_IMAGE, prefers_channels_last
from lightning_al.gradients.loop import _HOLDS, PlainLoop
from lightning_al.gradients.rules import depthwise
from tests.helpers import reference
from tests.helpers.exact import SCORES
from tests.helpers.models import C, Notes, randn, seeded
from tests.helpers.ways import counted, only

WITH_ONEDNN = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")


class Net(nn.Module):
    """Convolutions that note how what they give lies in memory; `between` works on it."""

    def __init__(self, between=None, groups=1):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 6, 3, padding=1, stride=4, groups=groups)
        self.head = nn.Linear(6, C)
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)
        self.between = between
        self.seen = Notes()

    def forward(self, x):
        h = self.norm(self.first(x)).relu()
        self.seen.append(h.is_contiguous(memory_format=torch.channels_last))
        if self.between is not None:
            h = self.between(h)
        return self.head(self.second(h).square().mean((2, 3)))


def net_of(*args, **kwargs):
    return seeded(lambda: Net(*args, **kwargs)).float()


def images(n=3, size=12):
    return randn(n, 3, size, size).float()


def assert_as_written(net, x, name, rtol=2e-4):
    """Against the loop written by hand, in float64."""
    score, by_hand, options = SCORES[name]
    got = score(net, x, **options)
    double = net_of(net.between, net.second.groups).double()
    double.load_state_dict(net.state_dict())
    want = by_hand(double, x.double(), **options)
    torch.testing.assert_close(got.double(), want, rtol=rtol, atol=rtol * float(want.abs().max()))


@WITH_ONEDNN
@pytest.mark.parametrize("name", SCORES)
def test_scores_are_those_of_the_loop_written_by_hand(name, monkeypatch):
    only("one by one", monkeypatch)
    net, x = net_of(), images(4)
    before = {n: (t.clone(), t.stride()) for n, t in net.state_dict().items()}
    for _ in range(2):  # the first call looks, the second knows
        net.seen.clear()
        assert_as_written(net, x, name)
        assert net.seen[-1]
    for n, t in net.state_dict().items():
        assert torch.equal(t, before[n][0])
        assert t.stride() == before[n][1]


@WITH_ONEDNN
@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 4), size=st.integers(2, 20), name=st.sampled_from(["sam", "tensor_sum"]))
def test_shapes(n, size, name):
    with pytest.MonkeyPatch.context() as patch:
        only("one by one", patch)
        assert_as_written(net_of(), images(n, size), name, rtol=1e-3)


@WITH_ONEDNN
def test_scores_come_to_the_last_bit_again(monkeypatch):
    """Whichever call is the first, and with whom a sample is scored."""
    only("one by one", monkeypatch)
    net, x = net_of(), images(4)
    first = F_al.saal(net, x)
    assert torch.equal(F_al.saal(net, x), first)
    for i in range(4):
        assert torch.equal(F_al.saal(net, x[i : i + 1]), first[i : i + 1])
        assert torch.equal(F_al.saal(net_of(), x[i : i + 1]), first[i : i + 1])


@WITH_ONEDNN
def test_a_single_sample_of_a_model_that_has_rules():
    net = net_of()
    assert_as_written(net, images(1), "sam")
    assert net.seen[-1]


@WITH_ONEDNN
@pytest.mark.parametrize("frozen", [("first",), ("second",), ("first", "second", "norm")])
def test_frozen_convolutions(frozen, monkeypatch):
    only("one by one", monkeypatch)
    net, x = net_of(), images()
    for layer in frozen:
        getattr(net, layer).requires_grad_(False)
    got = F_al.gradient_norm(net, x)
    assert net.seen[-1]
    want = []
    for one in x.double():
        double = net_of().double()
        double.load_state_dict(net.state_dict())
        for layer in frozen:
            getattr(double, layer).requires_grad_(False)
        p = double.eval()(one[None]).softmax(1)
        trained = [p for p in double.parameters() if p.requires_grad]
        grads = torch.autograd.grad(-(p * p.log()).sum(), trained)
        want.append(torch.cat([g.flatten() for g in grads]).norm())
    torch.testing.assert_close(got.double(), torch.stack(want), rtol=2e-4, atol=0)


def viewed(h):
    return h.view(len(h), -1).view(h.shape)


def strided(h):
    return torch.as_strided(h, h.shape, (h[0].numel(), h.shape[2] * h.shape[3], h.shape[3], 1))


def strided_in_place(h):
    return (h * 1).as_strided_(h.shape, (h[0].numel(), h.shape[2] * h.shape[3], h.shape[3], 1))


def drawing(h):
    return h + torch.empty_like(h).normal_(generator=torch.Generator().manual_seed(0)).to(h.dtype)


class Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.ops.al_tests.doubled(x)

    @staticmethod
    def backward(ctx, g):
        return 2 * g


@torch.library.custom_op("al_tests::doubled", mutates_args=())
def doubled(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


@pytest.mark.parametrize(
    "between",
    [viewed, strided, strided_in_place, Doubled.apply],
    ids=["view", "as_strided", "as_strided_", "a kernel of its own"],
)
def test_a_model_that_goes_by_the_order_in_memory_is_left_as_it_is(between, monkeypatch):
    only("one by one", monkeypatch)
    net, x = net_of(between), images()
    for name in ("sam", "tensor_sum"):
        assert_as_written(net, x, name)
    net.seen.clear()
    calls, run = counted()
    F_al.gradient_norm(net, x, forward=run)
    assert len(calls) <= len(x) + 1  # of a way to call it that is new: one pass more
    calls.clear()
    F_al.gradient_norm(net, x, forward=run)
    assert len(calls) == len(x)
    assert set(net.seen[-len(x) :]) == {False}


@WITH_ONEDNN
def test_what_is_drawn_lies_as_it_did(monkeypatch):
    only("one by one", monkeypatch)
    net, x = net_of(drawing), images()
    got = F_al.gradient_norm(net, x)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "prefers_channels_last", lambda *args, **kwargs: False)
        torch.testing.assert_close(got, F_al.gradient_norm(net_of(drawing), x), rtol=0, atol=0)


class EarlyExit(Net):
    """Views what is left of a batch where it is bright."""

    def forward(self, x):
        h = self.first(x)
        self.seen.append(h.is_contiguous(memory_format=torch.channels_last))
        if x.mean() > 1:
            h = viewed(h)
        return self.head(self.second(h).square().mean((2, 3)))


@WITH_ONEDNN
def test_a_sample_that_goes_another_way_later():
    net, x = seeded(EarlyExit).float(), images(1)
    plain = seeded(EarlyExit).double()
    for bright in (0, 3, 0):
        got = F_al.gradient_norm(net, x + bright)
        torch.testing.assert_close(
            got.double(), reference.gradient_norm(plain, (x + bright).double()), rtol=2e-4, atol=0
        )
    assert not any(_HOLDS[net].values())


@WITH_ONEDNN
def test_other_inputs_of_the_same_shapes_are_looked_at_by_themselves():
    net, x = net_of(), images(1)

    def run(model, inputs):
        return model(inputs["a"]) if "a" in inputs else model(viewed(model.first(inputs["b"]))[:, :3])

    for name in "ab":
        got = F_al.gradient_norm(net, {name: x}, forward=run)
        double = net_of().double()
        want = reference.gradient_norm(double, {name: x.double()}, forward=run)
        torch.testing.assert_close(got.double(), want, rtol=2e-4, atol=0)
    assert set(_HOLDS[net].values()) == {True, False}


@WITH_ONEDNN
def test_frozen_convolutions_that_come_to_share_their_weights():
    net = net_of().requires_grad_(False)
    net.second = nn.Conv2d(8, 6, 3, padding=1, stride=4).requires_grad_(False)
    net.third = nn.Conv2d(8, 6, 3).requires_grad_(False)
    net.head.requires_grad_(True)
    first = F_al.gradient_norm(net, images(1))
    net.third.weight = net.second.weight
    assert torch.equal(F_al.gradient_norm(net, images(1)), first)


@WITH_ONEDNN
def test_reentrant_checkpoints_that_come_later_are_refused():
    net = net_of()
    net.between = functools.partial(checkpoint, torch.tanh, use_reentrant=False)
    F_al.gradient_norm(net, images(1))
    net.between = functools.partial(checkpoint, torch.tanh, use_reentrant=True)
    with pytest.raises(RuntimeError, match="use_reentrant=True"):
        F_al.gradient_norm(net, images(1))


class Products(Net):
    """Autograd takes another formula for the product while operations are looked at."""

    def forward(self, x):
        h = self.second(self.first(x).square()).mean((2, 3))
        return self.head(h + (1 + h).prod(1, keepdim=True))


@WITH_ONEDNN
def test_the_first_sample_has_the_bits_that_it_has_later():
    x = images(6, 24)
    net = seeded(Products).float()
    F_al.saal(net, x[:1])
    known = torch.cat([F_al.saal(net, one[None]) for one in x])
    assert _HOLDS[net]
    assert torch.equal(torch.cat([F_al.saal(seeded(Products).float(), one[None]) for one in x]), known)


class Stateful(Net):
    """Counts its calls in a buffer, and goes by it."""

    def __init__(self, between=None):
        super().__init__(between)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls.add_(1)
        return super().forward(x) * (1 + self.calls / 10)


@WITH_ONEDNN
@pytest.mark.parametrize("between", [None, viewed])
def test_a_look_leaves_nothing_behind(between, monkeypatch):
    x = images(1)
    net = seeded(lambda: Stateful(between)).float()
    got = F_al.gradient_norm(net, x)
    assert net.calls == 0
    with monkeypatch.context() as patch:
        patch.setattr(loop, "prefers_channels_last", lambda *args, **kwargs: False)
        want = F_al.gradient_norm(seeded(lambda: Stateful(between)).float(), x)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=0)


class Tokens(nn.Module):
    """What comes back to its normalisation lies in another order: torch's backward pass is wrong there."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6)), nn.LayerNorm(6)
        self.head = nn.Linear(6, C)
        nn.init.uniform_(self.stem[1].running_var, 0.5, 2.0)

    def forward(self, x):
        return self.head(torch.tanh(self.norm(self.stem(x).flatten(2).transpose(1, 2))))[:, 3]


@pytest.mark.parametrize("name", ["sam", "tensor_sum"])
def test_a_gradient_that_is_another_one_is_found_out(name, monkeypatch):
    only("one by one", monkeypatch)
    net, x = seeded(Tokens).float(), images(4, 8)
    score, by_hand, options = SCORES[name]
    got, want = score(net, x, **options), by_hand(seeded(Tokens).double(), x.double(), **options)
    torch.testing.assert_close(got.double(), want, rtol=2e-4, atol=1e-6)
    assert not any(_HOLDS[net].values())


@WITH_ONEDNN
@pytest.mark.parametrize("build", [Tokens, Net])
def test_a_sample_without_a_gradient_tells_nothing(build):
    net, x = seeded(build).float(), images(3, 8)
    x[0] = 0

    def run(model, some):
        return model(some) * (some.mean() != 0)

    got = torch.cat([F_al.gradient_norm(net, one[None], forward=run) for one in x])
    want = reference.gradient_norm(seeded(build).double(), x[1:].double())
    torch.testing.assert_close(got[1:].double(), want, rtol=2e-4, atol=0)
    assert got[0] == 0
    assert list(_HOLDS[net].values()) == [build is Net]


def meeting(h):
    return h + h.contiguous()


@WITH_ONEDNN
def test_where_both_orders_meet_memory_stays_as_it_is(monkeypatch):
    only("one by one", monkeypatch)
    net, x = net_of(meeting), images()
    for name in ("sam", "tensor_sum"):
        for shown in (True, False):  # by the first group of the first call
            net.seen.clear()
            assert_as_written(net, x, name)
            assert (True in net.seen) == shown
            assert not net.seen[-1]


def test_a_fault_of_the_models_own_is_raised_and_says_nothing_of_its_order(monkeypatch):
    only("one by one", monkeypatch)
    broken = [True]

    def between(h):
        if broken:
            raise ArithmeticError("mine")
        return h

    net = net_of(between)
    with pytest.raises(ArithmeticError, match="mine"):
        F_al.saal(net, images())
    assert not any(_HOLDS.get(net, {}).values())
    broken.clear()
    net.seen.clear()
    F_al.saal(net, images())
    assert net.seen[-1] == torch.backends.mkldnn.is_available()


@WITH_ONEDNN
def test_models_that_draw_draw_the_same_however_the_look_ends(monkeypatch):
    """A process that begins with another batch looks anew."""
    only("one by one", monkeypatch)
    for between in (lambda h: nn.functional.dropout(h, 0.5), lambda h: viewed(nn.functional.dropout(h, 0.5))):
        net, calls = net_of(between), []
        for _ in range(2):
            torch.manual_seed(3)
            calls.append((F_al.gradient_norm(net, images()), torch.rand(3)))
        torch.testing.assert_close(*calls)


@WITH_ONEDNN
def test_images_of_many_sizes_are_looked_at_once(monkeypatch):
    looked_at, look = [], PlainLoop._look_at
    monkeypatch.setattr(PlainLoop, "_look_at", lambda *args: looked_at.append(1) or look(*args))
    for between in (None, viewed):
        net, x = net_of(between), [one[:, :, :size] for size, one in zip((9, 10, 11, 12), images(4), strict=True)]

        def run(model, some):
            return torch.cat([model(one[None]) for one in some])

        got = F_al.gradient_norm(net, x, forward=run)
        assert len(looked_at) == 1
        looked_at.clear()
        assert net.seen[-1] == (between is None)
        torch.testing.assert_close(got[3:], F_al.gradient_norm(net_of(between), images(4)[3:]), rtol=1e-4, atol=0)
        looked_at.clear()


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize("kind", ["float64", "groups", "weights", "onednn"])
def test_where_it_is_not_faster_memory_stays_as_it_is(kind, monkeypatch):
    only("one by one", monkeypatch)
    net, x = net_of(groups=2 if kind == "groups" else 1), images(size=1 if kind == "weights" else 12)
    if kind == "float64":
        net, x = net.double(), x.double()
    with torch.backends.mkldnn.flags(enabled=kind != "onednn"):
        F_al.gradient_norm(net, x)
    if kind != "weights":  # one pixel lies the same way in both orders
        assert set(net.seen) == {False}
    assert not any(_HOLDS.get(net, {}).values())


@WITH_ONEDNN
def test_what_is_worth_a_copy_and_what_is_not():
    assert prefers_channels_last(COPIED_PER_PIXEL * 100, 100, grouped=False)
    assert not prefers_channels_last(COPIED_PER_PIXEL * 100 + 1, 100, grouped=False)
    assert prefers_channels_last(1, LARGE_IMAGE, grouped=True)
    assert not prefers_channels_last(1, LARGE_IMAGE - 1, grouped=True)


# -- depthwise convolutions ------------------------------------------------------------------------------------------


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


@WITH_ONEDNN
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


@WITH_ONEDNN
@pytest.mark.parametrize(("inside", "ours"), WHATEVER.items(), ids=[inside.__name__ for inside in WHATEVER])
def test_whatever_a_model_does_with_a_depthwise_layer(inside, ours, monkeypatch):
    only("one by one", monkeypatch)
    net = assert_as_by_the_layer(lambda: Depthwise(inside), images(4))
    assert net.seen[-1] == ours


@WITH_ONEDNN
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


@WITH_ONEDNN
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


@WITH_ONEDNN
@pytest.mark.parametrize("layer", LAYERS)
def test_layers_that_do_something_else_are_left_as_they_are(layer, monkeypatch):
    only("one by one", monkeypatch)

    def build():
        net = Depthwise()
        net.deep = LAYERS[layer]()
        return net

    assert not assert_as_by_the_layer(build, images(4)).seen[-1]


@WITH_ONEDNN
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


@WITH_ONEDNN
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


@WITH_ONEDNN
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


@WITH_ONEDNN
def test_depthwise_gradients_without_channels_last(monkeypatch):
    """Where one of the two ways does not hold, the other one may."""
    only("one by one", monkeypatch)
    net, x = seeded(lambda: Depthwise(lambda layer, h: viewed(layer(h)))).float(), images(4)
    monkeypatch.setattr(loop, "prefers_channels_last", lambda *args, **kwargs: True)
    F_al.gradient_norm(net, x)
    assert net.seen[-1]
    assert sorted(_HOLDS[net].values()) == [False, True]
