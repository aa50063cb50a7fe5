"""The statistics of a comparison: means and spreads of curves, intervals, tests, pairwise wins.

[H] Holm. A Simple Sequentially Rejective Multiple Test Procedure. Scandinavian Journal of Statistics, 1979.
[K] Kim et al. SAAL: Sharpness-Aware Active Learning. ICML, 2023.
[W] Wilcoxon. Individual Comparisons by Ranking Methods. Biometrics Bulletin, 1945.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lightning_al.report.curves import Curve, shared_labels
from lightning_al.words import shown

FEWEST = 5
"""Repeats below which no p-value is given: nothing can be concluded from them."""

_TIED = 1e-9  # of the largest: differences that are this close are rounding of equal ones


@dataclass(frozen=True)
class Spread:
    """A mean over repeats and the sample standard deviation (ddof = 1); no deviation for a single repeat."""

    mean: float
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise ``values``, one per repeat.

        Example:
            >>> print(Spread.of([0.5, 0.7]), "|", Spread.of([0.5]))
            0.6000 ± 0.1414 | 0.5000
        """
        if len(values) < 2:
            return cls(fmean(values), None)
        # `stdev` fails on what is not finite.
        return cls(fmean(values), stdev(values) if all(map(math.isfinite, values)) else math.nan)

    def text(self, decimals: int) -> str:
        """Return it with so many decimals."""
        mean = f"{self.mean:.{decimals}f}"
        return mean if self.std is None else f"{mean} ± {self.std:.{decimals}f}"

    def __str__(self) -> str:
        return self.text(4)


def summarise(repeats: Sequence[Curve]) -> dict[int, Spread]:
    """Mean and spread of the metric over ``repeats`` at each label count they share.

    Raises:
        ValueError: If they share no label count.

    Example:
        >>> curves = [Curve("a", "acc", [20, 30], [0.4, 0.5]), Curve("b", "acc", [20, 30], [0.6, 0.7])]
        >>> {labels: str(spread) for labels, spread in summarise(curves).items()}
        {20: '0.5000 ± 0.1414', 30: '0.6000 ± 0.1414'}
    """
    shared = shared_labels(repeats)
    points = [curve.points for curve in repeats]
    return {labels: Spread.of([point[labels] for point in points]) for labels in shared}


def last_round(repeats: Sequence[Curve]) -> Spread:
    """Each repeat's value at the largest label count they share; then mean and spread over repeats."""
    return Spread.of([values[-1] for values in shared_values(repeats)])


def mean_over_curve(repeats: Sequence[Curve]) -> Spread:
    """Each repeat's mean over the shared label counts; then mean and spread over repeats."""
    return Spread.of([fmean(values) for values in shared_values(repeats)])


def max_over_rounds(repeats: Sequence[Curve]) -> Spread:
    """Each repeat's largest value over the shared label counts; then mean and spread over repeats.

    This is the figure the SAAL paper's tables print. It is taken on the test set, hence optimistic: read it beside the
    last round's.
    """
    return Spread.of([float(np.max(values)) for values in shared_values(repeats)])


def min_over_rounds(repeats: Sequence[Curve]) -> Spread:
    """The same of each repeat's smallest value, for a metric of which less is better."""
    return Spread.of([float(np.min(values)) for values in shared_values(repeats)])


def shared_values(repeats: Sequence[Curve]) -> list[list[float]]:
    """Return each curve's values at the label counts that all of them have."""
    shared = shared_labels(repeats)
    return [[points[labels] for labels in shared] for points in (curve.points for curve in repeats)]


def t_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float] | None:
    r"""The t interval of a mean, :math:`\bar v \pm t_{n-1} s / \sqrt n`; None for fewer than two values.

    Args:
        values: Values (n,), one per repeat.
        level: Which share of such intervals holds the true mean, if values are normal.

    Raises:
        ValueError: If ``level`` is not between 0 and 1.

    Example:
        >>> low, high = t_interval([0.01, 0.02, 0.03, 0.02, 0.04])
        >>> round(low, 4), round(high, 4)
        (0.0098, 0.0382)
    """
    from scipy.special import stdtrit

    if not 0 < level < 1:
        raise ValueError(f"`level` must be between 0 and 1, as 0.95, got {shown(level)}.")
    v = np.asarray(values, dtype=np.float64)
    if len(v) < 2:
        return None
    half = float(stdtrit(len(v) - 1, (1 + level) / 2) * v.std(ddof=1) / math.sqrt(len(v)))
    return float(v.mean()) - half, float(v.mean()) + half


def paired_t(differences: ArrayLike) -> float | None:
    """The two-sided p-value of the paired t-test; None for fewer than two differences.

    Differences that are all zero give 1 (``scipy.stats.ttest_rel`` gives NaN).

    Args:
        differences: Differences (n,), one per repeat.

    Raises:
        ValueError: If one is not finite.

    Example:
        >>> round(paired_t([0.01, 0.02, 0.03, 0.02, 0.04]), 4)
        0.0093
    """
    from scipy.special import stdtr

    d = _finite(differences)
    if len(d) < 2:
        return None
    if not d.any():
        return 1.0
    error = float(d.std(ddof=1)) / math.sqrt(len(d))
    return 0.0 if error == 0 else float(2 * stdtr(len(d) - 1, -abs(float(d.mean())) / error))


