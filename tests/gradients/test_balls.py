"""The balls of many units against the formula of one, by which the training step goes, too."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.functional import worst_case_perturbation
from lightning_al.gradients.balls import BALLS, EPSILON, EuclideanBalls
from tests.helpers.extent import examples
from tests.helpers.models import randn

UNITS = 3
KINDS = {
    "sam": {},
    "asam": {"perturbation": "asam"},
    "p=1.5": {"p": 1.5},
    "p=3": {"p": 3.0},
    "p=50": {"p": 50.0},
    "p=inf": {"p": math.inf},
}


def perturbations(weights, gradients, scale, rho, perturbation="sam", p=2.0, alone=False):
    """By the ball: layer after layer, and unit after unit if alone."""
    space = BALLS[perturbation](rho, p).of_units(UNITS, scale)
    stretches = [slice(u, u + 1) for u in range(UNITS)] if alone else [slice(None)]
    for w, g in zip(weights, gradients):
        for at in stretches:
            space.add(w, g[at].clone(), at)
    return [torch.cat([space.moved(w, g[at].clone(), at) - w for at in stretches]) for w, g in zip(weights, gradients)]


def assert_agree(weights, gradients, scale, rho, alone=False, tolerance=1e-12, **options):
    got = perturbations(weights, gradients, scale, rho, alone=alone, **options)
    for u in range(UNITS):
        true = [g[u] * scale[u] for g in gradients]
        want = worst_case_perturbation(weights, true, rho=rho, **options)
        for a, b in zip(got, want):
            torch.testing.assert_close(a[u], b, rtol=tolerance, atol=tolerance)


def test_the_papers_epsilon():
    assert EPSILON == 1e-12


def test_many_units_of_an_adaptive_ball_know_no_eta():
    with pytest.raises(ValueError, match=r"`eta=0` only, got 0\.1"):
        BALLS["asam"](0.5, eta=0.1).of_units(UNITS, torch.ones(UNITS))


@pytest.mark.parametrize("eta", [0.0, 1e-4])
def test_a_perturbation_has_the_precision_of_its_gradients(eta):
    weights = [torch.tensor([1e-4, -2e-4], dtype=torch.float16)]  # their squares are 0 in float16
    gradients = [torch.tensor([3.0, 4.0])]
    ball = BALLS["asam"](0.5, eta=eta)
    [got], [exact] = (ball.perturbation([w.to(d) for w in weights], gradients) for d in (torch.float16, torch.float32))
    assert torch.equal(got, exact)
    assert exact.all()


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@examples(15)
@given(
    shapes=st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=3),
    rho=st.floats(1e-3, 10),
    power=st.integers(-14, 3),
    seed=st.integers(0, 99),
)
def test_any_shapes_and_sizes_agree_with_the_formula(kind, alone, shapes, rho, power, seed):
    weights = [randn(*shape, seed=seed + i) for i, shape in enumerate(shapes)]
    if not any(w.numel() for w in weights):
        return
    gradients = [randn(UNITS, *shape, seed=100 + seed + i) for i, shape in enumerate(shapes)]
    scale = torch.tensor([1.0, 0.5, 3.0], dtype=torch.float64) * 10.0**power  # down to beside the epsilon
    assert_agree(weights, gradients, scale, rho, alone, **KINDS[kind])


@pytest.mark.parametrize("alone", [False, True])
def test_weights_whose_square_is_infinite_stay_where_they_have_no_gradient(alone):
    weight = torch.tensor([-1e30, 2.0])
    got = perturbations([weight], [torch.tensor([[0.0, 1.0]] * UNITS)], torch.ones(UNITS), 0.5, "asam", alone=alone)
    torch.testing.assert_close(got[0], torch.tensor([[0.0, 1.0]] * UNITS))


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_gives_no_perturbation(kind):
    weights = [randn(2, 2), randn(3)]
    gradients = [torch.zeros(UNITS, *w.shape, dtype=w.dtype) for w in weights]
    for got in perturbations(weights, gradients, torch.zeros(UNITS), 1.0, **KINDS[kind]):
        assert not got.any()


@pytest.mark.parametrize("kind", ["p=1.5", "p=3", "p=50"])
def test_float32_gradients_of_any_size(kind):
    weights = [randn(4).float(), randn(2, 3).float()]
    gradients = [1e-25 * randn(UNITS, 4).float(), 1e-22 * randn(UNITS, 2, 3).float()]
    scale = torch.full((UNITS,), 1e-12)
    wide = [w.double() for w in weights], [g.double() for g in gradients], scale.double()
    want = perturbations(*wide, 1.0, **KINDS[kind])
    for got, expected in zip(perturbations(weights, gradients, scale, 1.0, **KINDS[kind]), want):
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=1e-7)


def test_squares_may_come_without_gradients():
    gradients = [randn(UNITS, 4), randn(UNITS, 2)]
    space, same = (BALLS["sam"](0.3).of_units(UNITS, torch.ones(UNITS, dtype=torch.float64)) for _ in range(2))
    for g in gradients:
        space.add(g[0], g, slice(None))
        same.add_squares(g.square().sum(1))
    torch.testing.assert_close(space.step, same.step)
    assert isinstance(space, EuclideanBalls)
    assert not isinstance(BALLS["asam"](0.3).of_units(UNITS, torch.ones(UNITS)), EuclideanBalls)


def test_layers_of_one_shape_and_two_precisions():
    weights = [randn(3, 2), randn(3, 2, seed=1).float()]
    gradients = [randn(UNITS, 3, 2, seed=2), randn(UNITS, 3, 2, seed=3).float()]
    space = BALLS["asam"](0.5).of_units(UNITS, torch.ones(UNITS).double())
    for w, g in zip(weights, gradients):
        space.add(w, g, slice(None))
    squares = [(w * g).double().square().flatten(1).sum(1) for w, g in zip(weights, gradients)]
    want = squares[0] + squares[1]
    torch.testing.assert_close(space.squares, want, rtol=1e-6, atol=0)


@examples(20)
@given(
    shapes=st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=4),
    kind=st.sampled_from(sorted(KINDS)),
    eta=st.sampled_from([0.0, 0.3]),
    exponent=st.integers(-100, 60),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    seed=st.integers(0, 2**31),
)
def test_the_climb_in_place_is_the_perturbation_added(shapes, kind, eta, exponent, dtype, seed):
    options = {"perturbation": "sam", "p": 2.0, **KINDS[kind]}
    draws = torch.Generator().manual_seed(seed)
    shapes = [*shapes, [3]]
    gradients = [(torch.randn(s, generator=draws) * 2.0**exponent).to(dtype) for s in shapes]
    weights = [torch.randn(s, generator=draws).to(dtype) for s in shapes]
    adaptive = [i % 2 == 0 for i in range(len(shapes))]
    ball = BALLS[options["perturbation"]](0.5, options["p"], eta)
    doubles = [[t.double() for t in tensors] for tensors in (weights, gradients)]
    want = [w + e for w, e in zip(doubles[0], ball.perturbation(*doubles, adaptive))]
    before = [g.clone() for g in gradients]
    assert ball.climb(weights, gradients, adaptive)
    assert all(torch.equal(a, b) for a, b in zip(gradients, before))
    for got, true in zip(weights, want):
        torch.testing.assert_close(got.double(), true, rtol=0, atol=1e-12 if dtype == torch.float64 else 1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_gradients_that_are_not_finite_move_nothing(kind, bad):
    options = {"perturbation": "sam", "p": 2.0, **KINDS[kind]}
    weights = [torch.ones(2), torch.ones(3)]
    moved = BALLS[options["perturbation"]](0.5, options["p"]).climb(weights, [torch.ones(2), torch.full((3,), bad)])
    assert not moved
    assert all((w == 1).all() for w in weights)
