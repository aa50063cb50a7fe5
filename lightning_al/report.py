"""Learning curves: campaigns read back from disk, summarised over repeats, as a table and a picture.

A campaign is a folder that holds a ``ledger`` folder. Repeats of one method stand side by side in one folder, which
names the method:

    runs/demo/saal/seed_0    runs/demo/saal/seed_1    runs/demo/random/seed_0    ...

``lightning-al compare runs/demo`` then compares ``saal`` with ``random``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median, stdev

from lightning_al.campaign import Campaign

# The name of a folder that only counts repeats: "seed_0", "run3", "version_12", "7".
_REPEAT = re.compile(r"(seed|run|repeat|rep|trial|version)?[-_]?\d+", re.IGNORECASE)

Curves = dict[str, list["Curve"]]


@dataclass
class Curve:
    """One campaign's metric against its number of labels.

    Attributes:
        path: The campaign's folder.
        metric: Name of the metric.
        labels: Number of labels at each training, ascending. Where one count was measured twice, the later one counts.
        values: The metric after each training, one per entry of ``labels``.
        fit_seconds: Seconds of each training, where recorded.
        query_seconds: Seconds of each query (learn, score and select together); the last round has none.
    """

    path: str
    metric: str
    labels: list[int]
    values: list[float]
    fit_seconds: list[float] = field(default_factory=list)
    query_seconds: list[float] = field(default_factory=list)


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
        return cls(fmean(values), stdev(values) if len(values) > 1 else None)

    def __str__(self) -> str:
        return f"{self.mean:.4f}" if self.std is None else f"{self.mean:.4f} ± {self.std:.4f}"


def load_curves(root: str | Path, metric: str | None = None) -> Curves:
    """Read every campaign below ``root`` and group the repeats of each method.

    The method is the campaign's parent folder relative to ``root``. A campaign directly below ``root`` is a method of
    its own, unless its name only counts repeats (``seed_0``): those are repeats of the method ``root`` is named after.

    Args:
        root: Folder to search, itself included.
        metric: Which metric. Default: the only one with "acc" in its name, else the only one.

    Returns:
        Method name -> its curves, both in the order of their names.

    Raises:
        FileNotFoundError: If there is no campaign at or below ``root``, or none has finished a round.
        ValueError: If the campaigns record different metrics, or which one is meant cannot be told; lists them.
    """
    root = Path(root)
    folders = sorted((p.parent for p in root.rglob("ledger") if Campaign.exists(p.parent)), key=_natural_order)
    if not folders:
        raise FileNotFoundError(
            f"No campaign at or below {str(root)!r}: none of its folders holds a `ledger` folder. Give the folder that "
            "the runs' `dirpath` lie in."
        )
    # A campaign that has not finished its first round has no point to draw yet.
    rounds = {folder: finished for folder in folders if (finished := Campaign.load(folder).rounds)}
    if not rounds:
        raise FileNotFoundError(f"No campaign below {str(root)!r} has finished a round yet: {_names(folders)}.")

    metric = _choose_metric({folder: set(finished[0].metrics) for folder, finished in rounds.items()}, metric)
    curves: Curves = {}
    for folder, finished in rounds.items():
        missing = [r.round for r in finished if metric not in r.metrics]
        if missing:
            raise ValueError(f"{folder} has no metric {metric!r} in the rounds {missing}.")
        curve = Curve(
            path=str(folder),
            metric=metric,
            labels=[r.labelled for r in finished],
            values=[float(r.metrics[metric]) for r in finished],
            # 0 is a stage that did not run.
            fit_seconds=[r.seconds["fit"] for r in finished if r.seconds.get("fit", 0.0) > 0],
            query_seconds=[
                sum(r.seconds.get(stage, 0.0) for stage in ("learn", "score", "select")) for r in finished if r.picked
            ],
        )
        curves.setdefault(_method(folder, root), []).append(curve)
    return curves


def _method(folder: Path, root: Path) -> str:
    # The resolved name, so that `compare .` names the method too.
    if folder == root:
        return root.resolve().name
    parent = folder.parent.relative_to(root).as_posix()
    if parent != ".":
        return parent
    return root.resolve().name if _REPEAT.fullmatch(folder.name) else folder.name


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Sort key under which "seed_2" comes before "seed_10"."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def _choose_metric(metrics: dict[Path, set[str]], metric: str | None) -> str:
    found = sorted(set().union(*metrics.values()))
    if metric is None:
        if len({frozenset(names) for names in metrics.values()}) > 1:
            lines = "; ".join(f"{folder}: {', '.join(sorted(names))}" for folder, names in metrics.items())
            raise ValueError(f"The campaigns record different metrics, give `metric=` one they share. {lines}")
        accuracies = [name for name in found if "acc" in name.lower()]
        candidates = accuracies or found
        if len(candidates) != 1:
            raise ValueError(f"Which metric? Give `metric=` one of {found}.")
        return candidates[0]
    without = [folder for folder, names in metrics.items() if metric not in names]
    if without:
        raise ValueError(f"No metric {metric!r} in {_names(without)}; found: {found}.")
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
        counts = "; ".join(f"{curve.path}: {curve.labels[0]} to {curve.labels[-1]}" for curve in repeats)
        raise ValueError(
            f"These repeats have no label count in common, so no mean can be taken: {counts}. Keep runs with different "
            "`initial` or `query_size` in different folders."
        )
    return shared


def summarise(repeats: Sequence[Curve]) -> dict[int, Spread]:
    """Mean and spread of the metric over ``repeats`` at each label count they share.

    Raises:
        ValueError: If they share no label count.

    Example:
        >>> curves = [Curve("a", "acc", [20, 30], [0.4, 0.5]), Curve("b", "acc", [20, 30], [0.6, 0.7])]
        >>> {labels: str(spread) for labels, spread in summarise(curves).items()}
        {20: '0.5000 ± 0.1414', 30: '0.6000 ± 0.1414'}
    """
    kept = shared_labels(repeats)
    points = [dict(zip(curve.labels, curve.values, strict=True)) for curve in repeats]
    return {labels: Spread.of([point[labels] for point in points]) for labels in kept}


def mean_over_curve(repeats: Sequence[Curve]) -> Spread:
    """Each repeat's mean over the shared label counts; then mean and spread over repeats."""
    return Spread.of([fmean(values) for values in _shared_values(repeats)])


