"""Label Studio's brush masks: RGBA images, row by row, packed as runs of equal bytes bit by bit; without torch."""

from collections.abc import Sequence

import numpy as np

_HEADER = ((32, "count"), (5, "word"), *((4, f"size {i}") for i in range(4)))
_SIZES = np.array([3, 7, 11, 16])  # bits of a run's length less 1, of which each run takes the smallest that it fits
_LONGEST = 2 ** int(_SIZES[-1])
_CHANNELS = 4
_OPAQUE = 128
"""From which alpha on a pixel is painted: edges that people draw are smoothed."""


def encode(painted: np.ndarray) -> list[int]:
    """Return a brush mask as the bytes of its packed runs.

    The bits are the number of bytes (32), the bits of one less 1 (5), four sizes less 1 (4 each), and then for each run
    a 1 (0: of bytes that follow one by one, which need not be written), which of the sizes its length has (2), its
    length less 1, and its byte (8).

    Args:
        painted: Booleans (H, W).

    Example:
        >>> decode(encode(np.array([[True, False], [False, False]])), (2, 2)).tolist()
        [[True, False], [False, False]]
    """
    flat = np.asarray(painted, dtype=bool).ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))  # of runs
    lengths = np.diff(starts, append=len(flat)) * _CHANNELS
    parts = -(-lengths // _LONGEST)  # of one run, if it is too long
    run = np.repeat(np.arange(len(starts)), parts)
    is_last = np.append(run[1:] != run[:-1], True)[: len(run)]
    length = np.where(is_last, (lengths - 1)[run] % _LONGEST + 1, _LONGEST)
    which = np.searchsorted(2**_SIZES, length)
    size = _SIZES[which]
    value = np.where(flat[starts], 255, 0)[run]
    code = ((1 << 2 | which) << size | (length - 1)) << 8 | value
    header = [flat.size * _CHANNELS, 7, *(_SIZES - 1)]
    widths = np.concatenate([[bits for bits, _ in _HEADER], size + 11])
    bits = _bits_of(np.concatenate([header, code]).astype(np.int64), widths)
    return np.packbits(bits).tolist()


def _bits_of(numbers: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return numbers as bits below each other, each as many as its width, the most significant first."""
    ends = np.cumsum(widths)
    bits = np.zeros(int(ends[-1]), dtype=np.uint8)
    for place in range(int(widths.max())):
        some = widths > place
        bits[ends[some] - 1 - place] = numbers[some] >> place & 1
    return bits


def decode(rle: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Return which pixels a brush mask paints, booleans (H, W).

    Args:
        rle: The bytes of its packed runs.
        size: Width and height of the image.

    Raises:
        ValueError: If they are damaged, or of an image of another size.
    """
    width, height = size
    try:
        data = bytes(rle)
    except (TypeError, ValueError):
        raise ValueError("A brush mask is a list of numbers from 0 to 255.") from None
    bits = "".join(f"{byte:08b}" for byte in data)
    at = 0

    def number(count: int) -> int:
        nonlocal at
        at += count
        if at > len(bits):
            raise ValueError(f"The brush mask ends after {len(data)} bytes, in the middle of a run.")
        return int(bits[at - count : at], 2)

    count, word, *sizes = (number(width) for width, _ in _HEADER)
    if count != width * height * _CHANNELS or word != 7:
        raise ValueError(
            f"The brush mask is of {count} numbers of {word + 1} bits; an image of {width} x {height} pixels has "
            f"{width * height * _CHANNELS} of 8."
        )
    values = np.empty(count, dtype=np.uint8)
    filled = 0
    while filled < count:
        repeats = number(1)
        length = number(sizes[number(2)] + 1) + 1
        if filled + length > count:
            raise ValueError(f"The runs of the brush mask are longer than its {count} numbers.")
        if repeats:
            values[filled : filled + length] = number(8)
        else:
            values[filled : filled + length] = [number(8) for _ in range(length)]
        filled += length
    return values.reshape(height, width, _CHANNELS)[..., -1] >= _OPAQUE
