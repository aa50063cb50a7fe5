"""Masks as a folder of PNGs, one for each image: the value of a pixel is its class id, 255 nothing said."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_al.oracle.people.files.entries import Entry, Reading
from lightning_al.oracle.people.files.names import files_of
from lightning_al.oracle.skip import SKIP
from lightning_al.storage.files import atomic_write
from lightning_al.tasks.annotations import NOT_SAID, Mask

_MODES = ("L", "P", "1", "I;16", "I")


def read_masks(path: Path) -> Reading:
    """Read the PNGs of a folder, indexed or grey; an image is what the file is called.

    A mask of nothing but 255 says nothing yet.

    Raises:
        FileNotFoundError: If there is no such folder.
        ImportError: If Pillow is missing.
    """
    image_module = _pillow()
    if not path.is_dir():
        raise FileNotFoundError(f"There is no folder {path}.")
    entries, problems = [], []
    for file in sorted(path.rglob("*.png")):
        stem = file.relative_to(path).with_suffix("").as_posix()
        try:
            with image_module.open(file) as image:
                if image.mode not in _MODES:
                    raise ValueError(f"a mask is an indexed or a grey image, got colours ({image.mode}).")
                mask = Mask(np.array(image))
        except (ValueError, OSError, SyntaxError) as error:
            problems.append(f"{file}: {error}")
            continue
        said = None if bool((mask.values == NOT_SAID).all()) else mask
        entries.append(Entry(stem, said, where=str(file), without_suffix=True, size=mask.size))
    return Reading(entries, problems)


def write_masks(path: Path, entries: Sequence[Entry], classes: Sequence[str] | None = None) -> None:
    """Write one indexed PNG for each image into a folder, called as it is; of 255 alone where nothing is said yet.

    Raises:
        ValueError: If something else than a mask is said of an image, or its size is not known.
        ImportError: If Pillow is missing.
    """
    image_module = _pillow()
    for entry, name in zip(entries, files_of([entry.key for entry in entries], ".png"), strict=True):
        mask = entry.said
        if mask is None or mask is SKIP:
            if entry.size is None:
                raise ValueError(f"The size of {entry.key!r} is not known, which a mask without values needs.")
            mask = Mask(np.full((entry.size[1], entry.size[0]), NOT_SAID))
        if not isinstance(mask, Mask):
            raise ValueError("A PNG has room for a mask alone: name a file, `.csv`, `.jsonl` or `.json`.")
        if mask.values.size and not 0 <= mask.values.min() <= mask.values.max() <= NOT_SAID:
            raise ValueError(f"A PNG has room for class ids of 0 to {NOT_SAID}, {entry.key!r} has others.")
        image = image_module.fromarray(mask.values.astype(np.uint8))
        image.putpalette(_PALETTE)
        with atomic_write(path / name) as file:
            image.save(file, format="PNG")


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"Masks need Pillow: `pip install 'lightning-al[labels]'` ({error}).") from error
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
