"""Learning curves, and methods beside each other."""

import math
from collections.abc import Sequence

import numpy as np

from lightning_al.drawing.markup import Html, details, joined, paragraphs, prose, section, table, tag
from lightning_al.report.alignment import MEASURES, Aligned, on_means
from lightning_al.report.comparison import differences, labels_saved, pairwise_of
from lightning_al.report.curves import Curve, Curves, shared_labels
from lightning_al.report.page.charts import STYLES, Line, line_chart, said_alike
from lightning_al.report.statistics import summarise, t_interval
from lightning_al.report.tables import (
    cases_of,
    counted,
    decimals_of,
    differences_rows,
    full_data_line,
    on_best,
    on_tests,
    reach_rows,
    signed,
    thinned,
    told_apart,
)

_MOST_ROWS = 24
_MOST_METRICS = 6
_FEWEST_BANDED = 3  # repeats; the t interval of two is 12.7 times as wide as they are apart
_MOST_METHODS = 12  # beside each other in a matrix


def lines_of(curves: Curves) -> list[Line]:
    """Return a line for each method: the mean over repeats, and its 95 % t interval where there are several.

    The interval is drawn of three repeats and more. Repeats without a label count in common have a line each.
    """
    lines = []
    are_repeated = any(len(repeats) > 1 for repeats in curves.values())
    for style, (method, repeats) in enumerate(curves.items()):
        try:
            shared = shared_labels(repeats)
        except ValueError:
            for number_, at in enumerate((curve.points for curve in repeats), 1):
                lines.append(Line(f"{method}, {number_}", style, list(at), list(at.values())))
            continue
        means = [spread.mean for spread in summarise(repeats).values()]
        low: list[float] = []
        high: list[float] = []
        if len(repeats) > 1:
            intervals = [t_interval(values) for values in _values_at(repeats, shared)]
            low = [math.nan if each is None else each[0] for each in intervals]
            high = [math.nan if each is None else each[1] for each in intervals]
        name = f"{method} (n={len(repeats)})" if are_repeated else method
        lines.append(Line(name, style, shared, means, low, high, has_band=len(repeats) >= _FEWEST_BANDED))
    return lines


def _values_at(repeats: Sequence[Curve], labels: Sequence[int]) -> list[list[float]]:
    points = [curve.points for curve in repeats]
    return [[point[count] for point in points] for count in labels]


def curve_table(lines: Sequence[Line], head: str, name: str) -> Html:
    """Return what a chart of lines shows, as a table; many methods are rows, and of label counts there are fewer."""
    every = sorted({int(place) for line in lines for place in line.x})
    shown = thinned(every, _MOST_ROWS if len(lines) <= 6 else 8)
    columns, text = [], said_alike(lines)
    for line in lines:
        at = {int(place): i for i, place in enumerate(line.x)}
        cells = ["-" if (i := at.get(place)) is None else line.value(i, text) for place in shown]
        columns.append([line.name, *cells])
    rows = [[head, *(f"{place:,}" for place in shown)], *columns]
    if len(lines) <= 6:
        rows = [list(row) for row in zip(*rows, strict=True)]
    has_intervals = any(line.low for line in lines)
    caption = f"{head}: " + ("mean (95 % t interval over repeats)" if has_intervals else "the values of the chart")
    left_out = f", {len(shown)} of {len(every)} label counts" if len(shown) < len(every) else ""
    return table(rows, caption + left_out, name=name)


def curves_section(
    curves: Curves, full_data: Curves, others: dict[str, Curves], notes: Sequence[str], *, metric: str | None
) -> Html:
    """Return the learning curves of the main metric, and small ones of the others.

    Args:
        curves: By method.
        full_data: Of campaigns that were trained on all labels.
        others: The curves of further metrics, by metric.
        notes: What is to be said of them.
        metric: The main one.
    """
    if not curves or metric is None:
        return section("Learning curves", *paragraphs_of(notes), name="curves")
    unit = "labelled pixels" if counted(curves) == "pixels" else "labels"
    levels = [(full_data_line(name, repeats), _last(repeats)) for name, repeats in full_data.items()]
    lines = lines_of(curves)
    about = f"Learning curves: {metric} by {unit} of {', '.join(curves)}. The table below has the numbers."
    parts = [
        line_chart(lines, x=unit, y=metric, about=about, levels=levels),
        tag("p", " ".join([f"{metric} after each training.", *_on_bands(lines)]), class_="note"),
        details("The numbers", curve_table(lines, f"{unit} ({metric})", "curve-table")),
        *paragraphs_of(notes if (said := on_means(curves)) is None else [*notes, said]),
    ]
    shown = list(others.items())[:_MOST_METRICS]
    for place, (name, of_metric) in enumerate(shown):
        more = lines_of(of_metric)
        words = f"{name} by {unit} of {', '.join(of_metric)}."
        numbers = curve_table(more, f"{unit} ({name})", f"curve-table-{place + 1}")
        parts += [tag("h3", name), line_chart(more, x=unit, y=name, about=words), details("The numbers", numbers)]
    if len(others) > len(shown):
        parts.append(
            tag("p", f"{len(others) - len(shown)} more metrics are left out: {', '.join(list(others)[len(shown) :])}.")
        )
    return section("Learning curves", *parts, name="curves")


