"""Learning curves, comparisons and seconds as Markdown tables."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lightning_al.campaign.metrics import is_error
from lightning_al.campaign.results import LABELS, PIXELS
from lightning_al.drawing.numbers import decimals
from lightning_al.report.alignment import Aligned, on_means
from lightning_al.report.comparison import Difference, Reach, pairwise_of
from lightning_al.report.curves import Curve, Curves, metric_of
from lightning_al.report.statistics import (
    FEWEST,
    Pairwise,
    Spread,
    last_round,
    max_over_rounds,
    mean_over_curve,
    min_over_rounds,
    smallest_wilcoxon,
    summarise,
)
from lightning_al.words import shown

Item = TypeVar("Item")

LEVEL = 0.05
"""p-values below this tell methods apart."""

_WIDE = 6  # methods; more of them are rows, not columns
_MOST_COLUMNS = 8  # methods of a matrix; of more only means over the others are printed
_MOST_CLASSES = 20  # rows of a table; more are in the file alone


def table(curves: Curves, max_rows: int = 12, *, lower_is_better: bool | None = None) -> str:
    """The curves as a markdown table in fixed-width columns.

    One column per method, mean ± standard deviation (ddof = 1) over its repeats. One row per label count, thinned
    evenly to about ``max_rows`` (the first and the last always stay); then the last round, the mean over the curve and
    the maximum over rounds, or, of a metric of which less is better, the minimum. More than six methods are rows, and
    of label counts there are four.

    Args:
        curves: As :func:`load_curves` returns them.
        max_rows: Most label counts to show, at least 2.
        lower_is_better: Whether less of the metric is better. Default: if its name is that of an error or a loss.

    Returns:
        The table. Notes below it say if methods have different repeats, since then their means do not compare, and if
        they end at different label counts, since then the last three rows do not.

    Raises:
        ValueError: If there are no curves, or no metric, or repeats of one method share no label count; or if
            ``max_rows`` is less than 2.

    Example:
        >>> from lightning_al.report import Curve
        >>> print(table({"saal": [Curve("a", "test_acc", [20, 30], [0.25, 0.75])]}))
        | labels (test_acc) | saal (n=1) |
        |-------------------|------------|
        | 20                | 0.2500     |
        | 30                | 0.7500     |
        | last round        | 0.7500     |
        | mean over curve   | 0.5000     |
        | max over rounds   | 0.7500     |
    """
    if not curves:
        raise ValueError("There are no curves to show.")
    if max_rows < 2:
        raise ValueError(f"`max_rows` must be 2 or more, the first and the last label count, got {shown(max_rows)}.")
    metric = metric_of(curves)
    columns = {method: summarise(repeats) for method, repeats in curves.items()}
    digits = decimals(value for repeats in curves.values() for curve in repeats for value in curve.values)
    are_many = len(curves) > _WIDE

    rows = [[f"{counted(curves)} ({metric})", *(f"{method} (n={len(repeats)})" for method, repeats in curves.items())]]
    for labels in thinned(sorted(set().union(*columns.values())), 4 if are_many else max_rows):
        cells = (column.get(labels) for column in columns.values())
        rows.append([str(labels), *("-" if cell is None else cell.text(digits) for cell in cells)])
    less = is_error(metric) if lower_is_better is None else lower_is_better
    best = ("min over rounds", min_over_rounds) if less else ("max over rounds", max_over_rounds)
    for name, measure in (("last round", last_round), ("mean over curve", mean_over_curve), best):
        rows.append([name, *(measure(repeats).text(digits) for repeats in curves.values())])
    text = markdown([list(row) for row in zip(*rows, strict=True)] if are_many else rows)

    note = on_means(curves)
    text += f"\n\n{note}" if note is not None else ""
    grids = {method: list(column) for method, column in columns.items()}
    if len({tuple(grid) for grid in grids.values()}) > 1:
        ends = ", ".join(f"{method} {grid[0]} to {grid[-1]} ({len(grid)})" for method, grid in grids.items())
        where = "columns" if are_many else "rows"
        text += (
            f"\n\nThe last three {where} do not compare: the methods were measured at different label counts: {ends}."
        )
    return text


def full_data_line(name: str, repeats: Sequence[Curve]) -> str:
    """Return what training on all labels gives, mean ± standard deviation over its repeats.

    Example:
        >>> full_data_line("full_data", [Curve("full_data/seed_0", "test_acc", [50000], [0.931])])
        'full_data (50000 labels): test_acc 0.9310 (n=1).'
    """
    counts = sorted({curve.labels[-1] for curve in repeats})
    ends = [curve.values[-1] for curve in repeats]
    span = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    figure = f"{repeats[0].metric} {Spread.of(ends).text(decimals(ends))}"
    return f"{name} ({span} {repeats[0].counts}): {figure} (n={len(ends)})."


def differences_table(aligned: Aligned, rows: Sequence[Difference], measure: str) -> str:
    """The differences to the baseline by one measure: their mean, its t interval, and p-values.

    Below the table a sentence names the methods that are told apart from the baseline after Holm's correction.

    Args:
        aligned: What is compared.
        rows: As :func:`~lightning_al.report.comparison.differences` returns them.
        measure: ``"last"``, ``"mean"`` or ``"best"``.
    """
    told = told_apart(aligned, rows)
    return markdown(differences_rows(aligned, rows, measure)) + ("" if told is None else f"\n\n{told}")


def differences_rows(aligned: Aligned, rows: Sequence[Difference], measure: str) -> list[list[str]]:
    """Return the rows of :func:`differences_table`."""
    digits = decimals_of([aligned])
    head = f"{aligned.label_of(measure)} ({aligned.metric})"
    cells = [[head, "seeds", "difference", "95 % t interval", "p (paired t)", "Holm", "p (Wilcoxon)", "Holm"]]
    for row in rows:
        interval = "-" if row.interval is None else " to ".join(signed(end, digits) for end in row.interval)
        p_values = (row.t, row.t_holm, row.wilcoxon, row.wilcoxon_holm)
        cells.append(
            [row.method, str(len(row.repeats)), signed(row.mean, digits), interval, *(_p_value(p) for p in p_values)]
        )
    return cells


def _p_value(p: float | None) -> str:
    return "-" if p is None else "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def told_apart(aligned: Aligned, rows: Sequence[Difference]) -> str | None:
    """Say which methods are better or worse than the baseline by the paired t-test; None where none is tested."""
    better: list[str] = []
    worse: list[str] = []
    neither: list[str] = []
    for row in rows:
        if row.t_holm is not None and row.mean is not None:
            is_better = (row.mean < 0) == aligned.lower_is_better
            (neither if row.t_holm >= LEVEL else better if is_better else worse).append(row.method)
    groups = {"better": better, "worse": worse, "not told apart from it": neither}
    if not any(groups.values()):
        return None
    named = "; ".join(f"{name}: {_listed(methods)}" for name, methods in groups.items())
    return f"Beside {aligned.baseline}, by the paired t-test after Holm's correction ({LEVEL}), {named}."


def _listed(methods: Sequence[str]) -> str:
    some = ", ".join(methods[:_MOST_COLUMNS]) or "none"
    return some if len(methods) <= _MOST_COLUMNS else f"{some} and {len(methods) - _MOST_COLUMNS} more"


def on_tests(rows: Sequence[Difference]) -> list[str]:
    """Return what is to be known of the tests in tables of differences, which is the same by each measure."""
    few = [f"{row.method} ({len(row.repeats)})" for row in rows if row.t_holm is None]
    texts = []
    if few:
        which = "" if len(few) == len(rows) else f" of {', '.join(few)}"
        texts.append(f"Fewer than {FEWEST} seeds: nothing can be concluded{which}.")
    if len(few) < len(rows):
        texts.append(
            "Holm's correction is over the methods of a table, and not over the three measures as well: go by one of "
            "them, chosen before you look."
        )
    limits = limits_of_wilcoxon(rows)
    return texts if limits is None else [*texts, limits]


def limits_of_wilcoxon(rows: Sequence[Difference]) -> str | None:
    """Say it where the seeds are too few for Wilcoxon's test to tell anything apart; else None."""
    tested = [len(row.repeats) for row in rows if row.wilcoxon is not None]
    if not tested or smallest_wilcoxon(max(tested)) * len(tested) < LEVEL:
        return None
    needed = next(n for n in range(FEWEST, 1000) if smallest_wilcoxon(n) * len(tested) < LEVEL)
    least = min(1.0, smallest_wilcoxon(max(tested)) * len(tested))
    return (
        f"Wilcoxon's p-value cannot fall below {least:.4f} with {max(tested)} seeds and Holm's correction over "
        f"{len(tested)} method{'s' * (len(tested) > 1)}: it takes {needed} seeds to get below {LEVEL}."
    )


