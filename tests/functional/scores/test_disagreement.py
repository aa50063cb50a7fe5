"""The scores against sums in plain Python, and against what they are known to be."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_al import functional as F_al
from tests.helpers.models import randn

NAMES = ("mean_entropy", "bald", "variation_ratio")
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(2, 5))


def entropy(p):
    return -math.fsum(q * math.log(q) for q in p if q > 0)


def mean(rows):
    return [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]


def mean_entropy(rows):
    return entropy(mean(rows))


def bald(rows):
    return entropy(mean(rows)) - math.fsum(map(entropy, rows)) / len(rows)


def variation_ratio(rows):
    votes = [row.index(max(row)) for row in rows]
    return 1 - max(votes.count(c) for c in votes) / len(votes)


ORACLES = {"mean_entropy": mean_entropy, "bald": bald, "variation_ratio": variation_ratio}


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, scale=st.sampled_from([0.1, 1.0, 5.0, 30.0]), seed=st.integers(0, 2**31))
def test_equals_the_definition(name, shape, scale, seed):
    log_p = F_al.log_probabilities((randn(*shape, seed=seed) * scale).movedim(2, 1)).movedim(1, 2)
    found = getattr(F_al, name)(log_p)
    want = [ORACLES[name](rows) for rows in log_p.exp().tolist()]
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(want, rel=1e-9, abs=1e-13)
    assert float(found.min()) >= 0


@pytest.mark.parametrize("name", NAMES)
def test_dense_outputs_are_averaged(name):
    log_p = randn(3, 4, 5, 2, 3).log_softmax(2)
    each = torch.stack([getattr(F_al, name)(log_p[..., i, j]) for i in range(2) for j in range(3)])
    torch.testing.assert_close(getattr(F_al, name)(log_p), each.mean(0))


@pytest.mark.parametrize("name", NAMES)
def test_impossible_classes_count_as_probability_zero(name):
    log_p = randn(3, 4, 5).log_softmax(2)
    wider = torch.cat([log_p[..., :2], torch.full((3, 4, 1), -torch.inf).double(), log_p[..., 2:]], 2)
    torch.testing.assert_close(getattr(F_al, name)(wider), getattr(F_al, name)(log_p))


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_diverged_does_not_look_certain(name):
    log_p = randn(3, 4, 5).log_softmax(2)
    log_p[1, 2] = torch.nan
    assert getattr(F_al, name)(log_p).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("lead", [20.0, 40.0, 80.0])
def test_single_precision_keeps_confident_passes_apart(lead):
    """At such leads the largest probability is 1 in float32, though what is left of it decides the score."""
    logits = torch.zeros(4, 3, 4)
    logits[..., 0] = lead + torch.arange(3.0) + torch.arange(4.0)[:, None] / 3
    found = F_al.mean_entropy(F_al.log_probabilities(logits.movedim(2, 1)).movedim(1, 2))
    for row, got in zip(logits.tolist(), found.tolist(), strict=True):
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


@pytest.mark.parametrize("name", NAMES)
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