def _on_bands(lines: Sequence[Line]) -> list[str]:
    """Say what the bands around curves are, and where there are none."""
    if len(lines) > STYLES:
        return []
    of_intervals = [line for line in lines if line.low]
    texts = []
    if any(line.has_band for line in of_intervals):
        texts.append("Bands are 95 % t intervals of the mean over repeats.")
    if not all(line.has_band for line in of_intervals):
        texts.append(
            f"Fewer than {_FEWEST_BANDED} repeats have no band: their interval, in the table, is far wider than what "
            "the curves do."
        )
    return texts


def _last(repeats: Sequence[Curve]) -> float:
    return float(np.mean([curve.values[-1] for curve in repeats]))


def paragraphs_of(notes: Sequence[str]) -> list[Html]:
    """Return notes below a chart."""
    return [tag("p", prose(note), class_="note") for note in notes]


def methods_section(aligned: Aligned) -> Html:
    """Return methods beside a baseline and beside each other: differences, labels saved, and who beats whom."""
    methods = [method for method, of in aligned.values.items() if of]
    if len(methods) < 2 or not aligned.labels:
        return Html("")
    parts: list[Html] = []
    if aligned.baseline is not None:
        parts += [*_differences(aligned), *_saved(aligned)]
    parts += _pairs(aligned)
    return section("Methods beside each other", *parts, *paragraphs_of(aligned.notes), name="methods")


def _differences(aligned: Aligned) -> list[Html]:
    less = " Less is better." if aligned.lower_is_better else ""
    parts = [tag("h3", f"Difference to {aligned.baseline}")]
    parts.append(tag("p", f"Over the seeds that both have, which began alike.{less}", class_="note"))
    rows = []
    for measure in MEASURES:
        rows = differences(aligned, measure)
        cells = table(differences_rows(aligned, rows, measure), f"By {aligned.label_of(measure)}", name=f"by-{measure}")
        told = told_apart(aligned, rows)
        said = cells if told is None else joined([cells, tag("p", prose(told))])
        parts.append(said if measure == "mean" else details(f"By {aligned.label_of(measure)}", said))
    return [*parts, paragraphs([on_best(aligned), *on_tests(rows)])]


def _saved(aligned: Aligned) -> list[Html]:
    rows = labels_saved(aligned)
    if not rows:
        return []
    name = f"{aligned.counts.capitalize()} saved"
    caption = (
        f"Where each method's mean curve first gets where {aligned.baseline} ends, on straight lines between rounds"
    )
    return [tag("h3", name), table(reach_rows(aligned, rows), caption, name="labels-saved")]


def _pairs(aligned: Aligned) -> list[Html]:
    methods, matrices = pairwise_of([aligned], "mean")
    shown = methods[:_MOST_METHODS]
    digits = decimals_of([aligned])
    cases = matrices.cases
    differ = len(np.unique(cases[~np.eye(len(cases), dtype=bool)])) > 1
    head: list[object] = ["row beats column", *(str(i + 1) for i in range(len(shown)))]
    rows = [head]
    for i, method in enumerate(shown):
        cells: list[object] = [f"{i + 1} {method}"]
        for j in range(len(shown)):
            won, gain = float(matrices.wins[i, j]), float(matrices.gains[i, j])
            of = f" of {cases[i, j]}" if differ else ""
            cells.append("-" if math.isnan(won) else joined([f"{won:.0%}{of}", Html("<br>"), signed(gain, digits)]))
        rows.append(cells)
    caption = (
        f"Share of the {cases_of(matrices)} in which the row beats the column by the mean over the curve "
        f"({aligned.metric}), and by how much"
    )
    left_out = [tag("p", f"{len(methods) - len(shown)} methods that win less often are left out.", class_="note")]
    return [
        tag("h3", "Which beats which"),
        table(rows, caption, name="pairs"),
        *(left_out if len(shown) < len(methods) else []),
    ]
