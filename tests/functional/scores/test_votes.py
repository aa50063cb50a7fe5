"""Votes against explicit counting and explicit probabilities."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_al import functional as F_al
from tests.helpers import reference

SCORES = {"vote_entropy": F_al.vote_entropy, "kl": F_al.consensus_kl}


def logits(b, k, c, seed, scale=3.0, dtype=torch.float64):
    return (torch.randn(b, k, c, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale).to(dtype)


@pytest.mark.parametrize("name", SCORES)
@settings(max_examples=60, deadline=None)
@given(b=st.integers(0, 7), k=st.integers(1, 6), c=st.integers(2, 6), seed=st.integers(0, 99), scale=st.floats(0, 30))
def test_equals_the_brute_force(name, b, k, c, seed, scale):
    z = logits(b, k, c, seed, scale)
    wanted = [reference.committee(name, sample.tolist()) for sample in z]
    got = SCORES[name](z)
    assert got.shape == (b,)
    assert got.tolist() == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    assert bool((got >= 0).all())
    assert bool((got <= math.log(min(k, c)) + 1e-12).all())


@given(k=st.integers(1, 6), c=st.integers(2, 5), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_consensus_kl_is_the_jensen_shannon_divergence(k, c, seed):
    p = logits(5, k, c, seed).softmax(2)

    def entropy(q):
        return -(q * q.log()).sum(-1)

    assert torch.allclose(F_al.consensus_kl(p.log()), entropy(p.mean(1)) - entropy(p).mean(1), atol=1e-12)


@pytest.mark.parametrize("name", SCORES)
@given(k=st.integers(1, 5), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=30, deadline=None)
def test_members_have_no_order_and_classes_no_names(name, k, seed, data):
    z = logits(6, k, 4, seed)
    members, classes = data.draw(st.permutations(range(k))), data.draw(st.permutations(range(4)))
    got = SCORES[name](z[:, members][:, :, classes])
    assert torch.allclose(got, SCORES[name](z), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_equal_divisions_of_the_votes_are_exact_ties(dtype):
    votes = torch.cartesian_prod(*[torch.arange(4)] * 5)  # every vote of 5 members for 4 classes
    scores = F_al.vote_entropy(torch.nn.functional.one_hot(votes, 4).to(dtype))
    divisions = {tuple(sorted(torch.bincount(v, minlength=4).tolist())) for v in votes}
    assert len(scores.unique()) == len(divisions) == 6


@pytest.mark.parametrize("agree", [True, False])
def test_kl_of_confident_members_in_float32(agree):
    """Where probabilities round to 1, and their logarithms to 0."""
    z = logits(200, 4, 5, 0, 2.0)
    z[:, :, 0] += torch.linspace(0, 60, 200, dtype=torch.float64)[:, None]
    if not agree:
        z[:, 0] = z[:, 0].roll(1, 1)
    exact = F_al.consensus_kl(z.float().double())
    wanted = [reference.committee("kl", sample.tolist()) for sample in z.float().double()[:80]]
    assert exact[:80].tolist() == pytest.approx(wanted, abs=1e-12)
    assert torch.allclose(F_al.consensus_kl(z.float()).double(), exact, rtol=2e-3, atol=0)
    assert bool((exact > 0).all())


def test_members_that_are_the_same_do_not_diverge_at_all():
    z = logits(50, 1, 7, 0, 10.0, torch.float32).expand(-1, 5, -1)
    assert F_al.consensus_kl(z).tolist() == [0.0] * 50
    assert F_al.vote_entropy(z).tolist() == [0.0] * 50


def test_a_class_masked_out_does_not_count():
    z = logits(9, 3, 4, 0)
    masked = torch.cat([z, torch.full((9, 3, 1), -torch.inf, dtype=z.dtype)], 2)
    for score in SCORES.values():
        assert torch.equal(score(masked), score(z))
    by_one = torch.tensor([[[0.0, -torch.inf], [0.0, 0.0]]])  # one member excludes what another does not
    assert F_al.consensus_kl(by_one).item() == pytest.approx(reference.committee("kl", by_one[0].tolist()))


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_member_that_diverged_is_not_hidden_by_its_vote(name, bad):
    z = logits(3, 3, 4, 0)
    z[1, 2, 0] = bad
    assert SCORES[name](z).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("name", SCORES)
def test_dense_outputs_are_averaged_over_positions(name):
    z = logits(4 * 6, 3, 5, 0).view(4, 2, 3, 3, 5).permute(0, 3, 4, 1, 2)  # (B, K, C, 2, 3)
    each = torch.stack([SCORES[name](z[..., i, j]) for i in range(2) for j in range(3)])
    assert torch.allclose(SCORES[name](z), each.mean(0))


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised(name, dtype):
    z = logits(6, 3, 4, 0, dtype=dtype)
    assert SCORES[name](z).dtype == torch.float32
    assert torch.equal(SCORES[name](z), SCORES[name](z.float()))


@pytest.mark.parametrize("name", SCORES)
def test_refuses(name):
    with pytest.raises(ValueError, match=r"\(B, K, C\) with K >= 1 members, got \(4, 3\)"):
        SCORES[name](torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"got \(4, 0, 3\)"):
        SCORES[name](torch.zeros(4, 0, 3))
    with pytest.raises(ValueError, match="C >= 2 classes"):
        SCORES[name](torch.zeros(4, 3, 1))
    with pytest.raises(TypeError, match="floating point"):
        SCORES[name](torch.zeros(4, 3, 2, dtype=torch.long))
    with pytest.raises(TypeError, match="must be a tensor"):
        SCORES[name]([1])
