"""A picture of published figures beside ours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_al.drawing.canvas import new_figure, save_figure
from lightning_al.reproduction.figures import Figure

_PUBLISHED, _OURS = "0.45", "tab:blue"


def draw_beside(figures: Sequence[Figure], unit: str, path: Path) -> None:
    """Draw published figures and ours, with standard deviations, a panel for each case.

    Args:
        figures: Rows of the table.
        unit: Of all of them.
        path: File to write.

    Raises:
        ImportError: If matplotlib is missing.
    """
    cases: dict[str, list[Figure]] = {}
    for each in figures:
        cases.setdefault(each.case, []).append(each)
    heights = [0.6 + 0.26 * len(rows) for rows in cases.values()]
    canvas = new_figure(figsize=(7.0, sum(heights) + 0.9))
    panels = canvas.subplots(len(cases), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, (case, rows) in zip(panels, cases.items(), strict=True):
        _draw_case(axes, rows)
        axes.set_title(case, fontsize="small")
    panels[-1].set_xlabel(unit or "value")
    handles, names = panels[0].get_legend_handles_labels()
    if handles:
        canvas.legend(handles, names, loc="outside upper right", frameon=False, fontsize="small", ncols=2)
    save_figure(canvas, path, dpi=150)


def _draw_case(axes: Any, rows: Sequence[Figure]) -> None:
    whats = {each.what for each in rows}
    places = range(len(rows))[::-1]
    for shift, colour, marker, label in ((0.12, _PUBLISHED, "s", "published"), (-0.12, _OURS, "o", "ours")):
        values = [each.published if label == "published" else each.spread for each in rows]
        there = [(place, value) for place, value in zip(places, values, strict=True) if value is not None]
        axes.errorbar(
            [value.mean for _, value in there],
            [place + shift for place, _ in there],
            xerr=[value.std or 0.0 for _, value in there],
            fmt=marker,
            color=colour,
            markersize=4,
            linewidth=1.2,
            label=label,
        )
    axes.set_yticks(
        list(places),
        [each.method if len(whats) == 1 else f"{each.method}, {each.what}" for each in rows],
        fontsize="small",
    )
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.grid(axis="x", alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize="small")
