"""Learning curves, read from the ledgers of campaigns below a folder.

A campaign is a folder that holds a ``ledger`` folder. Repeats of one method stand side by side in one folder, which
names the method:

    runs/demo/saal/seed_0    runs/demo/saal/seed_1    runs/demo/random/seed_0    ...

``lightning-al compare runs/demo`` then compares ``saal`` with ``random``.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from lightning_al.campaign.events import check_events, has_ledger, read_ledger
from lightning_al.campaign.history import History, rounds_of
from lightning_al.campaign.metrics import class_metrics, shared_metrics
from lightning_al.campaign.results import LABELS, PIXELS, QUERY
from lightning_al.words import WHY_NO_METRICS, cut, did_you_mean, shown

# The name of a folder that only counts repeats: "seed_0", "run3", "version_12", "7".
_REPEAT = re.compile(r"(seed|run|repeat|rep|trial|version)?[-_]?\d+", re.IGNORECASE)

Curves = dict[str, list["Curve"]]


@dataclass
class Curve:
    """One campaign's metric against its number of labels.

    Attributes:
        path: The campaign's folder.
        metric: Name of the metric; None where none was recorded, and there are no ``values``.
        labels: Number of labels at each training; one count may be there twice (:attr:`points` has it once). Of a
            campaign that asks for regions of images what was spent, the labelled pixels, as :func:`round_by_round`
            puts them.
        values: The metric after each training, one per entry of ``labels``.
        fit_seconds: Seconds of each training, where recorded.
        query_seconds: Seconds of each query (learn, score and select together); the last round has none.
        counts: What ``labels`` are: ``"labels"`` or ``"pixels"``.
        seed: The campaign's, where its ledger says so.
        classes: The metric of each class after each training, where the campaign recorded those
            (:func:`~lightning_al.campaign.metrics.class_metrics`).
        others: Metrics that might as well have been meant, where nobody said which.
    """

    path: str
    metric: str | None
    labels: list[int]
    values: list[float]
    fit_seconds: list[float] = field(default_factory=list)
    query_seconds: list[float] = field(default_factory=list)
    counts: str = LABELS
    seed: int | None = None
    classes: dict[str, list[float]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)

    @property
    def points(self) -> dict[int, float]:
        """Label count -> the metric there, ascending; where one count was measured twice, the later value counts.

        A round that was asked twice, without a label between, is two rounds with one count.
        """
        return self.at_labels(self.values)

    def at_labels(self, values: Sequence[float]) -> dict[int, float]:
        """Return values, one for each of ``labels``, by label count, as :attr:`points` has them."""
        found = dict(zip(self.labels, values, strict=True))
        return {count: found[count] for count in sorted(found)}


def load_curves(root: str | Path, metric: str | None = None) -> Curves:
    """Read every campaign below ``root`` and group the repeats of each method.

    The method is the campaign's parent folder relative to ``root``. A campaign directly below ``root`` is a method of
    its own, unless its name only counts repeats (``seed_0``): those are repeats of the method ``root`` is named after.
    A campaign that is ``root`` itself is named after the folder that it lies in, if its own name only counts repeats.

    Args:
        root: Folder to search, itself included.
        metric: Which metric. Default: of those that all rounds have the first with "acc" in its name, else the first of
            which more is better, else the first; none of a single class (``test_acc_class_3``).

    Returns:
        Method name -> its curves, both in the order of their names. Campaigns that recorded no metrics are left out
        with a warning; where none has any, all are there without values, for their seconds.

    Raises:
        FileNotFoundError: If there is no campaign at or below ``root``, or none has finished a round.
        ValueError: If the campaigns share no metric, or one has not that which is asked for; lists them.
    """
    root = Path(root)
    return curves_of(find_campaigns(root), root, metric)


def find_campaigns(root: Path) -> list[Path]:
    """Return the folders of the campaigns at or below ``root``, in the order of their names.

    Raises:
        FileNotFoundError: If there is none.
    """
    folders = sorted((p.parent for p in root.rglob("ledger") if has_ledger(p.parent)), key=_natural_order)
    if not folders:
        raise FileNotFoundError(
            f"No campaign at or below {str(root)!r}: none of its folders holds a `ledger` folder. Give the folder that "
            "the runs' `dirpath` lie in."
        )
    return folders


def curves_of(folders: Sequence[Path], root: Path, metric: str | None = None) -> Curves:
    """Read some campaigns below ``root``; otherwise as :func:`load_curves`."""
    # A campaign that has not finished its first round has no point to draw yet.
    campaigns = {folder: _read(folder) for folder in folders}
    rounds = {folder: read.finished for folder, read in campaigns.items() if read.finished}
    if not rounds:
        raise FileNotFoundError(f"No campaign below {str(root)!r} has finished a round yet: {_names(folders)}.")

    others: list[str] = []
    bare = [folder for folder, finished in rounds.items() if not any(r.metrics for r in finished)]
    if len(bare) < len(rounds):
        if bare:
            warnings.warn(f"Left out, since they recorded no metrics: {_names(bare)}.", stacklevel=2)
        rounds = {folder: finished for folder, finished in rounds.items() if folder not in bare}
        metric, others = _choose_metric(rounds, metric)
    elif metric is not None:
        raise ValueError(f"No metric {shown(metric)} in {_names(bare)}: they recorded none: {WHY_NO_METRICS}.")
    curves: Curves = {}
    for folder, finished in rounds.items():
        missing = [r.round for r in finished if metric is not None and metric not in r.metrics]
        if missing:
            raise ValueError(f"{folder} has no metric {metric!r} in the rounds {missing}.")
        of_classes = (
            {} if metric is None else class_metrics(metric, set.intersection(*(set(r.metrics) for r in finished)))
        )
        curve = Curve(
            path=str(folder),
            metric=metric,
            labels=[round(r.amount) for r in finished],
            values=[] if metric is None else [float(r.metrics[metric]) for r in finished],
            # 0 is a stage that did not run.
            fit_seconds=[r.seconds["fit"] for r in finished if r.seconds.get("fit", 0.0) > 0],
            query_seconds=[sum(r.seconds.get(stage, 0.0) for stage in QUERY) for r in finished if r.picked],
            counts=finished[-1].counts,
            seed=campaigns[folder].seed,
            classes={
                _class_name(part, campaigns[folder].classes): [float(r.metrics[of_class]) for r in finished]
                for part, of_class in of_classes.items()
            },
            others=others,
        )
        curves.setdefault(method_of(folder, root), []).append(curve)
    return round_by_round(curves)


class _Read(NamedTuple):
    """What curves need of a campaign."""

    finished: History
    seed: int | None
    classes: list[str]
    """Names, by class index; empty where there are none."""


def _read(folder: Path) -> _Read:
    events = read_ledger(folder)
    check_events(events, folder)
    seed = events[0]["options"].get("seed")
    annotations = [event["annotations"] for event in events if "annotations" in event]
    classes = annotations[-1].get("classes") if annotations else None
    return _Read(rounds_of(events), seed if isinstance(seed, int) else None, classes or [])


def _class_name(part: str, classes: Sequence[str]) -> str:
    """Return a class by its name, if a metric gives its number."""
    return classes[int(part)] if part.isdecimal() and int(part) < len(classes) else part


def round_by_round(curves: Curves) -> Curves:
    """Return curves of which those that count pixels have one count for each round, the mean over the campaigns.

    Pixels without a class cost nothing, and which are asked for differs between methods and repeats: no two campaigns
    have labelled as many pixels, although they asked for as many. Where campaigns have asked for different amounts
    (some round's pixels differ by more than a quarter from their mean), the mean is taken over the repeats of each
    method alone. Other curves stay as they are.

    Example:
        >>> curves = [Curve(name, "iou", [n, 2 * n], [], counts="pixels") for name, n in (("a", 99), ("b", 101))]
        >>> [curve.labels for curve in round_by_round({"ripu": curves})["ripu"]]
        [[100, 200], [100, 200]]
    """
    of_pixels = [curve for repeats in curves.values() for curve in repeats if curve.counts == PIXELS]
    are_alike = all(abs(n - mean) <= mean / 4 for mean, counts in _rounds_of(of_pixels) for n in counts)
    put = {}
    for method, repeats in curves.items():
        means = [round(mean) for mean, _ in _rounds_of(of_pixels if are_alike else repeats)]
        put[method] = [
            replace(each, labels=means[: len(each.labels)]) if each.counts == PIXELS else each for each in repeats
        ]
    return put


def _rounds_of(curves: Sequence[Curve]) -> list[tuple[float, list[int]]]:
    """Return the mean count of each round, and the counts that it is of."""
    rounds = range(max((len(curve.labels) for curve in curves), default=0))
    counts = [[curve.labels[number] for curve in curves if number < len(curve.labels)] for number in rounds]
    return [(fmean(of_round), of_round) for of_round in counts]


def method_of(folder: Path, root: Path) -> str:
    """Return the method that a campaign below ``root`` is a repeat of, by the names of folders."""
    named = root.resolve()  # so that `compare .` names the method too
    if folder == root:
        return named.parent.name if _REPEAT.fullmatch(named.name) and named.parent.name else named.name
    parent = folder.parent.relative_to(root).as_posix()
    if parent != ".":
        return parent
    return named.name if _REPEAT.fullmatch(folder.name) else folder.name


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Sort key under which "seed_2" comes before "seed_10"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _choose_metric(rounds: Mapping[Path, History], metric: str | None) -> tuple[str, list[str]]:
    """Return the metric, by default the main one, and those that might as well have been meant."""
    recorded = {folder: {name for r in finished for name in r.metrics} for folder, finished in rounds.items()}
    every: set[str] = set().union(*recorded.values())
    if metric is not None:
        without = [folder for folder, names in recorded.items() if metric not in names]
        if without:
            meant = did_you_mean(metric, sorted(every))
            raise ValueError(f"No metric {metric!r}{meant} in {_names(without)}; found: {cut(sorted(every))}.")
        return metric, []
    shared = shared_metrics([r.metrics for finished in rounds.values() for r in finished])
    if not shared:
        lines = cut("; ".join(f"{folder}: {', '.join(sorted(names))}" for folder, names in recorded.items()))
        raise ValueError(f"The campaigns record different metrics, and share none: compare them apart. {lines}")
    main, *others = shared
    partly = sorted(name for name in every if not all(name in names for names in recorded.values()))
    if partly:
        warnings.warn(f"By {main}, which all campaigns record; not all have {cut(partly)}.", stacklevel=3)
    of_accuracy = [name for name in others if "acc" in name.lower()]
    return main, of_accuracy if "acc" in main.lower() else others


def metric_of(curves: Curves) -> str:
    """Return the name of the curves' metric.

    Raises:
        ValueError: If they have none.
    """
    metric = next(iter(curves.values()))[0].metric
    if metric is None:
        raise ValueError(f"These campaigns recorded no metrics, so there are no curves: {WHY_NO_METRICS}.")
    return metric


def _names(folders: Sequence[Path]) -> str:
    shown = ", ".join(str(folder) for folder in folders[:5])
    return shown if len(folders) <= 5 else f"{shown} and {len(folders) - 5} more"


def shared_labels(repeats: Sequence[Curve]) -> list[int]:
    """The label counts at which every one of ``repeats`` was measured.

    Nothing is interpolated: a repeat that is still running shortens the curve of its method.

    Raises:
        ValueError: If they share none, with the folders.

    Example:
        >>> shared_labels([Curve("a", "acc", [20, 30, 40], [0, 0, 0]), Curve("b", "acc", [20, 40], [0, 0])])
        [20, 40]
    """
    shared = sorted(set.intersection(*(set(curve.labels) for curve in repeats)))
    if not shared:
        counts = "; ".join(f"{curve.path}: {min(curve.labels)} to {max(curve.labels)}" for curve in repeats)
        raise ValueError(
            f"These repeats have no label count in common, so no mean can be taken: {counts}. Keep runs with different "
            "`initial` or `query_size` in different folders."
        )
    return shared
