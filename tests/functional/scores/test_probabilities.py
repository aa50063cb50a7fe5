import math

import pytest
import torch
from torch.nn import functional as F

from lightning_al.functional import cross_entropy, log_probabilities
from lightning_al.functional.scores.probabilities import check_logits
from tests.helpers.logits import TINY, lead
from tests.helpers.models import randn


def exact_loss(z, y):
    """In float64 from the differences of the logits: no 1 - p anywhere."""
    gap = z.double() - z.double().gather(1, y[:, None])
    others = torch.ones_like(gap).scatter(1, y[:, None], 0.0)
    return torch.log1p((gap.exp() * others).sum(1))


def exact_residuals(z, y):
    p = z.double().softmax(1)
    others = torch.ones_like(p).scatter(1, y[:, None], 0.0)
    return p * others - F.one_hot(y, z.shape[1]) * (p * others).sum(1, keepdim=True)


@pytest.mark.parametrize("shape", [(6, 2), (6, 7), (4, 3, 5), (4, 3, 2, 3)])
def test_equals_the_textbook_where_that_is_accurate(shape):
    z = randn(*shape) * 3
    y = torch.randint(shape[1], (shape[0], *shape[2:]), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(cross_entropy(z, y), F.cross_entropy(z, y, reduction="none"), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(log_probabilities(z), z.log_softmax(1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(6, 2), (3, 4, 2)])
def test_gradients_equal_the_textbook(shape):
    z = randn(*shape).requires_grad_()
    y = torch.zeros(shape[0], *shape[2:], dtype=torch.long)
    weights = randn(*shape, seed=5)
    for mine, theirs in [
        (cross_entropy(z, y).square().sum(), F.cross_entropy(z, y, reduction="none").square().sum()),
        ((log_probabilities(z) * weights).sum(), (z.log_softmax(1) * weights).sum()),
    ]:
        [a], [b] = torch.autograd.grad(mine, z), torch.autograd.grad(theirs, z)
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("by", [20, 35, 50, 80, 100])
@pytest.mark.parametrize("target", [1, 0])
def test_float32_loss_is_the_float64_loss_when_saturated(by, target):
    z = lead(by)
    y = torch.full((4,), target)
    got = cross_entropy(z, y)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), exact_loss(z, y), rtol=2e-5, atol=TINY)
    assert (got > 0).all()
    torch.testing.assert_close(cross_entropy(z.double(), y), exact_loss(z, y), rtol=1e-12, atol=0)


@pytest.mark.parametrize("by", [20, 35, 50, 80])
def test_float32_gradient_direction_is_right_when_saturated(by):
    z = lead(by).requires_grad_()
    y = torch.full((4,), 1)
    [g] = torch.autograd.grad(cross_entropy(z, y).sum(), z)
    expected = exact_residuals(z.detach(), y)
    torch.testing.assert_close(g.double(), expected, rtol=2e-5, atol=0)
    # The usual form loses the residual of the label: this is what the library is about.
    [usual] = torch.autograd.grad(F.cross_entropy(z, y, reduction="sum"), z)
    assert F.cosine_similarity(usual.double() / usual.abs().amax(), expected / expected.abs().amax()).max() < 0.9


def test_float32_gradient_at_a_lead_of_100_keeps_its_signs():
    z = lead(100).requires_grad_()
    [g] = torch.autograd.grad(cross_entropy(z, torch.full((4,), 1)).sum(), z)
    assert torch.isfinite(g).all()
    assert (g[:, 1] < 0).all()
    torch.testing.assert_close(g.double(), exact_residuals(z.detach(), torch.full((4,), 1)), rtol=0, atol=TINY)


@pytest.mark.parametrize("by", [20, 50, 80])
def test_float32_log_probabilities_of_the_leader(by):
    z = lead(by)
    got = log_probabilities(z)
    torch.testing.assert_close(got[:, 1].double(), -exact_loss(z, torch.full((4,), 1)), rtol=2e-5, atol=0)
    torch.testing.assert_close(got.double(), z.double().log_softmax(1), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [3, 2])
