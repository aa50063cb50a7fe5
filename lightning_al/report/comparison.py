"""Methods beside a baseline and beside each other: paired differences, tests, labels saved, wins."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lightning_al.report.alignment import Aligned
from lightning_al.report.statistics import (
    FEWEST,
    Pairwise,
    holm,
    labels_to_reach,
    paired_t,
    pairwise,
    t_interval,
    wilcoxon,
)


@dataclass(frozen=True)
class Difference:
    """A method's values less the baseline's, over the seeds that both have.

    Attributes:
        method: Its name.
        repeats: Those that both have.
        values: Method less baseline, one for each of ``repeats``.
        interval: t interval of their mean, 95 %; None for fewer than two.
        t: p-value of the paired t-test; None for fewer than five.
        t_holm: The same after Holm's correction over the methods, of this one measure.
        wilcoxon: p-value of Wilcoxon's signed-rank test, exact; None for fewer than five.
        wilcoxon_holm: The same after Holm's correction over the methods, of this one measure.
    """

    method: str
    repeats: list[str]
    values: list[float]
    interval: tuple[float, float] | None
    t: float | None
    t_holm: float | None
    wilcoxon: float | None
    wilcoxon_holm: float | None

    @property
    def mean(self) -> float | None:
        """Mean of the differences; None where the two have no seed in common."""
        return float(np.mean(self.values)) if self.values else None


@dataclass(frozen=True)
class Reach:
    """How many labels a method needs to get where the baseline ends.

    Attributes:
        method: Its name.
        target: The baseline's last round, the mean over the seeds that both have.
        labels: Where the method's mean curve first gets there, on straight lines between rounds; None if it does not.
        saved: The baseline's labels less these.
        repeats: How many seeds both have.
        reached: How many of them get to the last round of the baseline's same seed.
    """

    method: str
    target: float
    labels: float | None
    saved: float | None
    repeats: int
    reached: int


def differences(aligned: Aligned, measure: str) -> list[Difference]:
    """Compare every method with the baseline over the seeds that both have; the best method first.

    Args:
        aligned: With a baseline.
        measure: ``"last"``, ``"mean"`` or ``"best"``.
    """
    baseline = aligned.baseline
    if baseline is None:
        return []
    of_baseline = aligned.measured(baseline, measure)
    found: dict[str, tuple[list[str], list[float]]] = {}
    for method in aligned.values:
        if method != baseline:
            own, shared = aligned.measured(method, measure), aligned.shared_repeats(method, baseline)
            found[method] = shared, [own[repeat] - of_baseline[repeat] for repeat in shared]
    t, signed = _tested(paired_t, found), _tested(wilcoxon, found)
    t_holm, signed_holm = _corrected(t), _corrected(signed)
    rows = [
        Difference(
            method=method,
            repeats=repeats,
            values=values,
            interval=t_interval(values),
            t=t.get(method),
            t_holm=t_holm.get(method),
            wilcoxon=signed.get(method),
            wilcoxon_holm=signed_holm.get(method),
        )
        for method, (repeats, values) in found.items()
    ]
    sign = 1 if aligned.lower_is_better else -1
    return sorted(rows, key=lambda row: np.inf if row.mean is None else sign * row.mean)


def _tested(
    test: Callable[[Sequence[float]], float | None], found: dict[str, tuple[list[str], list[float]]]
) -> dict[str, float]:
    """Return the p-values of methods that share enough repeats with the baseline."""
    p_values = {method: test(values) for method, (_, values) in found.items() if len(values) >= FEWEST}
    return {method: p for method, p in p_values.items() if p is not None}


def _corrected(p_values: dict[str, float]) -> dict[str, float]:
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))


def ranked(aligned: Aligned, methods: Sequence[str], measure: str) -> tuple[list[str], dict[str, float]]:
    """Put methods in order by their means over the repeats that all of them have.

    Means over different repeats have no order: one method may have the luckier seeds.

    Args:
        aligned: What is compared.
        methods: Which.
        measure: ``"last"``, ``"mean"`` or ``"best"``.

    Returns:
        These repeats, and the mean of each method, the best one first; nothing where all have no repeat in common.
    """
    measured = {method: aligned.measured(method, measure) for method in methods}
    shared = [repeat for repeat in next(iter(measured.values()), ()) if all(repeat in of for of in measured.values())]
    if not shared:
        return [], {}
    means = {method: float(np.mean([of[repeat] for repeat in shared])) for method, of in measured.items()}
    order = sorted(means, key=means.__getitem__, reverse=not aligned.lower_is_better)
    return shared, {method: means[method] for method in order}


def labels_saved(aligned: Aligned) -> list[Reach]:
    """Say of every method how many labels take it where the baseline ends; the fewest first.

    The baseline itself is among them: where noise takes it there before its last round, it takes others there too.
    """
    baseline, labels = aligned.baseline, aligned.labels
    if baseline is None:
        return []
    rows = []
    for method, curves in aligned.values.items():
        shared = aligned.shared_repeats(method, baseline)
        if not shared:
            continue
        of_baseline = aligned.values[baseline]
        target = float(np.mean([of_baseline[repeat][-1] for repeat in shared]))
        mean = np.mean([curves[repeat] for repeat in shared], axis=0)
        lower = aligned.lower_is_better
        needed = labels_to_reach(labels, mean, target, lower_is_better=lower)
        ends = [
            labels_to_reach(labels, curves[repeat], of_baseline[repeat][-1], lower_is_better=lower) for repeat in shared
        ]
        rows.append(
            Reach(
                method=method,
                target=target,
                labels=needed,
                saved=None if needed is None else labels[-1] - needed,
                repeats=len(shared),
                reached=sum(end is not None for end in ends),
            )
        )
    return sorted(rows, key=lambda row: np.inf if row.labels is None else row.labels)


def pairwise_of(several: Sequence[Aligned], measure: str) -> tuple[list[str], Pairwise]:
    """Compare every two methods over all cases: the repeats of one folder or more.

    Methods with the most wins come first, and of as many those with the largest gains.

    Raises:
        ValueError: If less of one metric is better, and more of another.
    """
    if len({aligned.lower_is_better for aligned in several}) > 1:
        raise ValueError("Of one metric less is better and of another more: such cases do not add up.")
    methods = list(dict.fromkeys(method for aligned in several for method in aligned.values))
    columns = []
    for aligned in several:
        measured = {method: aligned.measured(method, measure) for method in aligned.values}
        for repeat in dict.fromkeys(repeat for of in measured.values() for repeat in of):
            columns.append([measured.get(method, {}).get(repeat, np.nan) for method in methods])
    values = np.array(columns, dtype=np.float64).reshape(-1, len(methods)).T
    lower = several[0].lower_is_better
    matrices = pairwise(values, lower_is_better=lower)
    others = np.maximum(1, np.isfinite(matrices.wins).sum(1))
    shares, gains = np.nansum(matrices.wins, axis=1) / others, np.nansum(matrices.gains, axis=1) / others
    order = np.lexsort((-gains, -shares))
    return [methods[i] for i in order], pairwise(values[order], lower_is_better=lower)
