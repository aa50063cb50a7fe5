"""TypiClust: the most typical sample of each large cluster that has no label yet."""

import heapq
from collections import deque

import torch
from torch import Tensor

from lightning_al.checks import Findings, check_choice, check_count, check_k, needed_generator
from lightning_al.functional.geometry.sphere import SpherePoints, full_precision, join, nearest, on_both_spheres, slices
from lightning_al.functional.selection.clusters import kmeans
from lightning_al.stages import steps

_SMALL = 5  # size of a cluster below which (or, in the authors' code, up to which) it waits


@full_precision()
def typiclust(
    features: Tensor,
    k: int,
    *,
    generator: torch.Generator,
    labelled: Tensor | None = None,
    max_clusters: int = 500,
    neighbours: int = 20,
    variant: str = "paper",
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

    The authors' code differs, ``variant="code"``: it averages *squared* distances, to ``min(20, ⌊left / 2⌋)``
    neighbours among those that are left in the cluster, labelled and picked ones being taken out; counts clusters of 5
    as small too; and goes round the clusters in the order of the start, over again when it reaches the end, whatever
    their labels. It drops small clusters, and fails where one runs dry; here it goes on, with the small ones last.

    O((N + M) d) time per cluster and k-means iteration, O(size² d) per cluster picked from: at most O((N + M)² d); for
    "code" per pick, at most k times as much. A few copies of the features (k-means makes some); neighbours in blocks of
    a few MiB, or a row of a cluster.

    Args:
        features: (N, d), finite; L2-normalised here, as in the authors' code; zero rows stay zero. float64 is computed
            in float64, all else in float32; typicalities are float64 sums of differences.
        k: How many, 0 to N.
        generator: A CPU generator, the only source of randomness (one draw, which seeds k-means).
        labelled: (M, d) features of the labelled samples; default none.
        max_clusters: Largest number of clusters, at least 1.
        neighbours: K above, at least 1.
        variant: ``"paper"`` or ``"code"``, see above.

    Returns:
        LongTensor (k,) of distinct positions in the order of the picks, on the CPU.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If there is no ``generator``, ``k``, ``max_clusters`` or ``neighbours`` is out of range, ``variant``
            is none of these, or features have another shape or are not finite.

    Example:
        >>> angles = torch.tensor([0.0, 0.1, 0.2, 0.25, 0.3, 1.2, 1.3, 1.4, 1.5, 1.7, 1.8])
        >>> features = torch.stack([angles.cos(), angles.sin()], 1)
        >>> typiclust(features, 2, generator=torch.Generator().manual_seed(0))
        tensor([7, 2])
        >>> typiclust(features, 1, generator=torch.Generator().manual_seed(0), labelled=features[5:6])
        tensor([2])
    """
    check_typiclust(max_clusters, neighbours, variant)
    generator = needed_generator(generator, "typiclust", "clusters from a random start")
    pool, known = on_both_spheres(features, labelled)
    n = len(pool)
    check_k(k, n)
    if k == 0:
        return torch.empty(0, dtype=torch.long)
    points = join(pool, known)
    seed = int(torch.randint(2**31, (), generator=generator))
    for clusters in steps([min(len(known) + k, max_clusters)]):  # one step, which takes long
        labels = kmeans(points, clusters, seed)
    pick = _by_labels if variant == "paper" else _in_turn
    return torch.tensor(pick(points, labels, n=n, k=k, neighbours=neighbours))


def check_typiclust(max_clusters: int, neighbours: int, variant: str) -> None:
    """Refuse options of :func:`typiclust` that are out of range.

    Raises:
        TypeError: If a number is none.
        ValueError: With the value seen.
    """
    with Findings() as findings:
        findings.of(check_count, "max_clusters", max_clusters)
        findings.of(check_count, "neighbours", neighbours)
        findings.of(check_choice, "variant", variant, ("paper", "code"))


def _by_labels(points: SpherePoints, labels: Tensor, *, n: int, k: int, neighbours: int) -> list[int]:
    """As in the paper: each pick from the cluster with the fewest labels."""
    sizes = labels.bincount().tolist()
    answered = labels[n:].bincount(minlength=len(sizes)).tolist()
    waiting = [(sizes[c] < _SMALL, answered[c], -sizes[c], c) for c in labels[:n].unique().tolist()]
    heapq.heapify(waiting)
    ranked: dict[int, list[int]] = {}  # candidates of a cluster, the least typical first
    picks: list[int] = []
    for _ in steps(range(k)):
        small, labels_there, size, cluster = heapq.heappop(waiting)
        if cluster not in ranked:
            members = (labels == cluster).nonzero().flatten()
            candidates = members[members < n]
            distances = _mean_nearest(points.at(members), len(candidates), min(neighbours, len(members) - 1))
            ranked[cluster] = candidates[distances.argsort(stable=True)].flip(0).tolist()
        picks.append(ranked[cluster].pop())
        if ranked[cluster]:
            heapq.heappush(waiting, (small, labels_there + 1, size, cluster))
    return picks


def _in_turn(points: SpherePoints, labels: Tensor, *, n: int, k: int, neighbours: int) -> list[int]:
    """As in the authors' code: clusters take turns, and those labelled or picked are no neighbours."""
    sizes = labels.bincount().tolist()
    answered = labels[n:].bincount(minlength=len(sizes)).tolist()
    order = sorted(labels[:n].unique().tolist(), key=lambda c: (answered[c], -sizes[c]))
    left = {c: (labels[:n] == c).nonzero().flatten() for c in order}
    turns = deque(c for c in order if sizes[c] > _SMALL)
    small = deque(c for c in order if sizes[c] <= _SMALL)
    picks: list[int] = []
    for _ in steps(range(k)):
        if not turns:
            turns, small = small, turns
        cluster = turns.popleft()
        members = left[cluster]
        best = int(_mean_nearest(points.at(members), len(members), min(neighbours, len(members) // 2), 2).argmin())
        picks.append(int(members[best]))
        left[cluster] = torch.cat([members[:best], members[best + 1 :]])
        if len(left[cluster]):
            turns.append(cluster)
    return picks


def _mean_nearest(cluster: SpherePoints, rows: int, count: int, power: int = 1) -> Tensor:
    """(rows,) float64: mean distance, to this power, of the first rows to their ``count`` nearest in the cluster."""
    means = torch.zeros(rows, dtype=torch.float64)
    if count == 0:
        return means
    columns = torch.arange(len(cluster))
    for block in slices(rows, len(cluster)):
        others = columns[block].unsqueeze(1) != columns
        means[block] = nearest(cluster.at(block), cluster, count, allowed=others).pow(power).mean(1)
    return means
