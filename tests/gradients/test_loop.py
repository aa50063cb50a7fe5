"""The plain loop with convolutions as they are faster: the same scores, and who is left as it is."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_al import functional as F_al
from lightning_al.gradients import loop
from lightning_al.gradients.loop import _HOLDS, PlainLoop
from tests.helpers import reference
from tests.helpers.exact import SCORES
from tests.helpers.marks import with_onednn
from tests.helpers.models import C, Notes, images, seeded
from tests.helpers.ways import counted, only


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


def assert_as_written(net, x, name, rtol=2e-4):
    """Against the loop written by hand, in float64."""
    score, by_hand, options = SCORES[name]
    got = score(net, x, **options)
    double = net_of(net.between, net.second.groups).double()
    double.load_state_dict(net.state_dict())
    want = by_hand(double, x.double(), **options)
    torch.testing.assert_close(got.double(), want, rtol=rtol, atol=rtol * float(want.abs().max()))


@with_onednn
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


@with_onednn
@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 4), size=st.integers(2, 20), name=st.sampled_from(["sam", "tensor_sum"]))
def test_shapes(n, size, name):
    with pytest.MonkeyPatch.context() as patch:
        only("one by one", patch)
        assert_as_written(net_of(), images(n, size), name, rtol=1e-3)


@with_onednn
def test_scores_come_to_the_last_bit_again(monkeypatch):
    """Whichever call is the first, and with whom a sample is scored."""
    only("one by one", monkeypatch)
    net, x = net_of(), images(4)
    first = F_al.saal(net, x)
    assert torch.equal(F_al.saal(net, x), first)
    for i in range(4):
        assert torch.equal(F_al.saal(net, x[i : i + 1]), first[i : i + 1])
        assert torch.equal(F_al.saal(net_of(), x[i : i + 1]), first[i : i + 1])


@with_onednn
def test_a_single_sample_of_a_model_that_has_rules():
    net = net_of()
    assert_as_written(net, images(1), "sam")
    assert net.seen[-1]


@with_onednn
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


@with_onednn
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


@with_onednn
def test_a_sample_that_goes_another_way_later():
    net, x = seeded(EarlyExit).float(), images(1)
    plain = seeded(EarlyExit).double()
    for bright in (0, 3, 0):
        got = F_al.gradient_norm(net, x + bright)
        torch.testing.assert_close(
            got.double(), reference.gradient_norm(plain, (x + bright).double()), rtol=2e-4, atol=0
        )
    assert not any(_HOLDS[net].values())


@with_onednn
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


@with_onednn
def test_frozen_convolutions_that_come_to_share_their_weights():
    net = net_of().requires_grad_(False)
    net.second = nn.Conv2d(8, 6, 3, padding=1, stride=4).requires_grad_(False)
    net.third = nn.Conv2d(8, 6, 3).requires_grad_(False)
    net.head.requires_grad_(True)
    first = F_al.gradient_norm(net, images(1))
    net.third.weight = net.second.weight
    assert torch.equal(F_al.gradient_norm(net, images(1)), first)


@with_onednn
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


@with_onednn
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


@with_onednn
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


@with_onednn
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


@with_onednn
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


@with_onednn
def test_models_that_draw_draw_the_same_however_the_look_ends(monkeypatch):
    """A process that begins with another batch looks anew."""
    only("one by one", monkeypatch)
    for between in (lambda h: nn.functional.dropout(h, 0.5), lambda h: viewed(nn.functional.dropout(h, 0.5))):
        net, calls = net_of(between), []
        for _ in range(2):
            torch.manual_seed(3)
            calls.append((F_al.gradient_norm(net, images()), torch.rand(3)))
        torch.testing.assert_close(*calls)


@with_onednn
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
