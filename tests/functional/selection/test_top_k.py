"""The largest scores against the sort by score, then position."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_al.functional import top_k
from tests.helpers.models import randn

SEEDS = st.integers(0, 2**31)
TIED = st.lists(st.sampled_from([-1.5, 0.0, -0.0, 1.0, 2.0, 1e-30]), max_size=20)
ANY = st.lists(st.floats(-(2.0**60), 2.0**60), max_size=12)


@settings(max_examples=80, deadline=None)
@given(st.one_of(TIED, ANY), st.data())
def test_top_k_is_the_sort_by_score_then_position(scores, data):
    k = data.draw(st.integers(0, len(scores)))
    want = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]
    got = top_k(torch.tensor(scores, dtype=torch.float64), k)
    assert got.dtype == torch.long
    assert got.tolist() == want


def test_top_k_keeps_positions_in_order_among_thousands_of_ties():
    """Where ``torch.topk`` and an unstable sort do not."""
    scores = torch.arange(5000) % 3
    assert top_k(scores.float(), 2000).tolist() == [*range(2, 5000, 3), *range(1, 5000, 3)][:2000]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
def test_top_k_takes_any_precision(dtype):
    assert top_k(torch.tensor([1, 3, 3, 2]).to(dtype), 3).tolist() == [1, 2, 3]


def test_top_k_takes_scores_that_carry_a_graph():
    assert top_k(torch.tensor([1.0, 2.0], requires_grad=True), 1).tolist() == [1]


@pytest.mark.parametrize("n", [0, 4])
def test_none_or_all(n):
    scores = randn(n)
    none = top_k(scores, 0)
    assert none.shape == (0,)
    assert none.dtype == torch.long
    assert sorted(top_k(scores, n).tolist()) == list(range(n))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_refuses_what_is_not_finite_and_says_where(bad):
    scores = torch.zeros(30)
    scores[[4, 7]] = bad
    with pytest.raises(ValueError, match=r"`scores` has NaN or infinite values at positions \[4, 7\] \(2 in all\)"):
        top_k(scores, 2)


@pytest.mark.parametrize("k", [-1, 4, 100])
def test_refuses_k_out_of_range(k):
    with pytest.raises(ValueError, match=rf"k = {k} of 3 candidates"):
        top_k(torch.zeros(3), k)


def test_refuses_wrong_shapes():
    with pytest.raises(ValueError, match=r"one-dimensional, \(N,\), got shape \(3, 1\)"):
        top_k(torch.zeros(3, 1), 1)
    with pytest.raises(ValueError, match=r"got shape \(\)"):
        top_k(torch.tensor(1.0), 0)
