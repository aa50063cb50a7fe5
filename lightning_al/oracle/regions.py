"""A part of a sample as a question for people, and what of their answers is taken; without torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lightning_al.storage.blobs import Blob
from lightning_al.tasks.annotations import Mask
from lightning_al.tasks.mask_png import mask_from_png

_LONG_ENOUGH = 16  # letters of a hash, of which a project has some thousands


@dataclass(frozen=True)
class Region:
    """The pixels of a sample that a question is for.

    Args:
        kept: As the ledger has them, a PNG of one bit for each.
    """

    kept: Blob

    @property
    def name(self) -> str:
        """What it is called; other pixels have another name."""
        return self.kept.name[:_LONG_ENOUGH]

    @property
    def pixels(self) -> np.ndarray:
        """Booleans (H, W).

        Raises:
            ValueError: If the file is missing or damaged.
        """
        return mask_from_png(self.kept.data) > 0


def within(mask: Mask, region: Region) -> Mask:
    """Return what a mask says of the pixels of a region, and nothing of the others.

    Args:
        mask: Of the whole sample.
        region: Of it.

    Raises:
        ValueError: If the mask has another size.
    """
    asked, values = region.pixels, mask.values
    if values.shape != asked.shape:
        sizes = [" x ".join(map(str, shape[::-1])) for shape in (values.shape, asked.shape)]
        raise ValueError(f"The mask is {sizes[0]} pixels and the image {sizes[1]} (width x height).")
    return Mask(np.where(asked, values, mask.not_said), mask.not_said)


def together(masks: Sequence[Mask]) -> Mask:
    """Return what masks of one sample say, each of its own pixels.

    Example:
        >>> together([Mask([[0, 255, 255]]), Mask([[255, 255, 1]])]).values.tolist()
        [[0, 255, 1]]
    """
    nothing = masks[0].not_said
    values = masks[0].values.copy()
    for mask in masks[1:]:
        said = mask.values != nothing
        values[said] = mask.values[said]
    return Mask(values, nothing)
