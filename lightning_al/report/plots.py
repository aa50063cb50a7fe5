"""Learning curves, and methods beside each other, as pictures."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_al.campaign.results import PIXELS
from lightning_al.drawing.canvas import new_figure, save_figure
from lightning_al.drawing.curve import dress
from lightning_al.drawing.numbers import decimals
from lightning_al.report.curves import Curves, metric_of
from lightning_al.report.statistics import Pairwise, summarise
from lightning_al.report.tables import cases_of, counted

_BESIDE = 8  # methods; the names of more stand beside the picture, not in it


def plot(curves: Curves, path: str | Path, full_data: Curves | None = None) -> None:
    """Draw the mean curve of each method, its standard deviation (ddof = 1) as a band, into a file.

    More than eight methods have no bands, which would hide each other, and their names stand beside the picture.

    Args:
        curves: As :func:`load_curves` returns them.
        full_data: Of campaigns that were trained on all labels: the mean of their last rounds is a horizontal line.
        path: File to write; the ending chooses the format (png, pdf, svg). Missing folders are made.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If there are no curves, or no metric, or repeats of one method share no label count.
    """
    if not curves:
        raise ValueError("There are no curves to draw.")
    metric = metric_of(curves)
    is_beside = len(curves) > _BESIDE
    figure = new_figure(figsize=(9.6 if is_beside else 7.0, max(4.4, 0.21 * len(curves) + 0.7)))
    axes = figure.add_subplot()
    import matplotlib  # which is there by now

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
        if len(repeats) > 1 and not is_beside:
            low = [spread.mean - (spread.std or 0.0) for spread in spreads]
            high = [spread.mean + (spread.std or 0.0) for spread in spreads]
            axes.fill_between(labels, low, high, color=colour, alpha=0.15, linewidth=0)
    for number, (name, repeats) in enumerate(({} if full_data is None else full_data).items()):
        label = f"{name}: {repeats[0].labels[-1]} {repeats[0].counts} (n={len(repeats)})"
        level = fmean(curve.values[-1] for curve in repeats)
        axes.axhline(level, color="0.3", linestyle=(0, (1, 1 + number)), label=label)
    dress(axes, x="labelled pixels" if counted(curves) == PIXELS else "labelled samples", y=metric)
    are_repeated = any(len(repeats) > 1 for repeats in curves.values())
    if is_beside:
        title = "mean over repeats" if are_repeated else None
        axes.legend(frameon=False, title=title, fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    else:
        axes.legend(frameon=False, title="mean ± std over repeats" if are_repeated else None)
    save_figure(figure, path)


def plot_pairwise(methods: Sequence[str], matrices: Pairwise, by: str, path: str | Path) -> None:
    """Draw which share of the cases each method beats each other one in, and by how much it is better.

    Args:
        methods: Names of the rows and columns.
        matrices: As :func:`~lightning_al.report.statistics.pairwise` returns them.
        by: What methods are compared by, for the title: "mean over curve (test_acc)".
        path: File to write, as of :func:`plot`.

    Raises:
        ImportError: If matplotlib is missing.
    """
    names = 0.085 * max(len(method) for method in methods)  # inches that the longest name takes
    side = max(2.4, (0.48 if len(methods) <= _BESIDE else 0.36) * len(methods))
    figure = new_figure(figsize=(2 * side + names + 0.8, side + names + 1.0))
    left, right = figure.subplots(1, 2, sharey=True)
    most = float(np.nanmax(np.abs(matrices.gains), initial=0.0)) or 1.0
    figure.suptitle(f"Row against column by {by}; {cases_of(matrices)}", fontsize="medium")
    _matrix(left, matrices.wins, methods, limits=(0.0, 1.0), digits=2)
    left.set_title("share of cases that the row wins", fontsize="small")
    _matrix(right, matrices.gains, methods, limits=(-most, most), digits=max(0, decimals([most]) - 2))
    right.set_title("by how much the row is better", fontsize="small")
    save_figure(figure, path)


def _matrix(
    axes: Any, matrix: NDArray[np.float64], methods: Sequence[str], *, limits: tuple[float, float], digits: int
) -> None:
    """Draw one matrix with its numbers, blue where the row does better and red where it does worse."""
    middle, half = sum(limits) / 2, (limits[1] - limits[0]) / 2
    # The darkest colours at both ends are left out: numbers are read on them.
    axes.imshow(matrix, cmap="RdBu", vmin=middle - 1.3 * half, vmax=middle + 1.3 * half, aspect="auto")
    axes.set_xticks(range(len(methods)), methods, rotation=90, fontsize="small")
    axes.set_yticks(range(len(methods)), methods, fontsize="small")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for i, j in np.argwhere(np.isfinite(matrix)):
        colour = "white" if abs(matrix[i, j] - middle) > 0.75 * half else "black"
        text = f"{matrix[i, j]:.{digits}f}"
        axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=7 if len(methods) <= 10 else 6)
