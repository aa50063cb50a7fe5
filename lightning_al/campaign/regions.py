"""Which pixels of a sample were asked for so far, where a question is a part of a sample; without torch."""

import io
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from lightning_al.extras import needs
from lightning_al.oracle.regions import Region
from lightning_al.storage.blobs import Blob
from lightning_al.tasks.annotations import Mask
from lightning_al.tasks.mask_png import mask_blob, mask_from_png, not_said_in


def region_blob(pixels: np.ndarray) -> Blob:
    """Return the pixels of a question as a ledger keeps them: a PNG of one bit for each.

    Args:
        pixels: Booleans (H, W).

    Example:
        >>> region_of(region_blob(np.array([[True, False]])))
        array([[ True, False]])
    """
    with needs("Regions", "Pillow", "labels"):
        from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return Blob(file.getvalue(), ".png")


def region_of(blob: Blob) -> np.ndarray:
    """Return the pixels that :func:`region_blob` keeps, booleans (H, W)."""
    return Region(blob).pixels


class AskedRegions:
    """The questions of a campaign for parts of samples: for each sample one after another, the last may be open.

    Samples of which a question was for all have none here.
    """

    def __init__(self) -> None:
        self._regions: dict[int, list[Blob]] = {}
        self._pixels: dict[int, int] = {}  # of the open ones, in pixels
        self._last: set[int] = set()

    @property
    def units(self) -> list[int]:
        """Samples of which a part was asked for."""
        return list(self._regions)

    def ask(self, units: Sequence[int], regions: Sequence[Blob], pixels: Sequence[int], last: Collection[int]) -> None:
        """Take note of a question.

        Args:
            units: Of which samples.
            regions: Which pixels of each.
            pixels: How many these are.
            last: Of which of them nothing more is left to ask for.
        """
        for unit, region, count in zip(units, regions, pixels, strict=True):
            self._regions.setdefault(unit, []).append(region)
            self._pixels[unit] = count
        self._last |= set(last)

    def pixels(self, unit: int) -> int | None:
        """How many pixels the open question is for; None where it is for all, or there is none."""
        return self._pixels.get(unit)

    def is_asked(self, unit: int) -> bool:
        """Whether a part of a sample was asked for, now or earlier."""
        return unit in self._regions

    def has_more(self, unit: int) -> bool:
        """Whether a part of a sample was asked for, and something is left."""
        return unit in self._regions and unit not in self._last

    def open(self, unit: int) -> np.ndarray | None:
        """Return the pixels that the open question is for, booleans (H, W); None where it is for all, or there is none.

        Raises:
            ValueError: If the file is missing or damaged.
        """
        region = self.open_part(unit)
        return None if region is None else region.pixels

    def open_part(self, unit: int) -> Region | None:
        """Return what the open question is for; None where it is for all, or there is none."""
        return Region(self._regions[unit][-1]) if unit in self._pixels else None

    def parts(self, unit: int) -> list[Region]:
        """Return what all questions so far were for, the oldest first."""
        return [Region(region) for region in self._regions.get(unit, ())]

    def spoken_of(self, unit: int, name: str) -> np.ndarray | None:
        """Return the pixels asked for so far that an answer to a question may say something of, booleans (H, W).

        An answer to an earlier question says nothing of what is asked for now, whatever was painted beside.

        Args:
            unit: The sample.
            name: Of the part that the question is for; empty: it is not known.

        Raises:
            ValueError: If a file is missing or damaged.
        """
        now, pixels = self.open_part(unit), self.all(unit)
        if pixels is None or not name or now is None or now.name == name:
            return pixels
        return pixels & ~now.pixels

    def all(self, unit: int) -> np.ndarray | None:
        """Return all pixels that were asked for so far, booleans (H, W); None where there are none.

        Raises:
            ValueError: If a file is missing or damaged.
        """
        regions = self._regions.get(unit)
        return None if regions is None else np.logical_or.reduce([region_of(region) for region in regions])

    def settle(self, units: Sequence[int]) -> None:
        """Take note that questions are open no more."""
        for unit in units:
            self._pixels.pop(unit, None)

    def release(self, units: Sequence[int]) -> None:
        """Take questions back: their pixels may be asked for again."""
        for unit in units:
            if self._pixels.pop(unit, None) is not None:
                self._regions[unit].pop()
                self._last.discard(unit)
                if not self._regions[unit]:
                    del self._regions[unit]

    def forget(self, units: Sequence[int]) -> None:
        """Take all questions for samples back."""
        for unit in units:
            self._regions.pop(unit, None)
            self._pixels.pop(unit, None)
            self._last.discard(unit)

    def moved(self, places: Mapping[int, int]) -> "AskedRegions":
        """Return the same questions, now that samples are elsewhere; ``places`` says where, by where they were."""
        moved = AskedRegions()
        moved._regions = {places.get(unit, unit): regions for unit, regions in self._regions.items()}
        moved._pixels = {places.get(unit, unit): count for unit, count in self._pixels.items()}
        moved._last = {places.get(unit, unit) for unit in self._last}
        return moved


def merged(told: Blob, before: Blob | None, asked: np.ndarray) -> tuple[Blob, int]:
    """Return a label with what an answer says of the pixels that were asked for, and how many pixels it has a class of.

    Args:
        told: A mask of the whole sample; where it says nothing, what was said before holds.
        before: The label so far, if there is one.
        asked: Booleans (H, W): all that was asked for so far.

    Raises:
        ValueError: If the mask has another size.
    """
    values = mask_from_png(told.data)
    if values.shape != asked.shape:
        sizes = [" × ".join(map(str, each.shape)) for each in (values, asked)]
        raise ValueError(f"a mask of {sizes[0]} pixels, and {sizes[1]} (height × width) were asked for.")
    nothing = not_said_in(values)
    label = np.full_like(values, nothing) if before is None else mask_from_png(before.data)
    label = np.where(asked & (values != nothing), values, label)
    return mask_blob(label), int((label != nothing).sum())


def says_more(mask: Mask, before: Blob | None, asked: np.ndarray) -> bool:
    """Whether a mask says something of the pixels that were asked for which a label does not say.

    Args:
        mask: Of the whole sample.
        before: The label so far, if there is one.
        asked: Booleans (H, W): all that was asked for so far.
    """
    said = mask.values
    if before is None or said.shape != asked.shape:
        return not mask.is_blank
    return bool((asked & (said != mask.not_said) & (said != mask_from_png(before.data))).any())


def pixels_told(label: Blob) -> int:
    """Return of how many pixels a label says the class."""
    values = mask_from_png(label.data)
    return int((values != not_said_in(values)).sum())