def on_best(aligned: Aligned) -> str:
    """Say how the measure ``"best"`` is to be read."""
    return f"The {aligned.label_of('best')} is chosen by what it reports, hence optimistic; the other two are not."


def reach_table(aligned: Aligned, rows: Sequence[Reach]) -> str:
    """How many labels take each method where the baseline ends.

    Args:
        aligned: What is compared.
        rows: As :func:`~lightning_al.report.comparison.labels_saved` returns them.
    """
    return markdown(reach_rows(aligned, rows))


def reach_rows(aligned: Aligned, rows: Sequence[Reach]) -> list[list[str]]:
    """Return the rows of :func:`reach_table`."""
    last = aligned.labels[-1]
    digits = decimals_of([aligned])
    where = f"to {aligned.baseline}'s last round ({last})"
    cells = [[where, "target", aligned.counts, "saved", "seeds that do by themselves"]]
    for row in rows:
        labels, saved = "not reached", "-"
        if row.labels is not None and row.saved is not None:
            labels = f"{row.labels:.0f}" + " or fewer" * (row.labels == aligned.labels[0])
            saved = f"{row.saved:.0f} ({row.saved / last:.0%})"
        cells.append([row.method, f"{row.target:.{digits}f}", labels, saved, f"{row.reached} of {row.repeats}"])
    return cells


