import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_al.functional import worst_case_perturbation
from lightning_al.functional.scores.perturbation import check_perturbation
from tests.helpers import reference
from tests.helpers.models import randn

SHAPES = [(3, 2), (4,), (), (2, 1, 2)]
PARAMS = [randn(*s, seed=i) for i, s in enumerate(SHAPES)]
GRADS = [randn(*s, seed=10 + i) for i, s in enumerate(SHAPES)]


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors])


@pytest.mark.parametrize("rho", [0.05, 2.0])
@pytest.mark.parametrize(
    ("perturbation", "p"), [("sam", 1.2), ("sam", 1.5), ("sam", 2.0), ("sam", 3.0), ("sam", math.inf), ("asam", 2.0)]
)
def test_equals_the_formula(perturbation, p, rho):
    got = worst_case_perturbation(PARAMS, GRADS, rho=rho, perturbation=perturbation, p=p)
    assert [e.shape for e in got] == [w.shape for w in PARAMS]
    want = reference.epsilon(PARAMS, GRADS, rho, perturbation, p)
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("p", [1.01, 1.5, 2.0, 3.0, 7.0, 100.0, math.inf])
def test_sam_lies_on_the_ball_and_no_point_of_it_climbs_further(p):
    rho = 0.3
    eps = flat(worst_case_perturbation(PARAMS, GRADS, rho=rho, p=p))
    g = flat(GRADS)
    assert float(torch.linalg.vector_norm(eps, ord=p)) == pytest.approx(rho, rel=1e-9)
    others = randn(2000, len(g), seed=3)
    others = rho * others / torch.linalg.vector_norm(others, ord=p, dim=1, keepdim=True)
    assert float((others @ g).max()) <= float(eps @ g)
    q = 1 / (1 - 1 / p)
    assert float(eps @ g) == pytest.approx(rho * float(torch.linalg.vector_norm(g, ord=q)), rel=1e-9)  # Hölder, tight


def test_asam_lies_on_its_scaled_ball_and_no_point_of_it_climbs_further():
    rho = 0.3
    w, g = flat(PARAMS), flat(GRADS)
    eps = flat(worst_case_perturbation(PARAMS, GRADS, rho=rho, perturbation="asam"))
    assert float((eps / w.abs()).norm()) == pytest.approx(rho, rel=1e-9)
    others = randn(2000, len(g), seed=3)
    others = rho * others / others.norm(dim=1, keepdim=True) * w.abs()
    assert float((others @ g).max()) <= float(eps @ g)


@pytest.mark.parametrize("p", [1.5, 3.0, math.inf])
@pytest.mark.parametrize("scale", [1e-150, 1e-9, 1e9, 1e150])
def test_degree_zero_in_the_gradient(p, scale):
    a = worst_case_perturbation(PARAMS, GRADS, p=p)
    b = worst_case_perturbation(PARAMS, [g * scale for g in GRADS], p=p)
    torch.testing.assert_close(a, b, rtol=1e-10, atol=0)


@pytest.mark.parametrize("p", [1.5, 2.0, 3.0])
@pytest.mark.parametrize("scale", [1e-8, 1e20, 1e30])
def test_float32_keeps_direction_and_length(p, scale):
    """Squares of 1e20 overflow in float32."""
    if p == 2 and scale < 1:
        scale = 1e-5  # the papers' 1e-12 counts below
    grads = [g.float() * scale for g in GRADS]
    got = flat(worst_case_perturbation([w.float() for w in PARAMS], grads, p=p)).double()
    want = flat(worst_case_perturbation(PARAMS, [g.double() for g in grads], p=p))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-9)


def test_p_2_keeps_the_papers_epsilon():
    [e] = worst_case_perturbation([torch.ones(2)], [torch.tensor([3e-12, 4e-12])], rho=1.0)
    torch.testing.assert_close(e, torch.tensor([3 / 6, 4 / 6]))
    [e] = worst_case_perturbation([torch.ones(2)], [torch.tensor([3e-12, 4e-12])], rho=1.0, perturbation="asam")
    torch.testing.assert_close(e, torch.tensor([3 / 6, 4 / 6]))


@pytest.mark.parametrize("options", [{}, {"p": 1.5}, {"p": 3.0}, {"p": math.inf}, {"perturbation": "asam"}])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_gradient_no_perturbation(options, dtype):
    params = [w.to(dtype) for w in PARAMS]
    for e in worst_case_perturbation(params, [torch.zeros_like(w) for w in params], **options):
        assert torch.equal(e, torch.zeros_like(e))


@pytest.mark.parametrize("options", [{}, {"p": 1.5}, {"p": math.inf}, {"perturbation": "asam"}])
def test_a_tensor_without_gradient_stays_and_empty_ones_are_no_obstacle(options):
    params, grads = [*PARAMS, torch.ones(3), torch.zeros(0)], [*GRADS, torch.zeros(3), torch.zeros(0)]
    *moved, still, empty = worst_case_perturbation(params, grads, **options)
    torch.testing.assert_close(moved, worst_case_perturbation(PARAMS, GRADS, **options))
    assert torch.equal(still, torch.zeros(3))
    assert empty.shape == (0,)


