import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lightning_al import functional as F_al
from lightning_al.functional.scores.sharpness import largest_eigenvalue
from tests.helpers import reference
from tests.helpers.marks import slow
from tests.helpers.models import case, randn, take

RHO = 0.1


def dense(net, x, perturbation, forward=None):
    """Loss, gradient and Hessian of one sample over the flattened weights."""
    net = copy.deepcopy(net).eval()
    weights = [w for w in net.parameters() if w.requires_grad]
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # can be differentiated twice
        z = reference.outputs(net, x, forward)
    loss = reference.loss(z, z.argmax(1)).sum()
    grads = torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)
    flat = torch.cat([(torch.zeros_like(w) if g is None else g).flatten() for g, w in zip(grads, weights, strict=True)])
    rows = []
    for g in flat:
        row = (
            torch.autograd.grad(g, weights, retain_graph=True, allow_unused=True)
            if g.requires_grad
            else [None] * len(weights)
        )
        rows.append(
            torch.cat([(torch.zeros_like(w) if r is None else r).flatten() for r, w in zip(row, weights, strict=True)])
        )
    scale = torch.cat([w.detach().flatten().abs() for w in weights])
    if perturbation == "sam":
        scale = torch.ones_like(scale)
    hessian = torch.stack(rows) * scale[:, None] * scale[None, :]
    return loss.detach(), (scale * flat.detach()).norm(), torch.linalg.eigvalsh(hessian)[-1]


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("name", "perturbation"),
    [
        *((name, "sam") for name in ("convolution", "batch norm", "layer norm", "layer used twice", "tied weights")),
        ("batch norm", "asam"),
        *(slow(name, "asam") for name in ("convolution", "layer norm", "layer used twice", "tied weights")),
        ("attention", "asam"),
        slow("attention", "sam"),
    ],
)
def test_terms_equal_the_dense_hessians(name, perturbation):
    net, x, forward, _ = case(name)
    got = F_al.sharpness_bound(net, x, RHO, perturbation=perturbation, forward=forward, steps=200, tolerance=1e-12)
    for i in range(3):
        loss, slope, top = dense(net, take(x, slice(i, i + 1)), perturbation, forward)
        torch.testing.assert_close(got.loss[i], loss)
        torch.testing.assert_close(got.slope[i], RHO * slope)
        torch.testing.assert_close(got.eigenvalue[i], top, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(got.curvature[i], 0.5 * RHO**2 * top.clamp(min=0), rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(got.total, got.loss + got.slope + got.curvature)


@given(st.integers(1, 12), st.integers(0, 10_000))
def test_the_largest_eigenvalue_is_not_the_largest_magnitude(n, seed):
    draw = torch.Generator().manual_seed(seed)
    a = torch.randn(n, n, generator=draw, dtype=torch.float64)
    a = a + a.T - 5 * torch.eye(n, dtype=torch.float64)  # mostly negative
    top = largest_eigenvalue(lambda v: [a @ v[0]], [torch.zeros(n, dtype=torch.float64)], steps=n, tolerance=0.0)
    torch.testing.assert_close(top, torch.linalg.eigvalsh(a)[-1], rtol=1e-7, atol=1e-7)


def test_a_flat_loss():
    top = largest_eigenvalue(lambda v: [torch.zeros_like(v[0])], [torch.ones(4)], steps=9, tolerance=1e-3)
    assert float(top) == 0.0


def test_the_bound_is_close_above_the_perturbed_loss():
    net, x, *_ = case("batch norm")
    bound = F_al.sharpness_bound(net, x, 0.01).total
    perturbed = F_al.saal(net, x, rho=0.01)
    assert (perturbed <= bound + 1e-5).all()
    torch.testing.assert_close(perturbed, bound, rtol=1e-2, atol=1e-2)


def test_the_middle_term_is_the_pseudo_label_norm():
    net, x, *_ = case("convolution")
    got = F_al.sharpness_bound(net, x, RHO, steps=1)
    torch.testing.assert_close(got.slope, RHO * F_al.gradient_norm(net, x, loss="pseudo_label"))


def test_nothing_is_left_behind():
    net, x, *_ = case("batch norm")
    net.train()
    before = reference.snapshot(net)
    F_al.sharpness_bound(net, x, RHO, steps=2)
    assert reference.snapshot(net) == before


@pytest.mark.parametrize(
    ("options", "message"), [({"rho": 0}, "`rho`"), ({"steps": 0}, "`steps` must be at least 1, got 0")]
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        F_al.sharpness_bound(nn.Linear(2, 2), torch.zeros(1, 2), **options)


def test_no_trainable_parameter():
    with pytest.raises(ValueError, match="no trainable parameter"):
        F_al.sharpness_bound(nn.Linear(2, 2).requires_grad_(False), torch.zeros(1, 2))


def test_targets_take_the_place_of_pseudo_labels():
    net, x = nn.Linear(4, 3).double(), randn(2, 4)
    y = (net(x).argmax(1) + 1) % 3
    assert (F_al.sharpness_bound(net, x, targets=y).loss > F_al.sharpness_bound(net, x).loss).all()
