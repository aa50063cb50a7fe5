"""What a file says of one sample, whatever its format, and how words in it are understood."""

import json
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_al.oracle.people.files.areas import Areas
from lightning_al.oracle.skip import SKIP
from lightning_al.tasks.annotations import Annotation, Boxes, Mask, class_index
from lightning_al.words import shown

BETWEEN = "|"
"""Stands between several names in one cell."""
SKIPPED, ALWAYS_SKIPPED, EMPTY_NAME = "skip", "<skip>", "<empty>"


@dataclass(frozen=True)
class Entry:
    """What a file says of one sample.

    Args:
        key: What the sample is called there.
        said: A word as it stands there, a JSON value, :class:`Boxes`, :class:`~.areas.Areas`, a :class:`Mask` or
            ``SKIP``; None: nothing yet.
        annotator: Who said it, if the file says so.
        where: The place in the file, for messages.
        other_keys: What else the sample may be called.
        without_suffix: Whether ``key`` lacks the file's suffix (``.jpg``).
        cut: The part of it that the end of the file may have cut off: ``"key"``, ``"said"`` or ``"annotator"``.
        size: Width and height of the image in pixels.
        index: Its dataset index, for people to read.
        text: What it is, for people to read; None: it is no text.
        asked: The name of the part that is asked for, where a picture of it lies beside a mask.
        picture: Makes that picture, a PNG; None: all of the sample is asked for.
    """

    key: str
    said: Any = None
    annotator: str = ""
    where: str = ""
    other_keys: tuple[str, ...] = ()
    without_suffix: bool = False
    cut: str = ""
    size: tuple[int, int] | None = None
    index: int | None = None
    text: str | None = None
    asked: str = ""
    picture: Callable[[], bytes] | None = None


@dataclass(frozen=True)
class Reading:
    """What was read from a file: its entries, and what in it cannot be read, each with its place."""

    entries: list[Entry]
    problems: list[str]


def understood(said: Any, kind: str | None, classes: Sequence[str] | None) -> Any:
    """Return what an entry means: an annotation, ``SKIP``, or None where nothing is said yet.

    A class's own name goes first, whatever it is; then blank is nothing yet and "skip", in any case, is a skip. Where a
    class is called so, ``<skip>`` is a skip, and ``<empty>`` the class whose name is empty.

    Args:
        said: Of the entry.
        kind: Of the task's annotations: ``"class"``, ``"classes"``, ``"number"``, ``"boxes"``, ``"mask"``; None: any.
        classes: Their names. None: they are called by their numbers.

    Raises:
        ValueError: If it is of another kind, or there is no class of a name.

    Example:
        >>> understood("Skip", "class", ["cat"]), understood("skip", "class", ["cat", "skip"])
        (SKIP, 'skip')
        >>> understood("cat|dog", "classes", ["cat", "dog"]), understood("1.0", "class", None)
        (['cat', 'dog'], '1')
    """
    if said is None or said is SKIP:
        return said
    if isinstance(said, Areas):
        said = said.mask(classes) if kind == "mask" else said.boxes
    if isinstance(said, str):
        return _of_text(said, kind, list(classes or ()), named=classes is not None)
    if isinstance(said, dict) and {"boxes", "labels"} <= said.keys():
        said = Boxes(said["boxes"], said["labels"], said.get("scores"), said.get("size"))
    if isinstance(said, (int, float)) and not isinstance(said, bool) and kind != "number":
        said = str(int(said)) if said == said // 1 else str(said)
    elif isinstance(said, list):
        said = [str(each) for each in said]
    return _of_kind(said, kind, classes)


def check_whole(
    entry: Entry, annotation: Any, *, kind: str | None, classes: Sequence[str] | None, count: int | None
) -> None:
    """Refuse the last word of a file that has no end, if it may be the beginning of another.

    Args:
        entry: Of a file.
        annotation: What it means.
        kind: Of the task's annotations.
        classes: Their names.
        count: How many there are, where they have none; None: nobody knows.

    Raises:
        ValueError: With what it may be the beginning of.
    """
    if entry.cut != "said" or not isinstance(entry.said, str) or annotation is SKIP:
        return
    word = entry.said.strip()
    last = word.rpartition("|")[2].strip()
    if classes is not None:
        longer = [name for name in classes if name != last and name.startswith(last)]
    else:
        longer = [last + "..."] if (count or 11) > 10 or kind == "number" else []
    if longer:
        raise ValueError(_may_begin(word, longer[0]))


