"""Areas that people drew in an image, as COCO writes them: polygons, or runs of pixels down the columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lightning_al.tasks.annotations import Boxes, Mask, class_index
from lightning_al.tasks.mask_png import mask_to_png, not_said
from lightning_al.words import shown

_FARTHEST = 1e9  # pixels


@dataclass(frozen=True)
class Areas:
    """What was drawn in an image of which boxes or masks may be asked for.

    Args:
        boxes: The boxes around the areas, but for crowds.
        drawn: The class name of each area, in the order drawn, and its COCO ``segmentation``; None: it has a box alone.
        size: Width and height of the image in pixels.
    """

    boxes: Boxes
    drawn: tuple[tuple[str, Any], ...]
    size: tuple[int, int]

    def mask(self, classes: Sequence[str] | None) -> Mask:
        """Return the class of each pixel; what was drawn later is on top, and nothing is said of what nobody drew.

        Args:
            classes: Their names, by class index. None: they are called by their numbers.

        Raises:
            ValueError: If an area is none, or its class is none.
        """
        names = [class_index(name, classes) for name, _ in self.drawn]
        nothing = not_said(max([*names, 0]) + 1 if classes is None else len(classes))
        values = np.full(self.size[::-1], nothing, dtype=np.uint8 if nothing < 256 else np.uint16)
        for number, (name, segmentation) in zip(names, self.drawn, strict=True):
            if segmentation is None:
                raise ValueError(f"{shown(name)} has a box and no `segmentation`, and a mask is asked for.")
            values[pixels_of(segmentation, self.size)] = number
        return Mask.of_png(mask_to_png(values))


def pixels_of(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """Return which pixels an area covers, booleans (H, W): of polygons those whose centre is inside.

    Args:
        segmentation: A list of polygons ``[x, y, x, y, ...]``, or ``{"size": [H, W], "counts": ...}``, runs as numbers
            or as a packed text.
        size: Width and height of the image.

    Raises:
        ValueError: If it is neither, or of an image of another size.

    Example:
        >>> pixels_of([[1, 0, 3, 0, 3, 1, 1, 1]], (4, 2)).astype(int)
        array([[0, 1, 1, 0],
               [0, 0, 0, 0]])
        >>> pixels_of({"size": [2, 4], "counts": [2, 1, 1, 1, 3]}, (4, 2)).astype(int)
        array([[0, 1, 1, 0],
               [0, 0, 0, 0]])
    """
    if isinstance(segmentation, dict) and {"size", "counts"} <= segmentation.keys():
        return _of_runs(segmentation, size)
    is_list = isinstance(segmentation, list) and all(isinstance(each, list) for each in segmentation)
    if not is_list or not all(_is_polygon(each) for each in segmentation):
        raise ValueError(f"`segmentation` must be polygons or runs of pixels, got {shown(segmentation)}.")
    covered = np.zeros(size[::-1], dtype=bool)
    for polygon in segmentation:
        covered |= _of_polygon(np.array(polygon, dtype=np.float64).reshape(-1, 2), size)
    return covered


def _is_polygon(values: list[Any]) -> bool:
    return (
        len(values) >= 6
        and len(values) % 2 == 0
        and all(
            isinstance(value, (int, float)) and abs(value) < _FARTHEST  # which NaN is not
            for value in values
        )
    )


def _of_polygon(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return which pixels have their centre inside: an odd number of edges cross the row left of it."""
    width, height = size
    crossings = np.zeros((height, width + 1), dtype=np.int64)
    middles = np.arange(height) + 0.5
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        rows = np.flatnonzero((middles >= min(y0, y1)) & (middles < max(y0, y1)))
        x = x0 + (middles[rows] - y0) * (x1 - x0) / (y1 - y0) if len(rows) else rows
        first = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)  # the first pixel whose centre is not left of it
        np.add.at(crossings, (rows, first), 1)
    return np.cumsum(crossings, axis=1)[:, :width] % 2 == 1


def _of_runs(runs: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
    width, height = size
    if list(runs["size"]) != [height, width]:
        raise ValueError(
            f"An area is of an image of {shown(runs['size'])} pixels (height, width), of {[height, width]}."
        )
    counts = runs["counts"]
    counts = _unpacked(counts) if isinstance(counts, str) else counts
    if not isinstance(counts, list) or not all(type(n) is int and n >= 0 for n in counts):
        raise ValueError(f"`counts` must be lengths of runs, got {shown(counts)}.")
    if sum(counts) != width * height:
        raise ValueError(f"The runs of an area are {sum(counts)} pixels, and the image has {width * height}.")
    covered = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return covered.reshape(width, height).T


def _unpacked(text: str) -> list[int]:
    """Return run lengths that were packed into a text: each less the one two before it, in groups of 5 bits."""
    counts: list[int] = []
    number = shift = 0
    for letter in text:
        group = ord(letter) - 48
        if not 0 <= group < 64:
            raise ValueError(f"{shown(letter)} cannot be in the packed runs of an area.")
        number |= (group & 31) << shift
        shift += 5
        if group & 32:  # more to come
            continue
        if group & 16:
            number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    return counts


def runs_of(covered: np.ndarray) -> dict[str, Any]:
    """Return an area as runs of pixels down the columns, those that are not covered first.

    Example:
        >>> runs_of(np.array([[True, False], [False, False]]))
        {'size': [2, 2], 'counts': [0, 1, 3]}
    """
    flat = covered.T.ravel()
    ends = np.append(np.flatnonzero(np.diff(flat)) + 1, len(flat))
    counts = np.diff(ends, prepend=0).tolist()
    return {"size": list(covered.shape), "counts": [0, *counts] if len(flat) and flat[0] else counts}
