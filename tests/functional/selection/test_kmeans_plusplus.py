"""k-means++ against its definition in exact arithmetic, and hard cases."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.functional import kmeans_plusplus
from tests.helpers.extent import examples
from tests.helpers.greedy import SEEDS, brute_force, generator
from tests.helpers.models import randn

TIED = st.lists(st.sampled_from([-1.5, 0.0, -0.0, 1.0, 2.0, 1e-30]), max_size=20)
ANY = st.lists(st.floats(-(2.0**60), 2.0**60), max_size=12)


@examples(80)
@given(st.one_of(TIED, st.lists(st.floats(-100, 100), max_size=12)).filter(len), SEEDS, st.data())
def test_kmeans_plusplus_on_scores_is_the_definition(scores, seed, data):
    k = data.draw(st.integers(1, len(scores)))
    first = data.draw(st.one_of(st.none(), st.integers(0, len(scores) - 1)))
    got = kmeans_plusplus(torch.tensor(scores, dtype=torch.float64), k, generator=generator(seed), first=first)
    assert got.tolist() == brute_force(scores, k, generator(seed), first)
    assert len(set(got.tolist())) == k


@examples(40)
@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=12, unique=True), SEEDS, st.randoms())
def test_draws_go_with_the_ids_not_with_the_order(scores, seed, random):
    order = list(range(len(scores)))
    random.shuffle(order)
    ids = [1000 + 7 * i for i in order]
    k = (len(scores) + 1) // 2
    first = random.randrange(len(scores))
    plain = kmeans_plusplus(
        torch.tensor(scores).double(),
        k,
        generator=generator(seed),
        first=first,
        ids=1000 + 7 * torch.arange(len(scores)),
    )
    moved = kmeans_plusplus(
        torch.tensor(scores).double()[order],
        k,
        generator=generator(seed),
        first=order.index(first),
        ids=torch.tensor(ids),
    )
    assert [order[i] for i in moved.tolist()] == plain.tolist()


VECTOR = st.tuples(*[st.sampled_from([-2.0, -0.5, 0.0, 1.0, 3.0])] * 2).map(list)


@examples(60)
@given(st.lists(VECTOR, min_size=1, max_size=10), SEEDS, st.data())
def test_kmeans_plusplus_on_vectors_is_the_definition(points, seed, data):
    k = data.draw(st.integers(1, len(points)))
    first = data.draw(st.one_of(st.none(), st.integers(0, len(points) - 1)))
    x = torch.tensor(points, dtype=torch.float64)
    got = kmeans_plusplus(x, k, generator=generator(seed), first=first).tolist()
    assert len(set(got)) == k
    assert got == brute_force(points, k, generator(seed), first)


def test_the_second_pick_follows_squared_distances():
    points = torch.tensor([0.0, 5.0, 5.0, 8.0, 10.0])  # plain distances would give the first 0.45 in place of 0.65
    draws = generator(1)
    n = 500
    seconds = torch.tensor([int(kmeans_plusplus(points, 2, generator=draws)[1]) for _ in range(n)])
    share = torch.tensor([100.0, 25.0, 25.0, 4.0, 0.0]) / 154
    counts = torch.bincount(seconds, minlength=5)
    assert counts[4] == 0
    assert ((counts - n * share).abs() < 4 * (n * share * (1 - share)).sqrt() + 1e-9).all()


def test_the_third_pick_follows_the_distance_to_the_nearest():
    points = torch.tensor([0.0, 2.0, 9.0, 10.0])
    draws = generator(2)
    picks = [kmeans_plusplus(points, 3, generator=draws).tolist() for _ in range(500)]
    thirds = [third for _, second, third in picks if second == 0]
    share = thirds.count(1) / len(thirds)  # nearest: 2 of 0, 1 of 10 -> 4 : 1
    assert abs(share - 0.8) < 4 * math.sqrt(0.16 / len(thirds))


@pytest.mark.few(8)
@pytest.mark.parametrize("scale", [1e-300, 1e-200, 1e-30, 1.0, 1e30, 1e200, 1e300])
@pytest.mark.parametrize("shape", [(30,), (30, 1), (30, 4)])
def test_scale_does_not_matter(shape, scale):
    points = randn(*shape)
    for seed in range(3):
        plain = kmeans_plusplus(points, 12, generator=generator(seed))
        assert torch.equal(kmeans_plusplus(points * scale, 12, generator=generator(seed)), plain)


def test_a_large_offset_leaves_small_differences():
    small = torch.tensor([0.0, 1.0, 2.0, 4.0, 8.0, 16.0], dtype=torch.float64)
    far = small * 2.0**-40 + 1
    for seed in range(5):
        a = kmeans_plusplus(small, 4, generator=generator(seed), first=0)
        assert torch.equal(kmeans_plusplus(far, 4, generator=generator(seed), first=0), a)


def test_tiny_differences_beside_a_large_one():
    """After the outlier, only distances of 1e-200 are left: they still decide, not the fill."""
    points = torch.tensor([1.0, 0.0, 1e-200, 3e-200], dtype=torch.float64)
    fourth = [kmeans_plusplus(points, 3, generator=generator(s))[2] for s in range(40)]
    assert len(set(map(int, fourth))) > 1


def test_the_largest_float64_differences_do_not_overflow():
    top = torch.finfo(torch.float64).max
    got = kmeans_plusplus(torch.tensor([top, -top, 0.0], dtype=torch.float64), 2, generator=generator())
    assert got[0] == 0
    assert len(got) == 2


@pytest.mark.parametrize("k", [1, 3, 5])
def test_all_equal_points_go_by_position(k):
    assert kmeans_plusplus(torch.full((5,), 2.0), k, generator=generator()).tolist() == list(range(k))
    assert kmeans_plusplus(torch.zeros(5), k, generator=generator()).tolist() == list(range(k))
    assert kmeans_plusplus(torch.ones(5, 3), k, generator=generator()).tolist() == list(range(k))


def test_too_few_distinct_points_fill_by_top_score():
    scores = torch.tensor([1.0, 1.0, -5.0, 1.0, -5.0, 1.0])
    got = kmeans_plusplus(scores, 5, generator=generator()).tolist()
    assert got[0] == 2  # the largest absolute value
    assert set(got[:2]) & {0, 1, 3, 5}
    rest = [i for i in (0, 1, 3, 5, 4) if i not in got[:2]]
    assert got[2:] == rest[:3]
    vectors = torch.tensor([[0.0, 1.0], [3.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 1.0]])
    got = kmeans_plusplus(vectors, 4, generator=generator()).tolist()
    assert got[0] == 1
    assert got[2] == 3  # the largest norm of those left
    assert len(set(got)) == 4


def test_first():
    scores = torch.tensor([0.0, -7.0, 5.0])
    assert kmeans_plusplus(scores, 1, generator=generator()).tolist() == [1]
    for first in range(3):
        assert kmeans_plusplus(scores, 2, generator=generator(), first=first)[0] == first


def test_the_generator_is_the_only_source_of_randomness():
    points = randn(50)
    state = torch.get_rng_state()
    a = kmeans_plusplus(points, 20, generator=generator(3))
    torch.rand(5)
    b = kmeans_plusplus(points, 20, generator=generator(3))
    torch.set_rng_state(state)
    assert torch.equal(a, b)
    kmeans_plusplus(points, 20, generator=generator(4))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(a, kmeans_plusplus(points, 20, generator=generator(4)))


@pytest.mark.parametrize("n", [0, 4])
def test_none_or_all(n):
    points = randn(n)
    none = kmeans_plusplus(points, 0, generator=generator())
    assert none.shape == (0,)
    assert none.dtype == torch.long
    assert sorted(kmeans_plusplus(points, n, generator=generator()).tolist()) == list(range(n))
    assert kmeans_plusplus(torch.zeros(0, 3), 0, generator=generator()).shape == (0,)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_refuses_what_is_not_finite_and_says_where(bad):
    scores = torch.zeros(30)
    scores[[4, 7]] = bad
    with pytest.raises(ValueError, match=r"`points` has NaN or infinite values at positions \[4, 7\] \(2 in all\)"):
        kmeans_plusplus(scores, 2, generator=generator())
    vectors = torch.zeros(30, 2)
    vectors[:12, 1] = bad
    with pytest.raises(ValueError, match=r"\[0, 1, 2, 3, 4, 5, 6, 7, 8, 9\] \(12 in all\)"):
        kmeans_plusplus(vectors, 2, generator=generator())


@pytest.mark.parametrize("k", [-1, 4, 100])
def test_refuses_k_out_of_range(k):
    with pytest.raises(ValueError, match=rf"k = {k} of 3 candidates"):
        kmeans_plusplus(torch.zeros(3), k, generator=generator())


def test_refuses_wrong_shapes():
    for shape in [(), (3, 2, 2), (3, 0)]:
        with pytest.raises(ValueError, match=rf"`points` must have shape .*got \({', '.join(map(str, shape))}\)"):
            kmeans_plusplus(torch.zeros(shape), 1, generator=generator())


@pytest.mark.parametrize("first", [-1, 3])
def test_refuses_first_out_of_range(first):
    with pytest.raises(ValueError, match=f"`first` must be a position between 0 and 2, got {first}"):
        kmeans_plusplus(torch.zeros(3), 1, generator=generator(), first=first)
