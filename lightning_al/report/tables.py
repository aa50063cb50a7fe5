"""Learning curves and seconds as Markdown tables."""

from statistics import median

from lightning_al.campaign.results import LABELS, PIXELS
from lightning_al.report.curves import Curves, metric_of
from lightning_al.report.statistics import is_error, max_over_rounds, mean_over_curve, min_over_rounds, summarise


def table(curves: Curves, max_rows: int = 12) -> str:
    """The curves as a markdown table in fixed-width columns.

    One column per method, mean ± standard deviation (ddof = 1) over its repeats. One row per label count, thinned
    evenly to about ``max_rows`` (the first and the last always stay); then the mean over the curve and the maximum
    over rounds, or, of a metric whose name is that of an error or a loss, the minimum.

    Args:
        curves: As :func:`load_curves` returns them.
        max_rows: Most label counts to show, at least 2.

    Returns:
        The table. A note below it says if methods end at different label counts, since then the last two rows do not
        compare.

    Raises:
        ValueError: If there are no curves, or no metric, or repeats of one method share no label count.

    Example:
        >>> from lightning_al.report import Curve
        >>> print(table({"saal": [Curve("a", "test_acc", [20, 30], [0.25, 0.75])]}))
        | labels (test_acc) | saal (n=1) |
        |-------------------|------------|
        | 20                | 0.2500     |
        | 30                | 0.7500     |
        | mean over curve   | 0.5000     |
        | max over rounds   | 0.7500     |
    """
    if not curves:
        raise ValueError("There are no curves to show.")
    metric = metric_of(curves)
    columns = {method: summarise(repeats) for method, repeats in curves.items()}

    rows = [[f"{counted(curves)} ({metric})", *(f"{method} (n={len(repeats)})" for method, repeats in curves.items())]]
    for labels in thinned(sorted(set().union(*columns.values())), max_rows):
        rows.append([str(labels), *(str(column.get(labels, "-")) for column in columns.values())])
    rows.append(["mean over curve", *(str(mean_over_curve(repeats)) for repeats in curves.values())])
    name, best = ("min", min_over_rounds) if is_error(metric) else ("max", max_over_rounds)
    rows.append([f"{name} over rounds", *(str(best(repeats)) for repeats in curves.values())])
    text = markdown(rows)

    grids = {method: list(column) for method, column in columns.items()}
    if len({tuple(grid) for grid in grids.values()}) > 1:
        ends = ", ".join(f"{method} {grid[0]} to {grid[-1]} ({len(grid)})" for method, grid in grids.items())
        text += f"\n\nThe last two rows do not compare: the methods were measured at different label counts: {ends}."
    return text


def counted(curves: Curves) -> str:
    """Return what is counted along curves: "pixels" if it is so of all of them, else "labels"."""
    return PIXELS if {curve.counts for repeats in curves.values() for curve in repeats} == {PIXELS} else LABELS


def thinned(items: list[int], most: int) -> list[int]:
    """Return at most ``most`` items, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


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
