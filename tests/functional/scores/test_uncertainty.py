import math

import pytest
import torch

from lightning_al import functional as F_al
from lightning_al.functional.scores import uncertainty
from tests.helpers import reference
from tests.helpers.logits import TINY, lead
from tests.helpers.models import case, randn

NAMES = ("entropy", "least_confidence", "margin")
PLURALS = {
    "entropy": uncertainty.entropies,
    "least_confidence": uncertainty.least_confidences,
    "margin": uncertainty.margins,
}
FUNCTIONS = {name: (getattr(F_al, name), getattr(reference, name)) for name in NAMES}


@pytest.mark.parametrize("shape", [(7, 2), (7, 9), (4, 3, 5), (4, 3, 2, 3), (0, 3)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_equals_the_definition(name, shape):
    mine, theirs = FUNCTIONS[name]
    z = randn(*shape) * 2
    got = mine(z)
    assert got.shape == (shape[0],)
    if shape[0]:
        torch.testing.assert_close(got, theirs(z), rtol=1e-10, atol=1e-12)
        alone = torch.cat([mine(z[i : i + 1]) for i in range(len(z))])
        torch.testing.assert_close(alone, got, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("by", [20, 35, 50, 80, 100])
@pytest.mark.parametrize("name", ["entropy", "least_confidence"])
def test_float32_is_float64_when_saturated(name, by):
    z = lead(by)
    gaps = (z.double() - z.double()[:, 1:2])[:, [0, 2, 3, 4]]
    rest = gaps.exp().sum(1)  # sum of the others over the leader
    p = gaps.exp() / (1 + rest)[:, None]
    exact = {
        "least_confidence": rest / (1 + rest),
        "entropy": torch.log1p(rest) / (1 + rest) - (p * (gaps - torch.log1p(rest)[:, None])).sum(1),
    }[name]
    mine = FUNCTIONS[name][0]
    torch.testing.assert_close(mine(z).double(), exact, rtol=5e-5, atol=2 * by * TINY)
    torch.testing.assert_close(mine(z.double()), exact, rtol=1e-9, atol=0)


@pytest.mark.parametrize("by", [20, 50, 80])
def test_float32_entropy_gradient_is_float64s_when_saturated(by):
    z = lead(by)
    wide = z.double().requires_grad_()
    narrow = z.requires_grad_()
    [a] = torch.autograd.grad(F_al.entropy(narrow).sum(), narrow)
    [b] = torch.autograd.grad(F_al.entropy(wide).sum(), wide)
    torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=0)
    # Analytically dH/dz_j = -p_j (log p_j + H); away from the leader nothing cancels.
    p, log_p = wide.detach().softmax(1), wide.detach().log_softmax(1)
    expected = -p * (log_p + F_al.entropy(wide.detach())[:, None])
    torch.testing.assert_close(b[:, [0, 2, 3, 4]], expected[:, [0, 2, 3, 4]], rtol=1e-9, atol=0)


def test_two_classes_saturated_entropy_is_a_number_not_zero():
    [h] = F_al.entropy(torch.tensor([[60.0, 0.0]]))
    assert float(h) == pytest.approx(61 * math.exp(-60), rel=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_masked_classes_count_as_probability_zero(name):
    mine, theirs = FUNCTIONS[name]
    z = randn(4, 5)
    masked = z.clone()
    masked[:, 3] = -torch.inf
    torch.testing.assert_close(mine(masked), theirs(z[:, [0, 1, 2, 4]]), rtol=1e-10, atol=1e-12)


def test_masked_entropy_has_the_gradient_of_the_classes_left():
    z = randn(4, 5)
    z[:, 3] = -torch.inf
    z.requires_grad_()
    rest = z.detach()[:, [0, 1, 2, 4]].requires_grad_()
    [a] = torch.autograd.grad(F_al.entropy(z).sum(), z)
    [b] = torch.autograd.grad(reference.entropy(rest).sum(), rest)
    torch.testing.assert_close(a[:, [0, 1, 2, 4]], b)
    assert (a[:, 3] == 0).all()


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    "row", [[math.nan, 1.0, 0.0], [math.inf, 1.0, 0.0], [math.inf, math.inf, 0.0], [-math.inf] * 3]
)
def test_rows_without_probabilities_are_nan(name, row):
    """A diverged model must not look certain: the pool pass raises on NaN."""
    got = FUNCTIONS[name][0](torch.tensor([row, [0.0, 1.0, 2.0]]))
    assert got.isnan().tolist() == [True, False]


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised(name, dtype):
    mine = FUNCTIONS[name][0]
    z = randn(4, 3).to(dtype)
    assert mine(z).dtype == torch.float32
    assert torch.equal(mine(z), mine(z.float()))


def test_ranges():
    uniform, certain = torch.zeros(1, 4), torch.tensor([[500.0, 0, 0, 0]])
    assert float(F_al.entropy(uniform)) == pytest.approx(math.log(4))
    assert float(F_al.least_confidence(uniform)) == pytest.approx(0.75)
    assert float(F_al.margin(uniform)) == 0
    assert float(F_al.entropy(certain)) == float(F_al.least_confidence(certain)) == 0
    assert float(F_al.margin(certain)) == -1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_larger_means_more_uncertain(name):
    z = torch.tensor([[0.0, 3.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.1, 0.0]])
    got = FUNCTIONS[name][0](z)
    assert (got.diff() > 0).all()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_dense_outputs_are_averaged(name):
    net, x, *_ = case("dense")
    z = net(x).detach()
    expected = torch.stack([FUNCTIONS[name][1](s.flatten(1).T).mean() for s in z])
    torch.testing.assert_close(FUNCTIONS[name][0](z), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("single", "plural"), [*PLURALS.items()])
def test_the_plural_gives_every_position(single, plural):
    z = randn(3, 4, 2, 5)
    each = plural(z)
    assert each.shape == (3, 2, 5)
    for i in range(2):
        for j in range(5):
            torch.testing.assert_close(each[:, i, j], FUNCTIONS[single][1](z[..., i, j]), rtol=1e-10, atol=1e-12)
    assert torch.equal(each.flatten(1).mean(1), FUNCTIONS[single][0](z))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ([1.0], TypeError, "got list"),
        (torch.zeros(2, 3, dtype=torch.int32), TypeError, r"torch\.int32"),
        (randn(4), ValueError, r"\(4,\)"),
        (randn(4, 1), ValueError, r"\(4, 1\)"),
    ],
)
def test_refuses_what_are_no_logits(name, bad, error, message):
    with pytest.raises(error, match=message):
        FUNCTIONS[name][0](bad)
