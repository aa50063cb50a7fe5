"""Masks as PNG files that people can open, and back: the value of a pixel is its class; without torch."""

import io
from collections.abc import Collection
from typing import Any

import numpy as np

from lightning_al.extras import needs
from lightning_al.storage.blobs import Blob
from lightning_al.words import shown

NOT_SAID = 255
"""The value of a mask's pixels that nobody said anything of, in 8 bits."""

NOT_SAID_16 = 65535
"""The same in 16 bits, of more than 255 classes."""

_MODES = ("L", "P", "1", "I;16", "I;16B", "I")
_PNG = b"\x89PNG\r\n\x1a\n"


def not_said(classes: int | None) -> int:
    """Return the value that stands for no class where there are so many classes; None: it is not known."""
    return NOT_SAID if classes is None or classes <= NOT_SAID else NOT_SAID_16


def mask_to_png(values: np.ndarray) -> bytes:
    """Return a mask as a PNG: indexed with Pascal VOC's colours, or 16-bit grey where 8 bits do not do.

    Args:
        values: Integers of at least 0, (H, W). Of ``uint16`` the file has 16 bits; else as few as will do.

    Raises:
        ValueError: If it is no such map, or values are above 65535.
        ImportError: If Pillow is missing.

    Example:
        >>> mask_from_png(mask_to_png(np.array([[0, 7], [255, 1]])))
        array([[  0,   7],
               [255,   1]], dtype=uint8)
    """
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "iub":
        raise ValueError(f"A mask has an integer for each pixel, (H, W), got {shown(values)}.")
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > NOT_SAID_16:
        raise ValueError(f"A PNG has room for values of 0 to {NOT_SAID_16}, got {low if low < 0 else high}.")
    image_module = _pillow()
    if values.dtype == np.uint16 or high > NOT_SAID:
        image = image_module.fromarray(values.astype(np.uint16))
    else:
        image = image_module.fromarray(values.astype(np.uint8))
        image.putpalette(_PALETTE)
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def mask_from_png(data: bytes) -> np.ndarray:
    """Return the values of a PNG, indexed or grey, as they stand in the file: ``uint8`` or ``uint16``, (H, W).

    Raises:
        ValueError: If it is no PNG, or one of colours.
        ImportError: If Pillow is missing.
    """
    if not data.startswith(_PNG):
        raise ValueError("a mask is a PNG file: other formats may lose values.")
    image_module = _pillow()
    try:
        with image_module.open(io.BytesIO(data)) as image:
            values = mask_from_image(image)
    except (OSError, SyntaxError) as error:
        raise ValueError(f"a damaged PNG ({error}).") from None
    bits, is_grey = data[24], data[25] == 0
    if is_grey and bits in (2, 4):  # Pillow stretches these over 8 bits
        values //= np.uint8(255 // (2**bits - 1))
    return values.astype(np.uint16 if bits == 16 else np.uint8, copy=False)  # some of its versions give 32 bits


def mask_from_image(image: Any) -> np.ndarray:
    """Return the values of an image of Pillow's, indexed or grey.

    Raises:
        ValueError: If it has colours.
    """
    if image.mode not in _MODES:
        raise ValueError(f"a mask is an indexed or a grey image, got colours ({image.mode}).")
    values = np.array(image)
    return values.astype(np.uint8) if values.dtype == bool else values


def is_blank(label: Any) -> bool:
    """Whether a label of the ledger is a mask in which no pixel has a class."""
    if not isinstance(label, Blob) or label.suffix != ".png":
        return False
    values = mask_from_png(label.data)
    return bool((values == not_said_in(values)).all())


def kept_values(values: np.ndarray, classes: int | None, voids: Collection[int]) -> np.ndarray:
    """Return a mask as a ledger keeps it: no class is :func:`not_said`, which says of how many bits it is.

    Args:
        values: Integers (H, W).
        classes: How many there are, where that is known.
        voids: The values that stand for no class.

    Raises:
        ValueError: If a value is no class.
    """
    is_void = np.zeros(values.shape, dtype=bool)
    for void in voids:
        is_void |= values == void
    is_wrong = (values < 0) | (values >= (NOT_SAID_16 if classes is None else classes))
    wrong = values[is_wrong & ~is_void]
    if wrong.size:
        there_are = "" if classes is None else f": there are 0 to {classes - 1}"
        raise ValueError(f"{wrong[0]} in a mask is no class{there_are}.")
    nothing = not_said(int(values[~is_void].max(initial=0)) + 1 if classes is None else classes)
    kept = values.astype(np.uint8 if nothing == NOT_SAID else np.uint16)
    kept[is_void] = nothing
    return kept


def mask_blob(values: np.ndarray) -> Blob:
    """Return a mask as a ledger keeps it."""
    return Blob(mask_to_png(values), ".png")


def not_said_in(values: np.ndarray) -> int:
    """Return which value of what was read from a PNG stands for no class."""
    return NOT_SAID if values.dtype == np.uint8 else NOT_SAID_16


def _pillow() -> Any:
    with needs("A mask", "Pillow", "labels"):
        from PIL import Image
    return Image


def _colours() -> list[int]:
    """Return Pascal VOC's colours, three numbers for each of 256 classes: the bits of a class, dealt out in turn."""
    colours = []
    for number in range(256):
        for channel in range(3):
            bits = [(number >> (3 * place + channel)) & 1 for place in range(3)]
            colours.append(sum(bit << (7 - place) for place, bit in enumerate(bits)))
    return colours


_PALETTE = _colours()