def pairwise_tables(several: Sequence[Aligned], measure: str) -> str:
    """In which share of the cases each method beats each other one, and by how much it is better.

    Of more than eight methods only the means over the others.

    Args:
        several: What is compared, the same metric.
        measure: ``"last"``, ``"mean"`` or ``"best"``.
    """
    methods, matrices = pairwise_of(several, measure)
    by = f"by {several[0].label_of(measure)} ({several[0].metric})"
    digits = decimals_of(several)
    wins = matrix_table(methods, matrices.wins, "{:.2f}".format)
    gains = matrix_table(methods, matrices.gains, lambda gain: signed(gain, digits))
    if len(methods) <= _MOST_COLUMNS:
        return (
            f"Share of the {cases_of(matrices)} in which the row beats the column, {by}:\n\n{wins}\n\n"
            f"By how much the row is better than the column, the mean over the cases:\n\n{gains}"
        )
    ends = [[line.rstrip("|").rsplit("|", 1)[1].strip() for line in text.split("\n")[2:]] for text in (wins, gains)]
    rows = [["beside the others", "share won", "better by"], *map(list, zip(methods, *ends, strict=True))]
    return (
        f"Each method beside each other one, the mean over the others and the {cases_of(matrices)}, {by}:\n\n"
        f"{markdown(rows)}"
    )


def too_few_cases(several: Sequence[Aligned], measure: str) -> str | None:
    """Say it where two methods beside each other have too few cases in common for a conclusion; else None."""
    _, matrices = pairwise_of(several, measure)
    return f"Fewer than {FEWEST} cases: nothing can be concluded." if fewest_cases(matrices) < FEWEST else None


def cases_of(matrices: Pairwise) -> str:
    """Return how many cases any two methods have: "5 cases", "3 to 5 cases"."""
    least, most = fewest_cases(matrices), int(matrices.cases[~np.eye(len(matrices.cases), dtype=bool)].max())
    return f"{f'{least} to ' * (least != most)}{most} case{'s' * (most != 1)}"


def fewest_cases(matrices: Pairwise) -> int:
    """Return how many cases any two methods have at least."""
    return int(matrices.cases[~np.eye(len(matrices.cases), dtype=bool)].min())


def signed(value: float | None, digits: int) -> str:
    """Return a difference with its sign; what is rounded to zero has a plus.

    Example:
        >>> signed(0.01234, 4), signed(-0.00001, 4), signed(None, 4)
        ('+0.0123', '+0.0000', '-')
    """
    return "-" if value is None else f"{round(value, digits) + 0.0:+.{digits}f}"


