"""Boxes as COCO's JSON: one file with images, categories and annotations."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_al.oracle.people.files.entries import Entry, Reading
from lightning_al.oracle.people.files.text import read_text
from lightning_al.oracle.skip import SKIP
from lightning_al.storage.files import atomic_write
from lightning_al.tasks.annotations import Box, Boxes
from lightning_al.words import shown


def read_coco(path: Path, *, empty: bool = False) -> Reading:
    """Read the boxes of each image, called by its ``file_name``; crowds (``iscrowd``) are passed over.

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
    problems: list[str] = []
    names = {category.get("id"): str(category.get("name")) for category in lists["categories"] or []}
    images = {image.get("id"): image for image in lists["images"] or []}
    drawn: dict[Any, list[tuple[Box, str]]] = defaultdict(list)
    bad_images = set()
    for number, annotation in enumerate(lists["annotations"] or []):
        image = annotation.get("image_id")
        try:
            if not annotation.get("iscrowd"):
                drawn[image].append(_drawn(annotation, images, names))
        except ValueError as error:
            problems.append(f"{path}, annotation {annotation.get('id', number)}: {error}")
            bad_images.add(image)
    entries = []
    for number, image in images.items():
        if number not in bad_images:
            try:
                entries.append(_entry(image, drawn[number], f"{path}, image {number}", empty=empty))
            except (ValueError, TypeError) as error:
                problems.append(f"{path}, image {number}: {error}")
    return Reading(entries, problems)


_LISTS = ("images", "annotations", "categories")


def _drawn(annotation: dict[str, Any], images: dict[Any, Any], names: dict[Any, str]) -> tuple[Box, str]:
    image, category, box = annotation.get("image_id"), annotation.get("category_id"), annotation.get("bbox")
    if image not in images:
        raise ValueError(f"there is no image {shown(image)}.")
    if category not in names:
        raise ValueError(f"there is no category {shown(category)}.")
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(side, (int, float)) for side in box):
        raise ValueError(f"`bbox` must be left, top, width and height, got {shown(box)}.")
    left, top, width, height = map(float, box)
    return (left, top, left + width, top + height), names[category]


def _entry(image: dict[str, Any], drawn: list[tuple[Box, str]], where: str, *, empty: bool) -> Entry:
    key = image.get("file_name")
    if not isinstance(key, str):
        raise ValueError(f"`file_name` must be a text, got {shown(key)}.")
    width, height = image.get("width"), image.get("height")
    size = (width, height) if isinstance(width, int) and isinstance(height, int) else None
    annotator = str(image.get("annotator") or "")
    said: Any = None
    if image.get("skip") is True:
        said = SKIP
    elif drawn or empty:
        said = Boxes(tuple(box for box, _ in drawn), tuple(name for _, name in drawn), size=size)
        said.check_inside()
    return Entry(key, said, annotator=annotator, where=where, size=size)


def write_coco(path: Path, entries: Sequence[Entry], classes: Sequence[str] | None = None) -> None:
    """Write images in their order, with the boxes that are known of each.

    Raises:
        ValueError: If something else than boxes is said of one.
    """
    drawn = [entry.said for entry in entries if entry.said is not None and entry.said is not SKIP]
    if not all(isinstance(said, Boxes) for said in drawn):
        raise ValueError("COCO's JSON has room for boxes alone: name a `.csv` or `.jsonl` file for other labels.")
    names = list(classes) if classes is not None else sorted({name for said in drawn for name in said.labels})
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, entry in enumerate(entries, 1):
        image: dict[str, Any] = {"id": number, "file_name": entry.key}
        size = entry.size or (entry.said.size if isinstance(entry.said, Boxes) else None)
        if size is not None:
            image |= {"width": size[0], "height": size[1]}
        if entry.said is SKIP:
            image["skip"] = True
        if entry.annotator:
            image["annotator"] = entry.annotator
        images.append(image)
        boxes = entry.said if isinstance(entry.said, Boxes) else Boxes((), ())
        for (left, top, right, bottom), name in zip(boxes.boxes, boxes.labels, strict=True):
            sides = [left, top, right - left, bottom - top]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": names.index(name),
                    "bbox": sides,
                    "area": sides[2] * sides[3],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(names)]
    with atomic_write(path) as file:
        file.write(json.dumps({"images": images, "annotations": annotations, "categories": categories}).encode())
