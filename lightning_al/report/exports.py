"""A comparison as JSON and CSV files, for programs and papers."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning_al.report.alignment import MEASURES, Aligned
from lightning_al.report.comparison import differences, labels_saved, pairwise_of
from lightning_al.report.curves import Curve, Curves
from lightning_al.storage.files import write_csv


def write_comparison(curves: Curves, full_data: Curves, aligned: Aligned, stem: Path) -> list[Path]:
    """Write all numbers of a comparison into files that are named after ``stem``.

    ``stem.json`` has everything; ``stem.csv`` a row for each campaign and label count, ``stem_differences.csv`` one for
    each method and measure, ``stem_pairwise.csv`` one for each two methods and measure, ``stem_labels_saved.csv`` one
    for each method, ``stem_classes.csv`` one for each campaign, label count and class, where there are any.

    Args:
        curves: The methods'.
        full_data: Of campaigns that were trained on all labels.
        aligned: The curves where they compare.
        stem: Path without an ending.

    Returns:
        The files, in that order.
    """
    everything = {
        "metric": aligned.metric,
        "lower_is_better": aligned.lower_is_better,
        "counts": aligned.counts,
        "baseline": aligned.baseline,
        "notes": aligned.notes,
        "labels": aligned.labels,
        "methods": {
            method: {
                "curves": {repeat: curve.tolist() for repeat, curve in repeats.items()},
                **{aligned.label_of(measure): aligned.measured(method, measure) for measure in MEASURES},
            }
            for method, repeats in aligned.values.items()
        },
        "full_data": {
            name: [{"path": curve.path, "labels": curve.labels, "values": curve.values} for curve in repeats]
            for name, repeats in full_data.items()
        },
        "differences": {aligned.label_of(measure): _differences(aligned, measure) for measure in MEASURES},
        "labels_saved": [asdict(row) for row in labels_saved(aligned)],
        "pairwise": {aligned.label_of(measure): pairwise_as_dict([aligned], measure) for measure in MEASURES},
    }
    written = [write_json(stem.with_name(f"{stem.name}.json"), everything)]

    def rows(suffix: str, lines: Sequence[dict[str, Any]]) -> None:
        if lines:
            written.append(write_csv(stem.with_name(f"{stem.name}{suffix}.csv"), lines))

    rows("", [row for name, curve in _all(curves, full_data) for row in _points(name, curve)])
    rows("_differences", [row for measure in MEASURES for row in _flat_differences(aligned, measure)])
    rows("_pairwise", [row for measure in MEASURES for row in pairwise_rows([aligned], measure)])
    rows("_labels_saved", [asdict(row) for row in labels_saved(aligned)])
    rows("_classes", [row for name, curve in _all(curves, full_data) for row in _classes(name, curve)])
    return written


def pairwise_as_dict(several: Sequence[Aligned], measure: str) -> dict[str, Any]:
    """Return the matrices of wins, gains and cases by one measure, the methods that they are of first."""
    methods, matrices = pairwise_of(several, measure)
    return {
        "methods": methods,
        "wins": matrices.wins.tolist(),
        "gains": matrices.gains.tolist(),
        "cases": matrices.cases.tolist(),
    }


def pairwise_rows(several: Sequence[Aligned], measure: str) -> list[dict[str, Any]]:
    """Return the same matrices as one row for each two methods."""
    methods, matrices = pairwise_of(several, measure)
    return [
        {
            "measure": several[0].label_of(measure),
            "method": method,
            "other": other,
            "wins": matrices.wins[i, j],
            "gain": matrices.gains[i, j],
            "cases": matrices.cases[i, j],
        }
        for i, method in enumerate(methods)
        for j, other in enumerate(methods)
        if i != j
    ]


def write_json(path: Path, content: dict[str, Any]) -> Path:
    """Write JSON in which numbers that are not finite are null, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_finite(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return path


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _differences(aligned: Aligned, measure: str) -> list[dict[str, Any]]:
    return [{**asdict(row), "mean": row.mean} for row in differences(aligned, measure)]


def _flat_differences(aligned: Aligned, measure: str) -> list[dict[str, Any]]:
    return [
        {
            "measure": aligned.label_of(measure),
            "method": row.method,
            "baseline": aligned.baseline,
            "seeds": len(row.repeats),
            "difference": row.mean,
            "low": None if row.interval is None else row.interval[0],
            "high": None if row.interval is None else row.interval[1],
            "t": row.t,
            "t_holm": row.t_holm,
            "wilcoxon": row.wilcoxon,
            "wilcoxon_holm": row.wilcoxon_holm,
        }
        for row in differences(aligned, measure)
    ]


def _all(curves: Curves, full_data: Curves) -> list[tuple[str, Curve]]:
    """Return every curve beside the name of its method."""
    return [(method, curve) for of in (curves, full_data) for method, repeats in of.items() for curve in repeats]


def _points(method: str, curve: Curve) -> Iterable[dict[str, Any]]:
    for labels, value in curve.points.items():
        where = {"method": method, "path": curve.path, "seed": curve.seed, "counts": curve.counts, "labels": labels}
        yield {**where, "metric": curve.metric, "value": value}


def _classes(method: str, curve: Curve) -> Iterable[dict[str, Any]]:
    for name, values in curve.classes.items():
        for labels, value in curve.at_labels(values).items():
            where = {"method": method, "path": curve.path, "seed": curve.seed, "counts": curve.counts, "labels": labels}
            yield {**where, "metric": curve.metric, "class": name, "value": value}
