import math
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.acquisition import TypiClust
from lightning_al.functional import typiclust
from lightning_al.functional.geometry import sphere as distances
from tests.helpers.by_features import typiclust_code
from tests.helpers.extent import examples
from tests.helpers.models import randn
from tests.helpers.points import blobs, units
from tests.helpers.tiles import Largest, small_blocks

SEEDS = st.integers(0, 2**31)
GRID = st.tuples(*[st.sampled_from([-1.0, 0.0, 1.0, 2.0])] * 2)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def check(picks, features, labelled, labels, k, neighbours=20):
    """Each pick is what the definition asks for, given the clusters of candidates, then labelled."""
    x = units(features) + units(labelled)
    n = len(features)
    assert len(picks) == len(set(picks)) == k
    members = {c: [i for i in range(len(x)) if labels[i] == c] for c in set(labels)}
    for step, pick in enumerate(picks):
        done = {*picks[:step], *range(n, len(x))}
        open_clusters = [c for c, who in members.items() if set(who) - done]
        wanted = min(
            open_clusters, key=lambda c: (len(members[c]) < 5, len(done & set(members[c])), -len(members[c]), c)
        )
        assert labels[pick] == wanted

        def spread(i, who=members[wanted]):
            apart = sorted(math.dist(x[i], x[j]) for j in who if j != i)[:neighbours]
            return sum(apart) / len(apart) if apart else 0.0

        free = [i for i in members[wanted] if i not in done]
        assert spread(pick) <= min(map(spread, free)) + 1e-12
        assert pick == min(i for i in free if x[i] == x[pick])


def with_clusters(labels, *args, **options):
    """``typiclust`` with these clusters in place of k-means."""
    module = sys.modules["lightning_al.functional.selection.typiclust"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "kmeans", lambda points, clusters, seed: torch.tensor(labels))
        return typiclust(*args, **options, generator=seeded()).tolist()


@examples(80)
@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 8), st.integers(1, 5), SEEDS, st.data())
def test_typiclust_is_the_definition(n, d, m, clusters, seed, data):
    x, labelled = randn(n, d, seed=seed), randn(m, d, seed=seed + 1)
    labels = torch.randint(clusters, (n + m,), generator=seeded(seed)).unique(return_inverse=True)[1].tolist()
    k, neighbours = data.draw(st.integers(1, n)), data.draw(st.sampled_from([1, 3, 20]))
    picks = with_clusters(labels, x, k, labelled=labelled, neighbours=neighbours)
    check(picks, x, labelled, labels, k, neighbours)


@examples(80)
@given(st.lists(GRID, min_size=1, max_size=16), st.lists(GRID, max_size=4), st.integers(1, 3), SEEDS, st.data())
def test_typiclust_is_the_definition_with_duplicates_and_zeros(points, known, clusters, seed, data):
    x = torch.tensor(points, dtype=torch.float64)
    labelled = torch.tensor(known, dtype=torch.float64).reshape(-1, 2)
    labels = torch.randint(clusters, (len(x) + len(labelled),), generator=seeded(seed))
    labels = labels.unique(return_inverse=True)[1].tolist()
    k, neighbours = data.draw(st.integers(1, len(x))), data.draw(st.sampled_from([1, 2, 20]))
    picks = with_clusters(labels, x, k, labelled=labelled, neighbours=neighbours)
    check(picks, x, labelled, labels, k, neighbours)


@examples(80)
@given(st.integers(1, 40), st.integers(0, 8), st.integers(1, 5), SEEDS, st.data())
def test_the_variant_of_the_authors_code(n, m, clusters, seed, data):
    x, labelled = randn(n, 3, seed=seed), randn(m, 3, seed=seed + 1)
    labels = torch.randint(clusters, (n + m,), generator=seeded(seed)).unique(return_inverse=True)[1].tolist()
    k, neighbours = data.draw(st.integers(1, n)), data.draw(st.sampled_from([1, 3, 20]))
    rows, done = units(x) + units(labelled), set(range(n, n + m))
    members = {c: [i for i in range(n + m) if labels[i] == c] for c in set(labels)}
    picks = with_clusters(labels, x, k, labelled=labelled, neighbours=neighbours, variant="code")
    assert picks == typiclust_code(rows, members, done, k, neighbours)


