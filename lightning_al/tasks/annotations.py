"""Annotations: what a person says of a sample, in names and pixels, as tools and files hold it; without torch."""

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

import numpy as np

from lightning_al.storage.blobs import Blob
from lightning_al.tasks.mask_png import NOT_SAID, mask_from_png, not_said_in
from lightning_al.words import shown

Box: TypeAlias = tuple[float, float, float, float]
_MOST_NAMES = 12
_MOST_DIGITS = 18


@dataclass(frozen=True)
class Boxes:
    """The boxes that a person drew in an image, possibly none.

    Args:
        boxes: The corners (left, top, right, bottom) of each in pixels, (n, 4): any sequence, array or tensor.
        labels: The class name of each.
        scores: How sure a model is of each, where it drew them.
        size: Width and height of the image in pixels, where they are known.

    Raises:
        ValueError: If the lengths differ, or a corner is not finite or not after the one before it.

    Example:
        >>> Boxes([[0, 0, 4, 2]], ["cat"]).boxes
        ((0.0, 0.0, 4.0, 2.0),)
    """

    boxes: tuple[Box, ...]
    labels: tuple[str, ...]
    scores: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        rows = _plain(self.boxes)
        if not isinstance(rows, (list, tuple)) or any(
            not isinstance(row, (list, tuple)) or len(row) != 4 for row in rows
        ):
            raise ValueError(f"Boxes have four numbers each: left, top, right, bottom; got {shown(rows)}.")
        boxes = tuple((_number(row[0]), _number(row[1]), _number(row[2]), _number(row[3])) for row in rows)
        for left, top, right, bottom in boxes:
            if not (all(map(math.isfinite, (left, top, right, bottom))) and left <= right and top <= bottom):
                raise ValueError(
                    "A box is left, top, right, bottom in pixels, the right not before the left and the bottom not "
                    f"above the top; got {(left, top, right, bottom)}."
                )
        labels = tuple(str(label) for label in _plain(self.labels) or ())
        scores = None if self.scores is None else tuple(_number(score) for score in _plain(self.scores))
        if len(labels) != len(boxes) or (scores is not None and len(scores) != len(boxes)):
            told = f"{len(boxes)} boxes, {len(labels)} labels"
            raise ValueError(f"Each box has one label (and score), got {told}{_of_scores(scores)}.")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "scores", scores)
        if self.size is not None:
            size = _plain(self.size)
            if not isinstance(size, (list, tuple)) or len(size) != 2:
                raise ValueError(f"`size` is width and height in pixels, got {shown(size)}.")
            object.__setattr__(self, "size", (int(_number(size[0])), int(_number(size[1]))))

    def check_inside(self) -> None:
        """Refuse boxes that reach more than a pixel out of the image, where its size is known.

        Raises:
            ValueError: Naming one.
        """
        if self.size is None:
            return
        width, height = self.size
        for left, top, right, bottom in self.boxes:
            if min(left, top) < -1 or right > width + 1 or bottom > height + 1:
                raise ValueError(
                    f"The box {(left, top, right, bottom)} reaches out of the image of {width} x {height} pixels."
                )

    def in_pixels_of(self, size: tuple[int, int] | None) -> "Boxes":
        """Return the boxes in the pixels of their image at another size, such as the dataset gives it with.

        Args:
            size: Width and height there. Where one of both sizes is not known, the boxes stay as they are.

        Raises:
            ValueError: If its proportions are others there: it is stretched, or not all of it is there.

        Example:
            >>> Boxes([[0, 0, 320, 240]], ["cat"], size=(640, 480)).in_pixels_of((160, 120)).boxes
            ((0.0, 0.0, 80.0, 60.0),)
        """
        if self.size is None or size is None or self.size == tuple(size) or 0 in self.size:
            return self
        (width, height), (new_width, new_height) = self.size, size
        across, down = new_width / width, new_height / height
        if min(abs(width * down - new_width), abs(height * across - new_height)) > 1:
            raise ValueError(
                f"Boxes are drawn in an image of {width} x {height} pixels, and the dataset gives one of {new_width} x "
                f"{new_height} (width x height): stretched, turned or cut, so that they have no place in it. Let the "
                "dataset keep its proportions, or show people the image as the dataset gives it."
            )
        factors = (across, down, across, down)
        corners = [[side * by for side, by in zip(box, factors, strict=True)] for box in self.boxes]
        boxes = cast("tuple[Box, ...]", corners)  # made tuples there
        return replace(self, boxes=boxes, size=(new_width, new_height))


