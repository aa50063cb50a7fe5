"""Labels as JSON, one object a line: ``{"key": "a.jpg", "label": "cat", "annotator": "anna"}``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_al.oracle.people.files.entries import EMPTY_NAME, Entry, Reading
from lightning_al.oracle.people.files.text import read_text
from lightning_al.oracle.skip import SKIP
from lightning_al.storage.files import atomic_write
from lightning_al.tasks.annotations import Boxes, Mask
from lightning_al.words import shown


def read_json_lines(path: Path) -> Reading:
    """Read one object a line: ``key``, ``label`` (null or missing: not yet), ``skip``, ``annotator``.

    Boxes are ``{"boxes": [[left, top, right, bottom], ...], "labels": [name, ...]}``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no text.
    """
    entries, problems = [], []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            entries.append(_entry(json.loads(line), where))
        except ValueError as error:
            problems.append(f"{where}: {error}")
    return Reading(entries, problems)


def _entry(said: Any, where: str) -> Entry:
    if not isinstance(said, dict) or not isinstance(said.get("key"), str):
        raise ValueError(f'an object with a "key" is needed, got {shown(said)}.')
    skip, label = said.get("skip"), said.get("label")
    if skip is not None and not isinstance(skip, bool):
        raise ValueError(f'"skip" is true or false, got {shown(skip)}.')
    if skip and label is not None:
        raise ValueError(f'{shown(said["key"])} has a label, {shown(label)}, and "skip" too.')
    return Entry(
        said["key"],
        SKIP if skip else label,
        annotator=str(said.get("annotator") or "").strip(),
        where=where,
    )


def write_json_lines(path: Path, entries: Sequence[Entry], classes: Sequence[str] | None = None) -> None:
    """Write one object a line.

    Raises:
        ValueError: For masks, which are PNGs.
    """
    lines = []
    for entry in entries:
        line: dict[str, Any] = {"key": entry.key, "label": None if entry.said is SKIP else _value(entry.said)}
        if entry.index is not None:
            line["index"] = entry.index
        if entry.text is not None:
            line["text"] = entry.text
        if entry.said is SKIP:
            line["skip"] = True
        if entry.annotator:
            line["annotator"] = entry.annotator
        lines.append(json.dumps(line, ensure_ascii=False))
    with atomic_write(path) as file:
        file.write("".join(f"{line}\n" for line in lines).encode())


def _value(said: Any) -> Any:
    if isinstance(said, Mask):
        raise ValueError("A line has no room for a mask: name a folder, of PNGs.")
    if isinstance(said, Boxes):
        return {"boxes": said.boxes, "labels": said.labels, "size": said.size}
    return EMPTY_NAME if said == "" else said
