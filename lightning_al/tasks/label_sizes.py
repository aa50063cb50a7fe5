"""Labels that have places in an image, held against its size as the dataset gives it; without torch."""

import struct
from collections.abc import Sequence
from typing import Any

from lightning_al.storage.blobs import Blob
from lightning_al.tasks.annotations import Boxes


def check_size(label: Any, size: Sequence[int] | None) -> None:
    """Refuse a mask, as it is kept, of another size than its image, and boxes that reach out of it.

    Args:
        label: Of the ledger; what is neither is passed over.
        size: Width and height of the image, where they are known.

    Raises:
        ValueError: With both.
    """
    if size is None:
        return
    if isinstance(label, dict) and {"boxes", "labels"} <= label.keys():
        _check_inside(label, (size[0], size[1]))
    if not isinstance(label, Blob) or label.suffix != ".png":
        return
    width, height = struct.unpack(">II", label.data[16:24])
    if [width, height] != list(size):
        raise ValueError(
            f"The mask is {width} x {height} pixels and the image {size[0]} x {size[1]} (width x height), as the "
            "dataset gives it. Bring the mask to that size by nearest neighbour, or label the image as it is there."
        )


def _check_inside(label: dict[str, Any], size: tuple[int, int]) -> None:
    try:
        Boxes(label["boxes"], label["labels"], size=size).check_inside()
    except ValueError as error:
        raise ValueError(
            f"{error} Boxes are (left, top, right, bottom) in pixels of the image as the dataset gives it."
        ) from None