class Mask:
    """The class of each pixel of an image.

    Args:
        values: Class ids, integers (H, W).
        not_said: The value of pixels that nobody said anything of.

    Raises:
        TypeError: If they are no integers.
        ValueError: If there are not two dimensions.

    Example:
        >>> Mask([[0, 1], [255, 1]]).size
        (2, 2)
    """

    __slots__ = ("_png", "_values", "not_said", "size")

    def __init__(self, values: Any, not_said: int = NOT_SAID) -> None:
        values = np.asarray(_plain(values) if hasattr(values, "detach") else values)
        if values.ndim != 2:
            raise ValueError(f"A mask has one class id for each pixel, (H, W), got shape {values.shape}.")
        if values.dtype.kind not in "iub" and values.size:
            raise TypeError(f"A mask has integers, the class ids, got {values.dtype}.")
        values = values.astype(_smallest(values))  # a copy: nobody else writes into it
        values.flags.writeable = False
        self._values: np.ndarray | None = values
        self._png = b""
        self.not_said = not_said
        self.size = (values.shape[1], values.shape[0])
        """Width and height in pixels."""

    @classmethod
    def of_png(cls, data: bytes) -> "Mask":
        """Return the mask of a PNG, which is read anew at every look at its values: so it is as small as the file.

        Raises:
            ValueError: If it is no PNG, or one of colours.
        """
        values = mask_from_png(data)
        mask = cls(values, not_said_in(values))
        mask._values, mask._png = None, data
        return mask

    @property
    def values(self) -> np.ndarray:
        """Class ids, (H, W), in as few bits as will do; read-only."""
        if self._values is not None:
            return self._values
        values = mask_from_png(self._png)
        values.flags.writeable = False
        return values

    @property
    def is_blank(self) -> bool:
        """Whether nothing was said of any pixel."""
        return bool((self.values == self.not_said).all())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask) or (self.size, self.not_said) != (other.size, other.not_said):
            return False
        return (self._png != b"" and self._png == other._png) or np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        values = self.values
        return hash((values.shape, values.astype(np.int64).tobytes()))

    def __repr__(self) -> str:
        return f"Mask(<{self.size[0]} x {self.size[1]} pixels>)"


def _smallest(values: np.ndarray) -> type[np.generic]:
    """Return the type of the fewest bits that a mask's values fit into."""
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if low < 0 or high > np.iinfo(np.uint16).max:
        return np.int64
    return np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16


Annotation: TypeAlias = str | list[str] | float | Boxes | Mask
"""A class name, the names of several, a number, boxes, or a mask."""


def meaning(annotation: Any) -> Any:
    """Return what can be compared of an annotation: the order of names, or boxes, and the image's size say nothing.

    Example:
        >>> meaning(["cat", "dog"]) == meaning(["dog", "cat"]), meaning("cat") == meaning(["cat"])
        (True, False)
    """
    if isinstance(annotation, (list, tuple)):
        return frozenset(annotation)
    if isinstance(annotation, Boxes):
        return tuple(sorted(zip(annotation.boxes, annotation.labels, strict=True)))
    return annotation


def in_one_form(annotation: Annotation, encode: Callable[[Any], Any], decode: Callable[[Any], Any]) -> Annotation:
    """Return an annotation as it is said of the label that it becomes: `01` is `1`, names come once and in order.

    Where labels cannot be said at all it stays as it is.

    Args:
        annotation: What was said.
        encode: Makes the label of it; refuses what there is no label for.
        decode: Says a label.

    Example:
        >>> in_one_form("01", lambda name: label_of(name, None), lambda label: annotation_of(label, None))
        '1'
    """
    label = encode(annotation)
    if isinstance(annotation, Mask):  # the values of its pixels
        return annotation
    try:
        said: Annotation = decode(label)
    except (ValueError, TypeError):
        return annotation
    return said


