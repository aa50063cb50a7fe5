"""Figures of matplotlib's that become files: not pyplot's, so no window, no backend and no global state."""

from pathlib import Path
from typing import Any

from lightning_al.extras import needs


def new_figure(**options: Any) -> Any:
    """Return an empty figure, with options of matplotlib's.

    Raises:
        ImportError: If matplotlib is missing.
    """
    with needs("A picture", "matplotlib", "plot"):
        import matplotlib.figure
    return matplotlib.figure.Figure(layout="constrained", **options)


def save_figure(figure: Any, path: str | Path, *, dpi: int = 160) -> None:
    """Write a figure into a file, whose ending chooses the format (png, pdf, svg). Missing folders are made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=dpi)
