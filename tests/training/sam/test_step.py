import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lightning_al.training import sam_step
from lightning_al.training.sam.step import ascended
from tests.helpers.sam_reference import adam, asam_epsilon, distance, hand_sam, loader, network, sam_epsilon, sgd


def bits(t):
    return t.detach().clone().view(torch.int32 if t.dtype == torch.float32 else torch.int64)


def train(net, make_optimizer, **options):
    optimizer = make_optimizer(net.parameters())
    losses = []
    for x, y in loader():

        def closure():
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            return loss

        losses.append(float(sam_step(net.parameters(), optimizer, closure, **options).detach()))
    return losses


CASES = {
    "sam": ({}, lambda *a: sam_epsilon(*a)),
    "rho": ({"rho": 0.4}, lambda *a: sam_epsilon(*a, rho=0.4)),
    "p=1.5": ({"p": 1.5, "rho": 0.3}, lambda *a: sam_epsilon(*a, p=1.5, rho=0.3)),
    "p=3": ({"p": 3.0, "rho": 0.3}, lambda *a: sam_epsilon(*a, p=3.0, rho=0.3)),
    "p=inf": ({"p": math.inf}, lambda *a: sam_epsilon(*a, p=math.inf)),
    "asam": ({"perturbation": "asam", "rho": 0.5}, lambda *a: asam_epsilon(*a, rho=0.5)),
    "asam eta": (
        {"perturbation": "asam", "rho": 0.5, "eta": 0.2},
        lambda *a: asam_epsilon(*a, rho=0.5, eta=0.2),
    ),
}


@pytest.mark.parametrize("make_optimizer", [sgd, adam])
@pytest.mark.parametrize("case", CASES)
def test_sam_step_is_the_loop_written_by_hand(case, make_optimizer):
    options, epsilon = CASES[case]
    net, by_hand = network(), network()
    losses = train(net, make_optimizer, **options)
    assert losses == pytest.approx(hand_sam(by_hand, list(loader()), make_optimizer, epsilon), abs=1e-12)
    assert distance(net, by_hand) < 1e-12
    plain = network()
    hand_sam(plain, list(loader()), make_optimizer, lambda p, g, n: [torch.zeros_like(w) for w in p])
    assert distance(net, plain) > 1e-4  # the perturbation matters here


def test_scope_is_which_tensors_are_scaled():
    net, names = network(), [n for n, _ in network().named_parameters()]
    x, y = next(iter(loader()))
    F.cross_entropy(net(x), y).backward()
    params = list(net.parameters())
    before = [w.detach().clone() for w in params]
    epsilon = asam_epsilon(before, [w.grad for w in params], names, rho=0.5, eta=0.1, scope="weights")
    with ascended(params, rho=0.5, perturbation="asam", eta=0.1, adaptive=["weight" in n for n in names]) as moved:
        assert moved
        for w, b, e in zip(params, before, epsilon):
            torch.testing.assert_close(w.detach(), b + e, rtol=0, atol=1e-11)


def test_parameters_without_gradient_are_left_out():
    used, unused = (nn.Parameter(torch.tensor([v])) for v in (1.0, 100.0))
    (3 * used).sum().backward()
    with ascended([used, unused], rho=0.5):
        assert used.item() == pytest.approx(1.5)
        assert unused.item() == 100.0
    with ascended([unused], rho=0.5) as moved:
        assert not moved
    empty = nn.Parameter(torch.zeros(0))
    empty.grad = torch.zeros(0)
    for p in (1.5, 2.0, math.inf):
        with ascended([used, empty], rho=0.5, p=p):
            assert used.item() == pytest.approx(1.5)


def test_one_norm_over_all_parameters():
    a, b = (nn.Parameter(torch.zeros(1)) for _ in range(2))
    (3 * a + 4 * b).sum().backward()
    with ascended([a, b], rho=1.0):
        assert (a.item(), b.item()) == pytest.approx((0.6, 0.8))


@pytest.mark.parametrize("bad", [math.inf, math.nan])
@pytest.mark.parametrize("p", [2.0, 1.5, math.inf])
def test_a_gradient_that_is_not_finite_moves_nothing(bad, p):
    w, v = (nn.Parameter(torch.ones(2)) for _ in range(2))
    w.grad, v.grad = torch.tensor([bad, 1.0]), torch.ones(2)
    with ascended([w, v], p=p) as moved:
        assert not moved
        assert w.tolist() == v.tolist() == [1.0, 1.0]


def test_a_zero_gradient_moves_nothing_and_gives_no_nan():
    w = nn.Parameter(torch.ones(2))
    w.grad = torch.zeros(2)
    for options in ({}, {"p": 1.5}, {"perturbation": "asam"}):
        with ascended([w], **options):
            assert w.tolist() == [1.0, 1.0]


