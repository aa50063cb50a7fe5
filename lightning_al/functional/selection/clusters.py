"""k-means for the methods that start from clusters, by scikit-learn."""

import warnings

import torch
from torch import Tensor

from lightning_al.checks import check_count
from lightning_al.extras import needs
from lightning_al.functional.geometry.sphere import SpherePoints, on_sphere

_MOST_FOR_KMEANS = 50


def cluster_labels(features: Tensor, clusters: int, *, seed: int = 0) -> Tensor:
    """Cluster of each sample, by k-means on the L2-normalised features: the pseudo-labels of ``coverage_delta``.

    As TypiClust's authors do: scikit-learn's ``KMeans`` (best of 10 starts) up to 50 clusters, ``MiniBatchKMeans``
    (batches of 5,000) above. Runs on one thread, since the sums of several are rounded in whatever order they finish.
    O(N d · clusters) time per iteration; a few copies of the features.

    Args:
        features: (N, d), finite; L2-normalised here, zero rows stay zero.
        clusters: How many, at least 1. There are fewer where fewer samples differ, or where k-means leaves some empty.
        seed: The only source of randomness, 0 to 2³² - 1.

    Returns:
        LongTensor (N,) on the CPU: numbers from 0 without gaps.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If ``clusters`` is below 1, or ``features`` has another shape or is not finite.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9], [0.0, 2.0]])
        >>> labels = cluster_labels(features, 2)
        >>> bool(labels[0] == labels[1]), bool(labels[1] == labels[2]), bool((labels[2:] == labels[2]).all())
        (True, False, True)
    """
    check_count("clusters", clusters)
    return kmeans(on_sphere(features), clusters, seed)


def kmeans(points: SpherePoints, clusters: int, seed: int) -> Tensor:
    """:func:`cluster_labels` of points that are on the sphere already."""
    with needs("Clustering", "scikit-learn", "cluster"):
        from sklearn.cluster import KMeans, MiniBatchKMeans
        from sklearn.exceptions import ConvergenceWarning
        from threadpoolctl import threadpool_limits

    clusters = _differing(points.rows, clusters)
    if clusters < 2:
        return torch.zeros(len(points), dtype=torch.long)
    method: KMeans | MiniBatchKMeans
    if clusters <= _MOST_FOR_KMEANS:
        method = KMeans(clusters, n_init=10, random_state=seed)
    else:
        method = MiniBatchKMeans(clusters, n_init=3, batch_size=5000, random_state=seed)
    with threadpool_limits(1), warnings.catch_warnings():
        # Samples that differ by less than k-means can tell: fewer clusters are an answer too.
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = method.fit_predict(points.rows.numpy())
    return torch.from_numpy(labels).long().unique(return_inverse=True)[1]


def _differing(rows: Tensor, most: int) -> int:
    """How many rows differ from all before, counted up to ``most``."""
    seen: set[bytes] = set()
    for row in rows:
        if len(seen) == most:
            break
        seen.add((row + 0.0).numpy().tobytes())  # + 0.0: -0.0 and 0.0 are equal
    return len(seen)