def test_asam_leaves_zero_weights():
    params = [torch.tensor([0.0, 2.0, -1.0])]
    [e] = worst_case_perturbation(params, [torch.tensor([5.0, 1.0, 1.0])], perturbation="asam")
    assert e[0] == 0
    assert (e[1:] > 0).all()


def test_asam_eta_and_adaptive():
    params, grads = [torch.tensor([0.0, 2.0]), torch.tensor([3.0])], [torch.tensor([1.0, -2.0]), torch.tensor([0.5])]
    got = worst_case_perturbation(params, grads, rho=0.1, perturbation="asam", eta=0.5, adaptive=[True, False])
    t = torch.tensor([0.5, 2.5, 1.0])
    g = torch.tensor([1.0, -2.0, 0.5])
    torch.testing.assert_close(flat(got), 0.1 * t**2 * g / (t * g).norm())


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=6),
    st.sampled_from([1.1, 1.5, 2.0, 4.0, 50.0, math.inf]),
)
def test_never_longer_than_rho_and_never_downhill(values, p):
    g = torch.tensor(values)
    [e] = worst_case_perturbation([torch.ones_like(g)], [g], rho=0.5, p=p)
    assert float(torch.linalg.vector_norm(e.double(), ord=p)) <= 0.5 * (1 + 1e-5)
    assert (e * g.sign() >= 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": 0}, r"`rho`.*got 0\."),
        ({"rho": -0.1}, r"`rho`.*got -0\.1"),
        ({"rho": math.inf}, "`rho`.*got inf"),
        ({"rho": math.nan}, "`rho`.*got nan"),
        ({"perturbation": "SAM"}, "`perturbation` must be one of 'sam', 'asam', got 'SAM'"),
        ({"p": 1}, r"`p` must be above 1 \(inf allowed\), got 1\."),
        ({"p": 0.5}, r"`p`.*got 0\.5"),
        ({"p": math.nan}, "`p`.*got nan"),
        ({"perturbation": "asam", "p": 3.0}, r"p = 2 only, got p = 3\.0"),
        ({"perturbation": "asam", "p": math.inf}, "got p = inf"),
        ({"eta": -1.0}, r"`eta`.*got -1\.0"),
        ({"eta": math.nan}, "`eta`.*got nan"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        worst_case_perturbation(PARAMS, GRADS, **options)
    with pytest.raises(ValueError, match=message):
        check_perturbation(**{"rho": 0.05, "perturbation": "sam", "p": 2.0, **options})


@pytest.mark.parametrize("name", ["rho", "p", "eta"])
@pytest.mark.parametrize("value", ["big", None, True, [0.5]])
def test_what_is_no_number_is_a_type_error(name, value):
    with pytest.raises(TypeError, match=rf"`{name}` must be a number, .*got {re.escape(repr(value))}"):
        worst_case_perturbation(PARAMS, GRADS, **{name: value})


def test_all_that_is_wrong_is_one_error():
    with pytest.raises(ValueError) as caught:
        check_perturbation(rho=-1, perturbation="SAM", p="2", eta=math.nan)
    assert str(caught.value).splitlines() == [
        "4 things cannot be as they are:",
        "  1. `rho` must be above 0 and finite, got -1.",
        "  2. `perturbation` must be one of 'sam', 'asam', got 'SAM'.",
        "  3. `p` must be a number, above 1 (inf allowed), got '2'.",
        "  4. `eta` must be at least 0 and finite, got nan.",
    ]


@pytest.mark.parametrize("perturbation", ["sam", "asam"])
@pytest.mark.parametrize("size", [1e-5, 0.0, 6e4])
def test_half_precision_is_raised(perturbation, size):
    weights, grads = [torch.tensor([1.0, -2.0]).half()], [torch.tensor([size, 0.5 * size]).half()]
    [got] = worst_case_perturbation(weights, grads, rho=0.5, perturbation=perturbation)
    [want] = worst_case_perturbation([weights[0].double()], [grads[0].double()], rho=0.5, perturbation=perturbation)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=0)
    assert float(got.norm()) > 0.4 if size else not got.any()


@pytest.mark.parametrize("perturbation", ["sam", "asam"])
@pytest.mark.parametrize(
    ("weights", "grads", "flags", "message"),
    [
        (
            [torch.ones(2), torch.ones(2)],
            [torch.ones(2)],
            None,
            "as many weights as gradients .* .'params': 2, 'grads': 1",
        ),
        ([], [], None, "one at least"),
        ([torch.ones(2)], [torch.ones(2)], [True, True], "'adaptive': 2"),
        ([torch.ones(2)], [torch.ones(3)], None, r"got \(3,\) for \(2,\) at position 0"),
    ],
)
def test_weights_and_gradients_that_do_not_go_together(perturbation, weights, grads, flags, message):
    with pytest.raises(ValueError, match=message):
        worst_case_perturbation(weights, grads, perturbation=perturbation, adaptive=flags)