def test_half_precision_is_computed_in_float32():
    w = nn.Parameter(torch.zeros(4, dtype=torch.float16))
    w.grad = torch.full((4,), 6e4, dtype=torch.float16)  # its squares overflow in float16
    with ascended([w], rho=1.0) as moved:
        assert moved
        assert w.tolist() == [0.5] * 4


@pytest.mark.parametrize("options", [{}, {"p": 3.0}, {"perturbation": "asam"}, {"perturbation": "asam", "eta": 0.01}])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_once_whatever_the_ball_and_however_small_the_gradient(dtype, options):
    torch.manual_seed(0)
    w, g = torch.randn(50).to(dtype), (1e-6 * torch.randn(50)).to(dtype)
    ends = []
    for weight, gradient in ((w, g), (w.double(), g.double())):
        weight = nn.Parameter(weight)
        weight.grad = gradient
        with ascended([weight], rho=0.5, **options) as moved:
            assert moved
            ends.append(weight.detach().clone().double())
    torch.testing.assert_close(*ends, rtol=0.51 * torch.finfo(dtype).eps, atol=0)


def test_dtypes_may_be_mixed():
    w, v = nn.Parameter(torch.zeros(1, dtype=torch.bfloat16)), nn.Parameter(torch.zeros(1, dtype=torch.float64))
    w.grad, v.grad = torch.full_like(w, 3.0), torch.full_like(v, 4.0)
    with ascended([w, v], rho=1.0):
        assert v.item() == pytest.approx(0.8, abs=1e-9)
        assert w.item() == pytest.approx(0.6, abs=2e-3)


def test_a_sparse_gradient_counts():
    table = nn.Embedding(5, 2, sparse=True)
    before = table.weight.detach().clone()
    table(torch.tensor([1, 1, 3])).sum().backward()
    with ascended([table.weight], rho=1.0):
        moved = table.weight.detach() - before
    assert moved.norm().item() == pytest.approx(1.0, abs=1e-6)
    assert moved[1, 0].item() == pytest.approx(2 * moved[3, 0].item(), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=4),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    exponent=st.integers(-40, 30),
    asam=st.booleans(),
    rho=st.floats(1e-6, 1e6),
    raises=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_the_way_back_is_exact_to_the_bit(shapes, dtype, exponent, asam, rho, raises, seed):
    shapes = [*shapes, [3]]  # at least one entry to move
    g = torch.Generator().manual_seed(seed)
    params = [nn.Parameter((torch.randn(s, generator=g) * 2.0**exponent).to(dtype)) for s in shapes]
    with torch.no_grad():
        params[-1][0] = -0.0
    for w in params:
        w.grad = torch.randn(w.shape, generator=g).to(dtype)
    before = [bits(w) for w in params]
    grads = [bits(w.grad) for w in params]
    try:
        with ascended(params, rho=rho, perturbation="asam" if asam else "sam", eta=1.0 if asam else 0.0) as moved:
            assert moved
            assert raises or rho < 1e-3 or any((bits(w) != b).any() for w, b in zip(params, before))
            if raises:
                raise KeyError("user")
    except KeyError:
        assert raises
    assert all(torch.equal(bits(w), b) for w, b in zip(params, before))
    assert all(torch.equal(bits(w.grad), b) for w, b in zip(params, grads))


def test_sam_step_restores_when_the_second_closure_raises():
    net = network()
    before = [bits(w) for w in net.parameters()]
    seen = []

    def closure():
        seen.append([bits(w) for w in net.parameters()])
        if len(seen) == 2:
            raise KeyError("user")
        net.zero_grad()
        x, y = next(iter(loader()))
        F.cross_entropy(net(x), y).backward()

    with pytest.raises(KeyError):
        sam_step(net.parameters(), sgd(net.parameters()), closure)
    assert any((a != b).any() for a, b in zip(seen[1], before))
    assert all(torch.equal(bits(w), b) for w, b in zip(net.parameters(), before))


def test_sam_step_refuses_what_it_cannot_do():
    w = nn.Parameter(torch.ones(1))
    optimizer = sgd([w])
    with pytest.raises(ValueError, match="rho"):
        sam_step([w], optimizer, lambda: None, rho=0.0)
    with pytest.raises(ValueError, match=r"model\.parameters\(\)"):
        sam_step([], optimizer, lambda: None)
    with pytest.raises(TypeError, match="tuple"):
        sam_step(nn.Linear(1, 1).named_parameters(), optimizer, lambda: None)
