"""One curve: on axes of matplotlib's, and in a few strokes of SVG beside a table."""

import math
from collections.abc import Sequence
from typing import Any

from lightning_al.drawing.markup import Html, tag

_WIDTH, _HEIGHT, _EDGE = 240, 64, 6


def dress(axes: Any, *, x: str, y: str) -> None:
    """Give axes of curves their names and a quiet look; along the horizontal one are counts."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02)


def sparkline(x: Sequence[float], y: Sequence[float], about: str) -> Html:
    """Return a curve without axes, in the colour of the text around it; empty where nothing is finite.

    Args:
        x: Where it is measured, ascending.
        y: Its values.
        about: What it shows, for those who do not see it.

    Example:
        >>> sparkline([20, 30], [0.5, math.nan], "none to draw").count("circle"), sparkline([], [], "")
        (1, '')
    """
    known = [(place, value) for place, value in zip(x, y, strict=True) if math.isfinite(value)]
    if not known:
        return Html("")
    left, low = (min(each) for each in zip(*known, strict=True))
    right, high = (max(each) for each in zip(*known, strict=True))
    across, up = (_WIDTH - 2 * _EDGE) / ((right - left) or 1), (_HEIGHT - 2 * _EDGE) / ((high - low) or 1)
    points = [
        (round(_EDGE + (place - left) * across, 1), round(_HEIGHT - _EDGE - (value - low) * up, 1))
        for place, value in known
    ]
    line = tag("polyline", points=" ".join(f"{a},{b}" for a, b in points), fill="none", stroke_width=1.5)
    last = tag("circle", cx=points[-1][0], cy=points[-1][1], r=3, fill="currentColor")
    return tag(
        "svg",
        tag("title", about),
        line,
        last,
        width=_WIDTH,
        height=_HEIGHT,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        stroke="currentColor",
        role="img",
    )
