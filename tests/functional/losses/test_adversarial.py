import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from lightning_al import functional as F_al
from tests.helpers.extent import examples


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# -------------------------------------------------------------------------------------------------------------- losses


@examples(30)
@given(st.integers(1, 4), st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(1, 5), st.integers(0, 9))
def test_vae_loss_is_the_sum_over_single_values(b, shape, latent, seed):
    x, y = randn(b, *shape, seed=seed), randn(b, *shape, seed=seed + 1)
    mean, log_variance = randn(b, latent, seed=seed + 2), randn(b, latent, seed=seed + 3)
    pairs = zip(x.flatten(1).tolist(), y.flatten(1).tolist(), strict=True)
    squares = [[(u - v) ** 2 for u, v in zip(p, q, strict=True)] for p, q in pairs]
    normals = [
        [float(kl_divergence(Normal(m, (s / 2).exp()), Normal(0.0, 1.0))) for m, s in zip(*row, strict=True)]
        for row in zip(mean, log_variance, strict=True)
    ]
    per_sample = sum(3 * sum(a) + 0.5 * sum(k) for a, k in zip(squares, normals, strict=True)) / b
    got = F_al.vae_loss(y, x, mean, log_variance, beta=0.5, weight=3.0)
    assert float(got) == pytest.approx(per_sample, rel=1e-9)
    square, divergences = statistics.mean(map(statistics.mean, squares)), sum(map(sum, normals))
    for reduction, share in (("mean", b * latent), ("code", b)):
        got = F_al.vae_loss(y, x, mean, log_variance, beta=0.5, weight=3.0, reduction=reduction)
        assert float(got) == pytest.approx(3 * square + 0.5 * divergences / share, rel=1e-9)
    as_coded = 3 * statistics.mean(map(statistics.mean, squares)) + 0.5 * sum(map(sum, normals))
    got = F_al.vae_loss(y, x, mean, log_variance, beta=0.5, weight=3.0, reduction="batch")
    assert float(got) == pytest.approx(as_coded, rel=1e-9)


def test_vae_loss_refuses_what_does_not_fit():
    x, z = torch.zeros(2, 3), torch.zeros(2, 4)
    with pytest.raises(ValueError, match="`reduction` must be one of 'sample', 'mean', 'code', 'batch', got 'sum'"):
        F_al.vae_loss(x, x, z, z, reduction="sum")
    for wrong in ((x, x[:, :2], z, z), (x, x, z, z[:, :1]), (x, x, z[:1], z[:1])):
        with pytest.raises(ValueError, match="must have the shape of"):
            F_al.vae_loss(*wrong)


def cross_entropy(logit: float, target: float) -> float:
    d = 1 / (1 + math.exp(-logit))
    return -(target * math.log(d) + (1 - target) * math.log(1 - d))


LOGITS = st.lists(st.floats(-15, 15), min_size=1, max_size=5)


@examples(100)
@given(LOGITS, LOGITS, st.randoms())
def test_both_sides_of_the_game(labelled, unlabelled, random):
    one, two = torch.tensor(labelled, dtype=torch.float64), torch.tensor(unlabelled, dtype=torch.float64)
    real = statistics.mean(cross_entropy(z, 1) for z in labelled)
    fooled = real + statistics.mean(cross_entropy(z, 1) for z in unlabelled)
    assert float(F_al.adversarial_loss(one, two)) == pytest.approx(fooled, rel=1e-6)
    told = real + statistics.mean(cross_entropy(z, 0) for z in unlabelled)
    assert float(F_al.discriminator_loss(one, two)) == pytest.approx(told, rel=1e-6)
    targets = [random.random() for _ in unlabelled]
    relabelled = real + statistics.mean(cross_entropy(z, t) for z, t in zip(unlabelled, targets, strict=True))
    assert float(F_al.discriminator_loss(one, two, torch.tensor(targets))) == pytest.approx(relabelled, rel=1e-5)