def annotation_of(label: Any, classes: Sequence[str] | None) -> Annotation:
    """Return a label as a person would say it, by the form it has.

    ==========================================================  =====================================
    an integer                                                  the class name
    zeros and ones, (L,)                                        the names of those that are 1
    a number that is no integer                                 the number
    ``{"boxes": (n, 4), "labels": (n,)}``, with or without      :class:`Boxes`
    ``"scores"``
    integers (H, W), or a :class:`~.storage.blobs.Blob`, a PNG  :class:`Mask`
    ==========================================================  =====================================

    Args:
        label: Plain values, an array or a tensor, or a PNG.
        classes: Their names, by class index. None: they are called by their numbers.

    Raises:
        TypeError: If it has none of these forms.
        ValueError: If a class index has no name.

    Example:
        >>> annotation_of(1, ["cat", "dog"]), annotation_of(1, None), annotation_of([1, 0, 1], ["a", "b", "c"])
        ('dog', '1', ['a', 'c'])
    """
    if isinstance(label, Blob):
        return Mask.of_png(label.data)
    if isinstance(label, dict) and {"boxes", "labels"} <= label.keys():
        names = tuple(_name(int(number), classes) for number in _plain(label["labels"]))
        size = label.get("size")
        return Boxes(label["boxes"], names, label.get("scores"), None if size is None else tuple(_plain(size)))
    values = _plain(label)
    if isinstance(values, (bool, int)):
        return _name(int(values), classes)
    if isinstance(values, float):
        return values
    if isinstance(values, (list, tuple)) and len({len(row) for row in values if isinstance(row, (list, tuple))}) < 2:
        array = np.asarray(values)
        if array.ndim == 1 and np.isin(array, (0, 1)).all():
            return [_name(number, classes) for number in np.flatnonzero(array).tolist()]
        if array.ndim == 2 and array.dtype.kind in "iub":
            return Mask(array)
    raise TypeError(
        f"There is no way to say the label {shown(label)} ({type(label).__name__}) in names and pixels: give the task "
        "`to_annotation` and `from_annotation`."
    )


def label_of(annotation: Annotation, classes: Sequence[str] | None, *, count: int | None = None) -> Any:
    """Return what was said of a sample as plain values, the inverse of :func:`annotation_of`.

    Args:
        annotation: What was said.
        classes: Their names, by class index. None: they are called by their numbers.
        count: How many classes there are, where there are no names for several of them.

    Raises:
        TypeError: If it is no annotation.
        ValueError: If there is no class of a name; close ones are named.

    Example:
        >>> label_of("dog", ["cat", "dog"]), label_of(["c", "a"], ["a", "b", "c"])
        (1, [1, 0, 1])
    """
    if isinstance(annotation, str):
        return class_index(annotation, classes)
    if isinstance(annotation, (float, int)) and not isinstance(annotation, bool):
        return float(annotation)
    if isinstance(annotation, Boxes):
        numbers = [class_index(name, classes) for name in annotation.labels]
        return {"boxes": [list(box) for box in annotation.boxes], "labels": numbers}
    if isinstance(annotation, Mask):
        return annotation.values.tolist()
    if isinstance(annotation, (list, tuple)) and all(isinstance(name, str) for name in annotation):
        count = len(classes) if classes is not None else count
        if count is None:
            raise ValueError(
                "How many labels there are is not known: the dataset has no names for them (`classes`), and the model "
                "was not seen yet."
            )
        numbers = [class_index(name, classes) for name in annotation]
        if any(number >= count for number in numbers):
            raise ValueError(f"There are {count} labels, 0 to {count - 1}; got {shown(annotation)}.")
        return [int(number in numbers) for number in range(count)]
    raise TypeError(
        "What is said of a sample is a class name, a list of names, a number, `Boxes` or a `Mask`; got "
        f"{shown(annotation)} ({type(annotation).__name__})."
    )


def class_index(name: str, classes: Sequence[str] | None) -> int:
    """Return the index of the class with a name.

    Raises:
        ValueError: If there is none; what is close to it is named.

    Example:
        >>> class_index("cta", ["cat", "dog"])
        Traceback (most recent call last):
        ...
        ValueError: There is no class 'cta'; did you mean 'cat'? There are 'cat', 'dog'.
    """
    if classes is None:
        if name.isascii() and name.isdigit() and len(name) <= _MOST_DIGITS:
            return int(name)
        raise ValueError(
            f"There is no class {shown(name)}: the dataset has no names for its classes (`classes`), which are called "
            "by their numbers, as '0'."
        )
    try:
        return list(classes).index(name)
    except ValueError:
        close = difflib.get_close_matches(name, classes, n=1, cutoff=0.5)
        meant = f"; did you mean {close[0]!r}?" if close else "."
        names = ", ".join(map(repr, classes[:_MOST_NAMES])) + ", ..." * (len(classes) > _MOST_NAMES)
        raise ValueError(f"There is no class {shown(name)}{meant} There are {names}.") from None


def _name(number: int, classes: Sequence[str] | None) -> str:
    if classes is None:
        return str(number)
    if not 0 <= number < len(classes):
        raise ValueError(f"Class {number} has no name: there are {len(classes)}, of 0 to {len(classes) - 1}.")
    return classes[number]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"Corners, scores and sizes of boxes are numbers, got {shown(value)}.") from None


def _plain(value: Any) -> Any:
    """Return an array, a tensor or a list of them as plain values."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def _of_scores(scores: tuple[float, ...] | None) -> str:
    return "" if scores is None else f" and {len(scores)} scores"