def max_over_rounds(repeats: Sequence[Curve]) -> Spread:
    """Each repeat's largest value over the shared label counts; then mean and spread over repeats.

    This is the figure the SAAL paper's tables print. It is taken on the test set, hence optimistic: read it beside the
    last round's.
    """
    return Spread.of([max(values) for values in _shared_values(repeats)])


def _shared_values(repeats: Sequence[Curve]) -> list[list[float]]:
    kept = set(shared_labels(repeats))
    return [[v for labels, v in zip(c.labels, c.values, strict=True) if labels in kept] for c in repeats]


def table(curves: Curves, max_rows: int = 12) -> str:
    """The curves as a markdown table in fixed-width columns.

    One column per method, mean ± standard deviation (ddof = 1) over its repeats. One row per label count, thinned
    evenly to about ``max_rows`` (the first and the last always stay); then the mean over the curve and the maximum
    over rounds.

    Args:
        curves: As :func:`load_curves` returns them.
        max_rows: Most label counts to show, at least 2.

    Returns:
        The table. A note below it says if methods end at different label counts, since then the last two rows do not
        compare.

    Raises:
        ValueError: If there are no curves, or repeats of one method share no label count.

    Example:
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
    columns = {method: summarise(repeats) for method, repeats in curves.items()}
    metric = next(iter(curves.values()))[0].metric

    rows = [[f"labels ({metric})", *(f"{method} (n={len(repeats)})" for method, repeats in curves.items())]]
    for labels in _thinned(sorted(set().union(*columns.values())), max_rows):
        rows.append([str(labels), *(str(column.get(labels, "-")) for column in columns.values())])
    rows.append(["mean over curve", *(str(mean_over_curve(repeats)) for repeats in curves.values())])
    rows.append(["max over rounds", *(str(max_over_rounds(repeats)) for repeats in curves.values())])
    text = _markdown(rows)

    grids = {method: list(column) for method, column in columns.items()}
    if len({tuple(grid) for grid in grids.values()}) > 1:
        ends = ", ".join(f"{method} {grid[0]} to {grid[-1]} ({len(grid)})" for method, grid in grids.items())
        text += f"\n\nThe last two rows do not compare: the methods were measured at different label counts: {ends}."
    return text


def _thinned(items: list[int], most: int) -> list[int]:
    if len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _markdown(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def seconds_table(curves: Curves) -> str:
    """Median seconds per round and method: of training, and of the query (learning what scores, scoring, selecting).

    Example:
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
    return _markdown(rows)


