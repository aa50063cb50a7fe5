"""Learning curves as a picture."""

from pathlib import Path

from lightning_al.campaign.results import PIXELS
from lightning_al.report.curves import Curves, metric_of
from lightning_al.report.statistics import summarise
from lightning_al.report.tables import counted


def plot(curves: Curves, path: str | Path) -> None:
    """Draw the mean curve of each method, its standard deviation (ddof = 1) as a band, into a file.

    Args:
        curves: As :func:`load_curves` returns them.
        path: File to write; the ending chooses the format (png, pdf, svg). Missing folders are made.

    Raises:
        ImportError: If matplotlib is missing.
        ValueError: If there are no curves, or no metric, or repeats of one method share no label count.
    """
    if not curves:
        raise ValueError("There are no curves to draw.")
    metric = metric_of(curves)
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
    axes.set_xlabel("labelled pixels" if counted(curves) == PIXELS else "labelled samples")
    axes.set_ylabel(metric)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02)
    banded = any(len(repeats) > 1 for repeats in curves.values())
    axes.legend(frameon=False, title="mean ± std over repeats" if banded else None)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)
