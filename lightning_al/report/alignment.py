"""Curves cut to what they have in common: the same label counts, and repeats that pair by their seed."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_al.campaign.metrics import is_error
from lightning_al.campaign.results import LABELS
from lightning_al.report.curves import Curve, Curves, metric_of
from lightning_al.words import cut, did_you_mean, shown

FULL_DATA = "full_data"
"""Folder of the campaigns that were trained on all labels."""

BASELINE = "random"
"""Method that others are compared with, unless another one is named."""

MEASURES = ("last", "mean", "best")
"""What a curve is summed up by; :meth:`Aligned.label_of` has their names in full."""


@dataclass(frozen=True)
class Aligned:
    """Curves at the label counts that all campaigns have.

    Attributes:
        metric: Name of the metric.
        counts: What ``labels`` are: ``"labels"`` or ``"pixels"``.
        lower_is_better: Whether less of the metric is better.
        labels: Label counts that all campaigns have, ascending; empty if there is none.
        values: Method -> repeat (``"seed 0"``) -> the metric at each of ``labels``. Repeats of one name are pairs.
        baseline: Method that others are compared with; None where there is none.
        notes: Sentences on what was left out, and what cannot be said.
    """

    metric: str
    lower_is_better: bool
    labels: list[int]
    values: dict[str, dict[str, NDArray[np.float64]]]
    baseline: str | None = None
    counts: str = LABELS
    notes: list[str] = field(default_factory=list)

    def label_of(self, measure: str) -> str:
        """Return what a measure is called: "last round", "mean over curve", "max over rounds" or "min over rounds"."""
        best = "min over rounds" if self.lower_is_better else "max over rounds"
        return {"last": "last round", "mean": "mean over curve", "best": best}[measure]

    def measured(self, method: str, measure: str) -> dict[str, float]:
        """Return one number for each repeat of a method."""
        sums: dict[str, Callable[[NDArray[np.float64]], np.float64]] = {
            "last": lambda curve: curve[-1],
            "mean": np.mean,
            "best": np.min if self.lower_is_better else np.max,
        }
        return {repeat: float(sums[measure](curve)) for repeat, curve in self.values[method].items()}

    def shared_repeats(self, method: str, other: str) -> list[str]:
        """Return the repeats that two methods have."""
        return [repeat for repeat in self.values[method] if repeat in self.values[other]]


def split_full_data(curves: Curves) -> tuple[Curves, Curves]:
    """Return the methods, and the campaigns trained on all labels: those in a folder named ``full_data``."""
    of_methods = {method: repeats for method, repeats in curves.items() if Path(method).name != FULL_DATA}
    if not of_methods:
        return curves, {}
    return of_methods, {method: repeats for method, repeats in curves.items() if method not in of_methods}


def align(curves: Curves, *, baseline: str | None = None, lower_is_better: bool | None = None) -> Aligned:
    """Cut curves to the label counts that all of them have, and name their repeats so that they pair.

    Repeats of one seed are pairs; where ledgers do not say the seed, or one method has a seed twice, those whose
    folders have the same name. Repeats with values that are not finite are left out.

    Args:
        curves: As :func:`~lightning_al.report.load_curves` returns them, without those of all labels.
        baseline: Method that others are compared with. Default: the one called "random", whatever its case.
        lower_is_better: Whether less of the metric is better. Default: as its name says.

    Raises:
        ValueError: If there are no curves, or no metric; or no method is called ``baseline``.
    """
    if not curves:
        raise ValueError("There are no curves to compare.")
    metric = metric_of(curves)
    named, notes = _paired(curves)
    every = {f"{method} {repeat}".strip(): curve for method, of in named.items() for repeat, curve in of.items()}
    labels = sorted(set.intersection(*(set(curve.labels) for curve in every.values())))
    notes += _on_label_counts(every, labels)
    values: dict[str, dict[str, NDArray[np.float64]]] = {}
    for method, repeats in named.items():
        values[method] = {}
        for repeat, curve in repeats.items():
            points = curve.points
            cut_curve = np.array([points[count] for count in labels], dtype=np.float64)
            if labels and np.isfinite(cut_curve).all():
                values[method][repeat] = cut_curve
            elif labels:
                notes.append(
                    f"{f'{method} {repeat}'.strip()} is left out, since its {metric} is not finite: {method} looks "
                    "better than it is."
                )
    notes += _on_repeats(values)
    chosen, note = _choose_baseline(list(curves), baseline)
    counts = {curve.counts for curve in every.values()}
    return Aligned(
        metric=metric,
        lower_is_better=is_error(metric) if lower_is_better is None else lower_is_better,
        labels=labels,
        values=values,
        baseline=chosen,
        counts=counts.pop() if len(counts) == 1 else LABELS,
        notes=notes + note,
    )


def _paired(curves: Curves) -> tuple[dict[str, dict[str, Curve]], list[str]]:
    """Return method -> name of the repeat -> curve, and what is to be said of the names."""
    seeds = {method: [curve.seed for curve in repeats] for method, repeats in curves.items()}
    twice = [method for method, of in seeds.items() if None not in of and len(set(of)) < len(of)]
    if twice:
        note = (
            f"{cut(', '.join(twice))}: several runs have one seed. They are paired by the names of their folders, and "
            "are repeats only if something else differs between them."
        )
        return {method: _by_folder(method, repeats) for method, repeats in curves.items()}, [note]
    if any(None in of for of in seeds.values()):
        return {method: _by_folder(method, repeats) for method, repeats in curves.items()}, []
    return {method: {f"seed {curve.seed}": curve for curve in repeats} for method, repeats in curves.items()}, []


def _by_folder(method: str, repeats: list[Curve]) -> dict[str, Curve]:
    # A campaign that is a method of its own has no folder that counts repeats.
    names = [Path(curve.path).name for curve in repeats]
    return {"" if name == Path(method).name else name: curve for name, curve in zip(names, repeats, strict=True)}


def _on_label_counts(curves: dict[str, Curve], labels: list[int]) -> list[str]:
    """Say which curves lack what others have."""
    every = sorted(set().union(*(curve.labels for curve in curves.values())))
    if labels == every:
        return []
    lacking = [
        f"{name} has {min(curve.labels)} to {max(curve.labels)} ({len(set(curve.labels))})"
        for name, curve in curves.items()
        if set(curve.labels) != set(every)
    ]
    if not labels:
        return [
            f"No label count is common to all campaigns, so that nothing more is compared: {cut('; '.join(lacking))}."
        ]
    return [
        f"Compared at the {len(labels)} of {len(every)} label counts that all campaigns have, {labels[0]} to "
        f"{labels[-1]}: {cut('; '.join(lacking))}."
    ]


def _on_repeats(values: dict[str, dict[str, NDArray[np.float64]]]) -> list[str]:
    lacking = _lacking(values)
    return [f"Every two methods are compared over the repeats that both have: {lacking}."] if lacking else []


def _lacking(repeats: Mapping[str, Collection[str]]) -> str:
    """Say which methods lack repeats that others have; empty where none does."""
    every = dict.fromkeys(repeat for of in repeats.values() for repeat in of)
    lacking = {method: [repeat for repeat in every if repeat not in of] for method, of in repeats.items()}
    return cut("; ".join(f"{method} lacks {', '.join(of)}" for method, of in lacking.items() if any(of)))


def on_means(curves: Curves) -> str | None:
    """Say it where methods have different repeats, so that their means do not compare; else None.

    Example:
        >>> of_seeds = {"saal": [0, 1], "random": [0]}
        >>> curves = {m: [Curve(m, "acc", [20], [0.5], seed=s) for s in seeds] for m, seeds in of_seeds.items()}
        >>> on_means(curves).partition(":")[0]
        "Means are over each method's own repeats, and these differ (random lacks seed 1)"
    """
    lacking = _lacking(_paired(curves)[0])
    if not lacking:
        return None
    return f"Means are over each method's own repeats, and these differ ({lacking}): compare over those that both have."


def _choose_baseline(methods: list[str], baseline: str | None) -> tuple[str | None, list[str]]:
    """Return the method that others are compared with, or why there is none."""
    if baseline is not None:
        if baseline not in methods:
            meant = did_you_mean(baseline, methods)
            raise ValueError(f"No method is called {shown(baseline)}{meant}; there are: {cut(', '.join(methods))}.")
        return baseline, []
    if len(methods) < 2:
        return None, []
    named = [method for method in methods if Path(method).name.lower() == BASELINE]
    if len(named) == 1:
        return named[0], []
    what = f"Several methods are called {BASELINE!r}" if named else f"No method is called {BASELINE!r}"
    return None, [
        f"{what}, so that there are no differences to it. Give `baseline=` (`--baseline`) one of "
        f"{cut(', '.join(named or methods))}."
    ]
