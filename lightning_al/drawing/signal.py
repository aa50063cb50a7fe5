"""Signals as small pictures: a line for each channel, over the steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np

_MOST_CHANNELS = 8
_LONGER = 4
_SIZE = (256, 144)  # pixels of a picture
_FINER = 3  # times, while it is drawn
_EDGE = 6
_INK = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167))


def is_signal(shape: Sequence[int]) -> bool:
    """Whether an array is of few channels and many steps, (C, L) or (L, C) with C up to 8 and L above.

    Of three dimensions one is 1, as in (1, C, L), which may be an image of one channel too: it is a strip then.

    Example:
        >>> is_signal((2, 64)), is_signal((64, 2)), is_signal((28, 28)), is_signal((64,))
        (True, True, False, False)
        >>> is_signal((1, 2, 64)), is_signal((3, 1, 64)), is_signal((1, 8, 9)), is_signal((3, 8, 64))
        (True, True, False, False)
    """
    if len(shape) == 3 and 1 in shape:
        sides = list(shape)
        sides.remove(1)
        return is_strip(sides)
    return len(shape) == 2 and 1 <= min(shape) <= _MOST_CHANNELS < max(shape)


def is_strip(sides: Sequence[int]) -> bool:
    """Whether two sides are no image's: one is up to 8, and the other above and at least four times as long.

    Example:
        >>> is_strip((2, 64)), is_strip((8, 9)), is_strip((64, 128))
        (True, False, False)
    """
    low, high = min(sides), max(sides)
    return 1 <= low <= _MOST_CHANNELS < high and high >= _LONGER * low


def signal_picture(values: np.ndarray) -> Any:
    """Return a signal as an image of PIL's: its channels below each other, each from its least value to its most.

    Args:
        values: As :func:`is_signal` has them. Where they are not finite, the line has a gap.
    """
    from PIL import Image, ImageDraw

    channels = np.asarray(values, dtype=np.float64)
    if channels.ndim == 3:
        channels = channels.squeeze(channels.shape.index(1))
    channels = channels if len(channels) <= _MOST_CHANNELS else channels.T
    width, height = (side * _FINER for side in _SIZE)
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    lane = height / len(channels)
    for number, channel in enumerate(channels):
        places, heights = _line(channel, width - 2 * _EDGE)
        x = _EDGE + places * (width - 2 * _EDGE)
        y = lane * (number + 1) - _EDGE - heights * (lane - 2 * _EDGE)
        if number:
            draw.line([(0, lane * number), (width, lane * number)], fill=(222, 226, 230), width=_FINER)
        for start, end in _runs(np.isfinite(y)):
            points = [*zip(x[start:end].tolist(), y[start:end].tolist(), strict=True)]
            draw.line(points * (2 if len(points) == 1 else 1), fill=_INK[number % len(_INK)], width=_FINER + 1)
    return image.resize(_SIZE, Image.Resampling.LANCZOS)


def _line(channel: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where the points of a line are, across and up from 0 to 1; of many steps the least and most of a few."""
    channel = np.where(np.isfinite(channel), channel, np.nan)
    steps = np.arange(len(channel)) / (len(channel) - 1)
    if len(channel) > 2 * width:
        starts = np.linspace(0, len(channel), width, endpoint=False).astype(int)
        ends = [np.fmin.reduceat(channel, starts), np.fmax.reduceat(channel, starts)]
        channel, steps = np.stack(ends, 1).reshape(-1), np.repeat(steps[starts], 2)
    known = channel[np.isfinite(channel)]
    low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
    return steps, (channel - low) / (high - low) if high > low else channel - low + 0.5


def _runs(there: np.ndarray) -> list[tuple[int, int]]:
    """Return where each run of what is there starts and ends."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(int)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]
