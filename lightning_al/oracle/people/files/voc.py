"""Boxes as Pascal VOC's XML: a folder with one file for each image."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

from lightning_al.oracle.people.files.entries import Entry, Reading
from lightning_al.oracle.people.files.names import files_of
from lightning_al.oracle.skip import SKIP
from lightning_al.storage.files import atomic_write
from lightning_al.tasks.annotations import Boxes
from lightning_al.words import shown

_SIDES = ("xmin", "ymin", "xmax", "ymax")


def read_voc(path: Path, *, empty: bool = False) -> Reading:
    """Read the XML files of a folder, or one; an image is what the file is called, or what its ``filename`` says.

    Corners are taken as they stand there; VOC's own begin to count at 1.

    Args:
        path: The folder, or one file.
        empty: Whether an image without boxes is labelled so. Default: nothing is said of it yet.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if not path.exists():
        raise FileNotFoundError(f"There is no folder {path}.")
    folder, files = (path, sorted(path.rglob("*.xml"))) if path.is_dir() else (path.parent, [path])
    entries, problems = [], []
    for file in files:
        try:
            entries.append(_entry(file, file.relative_to(folder).with_suffix("").as_posix(), empty=empty))
        except ElementTree.ParseError as error:
            problems.append(f"{file}: {error}; is the file whole?")
        except (ValueError, LookupError) as error:  # of an encoding that there is not
            problems.append(f"{file}: {error}")
    return Reading(entries, problems)


def _entry(file: Path, stem: str, *, empty: bool) -> Entry:
    data = file.read_bytes()
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise ValueError("it declares entities, which no such file needs.")
    root = ElementTree.fromstring(data)
    if root.tag != "annotation":
        raise ValueError(f"the outermost element must be `annotation`, got {shown(root.tag)}.")
    width, height = root.findtext("size/width"), root.findtext("size/height")
    size = (int(width), int(height)) if width and height and int(width) > 0 else None
    boxes, names = [], []
    for thing in root.iterfind("object"):
        corners = [thing.findtext(f"bndbox/{side}") for side in _SIDES]
        if None in corners:
            raise ValueError(f"an object needs {', '.join(_SIDES)}, got {shown(corners)}.")
        boxes.append(tuple(float(str(corner)) for corner in corners))
        names.append(thing.findtext("name") or "")
    said: Any = None
    if (root.findtext("skip") or "").strip() in ("1", "true"):
        said = SKIP
    elif boxes or empty:
        said = Boxes(boxes, names, size=size)  # type: ignore[arg-type]
        said.check_inside()
    name, above = root.findtext("filename") or "", root.findtext("folder") or ""
    others = (name, f"{above}/{name}") if name else ()
    annotator = root.findtext("annotator") or ""
    return Entry(stem, said, annotator=annotator, where=str(file), other_keys=others, without_suffix=True, size=size)


def write_voc(path: Path, entries: Sequence[Entry], classes: Sequence[str] | None = None) -> None:
    """Write one file for each image into a folder, called as it is.

    Raises:
        ValueError: If something else than boxes is said of an image.
    """
    for entry, name in zip(entries, files_of([entry.key for entry in entries], ".xml"), strict=True):
        if not (entry.said is None or entry.said is SKIP or isinstance(entry.said, Boxes)):
            raise ValueError("VOC's XML has room for boxes alone: name a `.csv` or `.jsonl` file for other labels.")
        with atomic_write(path / name) as file:
            file.write(ElementTree.tostring(_element(entry), encoding="utf-8"))


def _element(entry: Entry) -> ElementTree.Element:
    root = ElementTree.Element("annotation")

    def put(parent: ElementTree.Element, tag: str, text: Any = None) -> ElementTree.Element:
        element = ElementTree.SubElement(parent, tag)
        element.text = None if text is None else str(text)
        return element

    put(root, "folder", PurePosixPath(entry.key).parent.name)
    put(root, "filename", entry.key)
    size = entry.size or (entry.said.size if isinstance(entry.said, Boxes) else None)
    if size is not None:
        element = put(root, "size")
        put(element, "width", size[0])
        put(element, "height", size[1])
        put(element, "depth", 3)
    if entry.said is SKIP:
        put(root, "skip", 1)
    if entry.annotator:
        put(root, "annotator", entry.annotator)
    boxes = entry.said if isinstance(entry.said, Boxes) else Boxes((), ())
    for box, name in zip(boxes.boxes, boxes.labels, strict=True):
        thing = put(root, "object")
        put(thing, "name", name)
        corners = put(thing, "bndbox")
        for side, corner in zip(_SIDES, box, strict=True):
            put(corners, side, int(corner) if corner.is_integer() else corner)
    ElementTree.indent(root)
    return root