@pytest.mark.parametrize("variant", ["paper", "code"])
@examples(30)
@given(st.lists(GRID, min_size=1, max_size=16), st.lists(GRID, max_size=4), st.integers(1, 9), st.data())
def test_distinct_positions_whatever_k_means_finds(variant, points, known, max_clusters, data):
    x, labelled = torch.tensor(points), torch.tensor(known).reshape(-1, 2)
    k = data.draw(st.integers(0, len(x)))
    picks = typiclust(x, k, generator=seeded(), labelled=labelled, max_clusters=max_clusters, variant=variant)
    assert picks.dtype == torch.long
    assert len(set(picks.tolist())) == k
    assert all(0 <= p < len(x) for p in picks)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_one_from_each_group_then_from_those_without_labels(dtype):
    x = blobs(6, 20).to(dtype)
    assert sorted((typiclust(x, 6, generator=seeded()) // 20).tolist()) == list(range(6))
    known = x[[0, 25, 45]]
    assert sorted((typiclust(x, 3, generator=seeded(), labelled=known) // 20).tolist()) == [3, 4, 5]


def test_the_authors_clusters_take_turns_whatever_their_labels():
    labels = [0] * 5 + [1] * 9 + [2] * 7 + [1] * 3
    picks = with_clusters(labels, randn(21, 3), 21, labelled=randn(3, 3, seed=9), variant="code")
    assert [labels[p] for p in picks] == [2, 1] * 7 + [1] * 2 + [0] * 5


def test_larger_clusters_first_and_all_count_their_picks():
    labels = [0] * 5 + [1] * 9 + [2] * 7 + [1]
    x = randn(21, 3)
    picks = with_clusters(labels, x, 8, labelled=randn(1, 3, seed=9))
    assert [labels[p] for p in picks] == [2, 0, 1, 2, 0, 1, 2, 0]


def test_small_clusters_wait_until_the_others_are_dry():
    labels = [0, 1, 1] + [2] * 5 + [3] * 4
    picks = with_clusters(labels, randn(12, 3), 12)
    assert [labels[p] for p in picks] == [2] * 5 + [3, 1, 0, 3, 1, 3, 3]


def test_the_middle_is_the_most_typical():
    angles = torch.linspace(0, 1, 41, dtype=torch.float64)
    x = torch.stack([angles.cos(), angles.sin()], 1)
    assert typiclust(x, 1, generator=seeded(), neighbours=40).tolist() == [20]


def test_those_that_coincide_with_all_neighbours_come_first():
    x = torch.cat([randn(6, 3), torch.ones(4, 3) * torch.tensor([[1.0], [3.0], [7.0], [0.3]])])
    assert with_clusters([0] * 10, x, 4, neighbours=3) == [6, 7, 8, 9]
    assert with_clusters([0] * 10, x.float(), 4, neighbours=3) == [6, 7, 8, 9]


@pytest.mark.parametrize("k", [0, 1, 3, 6])
def test_all_coincide(k):
    for point in (torch.zeros(6, 3), torch.ones(6, 3)):
        assert typiclust(point, k, generator=seeded()).tolist() == list(range(k))
        assert typiclust(point, k, generator=seeded(), labelled=point[:2]).tolist() == list(range(k))


def test_one_candidate_and_none():
    assert typiclust(torch.ones(1, 2), 1, generator=seeded()).tolist() == [0]
    assert typiclust(torch.ones(1, 2), 1, generator=seeded(), labelled=randn(9, 2)).tolist() == [0]
    assert typiclust(torch.zeros(0, 2), 0, generator=seeded()).shape == (0,)


def test_as_many_clusters_as_labels_and_picks(monkeypatch):
    module = sys.modules["lightning_al.functional.selection.typiclust"]
    asked = []

    def spy(points, clusters, seed):
        asked.append((len(points), clusters))
        return torch.arange(len(points)) % clusters

    monkeypatch.setattr(module, "kmeans", spy)
    x = randn(700, 2)
    typiclust(x[:50], 4, generator=seeded(), labelled=x[:3])
    typiclust(x[:50], 4, generator=seeded(), labelled=x[:3], max_clusters=6)
    typiclust(x, 600, generator=seeded())
    assert asked == [(53, 7), (53, 6), (700, 500)]


@pytest.mark.parametrize("k", [5, 60])
def test_the_generator_decides_by_one_draw(k):
    x = randn(400, 4).float()
    generator, other = seeded(3), seeded(3)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = typiclust(x, k, generator=generator)
    assert torch.equal(torch.get_rng_state(), state)
    torch.randint(2**31, (), generator=other)
    assert torch.equal(generator.get_state(), other.get_state())
    assert torch.equal(typiclust(x, k, generator=seeded(3)), first)
    assert any(not torch.equal(typiclust(x, k, generator=seeded(s)), first) for s in range(3))


def test_block_sizes_do_not_matter(monkeypatch):
    x = randn(40, 5)[torch.arange(120) % 40].float()
    whole = typiclust(x, 30, generator=seeded(), labelled=x[:7])
    small_blocks(monkeypatch)
    assert torch.equal(typiclust(x, 30, generator=seeded(), labelled=x[:7]), whole)


def test_no_n_by_n_tensor():
    x = randn(3000, 4).float()
    with Largest() as seen:
        typiclust(x, 2, generator=seeded())
    assert seen.entries <= 2 * distances.TILE_ENTRIES < 3000 * 3000 / 8


@pytest.mark.parametrize("k", [-1, 4])
def test_refuses_k_out_of_range(k):
    with pytest.raises(ValueError, match=rf"k = {k} of 3 candidates"):
        typiclust(torch.ones(3, 2), k, generator=seeded())


@pytest.mark.parametrize("name", ["max_clusters", "neighbours"])
def test_refuses_options_below_one(name):
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1, got 0"):
        typiclust(torch.ones(3, 2), 1, generator=seeded(), **{name: 0})


def test_refuses_another_variant():
    for refused in (
        lambda: typiclust(torch.ones(3, 2), 1, generator=seeded(), variant="best"),
        lambda: TypiClust(variant="best"),
    ):
        with pytest.raises(ValueError, match="`variant` must be one of 'paper', 'code', got 'best'"):
            refused()


def test_refuses_what_is_not_finite():
    x = torch.ones(3, 2)
    x[1, 0] = math.inf
    with pytest.raises(ValueError, match=r"`features` has NaN or infinite values at positions \[1\]"):
        typiclust(x, 1, generator=seeded())
    with pytest.raises(ValueError, match=r"`labelled` has NaN or infinite values at positions \[1\]"):
        typiclust(torch.ones(3, 2), 1, generator=seeded(), labelled=x)
