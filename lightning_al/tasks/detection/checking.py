"""What is refused of images, boxes and detectors before anything trains."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightning_al.checks import Findings, SeveralFindings, check_number
from lightning_al.inference.outputs import plain_outputs
from lightning_al.tasks.detection.boxes import check_boxes, tensors_of_boxes
from lightning_al.tasks.detection.kept import KeptBoxes
from lightning_al.words import cut, shown

NAME_A_LAYER = (
    "A task with a `kept_boxes` of its own does not know which features of the model are meant. Name a layer: "
    '`features="backbone"` of the acquisition.'
)


def are_images_alone(batch: Any) -> bool:
    """Whether a batch is a list of images (C, H, W), without anything beside them."""
    return isinstance(batch, list) and bool(batch) and all(_is_image(each) for each in batch)


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
            "tuple(zip(*samples))`, or `collate_fn=list` where a sample is an image alone."
        )


def _is_image(image: Any) -> bool:
    return isinstance(image, Tensor) and image.ndim == 3 and image.is_floating_point()


def check_channels(image: Tensor, detector: Any) -> None:
    """Refuse an image (C, H, W) of another number of channels than its detector normalises.

    A single channel is spread over all of them.

    Raises:
        ValueError: With both numbers.
    """
    channels = len(getattr(getattr(detector, "transform", None), "image_mean", ()))
    if not channels or image.shape[0] in (1, channels):
        return
    way = f"Convert them in the dataset (`torchvision.io.read_image(path, ImageReadMode.RGB)` gives {channels})."
    if image.shape[-1] == channels:
        way = "They look like (H, W, C): `image.permute(2, 0, 1)` in the dataset."
    raise ValueError(
        f"{type(detector).__name__} takes images (C, H, W) of {channels} channels, got {tuple(image.shape)}. {way}"
    )


def check_own_method(
    kept_boxes: Callable[[nn.Module, Any], Any], model: nn.Module, images: Any, name: str, *, classes: int | None
) -> None:
    """Refuse a ``kept_boxes`` of the user's own that fails on the first image, or returns something else.

    Raises:
        TypeError: See :func:`check_kept`.
        ValueError: See there; or if it fails.
    """
    try:
        kept = plain_outputs(model, images[:1], kept_boxes)
    except Exception as error:
        raise ValueError(
            f"`kept_boxes(model, images)` of {name} failed on an image {tuple(images[0].shape)}: "
            f"{type(error).__name__}: {cut(error)}."
        ) from error
    check_kept(kept, 1, name, classes=classes)


def check_kept(kept: Any, images: int, name: str, *, classes: int | None) -> None:
    """Refuse what a ``kept_boxes`` of the user's own returns, if it is not a ``KeptBoxes`` for each image.

    Args:
        kept: What it returned.
        images: How many there were.
        name: Of the task.
        classes: C, where the task says it.

    Raises:
        TypeError: If it is something else.
        ValueError: If the parts of a ``KeptBoxes`` do not belong together.
    """
    what = f"`kept_boxes(model, images)` of {name}"
    if not isinstance(kept, (list, tuple)) or not all(isinstance(each, KeptBoxes) for each in kept):
        raise TypeError(
            f"{what} must return a list of one `KeptBoxes` (of `lightning_al.tasks`) for each image, got {shown(kept)}."
        )
    if len(kept) != images:
        raise ValueError(
            f"{what} returned {len(kept)} `KeptBoxes` for {images} images; each has one, maybe of 0 boxes."
        )
    for each in kept:
        with Findings() as findings:
            findings.of(_check_parts, each, what)
            if not findings.errors:
                findings.of(_check_numbers, each, what, classes)


def _check_parts(kept: KeptBoxes, what: str) -> None:
    n = len(kept.scores) if isinstance(kept.scores, Tensor) and kept.scores.ndim else 0
    forms = {"logits": ("n, C", 2), "boxes": ("n, 4", 2), "anchors": ("n", 1), "labels": ("n", 1), "scores": ("n", 1)}
    for name, (form, dims) in forms.items():
        part: Any = getattr(kept, name)
        is_whole = name in ("anchors", "labels")
        if not isinstance(part, Tensor) or part.is_floating_point() == is_whole:
            got = part.dtype if isinstance(part, Tensor) else shown(part)
            kind = "integers" if is_whole else "floating numbers"
            raise TypeError(f"{what}: `{name}` must be a tensor of {kind}, got {got}.")
        if part.ndim != dims or len(part) != n or (name == "boxes" and part.shape[1] != 4):
            raise ValueError(f"{what}: `{name}` must be ({form}) of n = {n} boxes, got {tuple(part.shape)}.")


def _check_numbers(kept: KeptBoxes, what: str, classes: int | None) -> None:
    given = kept.logits.shape[1]
    if classes is not None and given != classes:
        raise ValueError(
            f"{what}: `logits` have {given} classes, and `num_classes={classes}` of the task says {classes}."
        )
    wrong = kept.labels[(kept.labels < 0) | (kept.labels >= given)]
    if len(wrong):
        raise ValueError(
            f"{what}: `labels` are columns of `logits`, 0 to {given - 1}, got {shown(wrong.unique().tolist())}."
        )


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
        if target is None or isinstance(target, (str, bytes, int)):  # none, or a name; labels are looked at elsewhere
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
    best = [f"{float(each.detach().max()):.3g}" if len(each) else "none" for each in (scores, kept.scores)]
    raise ValueError(
        f"{name} gives {len(boxes)} boxes for an image (best score {best[0]}), and the detector in it, called by "
        f"itself, {len(kept)} (best score {best[1]}): so its `forward` changes images or detections. Do that in the "
        "dataset or in the detector's own `transform`, or override `kept_boxes(model, images)` of the task."
    )


def check_threshold(threshold: Any) -> None:
    """Refuse a score threshold outside of [0, 1)."""
    check_number("score_threshold", threshold, least=0, below=1)
