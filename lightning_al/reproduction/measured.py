"""What campaigns measured, as rows of the table: accuracies, seconds, and what recipes say."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

from lightning_al.report.alignment import FULL_DATA
from lightning_al.report.curves import Curve, load_curves
from lightning_al.reproduction.figures import Figure, Published, over_seeds
from lightning_al.reproduction.needs import Needs
from lightning_al.reproduction.registry import Case, Result
from lightning_al.reproduction.runs import Choice, Run

METRICS = {"accuracy": "acc", "miou": "miou", "map": "map_50", "pairwise": "acc", "seconds": "acc"}
"""Names of metrics, without ``test_`` or ``val_``, by what results show."""


@dataclass(frozen=True)
class Measured:
    """A run and its learning curve."""

    run: Run
    curve: Curve


def measured(runs: Sequence[Run], shows: str) -> list[Measured]:
    """Return the runs that have finished a round, with their curves."""
    found = []
    for run in runs:
        curve = curve_of(run.folder, METRICS[shows])
        if curve is not None:
            found.append(Measured(run, curve))
    return found


def curve_of(folder: Path, metric: str) -> Curve | None:
    """Return the learning curve of a campaign; None: it has not finished a round.

    Args:
        folder: The campaign's.
        metric: Without ``test_`` or ``val_``.

    Raises:
        ValueError: If it has no such metric.
    """
    for split in ("test", "val"):
        try:
            [curves] = load_curves(folder, f"{split}_{metric}").values()
        except FileNotFoundError:
            return None
        except ValueError:
            if split == "val":
                raise
        else:
            return curves[0]
    return None


def rows_of(choice: Choice, runs: Sequence[Run], needs: Needs) -> list[Figure]:
    """Return the rows of what finished campaigns measured.

    Args:
        choice: What was chosen; its result is one of :data:`METRICS`, and no matrix of pairs.
        runs: Of it.
        needs: Knows the rounds of protocols.
    """
    result = choice.result
    cases = {case.name: case for case in choice.cases}
    of_seeds: dict[int, list[Figure]] = {}
    found = [each for each in measured(runs, result.shows) if each.run.is_finished]
    for case in choice.cases:  # rows of the table before ours, in its order
        for method in choice.methods_of(case):
            of_seeds.setdefault(-1, []).extend(_figures(result, case, method, None, needs, small=choice.small))
    for each in found:
        case = cases[each.run.case]
        figures = _figures(result, case, each.run.method, each.curve, needs, small=choice.small)
        of_seeds.setdefault(each.run.seed, []).extend(figures)
    return over_seeds(of_seeds.values())


def _figures(
    result: Result, case: Case, method: str, curve: Curve | None, needs: Needs, *, small: bool
) -> list[Figure]:
    """Return the rows of one method, with the values of a curve if there is one."""
    if result.shows == "seconds":
        return _seconds(result, case, method, curve)
    if method == FULL_DATA:
        value = None if curve is None else 100 * curve.values[-1]
        return [_row(case, method, "all labels", case.published_full_data, value)]
    scale = 100 if result.unit == "%" else 1
    rows = _accuracies(result, case, method, curve, needs, scale=scale, small=small)
    if result.seconds and method in case.published_seconds:
        took = None if curve is None else _of_a_round(curve)
        rows.append(_row(case, method, "seconds of a round", case.published_seconds[method], took))
    return rows


def _accuracies(
    result: Result, case: Case, method: str, curve: Curve | None, needs: Needs, *, scale: float, small: bool
) -> list[Figure]:
    printed = case.published.get(method)
    if result.statistic == "at_labels":
        rows = []
        for place, labels in enumerate(case.at_labels):
            number = needs.round_at(case, place)
            value = None if curve is None else _at(curve, None if small else labels, number)
            what = f"round {number}" if small else f"{labels} labels"
            of_place = None if printed is None else printed[place]
            rows.append(_row(case, method, what, of_place, None if value is None else scale * value))
        return rows
    names = ("last", "mean") if result.statistic == "curve" else (result.statistic,)
    return [
        _row(case, method, what, printed, None if curve is None else scale * of(list(curve.points.values())))
        for what, of in map(_STATISTICS.__getitem__, names)
    ]


_STATISTICS: Mapping[str, tuple[str, Callable[[Sequence[float]], float]]] = {
    "maximum": ("maximum over rounds", max),
    "last": ("last round", lambda values: values[-1]),
    "mean": ("mean over rounds", fmean),
}


def _at(curve: Curve, labels: int | None, number: int) -> float | None:
    """Return what was measured at a label count, or else in a round; None if nothing was."""
    if labels is None:
        return curve.values[number] if number < len(curve.values) else None
    return curve.points.get(labels)


def _row(case: Case, method: str, what: str, printed: Any, ours: float | None) -> Figure:
    return Figure(case.name, method, what, Published.of(printed), [] if ours is None else [ours])


def _of_a_round(curve: Curve) -> float | None:
    if not curve.fit_seconds:
        return None
    return median(curve.fit_seconds) + (median(curve.query_seconds) if curve.query_seconds else 0.0)


def _seconds(result: Result, case: Case, method: str, curve: Curve | None) -> list[Figure]:
    printed = case.published.get(method)
    if result.statistic == "total":
        total = None if curve is None else (sum(curve.fit_seconds) + sum(curve.query_seconds)) / 3600
        return [_row(case, method, "hours of trainings and queries", printed, total)]
    printed = printed or {}
    fit = median(curve.fit_seconds) if curve is not None and curve.fit_seconds else None
    query = median(curve.query_seconds) if curve is not None and curve.query_seconds else None
    return [
        _row(case, method, "median seconds of a training", printed.get("fit"), fit),
        _row(case, method, "median seconds of a query", printed.get("score"), query),
    ]


def settings_of(cases: Sequence[Case], needs: Needs) -> list[list[str]]:
    """Return what the protocols of cases say, a row each, the header first."""
    rows = [["case", "data", "network", "epochs", "batch", "initial", "a round", "rounds", "candidates", "optimizer"]]
    for case in cases:
        recipe = needs.recipe(case, small=False)
        model, data, loop = recipe["model"]["init_args"], recipe["data"], recipe["loop"]
        optimizer = model.get("optimizer", {})
        rate = optimizer.get("init_args", {}).get("lr")
        values = [
            data["class_path"].rpartition(".")[2].removesuffix("DataModule"),
            model["net"]["class_path"].rpartition(".")[2],
            recipe["trainer"]["max_epochs"],
            data["init_args"].get("batch_size", "-"),
            *(loop.get(key, "-") for key in ("initial", "query_size", "rounds", "subpool_size")),
            f"{optimizer.get('class_path', '-').rpartition('.')[2]}, {rate}",
        ]
        rows.append([case.name, *map(str, values)])
    return rows