def test_sure_discriminators_give_finite_losses_and_gradients():
    z = torch.tensor([-1000.0, 1000.0], requires_grad=True)
    for loss in (F_al.adversarial_loss(z, z), F_al.discriminator_loss(z, z)):
        [gradient] = torch.autograd.grad(loss, z)
        assert loss.isfinite()
        assert gradient.abs().max() > 0.4
        assert gradient.isfinite().all()


# --------------------------------------------------------------------------------------------------- state_uncertainty


def uncertainty(p: list[float]) -> float:
    n, m = len(p), max(p)
    least = ((1 / n - m) ** 2 + (n - 1) * (1 / n - (1 - m) / (n - 1)) ** 2) / n
    return 1 - m * least / statistics.pvariance(p)


PROBABILITIES = st.lists(st.floats(0.01, 1), min_size=2, max_size=12).map(lambda w: [v / sum(w) for v in w])


@examples(100)
@given(PROBABILITIES)
def test_uncertainty_is_its_formula_and_from_0_to_1(p):
    [u] = F_al.state_uncertainty(torch.tensor([p], dtype=torch.float64)).tolist()
    assert 0 <= u <= 1
    if statistics.pvariance(p) >= 1e-8:
        assert u == pytest.approx(uncertainty(p), abs=1e-6)
        # MinVar is the least variance, so that the ratio is at most 1.
        assert u >= 1 - max(p) - 1e-9


@given(PROBABILITIES, st.randoms())
def test_the_order_of_the_classes_does_not_matter(p, random):
    shuffled = random.sample(p, len(p))
    both = F_al.state_uncertainty(torch.tensor([p, shuffled], dtype=torch.float64))
    if statistics.pvariance(p) >= 1e-8:
        assert both[0] == pytest.approx(float(both[1]), abs=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_one_hot_is_certain_and_uniform_is_finite(classes, dtype):
    rows = torch.stack([torch.eye(classes, dtype=dtype)[1], torch.full((classes,), 1 / classes, dtype=dtype)])
    certain, even = F_al.state_uncertainty(rows).tolist()
    assert certain == 0
    assert even == pytest.approx(1 - 1 / classes, abs=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_it_falls_from_uniform_to_one_hot(classes):
    """Along that line the ratio is 1 all the way, and at its ends: uniform is the largest there."""
    share = torch.linspace(0, 1, 21, dtype=torch.float64).unsqueeze(1)
    rows = share * torch.eye(classes, dtype=torch.float64)[0] + (1 - share) / classes
    u = F_al.state_uncertainty(rows)
    assert (u.diff() < 0).all()
    torch.testing.assert_close(u, 1 - rows.amax(1), atol=1e-7, rtol=0)


def test_two_classes_leave_the_lesser_probability():
    p = torch.rand(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows = torch.stack([p, 1 - p], 1)
    torch.testing.assert_close(F_al.state_uncertainty(rows), rows.amin(1))


def test_uncertainty_refuses_other_shapes():
    for shape in ((3,), (3, 1), (3, 2, 2)):
        with pytest.raises(ValueError, match="must be \\(B, C\\)"):
            F_al.state_uncertainty(torch.ones(shape))


@pytest.mark.parametrize(
    "rows", [[[8.0, 1.0, 0.0]], [[0.5, 0.4, 0.0]], [[1.5, -0.5, 0.0]], [[0.2, 0.3, 0.5], [0.0] * 3]]
)
def test_what_are_no_probabilities_has_no_state(rows):
    with pytest.raises(ValueError, match=r"sum to 1 over the classes, got \[.*softmax"):
        F_al.state_uncertainty(torch.tensor(rows))
    with pytest.raises(TypeError, match=r"floating point, got torch\.int64"):
        F_al.state_uncertainty(torch.tensor(rows).long())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_probabilities_may_be_rounded(dtype):
    p = torch.randn(50, 100, generator=torch.Generator().manual_seed(0)).softmax(1)
    torch.testing.assert_close(F_al.state_uncertainty(p.to(dtype)), F_al.state_uncertainty(p), rtol=0.02, atol=0.02)