def check_person(entry: Entry, people: Collection[str]) -> None:
    """Refuse the last name of a file that has no end, if it may be the beginning of another person's.

    Args:
        entry: Of a file.
        people: All who are known.

    Raises:
        ValueError: With whose.
    """
    longer = [name for name in people if name != entry.annotator and name.startswith(entry.annotator)]
    if entry.cut == "annotator" and entry.annotator and longer:
        raise ValueError(_may_begin(entry.annotator, min(longer)))


def _may_begin(word: str, longer: str) -> str:
    return (
        f"{shown(word)} may be the beginning of {shown(longer)}: the last line has no end. If the file is whole, end "
        "it with a new line."
    )


def _of_text(text: str, kind: str | None, classes: list[str], *, named: bool) -> Any:
    word = text.strip()
    if kind != "number":
        for name in (text, word):
            if name in classes and name != "":
                return [name] if kind == "classes" else name
        if word == EMPTY_NAME and "" in classes:
            return [""] if kind == "classes" else ""
    if not word:
        return None
    says_skip = any(name.lower() == SKIPPED for name in classes)
    if word.lower() == ALWAYS_SKIPPED or (word.lower() == SKIPPED and not says_skip):
        return SKIP
    if kind == "number":
        return _number(word)
    if kind == "classes":
        return [_class(name, classes, named=named) for name in _several(word)]
    if kind in ("boxes", "mask"):
        return _of_kind(word, kind, classes)
    return _class(word, classes, named=named) if kind == "class" else word


def _number(word: str) -> float:
    try:
        number = float(word.replace("_", " "))  # which Python would pass over
    except ValueError:
        raise ValueError(f"{shown(word)} is no number; decimals have a point, as 1.5.") from None
    if not math.isfinite(number):
        raise ValueError(f"{shown(word)} is no finite number.")
    return number


def _several(word: str) -> list[str]:
    if word.startswith("["):
        try:
            names = json.loads(word)
        except ValueError:
            names = None
        if isinstance(names, list):
            return [str(name) for name in names]
    return [name.strip() for name in word.split(BETWEEN)]


def _class(name: str, classes: list[str], *, named: bool) -> str:
    if not named and name.endswith(".0"):  # a column of numbers with gaps, as tables write it
        name = name[:-2]
    class_index(name, classes if named else None)
    return name


_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "class": (str, "one class name"),
    "classes": (list, "a list of names"),
    "number": ((int, float), "a number"),
    "boxes": (Boxes, "boxes"),
    "mask": (Mask, "a mask"),
}


def _of_kind(said: Any, kind: str | None, classes: Sequence[str] | None) -> Annotation:
    if kind is not None:
        types, words = _KINDS[kind]
        if not isinstance(said, types) or isinstance(said, bool):
            raise ValueError(f"Of a sample this campaign takes {words}, got {shown(said)}.")
    elif not isinstance(said, (str, list, int, float, Boxes, Mask)):
        raise ValueError(f"{shown(said)} is nothing that can be said of a sample.")
    names = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    names = list(said.labels) if isinstance(said, Boxes) else names
    if kind is not None:
        for name in names:
            class_index(name, classes)
    return _number(str(said)) if kind == "number" else said


def word_of(said: Any, classes: Sequence[str] | None) -> str:
    """Return what is written into a cell, which :func:`understood` understands again.

    Raises:
        ValueError: For boxes and masks, which no cell has room for.
    """
    names = list(classes or ())
    if said is None:
        return ""
    if said is SKIP:
        return ALWAYS_SKIPPED if any(name.lower() == SKIPPED for name in names) else SKIPPED
    if isinstance(said, str):
        return said or EMPTY_NAME
    if isinstance(said, (list, tuple)):
        is_plain = said and all(
            name and BETWEEN not in name and name.strip() == name and not name.startswith("[") for name in said
        )
        joined = BETWEEN.join(said)
        return joined if is_plain and (len(said) == 1 or joined not in names) else json.dumps(list(said))
    if isinstance(said, (int, float)):
        return repr(said)
    kind = type(said).__name__.lower()
    raise ValueError(
        f"A table has no room for {kind}: name a `.json` file (COCO) or a folder (VOC) for boxes, a folder for masks."
    )