def plot(curves: Curves, path: str | Path) -> None:
    """Draw the mean curve of each method, its standard deviation (ddof = 1) as a band, into a file.

    Args:
        curves: As :func:`load_curves` returns them.
        path: File to write; the ending chooses the format (png, pdf, svg). Missing folders are made.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If there are no curves, or repeats of one method share no label count.
    """
    if not curves:
        raise ValueError("There are no curves to draw.")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plot() needs matplotlib: `pip install lightning-al[plot]`.") from error

    # A bare Figure rather than pyplot: no window, no backend, no global state.
    figure = Figure(figsize=(7.0, 4.4), layout="constrained")
    axes = figure.add_subplot()
    # Ten distinct hues, then the same ones dashed.
    colours = matplotlib.color_sequences["tab10"]
    for number, (method, repeats) in enumerate(curves.items()):
        colour, dash = colours[number % 10], ("-", "--", ":")[number // 10 % 3]
        summary = summarise(repeats)
        labels, spreads = list(summary), list(summary.values())
        means = [spread.mean for spread in spreads]
        marker = "o" if len(labels) <= 15 else None
        name = f"{method} (n={len(repeats)})"
        axes.plot(labels, means, dash, color=colour, marker=marker, markersize=3.5, linewidth=1.8, label=name)
        if len(repeats) > 1:
            low = [spread.mean - (spread.std or 0.0) for spread in spreads]
            high = [spread.mean + (spread.std or 0.0) for spread in spreads]
            axes.fill_between(labels, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("labelled samples")
    axes.set_ylabel(next(iter(curves.values()))[0].metric)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02)
    banded = any(len(repeats) > 1 for repeats in curves.values())
    axes.legend(frameon=False, title="mean ± std over repeats" if banded else None)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)


def compare(root: str, metric: str | None = None, output: str | None = None) -> None:
    """Compare the campaigns below a folder: print tables, write a picture of the learning curves.

    Prints the metric by number of labels (see :func:`table`) and the median seconds per round, for each method, and
    says where the picture is.

    Args:
        root: Folder to search. `ROOT/saal/seed_0`, `ROOT/saal/seed_1`, ... are repeats of the method `saal`.
        metric: Which metric. Default: the only one with "acc" in its name, else the only one.
        output: File of the picture. Default: `ROOT/curves.png`.

    Raises:
        FileNotFoundError: If there is no campaign.
        ValueError: If the metric cannot be chosen, or repeats of one method share no label count.
        ImportError: If matplotlib is missing; the tables are printed before.
    """
    curves = load_curves(root, metric)
    print(table(curves))
    print()
    print(seconds_table(curves))
    path = Path(root) / "curves.png" if output is None else Path(output)
    path = path if path.suffix else path.with_suffix(".png")
    plot(curves, path)
    print(f"\nLearning curves: {path}")