def wilcoxon(differences: ArrayLike) -> float | None:
    """The two-sided p-value of Wilcoxon's signed-rank test [W], exact; None without differences.

    Zero differences are left out; if all are zero, the p-value is 1. Tied differences get their mean rank, and the
    distribution is that of those ranks, over all signs. (``scipy.stats.wilcoxon`` takes a normal distribution where
    there are ties, which few repeats are too few for.) What differs by rounding alone is tied.

    Args:
        differences: Differences (n,), one per repeat.

    Raises:
        ValueError: If one is not finite.

    Example:
        >>> wilcoxon([0.01, 0.02, 0.03, 0.02, 0.04])
        0.0625
    """
    d = _finite(differences)
    if len(d) == 0:
        return None
    size = np.abs(d)
    d, size = d[size > _TIED * size.max()], size[size > _TIED * size.max()]
    if len(d) == 0:
        return 1.0
    # Twice the ranks, which are whole numbers though ties share a mean rank.
    order = np.sort(size)
    below = np.searchsorted(order, size * (1 - _TIED), "left")
    ranks = below + np.searchsorted(order, size * (1 + _TIED), "right") + 1
    chances = np.zeros(int(ranks.sum()) + 1)
    chances[0] = 1.0
    for rank in ranks:
        chances[rank:] += chances[:-rank].copy()  # how many sets of ranks have each sum
    smaller = min(int(ranks[d > 0].sum()), int(ranks[d < 0].sum()))
    return min(1.0, 2 * float(chances[: smaller + 1].sum()) * 2.0 ** -len(ranks))


def _finite(differences: ArrayLike) -> NDArray[np.float64]:
    d = np.asarray(differences, dtype=np.float64)
    if not np.isfinite(d).all():
        raise ValueError(f"Differences must be finite to be tested, got {shown(d.tolist())}: leave such repeats out.")
    return d


def smallest_wilcoxon(repeats: int) -> float:
    """The smallest p-value that :func:`wilcoxon` can give: all differences have one sign.

    Example:
        >>> smallest_wilcoxon(5), smallest_wilcoxon(6)
        (0.0625, 0.03125)
    """
    return min(1.0, 2.0 ** (1 - repeats))


def holm(p_values: ArrayLike) -> list[float]:
    """p-values after Holm's correction [H]: rejecting those below a level errs at all with at most that probability.

    Args:
        p_values: p-values (m,), one per method.

    Example:
        >>> [round(p, 2) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return [float(value) for value in corrected]


def labels_to_reach(
    labels: ArrayLike, values: ArrayLike, target: float, *, lower_is_better: bool = False
) -> float | None:
    """The number of labels at which a curve first gets to ``target``, on straight lines between its points.

    Args:
        labels: Label counts (rounds,), ascending.
        values: The metric at each (rounds,).
        target: What is to be reached.
        lower_is_better: Whether to get there is to fall to it.

    Returns:
        The number; the first label count if the curve begins there, None if it does not get there.

    Example:
        >>> labels_to_reach([20, 30, 40], [0.5, 0.6, 0.8], 0.7), labels_to_reach([20, 30], [0.5, 0.6], 0.7)
        (35.0, None)
    """
    x, y = np.asarray(labels, dtype=np.float64), np.asarray(values, dtype=np.float64)
    there = np.flatnonzero(y <= target if lower_is_better else y >= target)
    if len(there) == 0:
        return None
    i = int(there[0])
    if i == 0 or y[i] == target:
        return float(x[i])
    return float(x[i - 1] + (x[i] - x[i - 1]) * (target - y[i - 1]) / (y[i] - y[i - 1]))


@dataclass(frozen=True)
class Pairwise:
    """Each method beside each other one, over cases (repeats, on one dataset or more) [K, Fig. 13].

    Attributes:
        wins: (methods, methods), in which share of the cases the row's method beats the column's. Of a tie neither
            wins. NaN on the diagonal, and where two methods have no case in common.
        gains: (methods, methods), by how much the row's is better, the mean over the cases.
        cases: (methods, methods), how many cases both have.
    """

    wins: NDArray[np.float64]
    gains: NDArray[np.float64]
    cases: NDArray[np.int64]


def pairwise(values: ArrayLike, *, lower_is_better: bool = False) -> Pairwise:
    """Compare every two methods over the cases that both have.

    Args:
        values: Values (methods, cases); NaN where a method lacks a case.
        lower_is_better: Whether the smaller value wins.

    Example:
        >>> pairwise([[0.5, 0.75], [0.25, 1.0]]).wins
        array([[nan, 0.5],
               [0.5, nan]])
    """
    v = np.asarray(values, dtype=np.float64)
    v = np.where(np.isfinite(v), v, np.nan)
    gain = v[:, None, :] - v[None, :, :]  # (methods, methods, cases)
    if lower_is_better:
        gain = -gain
    both = np.isfinite(gain)
    larger = np.maximum(np.abs(v)[:, None, :], np.abs(v)[None, :, :])
    cases = both.sum(2)
    with np.errstate(invalid="ignore", divide="ignore"):
        wins = (both & (gain > _TIED * larger)).sum(2) / cases
        gains = np.where(both, gain, 0.0).sum(2) / cases
    for matrix in (wins, gains):
        np.fill_diagonal(matrix, np.nan)
    return Pairwise(wins, gains, cases.astype(np.int64))
