"""BADGE against k-means++ over the gradients themselves."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.functional import badge, kmeans_plusplus
from tests.helpers.extent import examples
from tests.helpers.greedy import SEEDS, generator, materialised, rows
from tests.helpers.models import randn


@pytest.mark.usefixtures("size_of_blocks")
@examples(100)
@given(st.integers(1, 3), st.integers(1, 3), SEEDS, st.data())
def test_badge_is_k_means_over_the_materialised_gradients(classes, width, seed, data):
    residuals = data.draw(rows(classes))
    features = data.draw(rows(width, len(residuals)))
    k = data.draw(st.integers(1, len(residuals)))
    got = badge(residuals, features, k, generator=generator(seed)).tolist()
    assert len(set(got)) == k
    assert got == materialised(residuals, features, k, generator(seed))


def test_badge_with_ones_is_kmeans_plusplus():
    features = randn(200, 5)
    for seed in range(5):
        ones = badge(torch.ones(200, 1).double(), features, 30, generator=generator(seed))
        assert torch.equal(ones, kmeans_plusplus(features, 30, generator=generator(seed)))


def test_the_second_badge_pick_follows_squared_distances():
    residuals = torch.tensor([[1.0, -1.0], [0.5, -0.5], [0.5, -0.5], [0.0, 0.0]])
    features = torch.tensor([[2.0], [2.0], [0.0], [1.0]])
    weights = torch.tensor([0.0, 2.0, 8.0, 8.0])  # ‖(2, -2) - (1, -1)‖², and the norm of the first
    count = 500
    seconds = torch.tensor([int(badge(residuals, features, 2, generator=generator(s))[1]) for s in range(count)])
    counts = torch.bincount(seconds, minlength=4)
    share = weights / weights.sum()
    assert counts[0] == 0
    assert float(((counts - count * share)[1:].square() / (count * share[1:])).sum()) < 13.8  # chi-square, p = 0.001


def test_one_class_has_no_gradient():
    """Softmax over one class leaves residuals of zero: by position."""
    assert badge(torch.zeros(5, 1), randn(5, 4), 3, generator=generator()).tolist() == [0, 1, 2]


def test_ids_that_move_with_the_rows_move_the_picks():
    residuals, features = randn(40, 4), randn(40, 6, seed=2)
    ids = 1000 + 13 * torch.arange(40)
    order = torch.randperm(40, generator=generator(5))
    for seed in range(5):
        plain = badge(residuals, features, 15, generator=generator(seed), ids=ids)
        moved = badge(residuals[order], features[order], 15, generator=generator(seed), ids=ids[order])
        assert order[moved].tolist() == plain.tolist()
