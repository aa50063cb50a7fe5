"""TypiClust: the most typical sample of each large cluster that has no label yet."""

import heapq

import torch
from torch import Tensor

from lightning_al.functional.clusters import kmeans
from lightning_al.functional.distances import Points, full_precision, join, nearest, on_both_spheres, slices
from lightning_al.functional.points import check_count

_SMALL = 5


@full_precision()
def typiclust(
    features: Tensor,
    k: int,
    *,
    generator: torch.Generator,
    labelled: Tensor | None = None,
    max_clusters: int = 500,
    neighbours: int = 20,
) -> Tensor:
    r"""Pick ``k`` typical samples from the clusters that have the fewest labels (TypiClust).

    Hacohen et al. 2022, "Active Learning on a Budget: Opposite Strategies Suit High and Low Budgets". Candidates and
    labelled samples together are cut into :math:`\min(M + k, 500)` clusters by k-means (see
    :func:`~lightning_al.functional.cluster_labels`). Each pick comes from the cluster with the fewest labels (the picks
    so far count), among those from the largest, then the one of lowest number, and is its candidate of largest
    typicality (the lowest position on ties)

    .. math:: \Bigl( \tfrac{1}{K} \sum_{x' \in \mathrm{NN}_K(x)} \lVert x - x' \rVert \Bigr)^{-1}

    over the ``K = min(20, size - 1)`` nearest neighbours in the cluster, infinite where they coincide with it. Clusters
    of fewer than 5 are left until no other has candidates left; so there are always ``k`` distinct picks.

    The authors' code differs: it averages *squared* distances, to ``min(20, ⌊unlabelled of the cluster / 2⌋)``
    neighbours, labelled and picked ones left out; drops clusters of 5 or fewer; and goes round the clusters in the
    order of the start, over again when it reaches the end, whatever their labels.

    O((N + M) d) time per cluster and k-means iteration, O(size² d) per cluster picked from: at most O((N + M)² d). A
    few copies of the features (k-means makes some); neighbours in blocks of a few MiB, or a row of a cluster.

    Args:
        features: (N, d), finite; L2-normalised here, as in the authors' code; zero rows stay zero. float64 is computed
            in float64, all else in float32; typicalities are float64 sums of differences.
        k: How many, 0 to N.
        generator: A CPU generator, the only source of randomness (one draw, which seeds k-means).
        labelled: (M, d) features of the labelled samples; default none.
        max_clusters: Largest number of clusters, at least 1.
        neighbours: K above, at least 1.

    Returns:
        LongTensor (k,) of distinct positions in the order of the picks, on the CPU.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If ``k``, ``max_clusters`` or ``neighbours`` is out of range, or features have another shape or are
            not finite.

    Example:
        >>> angles = torch.tensor([0.0, 0.1, 0.2, 0.25, 0.3, 1.2, 1.3, 1.4, 1.5, 1.7, 1.8])
        >>> features = torch.stack([angles.cos(), angles.sin()], 1)
        >>> typiclust(features, 2, generator=torch.Generator().manual_seed(0))
        tensor([7, 2])
        >>> typiclust(features, 1, generator=torch.Generator().manual_seed(0), labelled=features[5:6])
        tensor([2])
    """
    for name, value in {"max_clusters": max_clusters, "neighbours": neighbours}.items():
        if value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")
    pool, known = on_both_spheres(features, labelled)
    n = len(pool)
    check_count(k, n)
    if k == 0:
        return torch.empty(0, dtype=torch.long)
    points = join(pool, known)
    seed = int(torch.randint(2**31, (), generator=generator))
    labels = kmeans(points, min(len(known) + k, max_clusters), seed)
    sizes = labels.bincount().tolist()
    answered = labels[n:].bincount(minlength=len(sizes)).tolist()
    waiting = [(sizes[c] < _SMALL, answered[c], -sizes[c], c) for c in labels[:n].unique().tolist()]
    heapq.heapify(waiting)
    ranked: dict[int, list[int]] = {}  # candidates of a cluster, the least typical first
    picks: list[int] = []
    while len(picks) < k:
        small, labels_there, size, cluster = heapq.heappop(waiting)
        if cluster not in ranked:
            ranked[cluster] = _least_typical_first(points, (labels == cluster).nonzero().flatten(), n, neighbours)
        picks.append(ranked[cluster].pop())
        if ranked[cluster]:
            heapq.heappush(waiting, (small, labels_there + 1, size, cluster))
    return torch.tensor(picks)


def _least_typical_first(points: Points, members: Tensor, n: int, neighbours: int) -> list[int]:
    """The members below ``n`` from the farthest to the closest to their nearest neighbours in the cluster."""
    cluster = points.at(members)
    count = min(neighbours, len(cluster) - 1)
    if count == 0:
        return members.tolist()
    candidates = int((members < n).sum())
    gaps = torch.empty(candidates, dtype=torch.float64)
    columns = torch.arange(len(cluster))
    for block in slices(candidates, len(cluster)):
        others = columns[block].unsqueeze(1) != columns
        gaps[block] = nearest(cluster.at(block), cluster, count, allowed=others).mean(1)
    return members[:candidates][gaps.argsort(stable=True)].flip(0).tolist()
