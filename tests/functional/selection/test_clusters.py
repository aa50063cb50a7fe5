import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.functional import cluster_labels
from lightning_al.functional.selection import clusters
from tests.helpers.extent import examples
from tests.helpers.models import randn
from tests.helpers.points import blobs


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_separate_groups_are_found(dtype):
    labels = cluster_labels(blobs(6, 20).to(dtype), 6).view(6, 20)
    assert labels.dtype == torch.long
    assert (labels == labels[:, :1]).all()
    assert sorted(labels[:, 0].tolist()) == list(range(6))


@pytest.mark.parametrize(("count", "method"), [(50, "KMeans"), (51, "MiniBatchKMeans")])
def test_many_clusters_go_in_batches(monkeypatch, count, method):
    import sklearn.cluster

    used = []
    for name in ("KMeans", "MiniBatchKMeans"):
        original = getattr(sklearn.cluster, name)

        def spy(*args, name=name, original=original, **options):
            used.append(name)
            return original(*args, **options)

        monkeypatch.setattr(sklearn.cluster, name, spy)
    assert cluster_labels(randn(120, 3), count).max() < count
    assert used == [method]


@pytest.mark.parametrize("count", [7, 60])
def test_the_seed_decides(count):
    x = randn(300, 5).float()
    first = cluster_labels(x, count, seed=1)
    np.random.seed(0)
    torch.manual_seed(0)
    state = np.random.get_state()[1].copy(), torch.get_rng_state()
    assert torch.equal(cluster_labels(x, count, seed=1), first)
    assert (np.random.get_state()[1] == state[0]).all()
    assert torch.equal(torch.get_rng_state(), state[1])
    assert not torch.equal(cluster_labels(x, count, seed=2), first)


def test_threads_do_not_matter_and_stay_as_they_were():
    x = randn(2000, 5).float()
    before = torch.get_num_threads()
    one = cluster_labels(x, 7)
    try:
        torch.set_num_threads(2)
        assert torch.equal(cluster_labels(x, 7), one)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@examples(40)
@given(st.lists(st.tuples(*[st.sampled_from([-1.0, -0.0, 0.0, 1.0])] * 2), max_size=12), st.integers(1, 70))
def test_numbers_have_no_gaps_and_equal_samples_the_same(points, count):
    x = torch.tensor(points).reshape(-1, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = cluster_labels(x, count)
    rows = [tuple((row / (row.norm() or 1)).add(0.0).tolist()) for row in x]
    found = set(labels.tolist())
    assert found == set(range(len(found)))
    assert len(found) <= min(count, len(set(rows)))
    if count >= len(set(rows)):
        assert len(found) == len(set(rows))
    assert len(set(zip(rows, labels.tolist(), strict=True))) == len(set(rows))


def test_samples_that_hardly_differ():
    """More distinct rows than k-means can tell apart: fewer clusters, no warning."""
    x = torch.ones(40, 2)
    x[:, 1] += torch.arange(40) * 2.0**-23
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for count in (10, 30):
            labels = cluster_labels(x, count)
            assert labels.unique().tolist() == list(range(int(labels.max()) + 1))


def test_features_are_left_as_they_are():
    x = randn(30, 4).float()
    before = x.clone()
    cluster_labels(x, 3)
    points = clusters.on_sphere(x)
    rows = points.rows.clone()
    clusters.kmeans(points, 3, 0)
    assert torch.equal(x, before)
    assert torch.equal(points.rows, rows)


def test_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(ImportError, match=r"pip install 'lightning-al\[cluster\]'"):
        cluster_labels(torch.ones(3, 2), 2)


@pytest.mark.parametrize("count", [0, -1])
def test_refuses_no_clusters(count):
    with pytest.raises(ValueError, match=f"`clusters` must be at least 1, got {count}"):
        cluster_labels(torch.ones(3, 2), count)


def test_refuses_what_is_not_finite():
    with pytest.raises(ValueError, match=r"`features` has NaN or infinite values at positions \[0\]"):
        cluster_labels(torch.full((1, 2), torch.nan), 1)
