"""The variants that change the step: equal to loops over flat vectors and single samples, written from the papers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lightning_al.training import sam_step
from lightning_al.training.sam.variants import selected
from tests.helpers import sam_family_reference as reference
from tests.helpers.marks import slow
from tests.helpers.sam_reference import (
    EXACT,
    AutoFront,
    ManualFront,
    adam,
    by_norm,
    distance,
    expected,
    fitted,
    loader,
    network,
    sgd,
)

CASES = {
    "esam": ({"beta": 1.0, "gamma": 0.5}, reference.esam()),
    "esam all samples": ({"beta": 1.0, "gamma": 1.0}, reference.esam(gamma=1.0)),
    "gsam": ({"alpha": 0.4}, reference.gsam()),
    "gsam 2": ({"alpha": 2.0}, reference.gsam(alpha=2.0)),
    "looksam": ({"alpha": 0.7, "every": 5}, None),
    "looksam 2": ({"alpha": 1.5, "every": 2}, None),
}
"""Options, and the direction by hand; LookSAM's remembers, so each test makes its own."""


def direction_of(case):
    options, direction = CASES[case]
    return reference.looksam(**options) if direction is None else direction


def train(net, make_optimizer, batches, seen=None, **options):
    """Steps of a plain loop; ``seen`` takes the weights at each call of the closure."""
    optimizer = make_optimizer(net.parameters())
    losses = []
    for x, y in batches:

        def plain():
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            return loss

        def of_samples(rows):
            if seen is not None:
                seen.append((rows, torch.cat([w.detach().flatten().clone() for w in net.parameters()])))
            some = slice(None) if rows is None else rows
            return F.cross_entropy(net(x[some]), y[some], reduction="none")

        closure = of_samples if options["variant"] == "esam" else plain
        losses.append(float(sam_step(net.parameters(), optimizer, closure, rho=0.5, **options).detach()))
    return losses, optimizer


@pytest.mark.parametrize(
    ("case", "make_optimizer"), [*((case, sgd) for case in CASES), *(slow(case, adam) for case in CASES)]
)
def test_ten_steps_are_the_loop_written_by_hand(case, make_optimizer):
    batches = list(loader()) * 2
    net, by_hand = network(), network()
    losses, _ = train(net, make_optimizer, batches, variant=case.split()[0], **CASES[case][0])
    reference.by_hand(by_hand, batches, make_optimizer, direction_of(case))
    assert distance(net, by_hand) < EXACT
    assert losses[0] == pytest.approx(float(F.cross_entropy(network()(batches[0][0]), batches[0][1]).detach()))
    plain = network()
    reference.by_hand(plain, batches, make_optimizer, lambda t, window, lr: window.gradient())
    assert distance(net, plain) > 1e-4


def test_esam_moves_a_random_share_of_the_weights_by_more():
    batches, seen = list(loader()) * 2, []
    net, by_hand = network(), network()
    train(net, sgd, batches, seen, variant="esam", beta=0.3, gamma=0.5)
    assert len(seen) == 3 * len(batches)  # θ, θ + ε, and some samples at θ + ε
    masks = [(ahead - theta) != 0 for (_, theta), (_, ahead) in zip(seen[::3], seen[1::3])]
    for (rows, _), (x, _) in zip(seen[2::3], batches):
        assert len(rows) == math.ceil(len(x) / 2)
    assert torch.stack(masks).double().mean().item() == pytest.approx(0.3, abs=0.05)
    assert not torch.equal(masks[0], masks[1])
    direction = reference.esam(beta=0.3, gamma=0.5, masks=masks)
    reference.by_hand(by_hand, batches, sgd, direction)
    assert distance(net, by_hand) < EXACT


@pytest.mark.parametrize("variant", ["esam", "looksam"])
def test_what_outlives_a_step_is_in_the_state_of_the_optimizer(variant, tmp_path):
    batches = list(loader()) * 2
    whole = network()
    train(whole, adam, batches, variant=variant)
    half = network()
    _, optimizer = train(half, adam, batches[:7], variant=variant)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    torch.manual_seed(1234)  # masks are drawn from what the first step was given

    def loaded(params):
        made = adam(params)
        made.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
        return made

    train(half, loaded, batches[7:], variant=variant)
    assert distance(half, whole) == 0


