import pytest
import torch

from lightning_al.acquisition import Random
from tests.helpers.bound import seeded


def draw(n, k, seed):
    return Random().select({"index": torch.arange(n)}, k, labelled_rows={}, generator=seeded(seed)).tolist()


def test_distinct_and_repeatable():
    got = draw(20, 8, 1)
    assert len(set(got)) == 8
    assert got == draw(20, 8, 1)
    assert got != draw(20, 8, 2)
    assert sorted(draw(5, 5, 0)) == [0, 1, 2, 3, 4]
    assert draw(5, 0, 0) == []


def test_the_dataset_indices_play_no_part():
    generator = seeded(3)
    rows = {"index": torch.arange(20) * 7 + 3}
    assert Random().select(rows, 8, labelled_rows={}, generator=generator).tolist() == draw(20, 8, 3)


def test_uniform():
    generator = seeded(0)
    n = 2000
    rows = {"index": torch.arange(5)}
    counts = torch.zeros(5)
    for _ in range(n):
        counts[Random().select(rows, 2, labelled_rows={}, generator=generator)] += 1
    assert ((counts - 0.4 * n).abs() < 4 * (n * 0.4 * 0.6) ** 0.5).all()


def test_leaves_the_global_random_state():
    before = torch.get_rng_state()
    draw(20, 8, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_refuses_more_than_there_are():
    with pytest.raises(ValueError, match="k = 6 of 5"):
        draw(5, 6, 0)
