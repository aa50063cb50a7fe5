"""What is refused of images, boxes and detectors before anything trains."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_al.checks import SeveralFindings
from lightning_al.tasks.detection.boxes import check_boxes, tensors_of_boxes
from lightning_al.tasks.detection.kept import KeptBoxes
from lightning_al.words import shown


def check_images(images: Any) -> None:
    """Refuse what is neither a list of images (C, H, W) nor a stack of them.

    Raises:
        TypeError: With what was seen.
    """
    if isinstance(images, Tensor) and images.ndim == 4 and images.is_floating_point():
        return
    entries = images if isinstance(images, (list, tuple)) else [images]
    wrong = [each for each in entries if not _is_image(each)]
    if wrong or not isinstance(images, (list, tuple)) or not entries:
        seen = wrong[0] if wrong else images
        got = f"{seen.dtype} of shape {tuple(seen.shape)}" if isinstance(seen, Tensor) else shown(seen)
        raise TypeError(
            "`DetectionTask` takes batches of a list of images and a list of targets, images being floating tensors "
            f"(C, H, W), got {got}. Collate samples of different sizes into lists: `collate_fn=lambda samples: "
            "tuple(zip(*samples))`."
        )


def _is_image(image: Any) -> bool:
    return isinstance(image, Tensor) and image.ndim == 3 and image.is_floating_point()


def check_targets(images: Any, targets: Any, classes: range | None) -> None:
    """Refuse targets that are not the boxes of these images.

    Raises:
        TypeError: If they are no dicts of boxes and labels.
        ValueError: If they are of another number, or a box is none, with the image's place in the batch.
    """
    if isinstance(targets, Mapping) or not isinstance(targets, (list, tuple)):
        raise TypeError(
            'Targets must be a list of one dict {"boxes": (n, 4), "labels": (n,)} for each image, got '
            f"{shown(targets)}. Collate them into a list: `collate_fn=lambda samples: tuple(zip(*samples))`."
        )
    if len(targets) != len(images):
        raise ValueError(f"There are {len(images)} images and {len(targets)} targets in a batch; each has one.")
    for place, (image, target) in enumerate(zip(images, targets, strict=True)):
        if target is None:
            continue
        try:
            boxes, labels = tensors_of_boxes(target)
            check_boxes(boxes, labels, classes=classes, size=(image.shape[-2], image.shape[-1]))
        except SeveralFindings:
            raise
        except (TypeError, ValueError) as error:
            raise type(error)(f"Image {place} of a batch: {error}") from None


def check_own_detections(own: Any, kept: KeptBoxes, name: str) -> None:
    """Refuse a model whose detections are not those of the detector in it, as where it changes images before.

    What is no list of detections is passed over.

    Raises:
        ValueError: With how many there are of each.
    """
    if not isinstance(own, (list, tuple)) or len(own) != 1 or not isinstance(own[0], Mapping):
        return
    boxes, scores = own[0].get("boxes"), own[0].get("scores")
    if not isinstance(boxes, Tensor) or not isinstance(scores, Tensor):
        return
    if boxes.shape == kept.boxes.shape and torch.allclose(scores.float(), kept.scores.float(), atol=1e-3):
        return
    best = [f"{float(each.max()):.3g}" if len(each) else "none" for each in (scores, kept.scores)]
    raise ValueError(
        f"{name} gives {len(boxes)} boxes for an image (best score {best[0]}), and the detector in it, called by "
        f"itself, {len(kept)} (best score {best[1]}): so its `forward` changes images or detections. Do that in the "
        "dataset or in the detector's own `transform`, or override `kept_boxes(model, images)` of the task."
    )
