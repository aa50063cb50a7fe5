"""Annotations to Label Studio's results and back; pure functions, without torch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lightning_al.oracle.people.label_studio import rle
from lightning_al.oracle.people.label_studio.control import Control
from lightning_al.tasks.annotations import Annotation, Boxes, Mask, class_index
from lightning_al.tasks.mask_png import not_said
from lightning_al.words import shown

Result = dict[str, Any]
Size = tuple[int, int]


def to_results(
    annotation: Annotation, control: Control, *, classes: Sequence[str] = (), size: Size | None = None
) -> list[Result]:
    """Return an annotation as the results of a Label Studio annotation or prediction.

    Args:
        annotation: What is said of a sample.
        control: The tag of the label config that it is said by.
        classes: The names of a mask's class ids. Those that the control does not offer are left unpainted.
        size: Width and height of the image, where the annotation does not know them.

    Raises:
        ValueError: If the control does not offer a label, or boxes are in an image of unknown size.
    """
    if control.kind == "number":
        return [_result(control, "number", {"number": float(annotation)})]  # type: ignore[arg-type]
    if isinstance(annotation, Boxes):
        return _of_boxes(annotation, control, annotation.size or size)
    if isinstance(annotation, Mask):
        return _of_mask(annotation, control, classes)
    names = [annotation] if isinstance(annotation, str) else [str(name) for name in annotation]  # type: ignore[union-attr]
    _check_offered(names, control)
    return [_result(control, "choices", {"choices": names})] if names else []


def from_results(
    results: Sequence[Mapping[str, Any]],
    control: Control,
    *,
    classes: Sequence[str] = (),
    size: Size | None = None,
    unpainted: str | None = None,
) -> Annotation:
    """Return what the results of a Label Studio annotation say of a sample.

    Results of other controls, such as a remark, are passed over.

    Args:
        results: Of one annotation.
        control: The tag of the label config that takes the answer.
        classes: Names, by class index, for the ids in a mask.
        size: Width and height of the image, where it is known: nothing in an image without any region tells them.
        unpainted: The class of a mask's pixels that nobody painted. None: 255, nothing was said of them.

    Raises:
        ValueError: If they do not say what the control asks for.
    """
    own = [result for result in results if result.get("from_name") == control.name]
    if control.kind == "boxes":
        return _boxes(own, size)
    if control.kind == "mask":
        return _mask(own, classes, size, unpainted)
    values: list[Any] = [result.get("value", {}).get(own_key(control)) for result in own]
    if control.kind == "number":
        if len(values) != 1 or isinstance(values[0], bool) or not isinstance(values[0], (int, float)):
            raise ValueError(f"One number is asked for, got {shown(values)}.")
        return float(values[0])
    names = [str(name) for value in values for name in (value if isinstance(value, list) else [value])]
    if control.kind == "classes":
        return names
    if len(names) != 1:
        raise ValueError(f"One class is asked for, got {shown(names) if names else 'none'}.")
    return names[0]


def own_key(control: Control) -> str:
    """Return the entry of a result's value that has what was chosen."""
    return {"class": "choices", "classes": "choices", "boxes": "rectanglelabels", "mask": "brushlabels"}.get(
        control.kind, control.kind
    )


def _result(control: Control, kind: str, value: dict[str, Any], size: Size | None = None) -> Result:
    sizes = {} if size is None else {"original_width": size[0], "original_height": size[1], "image_rotation": 0}
    return {"from_name": control.name, "to_name": control.to_name, "type": kind, **sizes, "value": value}


def _check_offered(names: Sequence[str], control: Control) -> None:
    missing = control.missing(list(dict.fromkeys(names)))
    if missing:
        raise ValueError(
            f"The label config offers no {shown(missing[0])} in {control.name!r}, which has "
            f"{', '.join(map(repr, control.labels[:12]))}. Add it there."
        )


# -- boxes -------------------------------------------------------------------------------------------------------------