def test_gsams_radius_follows_the_learning_rate():
    batches = list(loader())
    net, by_hand = network(), network()
    optimizer, other = sgd(net.parameters()), sgd(by_hand.parameters())

    def halved(optimizer):
        return torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)

    scheduler = halved(optimizer)
    for _ in range(2):
        for x, y in batches:

            def closure():
                optimizer.zero_grad()
                F.cross_entropy(net(x), y).backward()

            sam_step(net.parameters(), optimizer, closure, variant="gsam", rho=0.5, rho_min=0.1, lr_min=0.06)
        scheduler.step()
    ends = reference.gsam(rho_of=lambda lr: 0.1 + 0.4 * (lr - 0.06) / (0.3 - 0.06))  # 0.5, then 0.25
    reference.by_hand(by_hand, batches, lambda _: other, ends, epochs=2, schedule=halved)
    assert distance(net, by_hand) < EXACT


@pytest.mark.parametrize("variant", ["sam", "esam", "gsam", "looksam"])
def test_weights_that_are_listed_twice_count_once(variant):
    """As of two parts of a model that are tied."""
    moved = []
    for times in (1, 2):
        w, x = nn.Parameter(torch.tensor([1.0, 2.0])), torch.tensor([[1.0, 0.5], [-2.0, 1.0]])
        optimizer = torch.optim.SGD([w], lr=0.1)

        def closure(rows=None, w=w, optimizer=optimizer, x=x):
            losses = (x if rows is None else x[rows]).matmul(w).square()
            if variant == "esam":
                return losses
            optimizer.zero_grad()
            losses.mean().backward()
            return losses.mean()

        for _ in range(3):
            sam_step([w] * times, optimizer, closure, variant=variant, rho=0.5)
        moved.append(w.detach())
    assert torch.equal(*moved)


FORMS = [ManualFront, AutoFront]


def fit_both(form, n=1, clip=None, **options):
    """The options of a window and of clipping are the module's or the Trainer's."""
    own = {"accumulate_grad_batches": n, "gradient_clip_val": clip}
    return fitted(form(rho=0.5, **options, **own)) if form is ManualFront else fitted(form(rho=0.5, **options), **own)


@pytest.mark.few(3)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("case", "n", "clip"),
    [
        *((case, 2 if case == "gsam" else 1, None) for case in ("esam", "gsam", "looksam")),
        *(slow(case, n, clip) for case in CASES for n, clip in ((2, None), (1, 0.2), (4, 0.2))),
    ],
)
def test_mixins_are_the_loop_written_by_hand(form, case, n, clip):
    model = fit_both(form, n, clip, variant=case.split()[0], **CASES[case][0])
    net = reference.by_hand(
        network(), list(loader()), sgd, direction_of(case), n=n, clip=clip and by_norm(clip), epochs=2
    )
    assert distance(model.net, net) < EXACT
    assert distance(net, expected(n=n)) > 1e-3


def test_looksam_looks_in_every_fifth_step_only():
    model = fit_both(ManualFront, variant="looksam")
    assert model.passes == [0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@settings(max_examples=8, deadline=None)
@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=4),
    exponent=st.integers(-25, 20),
    alpha=st.floats(0, 3),
    seed=st.integers(0, 2**31),
)
def test_directions_of_any_shape_and_size(dtype, shapes, exponent, alpha, seed):
    """Of a loss whose gradient is one vector, then another: the directions are those of the flat vectors in float64."""
    shapes = [*shapes, [3], [2]]
    g = torch.Generator().manual_seed(seed)
    draws = [[(torch.randn(s, generator=g) * 2.0**exponent).to(dtype) for s in shapes] for _ in range(3)]
    flat = [torch.cat([t.flatten() for t in draw]).double() for draw in draws]
    a, b, c = flat
    perp = a - a.dot(b) / b.dot(b) * b
    v = b - a.dot(b) / a.dot(a) * a
    wanted = {"gsam": [b - alpha * perp], "looksam": [b, c + alpha * c.norm() / v.norm() * v]}
    for variant, directions in wanted.items():
        params = [nn.Parameter(torch.zeros(s, dtype=dtype)) for s in shapes]
        optimizer = torch.optim.SGD(params, lr=1.0)
        calls = iter(draws)

        def closure():
            for w, t in zip(params, next(calls)):
                w.grad = t.clone()

        for direction in directions:
            before = [w.detach().clone() for w in params]
            sam_step(params, optimizer, closure, variant=variant, alpha=alpha)
            for w in params:
                assert w.isfinite().all()
            step = torch.cat([(x - w.detach()).flatten() for x, w in zip(before, params)]).double()
            tolerance = (1e-10 if dtype == torch.float64 else 1e-4) * float(direction.norm() + c.norm() + b.norm())
            assert float((step - direction).norm()) <= tolerance