def matrix_table(methods: Sequence[str], matrix: NDArray[np.float64], text: Callable[[float], str]) -> str:
    """A matrix of every method (row) beside every other one (column, by its number), and the mean of each row.

    Example:
        >>> print(matrix_table(["saal", "random"], np.array([[np.nan, 0.8], [0.2, np.nan]]), "{:.2f}".format))
        |          | 1    | 2    | mean |
        |----------|------|------|------|
        | 1 saal   | -    | 0.80 | 0.80 |
        | 2 random | 0.20 | -    | 0.20 |
    """
    rows = [["", *(str(number + 1) for number in range(len(methods))), "mean"]]
    for number, (method, values) in enumerate(zip(methods, matrix, strict=True), 1):
        known = [float(value) for value in values if np.isfinite(value)]
        cells = [text(float(value)) if np.isfinite(value) else "-" for value in values]
        rows.append([f"{number} {method}", *cells, text(sum(known) / len(known)) if known else "-"])
    return markdown(rows)


def class_table(curves: Curves, labels: int) -> str | None:
    """The metric of each class at one label count, mean ± standard deviation over repeats; None if nobody recorded it.

    Args:
        curves: As :func:`load_curves` returns them.
        labels: A label count that all of them have.
    """
    at: dict[str, dict[str, list[float]]] = {}
    for method, repeats in curves.items():
        for curve in repeats:
            for name, values in curve.classes.items():
                at.setdefault(name, {}).setdefault(method, []).append(curve.at_labels(values)[labels])
    if not at:
        return None
    if len(at) > _MOST_CLASSES:
        return f"The metrics of {len(at)} classes are in the file of classes alone."
    digits = decimals(value for of in at.values() for values in of.values() for value in values)
    rows = [[f"{metric_of(curves)} of class ({labels})", *curves]]
    for name, of in at.items():
        rows.append([name, *(Spread.of(of[method]).text(digits) if method in of else "-" for method in curves)])
    return markdown([list(row) for row in zip(*rows, strict=True)] if len(curves) > len(at) else rows)


def decimals_of(several: Sequence[Aligned]) -> int:
    """Return how many decimals the values of methods, and differences of them, are shown with."""
    curves = [curve for aligned in several for repeats in aligned.values.values() for curve in repeats.values()]
    return decimals(float(value) for curve in curves for value in curve)


def counted(curves: Curves) -> str:
    """Return what is counted along curves: "pixels" if it is so of all of them, else "labels"."""
    return PIXELS if {curve.counts for repeats in curves.values() for curve in repeats} == {PIXELS} else LABELS


def thinned(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most ``most`` items, evenly spread, the first and the last among them; of one alone the first.

    Example:
        >>> [thinned(range(count), 4) for count in (2, 4, 10, 11)], thinned(range(9), 1)
        ([[0, 1], [0, 1, 2, 3], [0, 3, 6, 9], [0, 3, 7, 10]], [0])
    """
    if len(items) <= most:
        return list(items)
    return [items[round(place * (len(items) - 1) / max(most - 1, 1))] for place in range(most)]


def markdown(rows: list[list[str]]) -> str:
    """Return rows, the first the header, as a Markdown table."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def seconds_table(curves: Curves) -> str:
    """Median seconds per round and method: of training, and of the query (learning what scores, scoring, selecting).

    Example:
        >>> from lightning_al.report import Curve
        >>> curve = Curve("a", "acc", [20, 30], [0.5, 0.6], fit_seconds=[2.0, 4.0], query_seconds=[1.0])
        >>> print(seconds_table({"saal": [curve]}))
        | median seconds | fit  | query |
        |----------------|------|-------|
        | saal           | 3.00 | 1.00  |
    """

    def cell(seconds: list[float]) -> str:
        return f"{median(seconds):.2f}" if seconds else "-"

    rows = [["median seconds", "fit", "query"]]
    for method, repeats in curves.items():
        fit = [s for curve in repeats for s in curve.fit_seconds]
        query = [s for curve in repeats for s in curve.query_seconds]
        rows.append([method, cell(fit), cell(query)])
    return markdown(rows)