def _of_boxes(boxes: Boxes, control: Control, size: Size | None) -> list[Result]:
    _check_offered(boxes.labels, control)
    if not boxes.boxes:
        return []
    if size is None:
        raise ValueError("Boxes are in percent of the image there, whose size is not known.")
    width, height = size
    results = []
    for number, ((left, top, right, bottom), label) in enumerate(zip(boxes.boxes, boxes.labels, strict=True)):
        value = {
            "x": 100 * left / width,
            "y": 100 * top / height,
            "width": 100 * (right - left) / width,
            "height": 100 * (bottom - top) / height,
            "rotation": 0,
            "rectanglelabels": [label],
        }
        result = _result(control, "rectanglelabels", value, size)
        results.append(result if boxes.scores is None else {**result, "score": boxes.scores[number]})
    return results


def _boxes(results: Sequence[Mapping[str, Any]], size: Size | None) -> Boxes:
    boxes, labels = [], []
    for result in results:
        size = _size_of(result)
        value = result["value"]
        boxes.append(_corners(value, size))
        labels.append(_one_label(value, "rectanglelabels"))
    return Boxes(tuple(boxes), tuple(labels), size=size)


def _corners(value: Mapping[str, Any], size: Size) -> tuple[float, float, float, float]:
    """Return the corners in pixels, of a box that was turned those of the upright one around it, inside the image."""
    width, height = size
    left, top = value["x"] * width / 100, value["y"] * height / 100
    across, down = value["width"] * width / 100, value["height"] * height / 100
    angle = math.radians(value.get("rotation") or 0)  # clockwise, about the top left corner
    cos, sin = math.cos(angle), math.sin(angle)
    steps = [(0.0, 0.0), (across, 0.0), (0.0, down), (across, down)]
    xs = [left + x * cos - y * sin for x, y in steps]
    ys = [top + x * sin + y * cos for x, y in steps]
    return (
        min(max(min(xs), 0), width),
        min(max(min(ys), 0), height),
        min(max(max(xs), 0), width),
        min(max(max(ys), 0), height),
    )


# -- masks -------------------------------------------------------------------------------------------------------------


def _of_mask(mask: Mask, control: Control, classes: Sequence[str]) -> list[Result]:
    results = []
    for number in np.unique(mask.values).tolist():
        if number == mask.not_said:
            continue
        if not 0 <= number < len(classes):
            raise ValueError(f"Class {number} of a mask has no name: there are {len(classes)}.")
        if classes[number] not in control.labels:
            continue  # what stays unpainted
        value = {"format": "rle", "rle": rle.encode(mask.values == number), "brushlabels": [classes[number]]}
        results.append(_result(control, "brushlabels", value, mask.size))
    return results


def _mask(
    results: Sequence[Mapping[str, Any]], classes: Sequence[str], size: Size | None, unpainted: str | None
) -> Mask:
    for result in results:
        if size is not None and _size_of(result) != size:
            raise ValueError(f"The mask is of an image of {_size_of(result)} pixels, which has {size}.")
        size = _size_of(result)
    if size is None:
        raise ValueError("Nothing is painted.")
    nothing = not_said(len(classes))
    values = np.full(size[::-1], nothing if unpainted is None else class_index(unpainted, classes), dtype=np.int64)
    for result in results:  # what was painted later is on top
        if result["value"].get("format") != "rle":
            raise ValueError(f"A brush mask has the format 'rle', got {shown(result['value'].get('format'))}.")
        label = _one_label(result["value"], "brushlabels")
        values[rle.decode(result["value"]["rle"], size)] = class_index(label, classes)
    return Mask(values, nothing)


# -- regions -----------------------------------------------------------------------------------------------------------


def _size_of(result: Mapping[str, Any]) -> Size:
    if result.get("image_rotation"):
        raise ValueError(
            f"The image was turned by {result['image_rotation']} degrees in Label Studio, where its regions do not "
            "say what they cover before that: turn it back, and draw them again."
        )
    try:
        return int(result["original_width"]), int(result["original_height"])
    except (KeyError, TypeError, ValueError):
        raise ValueError("A region does not say how large its image is.") from None


def _one_label(value: Mapping[str, Any], key: str) -> str:
    labels = value.get(key) or []
    if len(labels) != 1:
        raise ValueError(f"A region needs one label, and one has {shown(labels) if labels else 'none'}.")
    return str(labels[0])
