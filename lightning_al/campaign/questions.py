"""A campaign's open question as a file that people fill in; without torch."""

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from lightning_al.campaign.regions import says_more
from lightning_al.campaign.standing import Standing
from lightning_al.oracle.people.files.entries import Entry
from lightning_al.oracle.people.files.formats import format_of, read_labels, write_labels
from lightning_al.oracle.people.files.names import Names
from lightning_al.oracle.people.pictures import picture_file
from lightning_al.oracle.regions import Region
from lightning_al.tasks.annotations import Mask

_HASH = "sha256:"  # how the keys begin that are hashes of inputs
_WITH_SIZES = ("coco", "voc", "png")
_WITH_TEXTS = ("csv", "jsonl")


def write_question(
    path: str | Path,
    standing: Standing,
    indices: Sequence[int],
    format: str | None = None,
    *,
    size_of: Callable[[int], tuple[int, int] | None] = lambda index: None,
    text_of: Callable[[int], str | None] = lambda index: None,
    image_of: Callable[[int], Any] = lambda index: None,
) -> None:
    """Write which samples are to be labelled to a file that people fill in.

    Args:
        path: Of :func:`~lightning_al.oracle.write_labels`.
        standing: Of the campaign.
        indices: Of the dataset.
        format: Of :func:`~lightning_al.oracle.write_labels`.
        size_of: Gives width and height of an image, for formats that need them.
        text_of: Gives the text of a sample, for tables and lines.
        image_of: Gives the image of a sample, of which a part is asked for.

    Raises:
        ValueError: If the format has no room for what the campaign takes.
    """
    format = format_of(path, format, standing.kind)
    of_name = {standing.name(i): i for i in reversed(indices)}  # of samples of one and the same input the first
    indices = [i for i in indices if of_name[standing.name(i)] == i]
    keys = [standing.samples[i].key for i in indices]
    nameless = None in keys or bool(explain_hashes(keys))

    def picture(index: int) -> Callable[[], bytes] | None:
        part = standing.regions.open_part(index)
        return None if part is None else functools.partial(_picture, image_of, index, part)

    entries = [
        Entry(
            standing.name(i),
            size=size_of(i) if format in _WITH_SIZES else None,
            index=i if nameless else None,
            text=text_of(i) if format in _WITH_TEXTS else None,
            picture=picture(i),
        )
        for i in indices
    ]
    write_labels(path, entries, format, classes=standing.classes, kind=standing.kind)


def _picture(image_of: Callable[[int], Any], index: int, part: Region) -> bytes:
    return picture_file(image_of(index), part)


def explain_hashes(keys: Iterable[str | None]) -> str:
    """Return what to say of keys that are hashes, "" where none is.

    Example:
        >>> explain_hashes(["cat/1.jpg"])
        ''
        >>> explain_hashes(["sha256:0e15"])[:56]
        "Keys that begin with sha256: are hashes of the samples' "
    """
    if not any(key is not None and key.startswith(_HASH) for key in keys):
        return ""
    return (
        f"Keys that begin with {_HASH} are hashes of the samples' inputs, since the data set has no names; files have "
        "the index in the data set beside them. For names give the data set a method `sample_key(index)`, or a list of "
        "its files as `paths`."
    )


def check_shows_parts(path: str | Path, format: str | None = None) -> None:
    """Refuse a file that has no room for which part of an image is asked for.

    Args:
        path: The file or folder, there or not.
        format: Of :func:`~lightning_al.oracle.write_labels`.

    Raises:
        ValueError: With what to name instead.
    """
    format = format_of(path, format, "mask")
    if format != "png":
        raise ValueError(
            f"{path} ({format}) has no room for which parts of images are asked for: name a folder, which gets a mask "
            "and a picture of what is asked for of each image."
        )


def check_replaceable(
    path: str | Path, standing: Standing | None, format: str | None = None, *, kind: str | None = None
) -> None:
    """Refuse a file in which people said something that the campaign does not know yet: it would be overwritten.

    Args:
        path: The file or folder.
        standing: Of the campaign; None: there is none yet.
        format: Of :func:`~lightning_al.oracle.read_labels`.
        kind: What people say of a sample, where there is no campaign that knows it.

    Raises:
        FileExistsError: If there is such a file, or one that cannot be read.
        ValueError: If its name does not say what it is.
    """
    path = Path(path)
    format = format_of(path, format, kind if standing is None else standing.kind)
    if not path.exists():
        return
    try:
        reading = read_labels(path, format)
    except ValueError as error:
        raise FileExistsError(f"{path} is there already, and cannot be read: {error} Name another file.") from None
    names = Names([] if standing is None else [standing.name(unit) for unit in standing.samples])
    labelled: set[str] = set()
    if standing is not None:
        told = {*standing.units("labelled"), *standing.units("skipped"), *standing.known}
        labelled = {standing.name(unit) for unit in standing.samples.keys() & told}
    untold = [
        entry
        for entry in reading.entries
        if not (entry.said is None or (isinstance(entry.said, str) and not entry.said.strip()))
        and (names.find(entry) not in labelled or _says_more(standing, names.find(entry), entry))
    ]
    if untold or reading.problems:
        what = untold[0].where if untold else reading.problems[0]
        raise FileExistsError(
            f"{path} has labels that were not told yet ({what}): `tell` them first, or name another file."
        )


def _says_more(standing: Standing | None, name: str | None, entry: Entry) -> bool:
    """Whether an entry answers what is asked for now of a sample that has a label of other parts."""
    if standing is None or not isinstance(entry.said, Mask):
        return False
    unit = next(unit for unit in standing.samples if standing.name(unit) == name)
    asked = standing.regions.spoken_of(unit, entry.asked)
    is_open = standing.regions.open_part(unit) is not None
    return is_open and asked is not None and says_more(entry.said, standing.samples[unit].label, asked)
