"""Scores of passes and of members against sums and counts in plain Python, and what they are known to be."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al import functional as F_al
from lightning_al.functional.scores import disagreement
from tests.helpers import disagreement_reference, reference
from tests.helpers.extent import examples
from tests.helpers.models import randn

PASSES = ("mean_entropy", "bald", "variation_ratio")
MEMBERS = {"vote_entropy": F_al.vote_entropy, "kl": F_al.consensus_kl}
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(2, 5))


@pytest.mark.parametrize("name", PASSES)
@examples(60)
@given(shape=SHAPES, scale=st.sampled_from([0.1, 1.0, 5.0, 30.0]), seed=st.integers(0, 2**31))
def test_equals_the_definition(name, shape, scale, seed):
    log_p = F_al.log_probabilities((randn(*shape, seed=seed) * scale).movedim(2, 1)).movedim(1, 2)
    got = getattr(F_al, name)(log_p)
    expected = [getattr(disagreement_reference, name)(rows) for rows in log_p.exp().tolist()]
    assert got.dtype == torch.float64
    assert got.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-13)
    assert float(got.min()) >= 0


@pytest.mark.parametrize("name", PASSES)
def test_dense_outputs_are_averaged(name):
    log_p = randn(3, 4, 5, 2, 3).log_softmax(2)
    each = torch.stack([getattr(F_al, name)(log_p[..., i, j]) for i in range(2) for j in range(3)])
    torch.testing.assert_close(getattr(F_al, name)(log_p), each.mean(0))


@pytest.mark.parametrize("name", PASSES)
def test_impossible_classes_count_as_probability_zero(name):
    log_p = randn(3, 4, 5).log_softmax(2)
    wider = torch.cat([log_p[..., :2], torch.full((3, 4, 1), -torch.inf).double(), log_p[..., 2:]], 2)
    torch.testing.assert_close(getattr(F_al, name)(wider), getattr(F_al, name)(log_p))


@pytest.mark.parametrize("name", PASSES)
def test_a_model_that_diverged_does_not_look_certain(name):
    log_p = randn(3, 4, 5).log_softmax(2)
    log_p[1, 2] = torch.nan
    assert getattr(F_al, name)(log_p).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("lead", [20.0, 40.0, 80.0])
def test_single_precision_keeps_confident_passes_apart(lead):
    """At such leads the largest probability is 1 in float32, though what is left of it decides the score."""
    logits = torch.zeros(4, 3, 4)
    logits[..., 0] = lead + torch.arange(3.0) + torch.arange(4.0)[:, None] / 3
    got = F_al.mean_entropy(F_al.log_probabilities(logits.movedim(2, 1)).movedim(1, 2))
    for row, got in zip(logits.tolist(), got.tolist(), strict=True):
        rest = math.fsum(math.exp(-z[0]) for z in row) / 3  # of each of the three others; relatively exact
        assert got == pytest.approx(3 * rest - 3 * rest * math.log(rest), rel=1e-4, abs=0)


def test_known_values():
    sure = torch.eye(4).double().log()  # four passes, each sure of another class
    assert float(F_al.mean_entropy(sure[None])) == pytest.approx(math.log(4))
    assert float(F_al.bald(sure[None])) == pytest.approx(math.log(4))
    assert float(F_al.variation_ratio(sure[None])) == 0.75
    unsure = torch.full((1, 4, 4), 0.25).log()
    assert float(F_al.bald(unsure)) == 0
    assert float(F_al.mean_entropy(unsure)) == pytest.approx(math.log(4))


def test_bald_is_never_negative():
    """The difference of two equal entropies rounds either way."""
    log_p = randn(500, 1, 7).log_softmax(2).expand(-1, 9, -1)
    assert float(F_al.bald(log_p).min()) == 0.0


@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ([1.0], TypeError, "got list"),
        (torch.zeros(2, 3, 4, dtype=torch.int32), TypeError, r"torch\.int32"),
        (torch.zeros(2, 3), ValueError, r"\(2, 3\)"),
        (torch.zeros(2, 3, 1), ValueError, r"\(2, 3, 1\)"),
        (torch.full((2, 3, 4), 0.25), ValueError, "larger than 0, got 0.25"),
    ],
)
def test_refuses_what_are_no_log_probabilities(name, bad, error, message):
    with pytest.raises(error, match=message):
        getattr(F_al, name)(bad)


# -- members of a committee -----------------------------------------------------------------------------------------


def logits(b, k, c, seed, scale=3.0, dtype=torch.float64):
    return (torch.randn(b, k, c, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale).to(dtype)


@pytest.mark.parametrize("name", MEMBERS)
@examples(60)
@given(b=st.integers(0, 7), k=st.integers(1, 6), c=st.integers(2, 6), seed=st.integers(0, 99), scale=st.floats(0, 30))
def test_members_equal_the_brute_force(name, b, k, c, seed, scale):
    z = logits(b, k, c, seed, scale)
    expected = [reference.committee(name, sample.tolist()) for sample in z]
    got = MEMBERS[name](z)
    assert got.shape == (b,)
    assert got.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert bool((got >= 0).all())
    assert bool((got <= math.log(min(k, c)) + 1e-12).all())


@given(k=st.integers(1, 6), c=st.integers(2, 5), seed=st.integers(0, 99))
@examples(40)
def test_consensus_kl_is_the_jensen_shannon_divergence(k, c, seed):
    p = logits(5, k, c, seed).softmax(2)

    def entropy(q):
        return -(q * q.log()).sum(-1)

    assert torch.allclose(F_al.consensus_kl(p.log()), entropy(p.mean(1)) - entropy(p).mean(1), atol=1e-12)


@pytest.mark.parametrize("name", MEMBERS)
@given(k=st.integers(1, 5), seed=st.integers(0, 99), data=st.data())
@examples(30)
def test_members_have_no_order_and_classes_no_names(name, k, seed, data):
    z = logits(6, k, 4, seed)
    members, classes = data.draw(st.permutations(range(k))), data.draw(st.permutations(range(4)))
    got = MEMBERS[name](z[:, members][:, :, classes])
    assert torch.allclose(got, MEMBERS[name](z), rtol=1e-9, atol=1e-12)


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
    expected = [reference.committee("kl", sample.tolist()) for sample in z.float().double()[:80]]
    assert exact[:80].tolist() == pytest.approx(expected, abs=1e-12)
    assert torch.allclose(F_al.consensus_kl(z.float()).double(), exact, rtol=2e-3, atol=0)
    assert bool((exact > 0).all())


def test_members_that_are_the_same_do_not_diverge_at_all():
    z = logits(50, 1, 7, 0, 10.0, torch.float32).expand(-1, 5, -1)
    assert F_al.consensus_kl(z).tolist() == [0.0] * 50
    assert F_al.vote_entropy(z).tolist() == [0.0] * 50


def test_a_class_masked_out_does_not_count():
    z = logits(9, 3, 4, 0)
    masked = torch.cat([z, torch.full((9, 3, 1), -torch.inf, dtype=z.dtype)], 2)
    for score in MEMBERS.values():
        assert torch.equal(score(masked), score(z))
    by_one = torch.tensor([[[0.0, -torch.inf], [0.0, 0.0]]])  # one member excludes what another does not
    assert F_al.consensus_kl(by_one).item() == pytest.approx(reference.committee("kl", by_one[0].tolist()))


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_member_that_diverged_is_not_hidden_by_its_vote(name, bad):
    z = logits(3, 3, 4, 0)
    z[1, 2, 0] = bad
    assert MEMBERS[name](z).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("name", MEMBERS)
def test_dense_outputs_of_members_are_averaged(name):
    z = logits(4 * 6, 3, 5, 0).view(4, 2, 3, 3, 5).permute(0, 3, 4, 1, 2)  # (B, K, C, 2, 3)
    each = torch.stack([MEMBERS[name](z[..., i, j]) for i in range(2) for j in range(3)])
    assert torch.allclose(MEMBERS[name](z), each.mean(0))


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised(name, dtype):
    z = logits(6, 3, 4, 0, dtype=dtype)
    assert MEMBERS[name](z).dtype == torch.float32
    assert torch.equal(MEMBERS[name](z), MEMBERS[name](z.float()))


@pytest.mark.parametrize("name", MEMBERS)
def test_refuses_what_are_no_logits_of_members(name):
    with pytest.raises(ValueError, match=r"\(B, K, C\) with K >= 1 members, got \(4, 3\)"):
        MEMBERS[name](torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"got \(4, 0, 3\)"):
        MEMBERS[name](torch.zeros(4, 0, 3))
    with pytest.raises(ValueError, match="C >= 2 classes"):
        MEMBERS[name](torch.zeros(4, 3, 1))
    with pytest.raises(TypeError, match="floating point"):
        MEMBERS[name](torch.zeros(4, 3, 2, dtype=torch.long))
    with pytest.raises(TypeError, match="must be a tensor"):
        MEMBERS[name]([1])


@pytest.mark.parametrize(
    ("single", "plural"),
    [
        ("mean_entropy", "mean_entropies"),
        ("bald", "mutual_informations"),
        ("variation_ratio", "variation_ratios"),
        ("vote_entropy", "vote_entropies"),
        ("consensus_kl", "consensus_divergences"),
    ],
)
def test_the_plural_gives_every_position(single, plural):
    log_p = randn(3, 4, 5, 2, 3).log_softmax(2)
    each = getattr(disagreement, plural)(log_p)
    assert each.shape == (3, 2, 3)
    for i in range(2):
        for j in range(3):
            torch.testing.assert_close(each[:, i, j], getattr(F_al, single)(log_p[..., i, j]))
    assert torch.equal(each.flatten(1).mean(1), getattr(F_al, single)(log_p))