def test_masked_classes_have_loss_and_gradient(dtype, classes):
    z = randn(2, classes).to(dtype)
    z[:, 0] = -torch.inf
    z.requires_grad_()
    y = torch.ones(2, dtype=torch.long)
    got = cross_entropy(z, y)
    expected = F.cross_entropy(z.detach()[:, 1:], y - 1, reduction="none")
    torch.testing.assert_close(got.detach(), expected)
    [g] = torch.autograd.grad(got.sum(), z)
    assert torch.isfinite(g).all()
    assert (g[:, 0] == 0).all()
    logs = log_probabilities(z.detach())
    assert (logs[:, 0] == -torch.inf).all()
    torch.testing.assert_close(logs[:, 1:], z.detach()[:, 1:].log_softmax(1))


def test_a_masked_target_has_a_finite_loss_larger_than_any_other():
    z = torch.tensor([[-torch.inf, 0.0, 1.0]])
    assert 1e30 < float(cross_entropy(z, torch.tensor([0]))) < math.inf


@pytest.mark.parametrize(
    "row", [[math.nan, 1.0, 0.0], [math.inf, 1.0, 0.0], [math.inf, math.inf, 0.0], [-math.inf] * 3]
)
def test_rows_without_probabilities_are_nan_and_leave_the_others_alone(row):
    z = torch.tensor([row, [0.0, 1.0, 2.0]])
    got = cross_entropy(z, torch.tensor([1, 1]))
    assert got.isnan().tolist() == [True, False]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised(dtype):
    z, y = randn(4, 3).to(dtype), torch.tensor([0, 1, 2, 0])
    assert cross_entropy(z, y).dtype == log_probabilities(z).dtype == torch.float32
    assert torch.equal(cross_entropy(z, y), cross_entropy(z.float(), y))
    assert torch.equal(log_probabilities(z), log_probabilities(z.float()))


def test_check_logits_accepts():
    for z in (randn(3, 2), randn(0, 2), randn(3, 2, 4, 4), randn(3, 2).half()):
        check_logits(z)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ({"logits": 1}, TypeError, r"got dict\..*`task="),
        ((randn(2, 2),), TypeError, "got tuple"),
        (torch.zeros(3, 2, dtype=torch.long), TypeError, r"got torch\.int64"),
        (randn(3), ValueError, r"C >= 2 classes, got \(3,\)"),
        (randn(3, 1), ValueError, r"got \(3, 1\).*`task=BinaryTask\(\)`.*`task=RegressionTask\(\)`"),
    ],
)
def test_check_logits_refuses(bad, error, message):
    with pytest.raises(error, match=message):
        check_logits(bad)


@pytest.mark.parametrize(
    ("logits", "target", "error", "message"),
    [
        (torch.zeros(2, 3).long(), torch.zeros(2).long(), TypeError, "Logits must be floating point, got torch.int64"),
        ([[0.0, 1.0]], torch.zeros(1).long(), TypeError, r"Logits must be a tensor .* takes `forward="),
        (torch.zeros(2, 1), torch.zeros(2).long(), ValueError, "C >= 2 classes"),
        (torch.zeros(2, 3), torch.zeros(2), TypeError, "`target` must be .* got torch.float32"),
        (torch.zeros(2, 3), [0, 1], TypeError, "`target` must be .* got list"),
        (torch.zeros(2, 3), torch.zeros(1).long(), ValueError, r"\(2,\) here, got \(1,\)"),  # it was broadcast
        (torch.zeros(2, 3, 4, 5), torch.zeros(2, 5, 4).long(), ValueError, r"\(2, 4, 5\) here, got \(2, 5, 4\)"),
    ],
)
def test_what_has_no_cross_entropy(logits, target, error, message):
    with pytest.raises(error, match=message):
        cross_entropy(logits, target)


@pytest.mark.parametrize("logits", [[0.0, 1.0], torch.zeros(2, 3).long(), torch.zeros(3)])
def test_what_has_no_log_probabilities(logits):
    with pytest.raises((TypeError, ValueError), match="Logits must"):
        log_probabilities(logits)
