"""Greedy k-center against its definition."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.functional import k_center_greedy
from tests.helpers.extent import examples
from tests.helpers.greedy import farthest_first, rows
from tests.helpers.models import randn


@pytest.mark.usefixtures("size_of_blocks")
@examples(100)
@given(st.integers(1, 3), st.data())
def test_k_center_is_the_farthest_from_its_nearest_centre(width, data):
    features = data.draw(rows(width))
    labelled = data.draw(st.one_of(st.none(), rows(width)))
    k = data.draw(st.integers(1, len(features)))
    got = k_center_greedy(features, k, labelled=labelled).tolist()
    assert len(set(got)) == k
    assert got == farthest_first(features, k, labelled)


def test_more_labelled_rows_than_are_compared_at_once():
    features = randn(2300, 3)
    assert k_center_greedy(features[2100:], 5, labelled=features[:2100]).tolist() == farthest_first(
        features[2100:], 5, features[:2100]
    )


def test_a_common_offset_costs_little():
    x = randn(500, 16)
    far = (x + 1000).float()
    picks = k_center_greedy(far, 30).tolist()
    between = torch.cdist(far.double(), far.double(), compute_mode="donot_use_mm_for_euclid_dist")
    for i in range(1, 30):
        nearest = between[:, picks[:i]].amin(1)
        assert nearest[picks[i]] > 0.995 * nearest.max()


@pytest.mark.usefixtures("size_of_blocks")
def test_labelled_rows_are_not_picked_again():
    x = randn(20, 3)
    got = k_center_greedy(x, 8, labelled=x[5:15])
    assert not set(got.tolist()) & set(range(5, 15))
    assert k_center_greedy(x, 12, labelled=x[5:15])[10:].tolist() == [5, 6]
    assert k_center_greedy(x, 4, labelled=x[:0]).tolist() == k_center_greedy(x, 4).tolist()


@pytest.mark.usefixtures("size_of_blocks")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_distance_hardly_above_rounding_brings_none_back(dtype):
    """Far from the origin, where the last distance left is as large as what counts as 0, or 1e-7 more."""
    eps = 32 * torch.finfo(dtype).eps
    step, most = (1e-4, 1e-3) if dtype == torch.float32 else (1e-13, 1e-12)
    x = torch.tensor([[100, 0, most], [100, step, 0], [100, -step, 0], [100, 0, -most]], dtype=dtype)
    bound = math.sqrt(eps * (2 * step**2 + 200 * step)) - step
    for i in range(-20, 40):
        labelled = torch.tensor([[100, -bound * (1 + i * torch.finfo(dtype).eps), 0]], dtype=dtype)
        assert sorted(k_center_greedy(x, 4, labelled=labelled).tolist()) == [0, 1, 2, 3]
