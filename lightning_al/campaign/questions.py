"""A campaign's open question as a file that people fill in; without torch."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lightning_al.campaign.standing import Standing
from lightning_al.oracle.people.files.entries import Entry
from lightning_al.oracle.people.files.formats import format_of, read_labels, write_labels
from lightning_al.oracle.people.files.names import Names

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
) -> None:
    """Write which samples are to be labelled to a file that people fill in.

    Args:
        path: Of :func:`~lightning_al.oracle.write_labels`.
        standing: Of the campaign.
        indices: Of the dataset.
        format: Of :func:`~lightning_al.oracle.write_labels`.
        size_of: Gives width and height of an image, for formats that need them.
        text_of: Gives the text of a sample, for tables and lines.

    Raises:
        ValueError: If the format has no room for what the campaign takes.
    """
    format = format_of(path, format, standing.kind)
    nameless = any(standing.samples[i].key is None or str(standing.samples[i].key).startswith(_HASH) for i in indices)
    entries = [
        Entry(
            standing.name(i),
            size=size_of(i) if format in _WITH_SIZES else None,
            index=i if nameless else None,
            text=text_of(i) if format in _WITH_TEXTS else None,
        )
        for i in indices
    ]
    write_labels(path, entries, format, classes=standing.classes, kind=standing.kind)


def check_replaceable(path: str | Path, standing: Standing | None, format: str | None = None) -> None:
    """Refuse a file in which people said something that the campaign does not know yet: it would be overwritten.

    Args:
        path: The file or folder.
        standing: Of the campaign; None: there is none yet.
        format: Of :func:`~lightning_al.oracle.read_labels`.

    Raises:
        FileExistsError: If there is such a file, or one that cannot be read.
        ValueError: If its name does not say what it is.
    """
    path = Path(path)
    format = format_of(path, format, None if standing is None else standing.kind)
    if not path.exists():
        return
    try:
        reading = read_labels(path, format)
    except ValueError as error:
        raise FileExistsError(f"{path} is there already, and cannot be read: {error} Name another file.") from None
    names = Names([] if standing is None else [standing.name(unit) for unit in standing.samples])
    labelled = set() if standing is None else {standing.name(unit) for unit in standing.units("labelled")}
    labelled |= set() if standing is None else {standing.name(unit) for unit in standing.units("skipped")}
    untold = [
        entry
        for entry in reading.entries
        if not (entry.said is None or (isinstance(entry.said, str) and not entry.said.strip()))
        and names.find(entry) not in labelled
    ]
    if untold or reading.problems:
        what = untold[0].where if untold else reading.problems[0]
        raise FileExistsError(
            f"{path} has labels that were not told yet ({what}): `tell` them first, or name another file."
        )
