"""Boxes as labels: checked, and kept as JSON in the ledger."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_al.checks import Findings
from lightning_al.tasks.annotations import Boxes, label_of
from lightning_al.words import shown


class BoxLabels:
    """The labels of a task of any number of boxes: ``{"boxes": (n, 4), "labels": (n,)}``, corners in pixels."""

    annotation_kind: str | None = "boxes"

    def encode_label(self, label: Any) -> Any:
        """Return boxes and their classes as JSON, ``{"boxes": [[left, top, right, bottom], ...], "labels": [...]}``.

        Args:
            label: A dict of tensors, arrays or lists, or :class:`~lightning_al.tasks.annotations.Boxes`.

        Raises:
            TypeError: If it is none.
            ValueError: If a box is none, or of no class.
        """
        if isinstance(label, Boxes):
            label = label_of(label, None)
        boxes, labels = tensors_of_boxes(label)
        check_boxes(boxes, labels, classes=self._label_classes())
        return {"boxes": boxes.double().tolist(), "labels": labels.tolist()}

    def decode_label(self, value: Any) -> dict[str, Tensor]:
        """Return boxes (n, 4) in float32 and their classes (n,)."""
        boxes, labels = tensors_of_boxes(value)
        return {"boxes": boxes.float(), "labels": labels}

    def blank_target(self, example: Any, inputs: Any) -> Any:
        """Return what stands for the target of an image that has none: an example without its boxes."""
        if not isinstance(example, Mapping) or not isinstance(example.get("labels"), Tensor):
            return example
        count = len(example["labels"])

        def is_of_boxes(part: Any) -> bool:
            return isinstance(part, Tensor) and part.ndim > 0 and len(part) == count

        return {name: part[:0] if is_of_boxes(part) else part for name, part in example.items()}

    def _label_classes(self) -> range | None:
        """Return which classes a box may have, where that is known."""
        return None


def tensors_of_boxes(target: Any) -> tuple[Tensor, Tensor]:
    """Return corners (n, 4) and classes (n,) of a target.

    Raises:
        TypeError: If it is no dict of both.
        ValueError: If they do not belong together.
    """
    if not isinstance(target, Mapping) or not {"boxes", "labels"} <= target.keys():
        raise TypeError(
            'Boxes are told as {"boxes": (n, 4) corners (left, top, right, bottom) in pixels, "labels": (n,) classes}, '
            f"got {shown(target)}."
        )
    try:
        boxes, labels = torch.as_tensor(target["boxes"]), torch.as_tensor(target["labels"])
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"Boxes and labels must be numbers, got {shown(dict(target))}.") from None
    boxes, labels = boxes.detach().cpu().as_subclass(Tensor), labels.detach().cpu().as_subclass(Tensor)
    if boxes.numel() == 0 and labels.numel() == 0:  # an empty list has no second dimension
        return boxes.reshape(0, 4), labels.reshape(0).long()
    if boxes.ndim != 2 or boxes.shape[1] != 4 or labels.shape != boxes.shape[:1]:
        raise ValueError(
            f"Boxes must be (n, 4) and labels (n,), got {tuple(boxes.shape)} and {tuple(labels.shape)}; of an image "
            "without any (0, 4) and (0,)."
        )
    if labels.is_floating_point():
        raise TypeError(f"Labels of boxes are class numbers, integers, got {labels.dtype}.")
    return boxes, labels.long()


def check_boxes(
    boxes: Tensor, labels: Tensor, *, classes: range | None = None, size: tuple[int, int] | None = None
) -> None:
    """Refuse boxes that are none, and classes that there are not.

    Args:
        boxes: Corners (n, 4).
        labels: Their classes, (n,).
        classes: Which there are. None: any.
        size: Height and width of their image in pixels. None: any.

    Raises:
        ValueError: Of several findings one error.
    """
    with Findings() as findings:
        findings.of(_check_corners, boxes, size)
        findings.of(_check_classes, labels, classes)


def _check_corners(boxes: Tensor, size: tuple[int, int] | None) -> None:
    finite = boxes.isfinite().all(1)
    if not finite.all():
        raise ValueError(f"A box has a corner that is no finite number: {_first(boxes, ~finite)}.")
    if len(boxes) and bool(((boxes >= 0) & (boxes <= 1)).all()) and bool((boxes % 1 != 0).any()):
        where = "" if size is None else f" in an image of {size[1]} x {size[0]} pixels (width x height)"
        raise ValueError(
            f"Boxes look like shares of an image from 0 to 1, and pixels are meant: {_first(boxes, finite)}{where}. "
            "Multiply them by the image's width and height in the dataset."
        )
    flat = (boxes[:, 2:] <= boxes[:, :2]).any(1)
    outside = torch.zeros_like(flat)
    if size is not None:
        height, width = size
        outside = (boxes[:, :2] < -1).any(1) | (boxes[:, 2] > width + 1) | (boxes[:, 3] > height + 1)
    crossed = (boxes[:, 2:] < boxes[:, :2]).any(1)
    if crossed.any() and _may_have_extents(boxes, size):
        raise ValueError(
            f"Boxes look like (left, top, width, height), and (left, top, right, bottom) is meant: "
            f"{int(crossed.sum())} of {len(boxes)} would end before they start, such as {_first(boxes, crossed)}. "
            'Convert them in the dataset: `torchvision.ops.box_convert(boxes, "xywh", "xyxy")`.'
        )
    if flat.any():
        raise ValueError(
            f"A box must have a width and a height, got (left, top, right, bottom) = {_first(boxes, flat)}, "
            f"{int(flat.sum())} of {len(boxes)} boxes of an image. Leave such boxes out in the dataset."
        )
    if outside.any():
        raise ValueError(
            f"A box reaches out of its image of {size[1] if size else 0} x {size[0] if size else 0} pixels (width x "
            f"height): {_first(boxes, outside)}. Boxes are (left, top, right, bottom) in pixels of the image as the "
            "dataset gives it; clip them with `torchvision.ops.clip_boxes_to_image`."
        )


def _may_have_extents(boxes: Tensor, size: tuple[int, int] | None) -> bool:
    """Whether boxes are right as (left, top, width, height): more than zero, and inside the image."""
    if (boxes[:, 2:] <= 0).any() or (boxes[:, :2] < 0).any():
        return False
    ends = boxes[:, :2] + boxes[:, 2:]
    return size is None or bool(((ends[:, 0] <= size[1] + 1) & (ends[:, 1] <= size[0] + 1)).all())


def _check_classes(labels: Tensor, classes: range | None) -> None:
    if classes is None:
        if (labels < 0).any():
            raise ValueError(
                f"Classes of boxes are numbered from 0, got {shown(labels[labels < 0].unique().tolist())}."
            )
        return
    wrong = labels[(labels < classes.start) | (labels >= classes.stop)]
    if len(wrong):
        background = " 0 is the background." if classes.start == 1 and (wrong == 0).any() else ""
        raise ValueError(
            f"Boxes have the classes {shown(wrong.unique().tolist())}, and there are {classes.start} to "
            f"{classes.stop - 1}.{background} Number them in the dataset as the model does."
        )


def _first(boxes: Tensor, which: Tensor) -> str:
    return shown(tuple(round(value, 2) for value in boxes[which][0].tolist()))
