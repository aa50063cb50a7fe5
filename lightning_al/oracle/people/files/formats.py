"""Files of labels in any format: which it is, how it is read, and how it is written."""

from collections.abc import Sequence
from pathlib import Path

from lightning_al.oracle.people.files.coco import read_coco, write_coco
from lightning_al.oracle.people.files.entries import Entry, Reading
from lightning_al.oracle.people.files.json_lines import read_json_lines, write_json_lines
from lightning_al.oracle.people.files.masks import read_masks, write_masks
from lightning_al.oracle.people.files.tables import read_table, write_table
from lightning_al.oracle.people.files.voc import read_voc, write_voc
from lightning_al.words import shown

_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "coco",
    ".xml": "voc",
}
FORMATS = ("csv", "jsonl", "coco", "voc", "png")
_DRAWN = ("coco", "voc", "png")


def format_of(path: str | Path, format: str | None = None, kind: str | None = None) -> str:
    """Return a file's format: what is given, or what its suffix says, or the files in a folder.

    Args:
        path: The file or folder, there or not.
        format: One of ``"csv"``, ``"jsonl"``, ``"coco"``, ``"voc"``, ``"png"``; None: it is found out.
        kind: Of annotations; says what a new folder is for.

    Raises:
        ValueError: If it is none of these, or cannot be found out.

    Example:
        >>> format_of("to_label.csv"), format_of("boxes.json"), format_of("masks", kind="mask")
        ('csv', 'coco', 'png')
    """
    path = Path(path)
    if format is not None:
        if format not in FORMATS:
            raise ValueError(f"`format` must be one of {', '.join(map(repr, FORMATS))}, got {shown(format)}.")
        return format
    if path.is_dir():
        if next(path.rglob("*.xml"), None):
            return "voc"
        if next(path.rglob("*.png"), None):
            return "png"
    elif path.suffix.lower() in _SUFFIXES:
        return _SUFFIXES[path.suffix.lower()]
    if kind in ("boxes", "mask") and (path.is_dir() or not path.suffix):
        return "voc" if kind == "boxes" else "png"
    raise ValueError(
        f"What {path} is, its name does not say. Name a `.csv`, `.jsonl` or `.json` (COCO) file, a folder of XML (VOC) "
        f"or PNG files (masks), or give the format: {', '.join(FORMATS)}."
    )


def read_labels(path: str | Path, format: str | None = None, *, empty: bool = False) -> Reading:
    r"""Read what people said of samples from a file or folder, in any of the formats.

    Args:
        path: A CSV, JSON lines or COCO file, or a folder of VOC's XML or of masks (PNG).
        format: Which of ``"csv"``, ``"jsonl"``, ``"coco"``, ``"voc"``, ``"png"`` it is. Default: as the suffix says.
        empty: Whether an image without boxes is labelled so, and a blank mask beside a picture of what is asked for
            says that nothing there has a class. Default: nothing is said of it yet.

    Returns:
        Entries as they stand there, and what cannot be read, with its place.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If nothing in it can be read.
        ImportError: If what reads it is not installed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labels.csv"
        >>> _ = path.write_text("file;label\n1.jpg;cat\n2.jpg;\n")
        >>> [(entry.key, entry.said) for entry in read_labels(path).entries]
        [('1.jpg', 'cat'), ('2.jpg', '')]
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}.")
    format = format_of(path, format)
    if format in _DRAWN:
        return {"coco": read_coco, "voc": read_voc, "png": read_masks}[format](path, empty=empty)
    return (read_table if format == "csv" else read_json_lines)(path)


def write_labels(
    path: str | Path,
    entries: Sequence[Entry],
    format: str | None = None,
    *,
    classes: Sequence[str] | None = None,
    kind: str | None = None,
) -> None:
    """Write what is asked or said of samples; whole, or not at all, file by file.

    Args:
        path: The file or folder.
        entries: One for each sample; what is said of it is an annotation, ``SKIP``, or None: to be labelled.
        format: As for :func:`read_labels`.
        classes: Names, by class index.
        kind: Of annotations; says what a new folder is for.

    Raises:
        ValueError: If the format has no room for what is said.
        OSError: If it cannot be written.
    """
    format = format_of(path, format, kind)
    if kind in ("boxes", "mask") and format == "csv":
        raise ValueError(
            "A table has no room for boxes or masks: name a `.json` file (COCO) or a folder (VOC) for boxes, a folder "
            "for masks."
        )
    writers = {
        "csv": write_table,
        "jsonl": write_json_lines,
        "coco": write_coco,
        "voc": write_voc,
        "png": write_masks,
    }
    writers[format](Path(path), entries, classes)
