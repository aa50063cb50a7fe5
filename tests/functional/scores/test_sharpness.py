import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

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


def of_lead(lead):
    """A model of two classes that tells an input of 1 apart by this lead, in float32."""
    net = nn.Linear(1, 2)
    nn.init.zeros_(net.bias)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[lead / 2], [-lead / 2]]))
    return net


@pytest.mark.parametrize("lead", [0.5, 15, 18, 30, 60])
def test_a_leading_class_keeps_its_slope_and_curvature(lead):
    got = F_al.sharpness_bound(of_lead(lead), torch.ones(1, 1), RHO)
    residual = 1 / (1 + math.exp(lead))  # of logits that are each moved by a weight and a bias
    assert float(got.slope) == pytest.approx(RHO * 2 * residual, rel=1e-5)
    assert float(got.eigenvalue) == pytest.approx(4 * residual * (1 - residual), rel=1e-5)


def frozen_below(net):
    net[0].requires_grad_(False)
    return net


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)),
        lambda: frozen_below(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))),
        lambda: Checkpointed(),
    ],
)
def test_half_precision_is_raised(make):
    net, x = make().bfloat16(), randn(2, 4).float()
    got, want = F_al.sharpness_bound(net, x), F_al.sharpness_bound(copy.deepcopy(net).float(), x)
    torch.testing.assert_close(got, want)


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.last(checkpoint(lambda x: torch.tanh(self.hidden(x)), x, use_reentrant=False))


def test_sparse_gradients():
    rows = torch.tensor([1, 2])
    dense = nn.Sequential(nn.Embedding(5, 3))
    sparse = copy.deepcopy(dense)
    sparse[0].sparse = True
    torch.testing.assert_close(F_al.sharpness_bound(sparse, rows), F_al.sharpness_bound(dense, rows))


def test_no_samples():
    got = F_al.sharpness_bound(nn.Linear(4, 3), torch.empty(0, 4))
    assert [tuple(term.shape) for term in (*got, got.total)] == [(0,)] * 5


@pytest.mark.parametrize(
    ("net", "options", "error", "message"),
    [
        (nn.Linear(4, 3), {"targets": torch.tensor([7])}, ValueError, "from 0 to 2, got 7"),
        (nn.Linear(4, 3), {"targets": torch.tensor([1.0])}, TypeError, "class indices, got torch.float32"),
        (nn.Linear(4, 3), {"loss_fn": lambda z, y: z}, ValueError, r"one number per sample, \(1,\) here, got 3"),
        (nn.Linear(4, 3), {"tolerance": -1.0}, ValueError, "`tolerance` must be at least 0"),
        (nn.Linear(4, 3), {"tolerance": "x"}, TypeError, "`tolerance` must be a number"),
        (nn.LazyLinear(3), {}, ValueError, "lazy layers"),
    ],
)
def test_what_saal_refuses_is_refused_here(net, options, error, message):
    with pytest.raises(error, match=message):
        F_al.sharpness_bound(net, torch.ones(1, 4), **options)
