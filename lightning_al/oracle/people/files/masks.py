"""Masks as a folder of PNGs, one for each image: the value of a pixel is its class id, 255 nothing said."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightning_al.oracle.people.files.entries import Entry, Reading
from lightning_al.oracle.people.files.names import files_of
from lightning_al.oracle.skip import SKIP
from lightning_al.storage.files import atomic_write
from lightning_al.tasks.annotations import Mask
from lightning_al.tasks.mask_png import NOT_SAID, mask_to_png, not_said


def read_masks(path: Path) -> Reading:
    """Read the PNGs of a folder, indexed or grey; an image is what the file is called.

    A mask of nothing but 255, of 16 bits 65535, says nothing yet.

    Raises:
        FileNotFoundError: If there is no such folder.
        ImportError: If Pillow is missing.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"There is no folder {path}.")
    entries, problems = [], []
    for file in sorted(path.rglob("*.png")):
        stem = file.relative_to(path).with_suffix("").as_posix()
        try:
            mask = Mask.of_png(file.read_bytes())
        except (ValueError, OSError) as error:
            problems.append(f"{file}: {error}")
            continue
        entries.append(
            Entry(stem, None if mask.is_blank else mask, where=str(file), without_suffix=True, size=mask.size)
        )
    return Reading(entries, problems)


def write_masks(path: Path, entries: Sequence[Entry], classes: Sequence[str] | None = None) -> None:
    """Write one PNG for each image into a folder, called as it is; blank where nothing is said yet.

    Raises:
        ValueError: If something else than a mask is said of an image, or its size is not known.
        ImportError: If Pillow is missing.
    """
    nothing = not_said(None if classes is None else len(classes))
    for entry, name in zip(entries, files_of([entry.key for entry in entries], ".png"), strict=True):
        mask = entry.said
        if mask is None or mask is SKIP:
            if entry.size is None:
                raise ValueError(f"The size of {entry.key!r} is not known, which a mask without values needs.")
            mask = Mask(np.full((entry.size[1], entry.size[0]), nothing), nothing)
        if not isinstance(mask, Mask):
            raise ValueError("A PNG has room for a mask alone: name a file, `.csv`, `.jsonl` or `.json`.")
        try:
            data = mask_to_png(mask.values if mask.not_said == NOT_SAID else mask.values.astype(np.uint16))
        except ValueError as error:
            raise ValueError(f"{entry.key!r}: {error}") from None
        with atomic_write(path / name) as file:
            file.write(data)
