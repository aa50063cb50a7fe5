"""Masks as a folder of PNGs, one for each image: the value of a pixel is its class id, 255 nothing said."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lightning_al.oracle.people.files.entries import Entry, Reading
from lightning_al.oracle.people.files.names import files_of
from lightning_al.oracle.people.pictures import is_picture, picture_name, region_beside
from lightning_al.oracle.skip import SKIP
from lightning_al.storage.files import atomic_write
from lightning_al.tasks.annotations import Mask
from lightning_al.tasks.mask_png import NOT_SAID, mask_to_png, not_said


def read_masks(path: Path, *, empty: bool = False) -> Reading:
    """Read the PNGs of a folder, indexed or grey; an image is what the file is called.

    A mask of nothing but 255, of 16 bits 65535, says nothing yet. Pictures of what is asked for (``.asked.png``) are
    passed over, but say which question the mask beside them is of.

    Args:
        path: The folder.
        empty: Whether such a mask beside a picture says that nothing of what is asked for has a class.

    Raises:
        FileNotFoundError: If there is no such folder.
        ImportError: If Pillow is missing.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"There is no folder {path}.")
    entries, problems = [], []
    for file in sorted(path.rglob("*.png")):
        if is_picture(file):
            continue
        stem = file.relative_to(path).with_suffix("").as_posix()
        try:
            mask = Mask.of_png(file.read_bytes())
        except (ValueError, OSError) as error:
            problems.append(f"{file}: {error}")
            continue
        asked = region_beside(file)
        said = None if mask.is_blank and not (empty and asked) else mask
        entries.append(Entry(stem, said, where=str(file), without_suffix=True, size=mask.size, asked=asked))
    return Reading(entries, problems)


def write_masks(path: Path, entries: Sequence[Entry], classes: Sequence[str] | None = None) -> None:
    """Write one PNG for each image into a folder, called as it is; blank where nothing is said yet.

    Where a part of an image is asked for, a picture of it is beside: ``1.asked.png`` of ``1.png``.

    Raises:
        ValueError: If something else than a mask is said of an image, its size is not known, or it is called as another
            one's picture.
        ImportError: If Pillow is missing.
    """
    nothing = not_said(None if classes is None else len(classes))
    names = files_of([entry.key for entry in entries], ".png")
    for entry, name in zip(entries, names, strict=True):
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
        if entry.picture is not None:
            picture = picture_name(name)
            if picture in names:
                raise ValueError(f"{picture} would be both a mask and the picture of what {entry.key!r} is asked for.")
            with atomic_write(path / picture) as file:
                file.write(entry.picture())
        with atomic_write(path / name) as file:
            file.write(data)
