"""Boxes and masks as COCO's JSON: one file with images, categories and annotations."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lightning_al.oracle.people.files.areas import Areas, runs_of
from lightning_al.oracle.people.files.entries import Entry, Reading
from lightning_al.oracle.people.files.text import read_text
from lightning_al.oracle.skip import SKIP
from lightning_al.storage.files import atomic_write
from lightning_al.tasks.annotations import Box, Boxes, Mask, annotation_of
from lightning_al.words import cut, shown


def read_coco(path: Path, *, empty: bool = False) -> Reading:
    """Read the boxes of each image, called by its ``file_name``, and its areas where they are drawn.

    Of boxes crowds (``iscrowd``) are passed over.

    Args:
        path: The file.
        empty: Whether an image without boxes is labelled so. Default: nothing is said of it yet.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such JSON.
    """
    try:
        data = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {error.lineno}: {error.msg}; is the file whole?") from None
    lists = {name: data.get(name) if isinstance(data, dict) else None for name in _LISTS}
    lacking = [name for name, value in lists.items() if not isinstance(value, list)]
    if lacking:
        raise ValueError(f"{path} has no list {lacking[0]!r}: COCO's JSON has {', '.join(map(repr, _LISTS))}.")
    for name, entries_there in lists.items():
        for entry in entries_there or []:
            if not isinstance(entry, dict):
                raise ValueError(f"{path}: {name!r} of COCO's JSON are objects, got {shown(entry)}.")
    problems: list[str] = []
    names = {number: str(entry.get("name")) for number, entry in _by_id(path, "categories", lists).items()}
    images = _by_id(path, "images", lists)
    drawn: dict[Any, list[_Drawn]] = defaultdict(list)
    bad_images = set()
    for number, annotation in enumerate(lists["annotations"] or []):
        image = annotation.get("image_id")
        try:
            thing = _drawn(annotation, images, names)
            drawn[image].append(thing)
        except (ValueError, OverflowError) as error:
            problems.append(f"{path}, annotation {annotation.get('id', number)}: {error}")
            bad_images |= {image} if _is_id(image) else set()
    entries = []
    for number, image in images.items():
        if number not in bad_images:
            where = f"{path}, image {number} ({cut(image.get('file_name'), 100)})"
            try:
                entries.append(_entry(image, drawn[number], where, empty=empty))
            except (ValueError, TypeError) as error:
                problems.append(f"{where}: {error}")
    return Reading(entries, problems)


_LISTS = ("images", "annotations", "categories")


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, float, str))


def _by_id(path: Path, name: str, lists: Mapping[str, Any]) -> dict[Any, dict[str, Any]]:
    """Return the entries of a list by their ``id``, which others name them by.

    Raises:
        ValueError: If one has none, or that of another.
    """
    of_id: dict[Any, dict[str, Any]] = {}
    for entry in lists[name]:
        number = entry.get("id")
        if not _is_id(number):
            raise ValueError(f"{path}: each of {name!r} needs a number as `id`, got {shown(number)}.")
        if number in of_id:
            raise ValueError(
                f"{path}: two of {name!r} have the id {shown(number)}, so that nobody knows which of them is meant."
            )
        of_id[number] = entry
    return of_id


class _Drawn(NamedTuple):
    box: Box
    name: str
    area: Any
    is_crowd: bool


def _drawn(annotation: dict[str, Any], images: dict[Any, Any], names: dict[Any, str]) -> _Drawn:
    image, category, box = annotation.get("image_id"), annotation.get("category_id"), annotation.get("bbox")
    if not _is_id(image) or image not in images:
        raise ValueError(f"there is no image {shown(image)}.")
    if not _is_id(category) or category not in names:
        raise ValueError(f"there is no category {shown(category)}.")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(side, (int, float)) for side in box):
        raise ValueError(f"`bbox` must be left, top, width and height, got {shown(box)}.")
    left, top, width, height = map(float, box)
    sides = (left, top, left + width, top + height)
    return _Drawn(sides, names[category], annotation.get("segmentation") or None, bool(annotation.get("iscrowd")))


def _entry(image: dict[str, Any], drawn: list[_Drawn], where: str, *, empty: bool) -> Entry:
    key = image.get("file_name")
    if not isinstance(key, str):
        raise ValueError(f"`file_name` must be a text, got {shown(key)}.")
    width, height = image.get("width"), image.get("height")
    size = (width, height) if isinstance(width, int) and isinstance(height, int) else None
    annotator = str(image.get("annotator") or "")
    said: Any = None
    if image.get("skip") is True:
        said = SKIP
    else:
        single = [each for each in drawn if not each.is_crowd]
        boxes = Boxes(tuple(each.box for each in single), tuple(each.name for each in single), size=size)
        boxes.check_inside()
        if size is not None and any(each.area is not None for each in drawn):
            said = Areas(boxes, tuple((each.name, each.area) for each in drawn), size)
        elif single or empty:
            said = boxes
    return Entry(key, said, annotator=annotator, where=where, size=size)


def write_coco(path: Path, entries: Sequence[Entry], classes: Sequence[str] | None = None) -> None:
    """Write images in their order, with the boxes that are known of each, or the area of each class of its mask.

    Raises:
        ValueError: If something else than boxes or a mask is said of one.
    """
    drawn = [entry.said for entry in entries if entry.said is not None and entry.said is not SKIP]
    if not all(isinstance(said, (Boxes, Mask)) for said in drawn):
        raise ValueError(
            "COCO's JSON has room for boxes and masks alone: name a `.csv` or `.jsonl` file for other labels."
        )
    names = _names_in(drawn) if classes is None else list(classes)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, entry in enumerate(entries, 1):
        image: dict[str, Any] = {"id": number, "file_name": entry.key}
        size = entry.size or (entry.said.size if isinstance(entry.said, (Boxes, Mask)) else None)
        if size is not None:
            image |= {"width": size[0], "height": size[1]}
        if entry.said is SKIP:
            image["skip"] = True
        if entry.annotator:
            image["annotator"] = entry.annotator
        images.append(image)
        for name, box, area in _shapes(entry.said, classes):
            left, top, right, bottom = box
            sides = [left, top, right - left, bottom - top]
            annotation: dict[str, Any] = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": names.index(name),
                "bbox": sides,
                "area": sides[2] * sides[3],
                "iscrowd": 0,
            }
            if area is not None:
                annotation |= {"segmentation": runs_of(area), "area": int(area.sum())}
            annotations.append(annotation)
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    with atomic_write(path) as file:
        file.write(json.dumps({"images": images, "annotations": annotations, "categories": categories}).encode())


def _names_in(drawn: Sequence[Any]) -> list[str]:
    return sorted({name for said in drawn for name, _, _ in _shapes(said, None)})


def _shapes(said: Any, classes: Sequence[str] | None) -> Iterator[tuple[str, Box, np.ndarray | None]]:
    """Go through the boxes of an annotation, or the areas of a mask's classes: name, box, and which pixels."""
    if isinstance(said, Boxes):
        yield from ((name, box, None) for box, name in zip(said.boxes, said.labels, strict=True))
    if isinstance(said, Mask):
        values = said.values
        for number in np.setdiff1d(values, [said.not_said]).tolist():
            area = values == number
            rows, columns = np.flatnonzero(area.any(1)), np.flatnonzero(area.any(0))
            left, top, right, bottom = (int(each) for each in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
            yield str(annotation_of(number, classes)), (left, top, right, bottom), area