@pytest.mark.parametrize("size", [1e-6, 1e3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_two_gradients_in_half_precision_are_mixed_in_float32_and_rounded_once(dtype, size):
    generator = torch.Generator().manual_seed(0)
    # Norms and products of these are out of float16's range, at one end and at the other.
    given = [(size * torch.randn(2, 5000, generator=generator)).to(dtype) for _ in range(3)]

    def stepped(variant, **options):
        w = nn.Parameter(torch.zeros(2, 5000, dtype=dtype))
        optimizer, gradients = torch.optim.SGD([w], lr=0.0), iter(given)

        def closure():
            w.grad = next(gradients).clone()

        sam_step([w], optimizer, closure, variant=variant, **options)
        return w, optimizer, lambda: sam_step([w], optimizer, closure, variant=variant, **options)

    def part_along(a, b):
        return (a * b).sum() / b.square().sum() * b

    once = {"rtol": 0.51 * torch.finfo(dtype).eps, "atol": 1e-5 * size + 1e-3 * torch.finfo(dtype).smallest_normal}

    g, ahead, third = (each.double() for each in given)
    exact = ahead - 0.4 * (g - part_along(g, ahead))
    torch.testing.assert_close(stepped("gsam")[0].grad.double(), exact, **once)

    w, optimizer, again = stepped("looksam", every=2)
    direction = optimizer.state["sam"]["direction"][0]
    exact = ahead - part_along(ahead, g)
    assert direction.dtype == torch.float32
    torch.testing.assert_close(direction.double(), exact, rtol=1e-5, atol=1e-6 * size)
    again()
    exact = third + 0.7 * third.norm() / exact.norm() * exact
    torch.testing.assert_close(w.grad.double(), exact, **once)


def test_parameters_that_a_pass_does_not_reach_have_a_gradient_of_0_in_it():
    used, late, never = (nn.Parameter(torch.tensor([2.0], dtype=torch.float64)) for _ in range(3))
    optimizer = torch.optim.SGD([used, late, never], lr=1.0, weight_decay=0.1)
    calls = []

    def closure():
        optimizer.zero_grad()
        calls.append(0)
        (3 * used + (4 * late if len(calls) > 1 else 0)).sum().backward()

    sam_step([used, late, never], optimizer, closure, variant="gsam", alpha=0.5)
    # g = (3, 0), g' = (3, 4): g_⊥ = (3, 0) - 9/25 (3, 4) = (1.92, -1.44)
    assert used.item() == pytest.approx(2 - 0.2 - (3 - 0.96))
    assert late.item() == pytest.approx(2 - 0.2 - (4 + 0.72))
    assert never.item() == 2.0  # and no weight decay either


def test_a_gradient_of_0_and_parallel_ones_are_no_trouble():
    w = nn.Parameter(torch.tensor([1.0, 2.0]))
    optimizer = torch.optim.SGD([w], lr=1.0)
    for variant in ("gsam", "looksam", "looksam"):
        for scale in (0.0, 1.0):

            def closure():
                optimizer.zero_grad()
                (scale * w).sum().backward()

            before = w.detach().clone()
            sam_step([w], optimizer, closure, variant=variant)
            torch.testing.assert_close(before - w.detach(), torch.full((2,), scale))


def test_sparse_gradients_are_refused_where_two_are_mixed():
    table = nn.Embedding(5, 2, sparse=True)
    optimizer = torch.optim.SGD(table.parameters(), lr=0.1)

    def closure():
        optimizer.zero_grad()
        table(torch.tensor([1])).sum().backward()

    for variant in ("gsam", "looksam"):
        with pytest.raises(TypeError, match="dense"):
            sam_step(table.parameters(), optimizer, closure, variant=variant)
    sam_step(table.parameters(), optimizer, closure)


@given(size=st.integers(1, 40), gamma=st.floats(1e-6, 1), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_selected_are_those_that_rose_most(size, gamma, seed):
    rise = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    rows = selected(rise, gamma).tolist()
    assert rows == sorted(set(rows))
    assert len(rows) >= 1
    assert len(rows) - 1 < gamma * size * (1 + 1e-6) + 1e-6
    assert gamma * size <= len(rows) + 1e-6
    others = [rise[i].item() for i in range(size) if i not in rows]
    assert all(rise[i].item() >= max(others, default=-math.inf) for i in rows)


def test_of_equal_rises_the_first_are_selected_and_round_shares_are_whole():
    assert selected(torch.zeros(30), 0.1).tolist() == [0, 1, 2]
    assert selected(torch.zeros(1), 0.01).tolist() == [0]


def test_esams_closure_must_give_losses_of_samples():
    w = nn.Parameter(torch.ones(1))
    with pytest.raises(ValueError, match=r"losses \(n,\)"):
        sam_step([w], sgd([w]), lambda rows: w.sum(), variant="esam")
