"""The picks of a round as one picture, for whatever takes pictures and no pages."""

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_al.drawing.canvas import new_figure
from lightning_al.drawing.numbers import alike
from lightning_al.report.page.pictures import (
    FEW_PIXELS,
    SIDES,
    Look,
    colour_of,
    masked,
    placed_boxes,
    smaller,
    words_of,
)
from lightning_al.storage.blobs import Blob
from lightning_al.tasks.annotations import Boxes, Mask
from lightning_al.words import cut

_COLUMNS = 8
_LONGEST_TEXT = 160
_LONGEST_LABEL = 22


@dataclass(frozen=True)
class Tile:
    """One sample.

    Args:
        name: What it is called.
        look: What there is to see of it; None: nothing.
        annotation: Its label as people say it; None: it has none yet.
        score: Its score, or NaN.
        region: What was asked for of it, if that was a part.
    """

    name: str
    look: Look | None
    annotation: Any = None
    score: float = math.nan
    region: Blob | None = None


def grid(tiles: Sequence[Tile], classes: Sequence[str] | None, title: str) -> Any:
    """Return a figure of samples, each with its label drawn in or written above, and its score.

    Args:
        tiles: At least one.
        classes: Names, by class index.
        title: Of the whole.

    Raises:
        ImportError: If matplotlib is missing.
    """
    columns = min(len(tiles), _COLUMNS)
    rows = math.ceil(len(tiles) / columns)
    figure = new_figure(figsize=(max(1.5 * columns, 4.5), 1.85 * rows + 0.4))
    figure.suptitle(title, fontsize="medium")
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes in panels.flat:
        axes.axis("off")
    text = alike(tile.score for tile in tiles)
    for axes, tile in zip(panels.flat, tiles, strict=False):
        _draw(axes, tile, classes, text)
    return figure


def _draw(axes: Any, tile: Tile, classes: Sequence[str] | None, text_of: Callable[[float], str]) -> None:
    label = "" if tile.annotation is None else cut(words_of(tile.annotation), _LONGEST_LABEL)
    score = f"score {text_of(tile.score)}" if math.isfinite(tile.score) else ""
    axes.set_title(_plain("\n".join(filter(None, (label, score)))), fontsize=7)
    look = tile.look
    if look is not None and look.image is not None:
        _draw_image(axes, look.image, tile, classes)
        return
    if look is not None and look.text is not None:
        text = textwrap.fill(cut(look.text, _LONGEST_TEXT), 22)
    elif look is not None and look.values:
        text = "\n".join(f"{name}: {value}" for name, value in look.values)
    else:
        text = textwrap.fill(cut(tile.name, 60), 22)
    axes.text(0.5, 0.95, _plain(text), transform=axes.transAxes, fontsize=6, ha="center", va="top")


def _draw_image(axes: Any, image: Any, tile: Tile, classes: Sequence[str] | None) -> None:
    from matplotlib.patches import Rectangle

    mask = tile.annotation if isinstance(tile.annotation, Mask) else None
    if mask is not None or tile.region is not None:
        image = masked(image, mask, tile.region)
    blending = "nearest" if max(image.size) <= FEW_PIXELS else "antialiased"
    boxes = placed_boxes(tile.annotation, classes, image.size) if isinstance(tile.annotation, Boxes) else []
    for (left, top, right, bottom), _, place in boxes:
        colour = np.array(colour_of(place)) / 255
        axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=1.8))
    width, height = image.size
    extent = (0, width, height, 0)  # corners of boxes count from the corner of the first pixel
    axes.imshow(np.asarray(smaller(image, SIDES[0])), interpolation=blending, extent=extent)


def _plain(text: str) -> str:
    """Keep matplotlib from reading formulas in what comes from the data."""
    return text.replace("$", r"\$")
