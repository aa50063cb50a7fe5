"""ProbCover: cover as much of the pool as possible with balls of a fixed radius."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_al.checks import check_k, check_number, check_tensor
from lightning_al.functional.geometry.sphere import (
    SpherePoints,
    closeness,
    distances,
    full_precision,
    join,
    nearest,
    on_both_spheres,
    on_sphere,
    slack,
    slices,
    tiles,
    within,
)
from lightning_al.stages import steps

_SIDE = 256  # rows of a square of products


@full_precision()
def prob_cover(features: Tensor, k: int, *, delta: float, labelled: Tensor | None = None) -> Tensor:
    r"""Pick ``k`` samples whose balls of radius ``delta`` cover the most samples (ProbCover), greedily.

    Yehuda et al. 2022, "Active Learning Through a Covering Lens". With features of length 1, ``x`` covers ``y`` iff
    :math:`\lVert x - y \rVert < \delta`. Samples within the ball of a labelled one are covered from the start. Each
    pick is

    .. math:: \arg\max_x \; |\{ y \text{ not yet covered} : \lVert x - y \rVert < \delta \}|

    with the lowest position on ties, and covers its ball. Once all is covered: the sample farthest from its nearest
    labelled or picked one. The authors' code goes on with position 0 there, over and over, may return labelled samples,
    and leaves the last ``N mod 500`` samples out of the graph.

    The graph is never stored. Counts come from one blockwise pass of matrix products, and go down by one more row of
    products for each sample that gets covered: at most ``2 N² d`` multiply-adds in all, then O((M + k) N d) for the
    labelled and for those picked after all is covered. Memory: one copy of the features, O(N + M + k), and blocks of a
    few MiB.

    Args:
        features: (N, d), finite; L2-normalised here, zero rows stay zero. May be memory-mapped. float64 is computed
            in float64, all else in float32; pairs within rounding of ``delta`` are decided in float64.
        k: How many, 0 to N.
        delta: Radius of the balls, above 0; see :func:`coverage_delta`.
        labelled: (M, d) features of the labelled samples; default none.

    Returns:
        LongTensor (k,) of distinct positions in the order of the picks, on the CPU.

    Raises:
        ValueError: If ``k`` is out of range, ``delta`` not above 0, or features have another shape or are not finite.

    Example:
        >>> angles = torch.tensor([0.0, 0.1, 0.2, 1.5, 1.6, 3.0])
        >>> features = torch.stack([angles.cos(), angles.sin()], 1)
        >>> prob_cover(features, 3, delta=0.15)
        tensor([1, 3, 5])
        >>> prob_cover(features, 2, delta=0.15, labelled=features[:2])
        tensor([3, 5])
    """
    check_number("delta", delta, above=0, may_be_infinite=True)
    pool, centres = on_both_spheres(features, labelled)
    n = len(pool)
    check_k(k, n)
    covered = torch.zeros(n, dtype=torch.bool)
    for some, part in tiles(len(centres), n):
        covered[part] |= within(centres.at(some), pool.at(part), delta).any(0)

    picks: list[int] = []
    # How many samples not yet covered each would cover.
    if covered.sum() < n / 4:
        gain = _reach_of_all(pool, delta) - _reach(pool, covered.nonzero().flatten(), delta)
    else:
        gain = _reach(pool, (~covered).nonzero().flatten(), delta)
    for _ in steps(range(k)):
        best = int(gain.argmax())
        if gain[best] == 0:  # all is covered; those picked before cover nothing new either
            break
        picks.append(best)
        ball = within(pool.at(slice(best, best + 1)), pool, delta)[0] > 0
        fresh = (ball & ~covered).nonzero().flatten()
        covered |= ball
        left = (~covered).nonzero().flatten()
        if len(left) < len(fresh):  # less work to count anew
            gain = _reach(pool, left, delta)
        else:
            gain -= _reach(pool, fresh, delta)
    if len(picks) < k:
        picks = _farthest(pool, picks, k, centres)
    return torch.tensor(picks, dtype=torch.long)


def coverage_delta(features: Tensor, pseudo_labels: Tensor, *, purity: float = 0.95) -> float:
    """The largest ``delta`` for :func:`prob_cover` at which at least a share ``purity`` of the balls are pure.

    Yehuda et al. 2022: a ball is pure if all samples within it have the pseudo-label of its centre; pseudo-labels
    come from k-means with as many clusters as there are classes (:func:`cluster_labels`). Where the paper tries
    values on a grid, this is exact: the ball of sample i is pure iff ``delta <= r_i``, the distance from i to the
    nearest sample of another pseudo-label, so the answer is the ⌈purity · N⌉-th largest ``r_i``.
    O(N² d) time, each pair once; O(N) memory and two copies of the features.

    Args:
        features: (N, d), finite; L2-normalised here.
        pseudo_labels: (N,) integers.
        purity: Wanted share, above 0 and at most 1.

    Returns:
        ``delta``, above 0. If all samples may lie in every ball (one pseudo-label only), a little more than 2, with
        which every sample covers every other.

    Raises:
        ValueError: If features or pseudo-labels have another shape, features are not finite, there are none, or
            ``purity`` is out of range; or if no ``delta`` is small enough, since too many samples coincide with one of
            another pseudo-label.

    Example:
        >>> angles = torch.tensor([0.0, 0.1, 0.2, 1.5, 1.6, 3.0])
        >>> features = torch.stack([angles.cos(), angles.sin()], 1)
        >>> labels = torch.tensor([0, 0, 0, 1, 1, 1])
        >>> round(coverage_delta(features, labels), 4)  # the chord from 0.2 to 1.5
        1.2104
        >>> round(coverage_delta(features, labels, purity=0.5), 4)  # half of the samples have this much room
        1.2884
    """
    check_number("purity", purity, above=0, most=1)
    check_tensor("pseudo_labels", pseudo_labels)
    points = on_sphere(features)
    n = len(points)
    if pseudo_labels.shape != features.shape[:1] or pseudo_labels.is_floating_point():
        raise ValueError(
            f"`pseudo_labels` must be integers of shape (N,), N = {n}, got {pseudo_labels.dtype} of shape "
            f"{tuple(pseudo_labels.shape)}."
        )
    if n == 0:
        raise ValueError("`features` is empty: no delta can be told from no samples.")
    labels, order = pseudo_labels.cpu().sort(stable=True)
    room = _room(points.at(order), labels.unique_consecutive(return_counts=True)[1].tolist())
    pure = math.ceil(purity * n)
    if (pure - 1) / n >= purity:  # the product was rounded up
        pure -= 1
    delta = float(room.sort(descending=True).values[pure - 1])
    if delta == 0:
        raise ValueError(
            f"No delta reaches purity {purity}: {int((room == 0).sum())} of {n} samples coincide with a sample of "
            "another pseudo-label. Cluster into fewer, or lower `purity`."
        )
    return min(delta, 2 + 2**-10)


@full_precision()
def _room(points: SpherePoints, sizes: Sequence[int]) -> Tensor:
    """(N,) float64: distances of points to their nearest one of another group; inf where there is none.

    Args:
        points: Those of a group side by side.
        sizes: Of the groups, in their order.
    """
    n, begin, blocks = len(points), 0, []
    for size in sizes:  # each group against those after it
        end = begin + size
        for down, across in tiles(size, n - end):
            blocks.append((_moved(down, begin), _moved(across, end)))
        begin = end
    room = torch.full((n,), torch.inf, dtype=torch.float64)
    closest = torch.full((n,), -torch.inf, dtype=points.rows.dtype)
    for some, others in steps(blocks):
        a, b = points.at(some), points.at(others)
        close = closeness(a, b)
        for part, dim in ((some, 1), (others, 0)):
            closest[part] = torch.maximum(closest[part], close.amax(dim))
        # Of pairs that rounding leaves in doubt, the distance is taken from differences.
        enough = closest - 2 * slack(points)
        i, j = (close >= enough[some].unsqueeze(1)).logical_or_(close >= enough[others]).nonzero(as_tuple=True)
        apart = distances(a, b, i, j)
        room[some].scatter_reduce_(0, i, apart, "amin")
        room[others].scatter_reduce_(0, j, apart, "amin")
    return room


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _reach(pool: SpherePoints, targets: Tensor, delta: float) -> Tensor:
    """(N,) float64: how many of the samples at positions ``targets`` each sample covers."""
    counts = torch.zeros(len(pool), dtype=torch.float64)
    for some, part in steps(list(tiles(len(targets), len(pool)))):
        counts[part] += within(pool.at(targets[some]), pool.at(part), delta).sum(0)
    return counts


def _reach_of_all(pool: SpherePoints, delta: float) -> Tensor:
    """:func:`_reach` with all samples as targets, for half the products: who covers whom goes both ways."""
    counts = torch.zeros(len(pool), dtype=torch.float64)
    for part in steps(list(slices(len(pool), _SIDE))):
        square = pool.at(part)
        counts[part] += _reach(square, torch.arange(len(square)), delta)
        for some in slices(part.start, len(square)):
            covers = within(pool.at(some), square, delta)
            counts[part] += covers.sum(0)
            counts[some] += covers.sum(1)
    return counts


def _farthest(pool: SpherePoints, picks: list[int], k: int, labelled: SpherePoints) -> list[int]:
    """Go on to ``k`` picks, each the farthest from its nearest labelled or picked point."""
    centres = join(labelled, pool.at(torch.tensor(picks, dtype=torch.long)))
    gap = torch.full((len(pool),), torch.inf, dtype=torch.float64)
    for some, part in tiles(len(pool), len(centres)):
        gap[some] = torch.minimum(gap[some], nearest(pool.at(some), centres.at(part))[:, 0])
    gap[picks] = -1
    for _ in steps(range(k - len(picks))):
        newest = gap.argmax()
        picks = [*picks, int(newest)]
        if len(picks) == k:
            continue
        gap[newest] = -1
        close = closeness(pool.at(newest.unsqueeze(0)), pool)[0]
        nearer = (close > -gap.square() / 2 - slack(pool)).nonzero().flatten()
        to_newest = distances(pool, pool, nearer, newest.expand(len(nearer)))
        gap[nearer] = torch.minimum(gap[nearer], to_newest)
    return picks
