"""The task of any number of boxes in an image: detection."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from lightning_al.checks import Findings, check_choice, check_count, check_that
from lightning_al.functional.scores.positions import check_reduce, mean_over_positions, reduced
from lightning_al.functional.scores.probabilities import cross_entropy
from lightning_al.functional.scores.uncertainty import entropies
from lightning_al.inference.calling import Forward
from lightning_al.inference.layers import outputs_and_features_of
from lightning_al.inference.outputs import plain_outputs
from lightning_al.tasks.base import Task
from lightning_al.tasks.detection.boxes import BoxLabels
from lightning_al.tasks.detection.checking import (
    NAME_A_LAYER,
    are_images_alone,
    check_channels,
    check_images,
    check_kept,
    check_own_detections,
    check_own_method,
    check_targets,
    check_threshold,
)
from lightning_al.tasks.detection.families import (
    FasterRCNNFamily,
    Held,
    Outputs,
    family_of,
    images_of,
    outputs_together,
)
from lightning_al.tasks.detection.kept import KeptBoxes, decisions, labels_of_decisions
from lightning_al.tasks.detection.without_boxes import PLACES, WithoutBoxes, scores_with_places
from lightning_al.tasks.entries import BatchEntries, Entries


class DetectionTask(BoxLabels, BatchEntries, Task):
    r"""Boxes in images, each of a class: torchvision's SSD, SSDlite, RetinaNet, FCOS and Faster R-CNN.

    Batches are ``(images, targets)``: a list of (C, H, W) of any sizes, or a stack (B, C, H, W), and a list of
    ``{"boxes": (n, 4), "labels": (n,)}`` with corners (left, top, right, bottom) in pixels. The detector is the model,
    or a module in it; what the model's ``forward`` does to images before is not seen, and refused where it tells.

    An image is scored by the boxes that the detector itself keeps (threshold, non-maximum suppression) and that score
    more than ``score_threshold``. Each is a decision: one of C classes, the background among them, by softmax (SSD,
    Faster R-CNN), or by sigmoids (RetinaNet, FCOS) a yes or no to each of C classes, whose mean is taken as by
    :class:`~lightning_al.tasks.MultiLabelTask`. ``reduce`` makes one value of those of an image's boxes.

    Of ``SAAL`` (section 4.3 of its paper) the pseudo-labels are the classes that the boxes are kept as, at the
    unperturbed weights; an image has one perturbation, of the reduced cross-entropies of its kept boxes, and the score
    is these under it, at the same anchors (of Faster R-CNN: at the same proposals). The paper does not say which boxes
    are kept. At thresholds below 0.3 many boxes are more likely background than what they are kept as, and the sum over
    them counts boxes (on a small SSD, rank correlation 0.94 at 0.02, and 0.13 at 0.5): so the default is 0.5.

    An image gets the score that it would get alone: where a detector pads images to the largest of a batch, images of
    one size go together. Features are the backbone's maps, each averaged over its positions, side by side. ``BADGE``
    takes the mean over the kept boxes of p - onehot for its residuals.

    For any other model override :meth:`kept_boxes`, and :meth:`logits_at` for scores by gradients; acquisitions that
    compare features need the name of a layer then (``CoreSet(features="backbone")``).

    Args:
        num_classes: C, as the detector counts (with the background). Default: what the model gives.
        score_threshold: Boxes count that score more; at least 0 and below 1. The detector's own threshold holds too.
            Scores are the detector's own: of FCOS the geometric mean of a class's probability and its centredness, of
            which the latter counts here alone.
        reduce: ``"sum"``, as in SAAL's paper, ``"mean"``, ``"max"``, or a number s above 0 and at most 1: the mean of
            the share s of an image's boxes with the largest values.
        empty: Where images without a box that counts come among the candidates, whichever acquisition scores boxes:
            ``"last"``, after all others; ``"first"``, before them; ``"random"``, each beside an image that is drawn, by
            whose score it goes. By themselves they score 0. If no image of 16 candidates or more has a box, the round
            is refused, unless ``"random"``.
        detector: Which of several detectors of torchvision's is meant, by the name of its module, ``"student"``.
        inputs: The entry of a batch with the images, as in :class:`~lightning_al.tasks.ClassificationTask`; a batch
            that is a list of images alone is that entry.
        target: The entry with the boxes.
        forward: Not for torchvision's detectors: ``forward(model, images)`` in the place of ``model(images)``, whose
            detections must be those of the detector.

    Raises:
        TypeError: If an option is of the wrong type.
        ValueError: If an option is out of range.

    Example:
        >>> DetectionTask(reduce=0.5).reduce(torch.tensor([[0.1, 0.7, 0.3, 0.5]]))
        tensor([0.6000])
    """

    gives: ClassVar[frozenset[str]] = Task.gives - {"labellings"}
    always_checks = True

    def __init__(
        self,
        num_classes: int | None = None,
        *,
        score_threshold: float = 0.5,
        reduce: str | float = "sum",
        empty: str = "last",
        detector: str | None = None,
        inputs: Entries = 0,
        target: int | str = 1,
        forward: Forward | None = None,
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(inputs=inputs, target=target, forward=forward)
            findings.of(check_count, "num_classes", num_classes, optional=True)
            findings.of(check_threshold, score_threshold)
            findings.of(check_reduce, reduce)
            findings.of(check_choice, "empty", empty, PLACES)
            is_name = detector is None or isinstance(detector, str)
            findings.of(check_that, is_name, "detector", detector, "the name of a module of the model, or None")
        self._classes = num_classes
        self._first_class = 0
        self.score_threshold = score_threshold
        self.empty = empty
        self._reduce = reduce
        self._detector = detector
        self._without_boxes = WithoutBoxes()

    @property
    def num_classes(self) -> int | None:
        """C, once it is known."""
        return self._classes

    def _label_classes(self) -> range | None:
        return None if self._classes is None else range(self._first_class, self._classes)

    def inputs(self, batch: Any) -> Any:
        """Return the images."""
        return batch if self._entries == 0 and are_images_alone(batch) else super().inputs(batch)

    def targets(self, batch: Any) -> Any:
        """Return the boxes of each image."""
        if self._entries == 0 and are_images_alone(batch):
            raise TypeError("A batch is a list of images alone, without boxes.")
        return super().targets(batch)

    # -- boxes -------------------------------------------------------------------------------------------------------

    def kept_boxes(self, model: nn.Module, images: Any) -> list[KeptBoxes]:
        """Return the boxes of each image that count, best first: those that the detector keeps, above the threshold.

        Override for models without one of torchvision's detectors, and return those that the model keeps; boxes that
        score no more than ``score_threshold`` are left out of them afterwards.

        Args:
            model: The user's, in ``eval()``.
            images: What :meth:`inputs` gave.
        """
        family = family_of(model, self._detector)
        kept: dict[int, KeptBoxes] = {}
        for places, outputs in outputs_together(family, images):
            kept.update((place, family.kept(outputs, n)) for n, place in enumerate(places))
        self._without_boxes.note(each.scores for each in kept.values())
        return [kept[place].above(self.score_threshold) for place in range(len(images))]

    def logits_at(self, model: nn.Module, images: Any, anchors: Sequence[Tensor]) -> list[Tensor]:
        """Return the class scores at anchors of each image, (n, C), differentiably, whatever boxes are kept now.

        Override together with :meth:`kept_boxes`, for scores by gradients.

        Args:
            model: The user's, maybe with other weights than when the boxes were kept.
            images: A list of them.
            anchors: What :meth:`kept_boxes` gave for each.
        """
        raise NotImplementedError(
            f"`{type(self).__name__}` has a `kept_boxes` of its own; scores by gradients need `logits_at(model, "
            "images, anchors)` too, the class scores (n, C) at these anchors of each image."
        )

    def _is_own(self) -> bool:
        return type(self).kept_boxes is not DetectionTask.kept_boxes

    def _counted(self, model: nn.Module, images: Any) -> list[KeptBoxes]:
        """Return the boxes of each image that count, also where another method says which are kept."""
        kept = self.kept_boxes(model, images)
        if not self._is_own():
            return kept
        check_kept(kept, len(images), type(self).__name__, classes=self._classes)
        self._without_boxes.note(each.scores for each in kept)
        return [each.above(self.score_threshold) for each in kept]

    # -- what is computed --------------------------------------------------------------------------------------------

    def reduce(self, values: Tensor) -> Tensor:
        """Return one value for each image from those of its boxes, (B, n) -> (B,), by the option ``reduce``.

        Of boxes of several classes, (B, n, C), each has the mean.
        """
        return reduced(mean_over_positions(values, 2), self._reduce)

    def score(self, model: nn.Module, inputs: Any, score: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the score of each image, (B,), from those of its kept boxes; 0 of none."""
        kept = self._counted(model, inputs)
        logits = torch.cat([decisions(each.logits, each.exclusive) for each in kept])
        values = mean_over_positions(score(logits)) if len(logits) else logits.new_zeros(0)
        of_images = values.split([len(each) for each in kept])
        return torch.cat([self.reduce(own.unsqueeze(0)) if len(own) else own.new_zeros(1) for own in of_images])

    def score_of_several(self, model: nn.Module, inputs: Any, score: Callable[[Forward, Any], Tensor]) -> Tensor:
        """Return the score of each image, (B,), from several looks at the boxes that are kept at the first."""
        scores = []
        for entry in self.held(model, list(inputs)):
            (own,) = plain_outputs(model, [entry], self.logits)
            ((anchors, _),) = self.pseudo_targets([own])
            if len(anchors):
                scores.append(score(partial(self._logits_of_held, anchors=anchors), [entry]))
            else:
                scores.append(own.logits.new_zeros(1))
        return torch.cat(scores)

    def without_decisions(self, model: nn.Module, inputs: Any, scores: Tensor) -> Tensor:
        """Return in which images no box counts, (B,). Only such whose score is exactly 0 are looked at again."""
        without = scores == 0
        images = [image for image, is_zero in zip(inputs, without, strict=True) if is_zero]
        if images:
            kept = plain_outputs(model, images, self._counted)
            without[without.clone()] = torch.tensor([not len(each) for each in kept], device=without.device)
        return without

    def placed(self, scores: Tensor, without: Tensor, draws: Tensor) -> Tensor:
        """Return scores in which images without a box come where ``empty`` says.

        Raises:
            ValueError: If that is all of 16 or more, and they are not to be taken at random.
        """
        self._without_boxes.look_at(without, threshold=self.score_threshold, place=self.empty)
        return scores_with_places(scores, without, self.empty, draws)

    def _logits_of_held(self, model: nn.Module, entries: Any, anchors: Tensor) -> Tensor:
        """Return the decisions of one image's boxes as positions, (1, C, n, ...)."""
        (seen,) = self.logits(model, entries)
        boxes = seen.logits[0, anchors.clone()]  # those of inference mode cannot be kept for a backward pass
        return decisions(boxes, seen.family.exclusive).movedim(0, 1).unsqueeze(0)

    def held(self, model: nn.Module, inputs: Any) -> Any:
        """Return images with what must stay while weights move: proposals, or the boxes kept by a method of one's own.

        Each image of a list is then a dict, which :meth:`logits` knows. (Three images of three channels would look like
        three columns for three samples.)
        """
        images = list(inputs)
        if self._is_own():
            kept = plain_outputs(model, inputs, self._counted)
            return [
                {"image": image, "anchors": own.anchors, "labels": own.labels, "exclusive": own.exclusive}
                for image, own in zip(images, kept, strict=True)
            ]
        family = family_of(model, self._detector)
        if not isinstance(family, FasterRCNNFamily):
            return inputs if isinstance(inputs, Tensor) else [{"image": image} for image in images]

        def proposals(_: nn.Module, images: Any) -> list[Tensor]:
            return [family.proposals([image])[0] for image in images]

        places = plain_outputs(model, images, proposals)
        return [{"image": image, "proposals": own} for image, own in zip(images, places, strict=True)]

    def logits(self, model: nn.Module, inputs: Any) -> Any:
        """Return what the detector gives at all anchors: of a stack of images together, of a list one by one."""
        if isinstance(inputs, Tensor) and not self._is_own():
            return family_of(model, self._detector).outputs(inputs)
        return [self._outputs_alone(model, each) for each in inputs]

    def _outputs_alone(self, model: nn.Module, entry: Any) -> Outputs:
        image = entry["image"] if isinstance(entry, Mapping) else entry
        if not self._is_own():
            proposals = [entry["proposals"]] if isinstance(entry, Mapping) and "proposals" in entry else None
            return family_of(model, self._detector).outputs([image], proposals)
        if not isinstance(entry, Mapping):
            (own,) = self._counted(model, [image])
            parts = {"logits": own.logits.unsqueeze(0), "labels": own.labels.unsqueeze(0)}
            return Outputs(Held(own.exclusive), parts)
        (logits,) = self.logits_at(model, [image], [entry["anchors"]])
        parts = {"logits": logits.unsqueeze(0), "labels": entry["labels"].unsqueeze(0)}
        return Outputs(Held(entry["exclusive"]), parts)

    def pseudo_targets(self, logits: Any) -> list[tuple[Tensor, Tensor]]:
        """Return anchors and classes of the kept boxes of each image, (n,) each."""
        with torch.no_grad():
            return [each.family.targets(each, n, self.score_threshold) for each, n in images_of(logits)]

    def predicted(self, model: nn.Module, inputs: Any) -> list[Any]:
        """Return the kept boxes of each image as its label, but those without a width or height at the border."""
        labels = []
        for own in self._counted(model, inputs):
            has_area = (own.boxes[:, 2:] > own.boxes[:, :2]).all(1)
            labels.append({"boxes": own.boxes[has_area].cpu(), "labels": own.labels[has_area].cpu()})
        return labels

    def loss(self, logits: Any, targets: Any) -> Tensor:
        """Return the cross-entropies of each image's boxes under these classes, at these anchors, reduced, (B,)."""

        def losses(boxes: Tensor, labels: Tensor, exclusive: bool) -> Tensor:
            own = labels_of_decisions(labels, boxes.shape[1], exclusive)
            return cross_entropy(decisions(boxes, exclusive), own)

        return self._reduced_at(logits, targets, losses)

    def entropy(self, logits: Any) -> Tensor:
        """Return the entropies of each image's kept boxes, reduced, (B,)."""

        def values(boxes: Tensor, labels: Tensor, exclusive: bool) -> Tensor:
            return entropies(decisions(boxes, exclusive))

        return self._reduced_at(logits, self.pseudo_targets(logits), values)

    def _reduced_at(self, outputs: Any, targets: Any, values: Callable[[Tensor, Tensor, bool], Tensor]) -> Tensor:
        reduced_values = []
        for (each, n), (anchors, labels) in zip(images_of(outputs), targets, strict=True):
            boxes, exclusive = each.logits[n, anchors], each.family.exclusive
            if len(anchors):
                own = mean_over_positions(values(boxes, labels, exclusive))
                reduced_values.append(self.reduce(own.unsqueeze(0)))
            else:
                reduced_values.append(each.logits[n].sum() * 0)
        return torch.cat([each.reshape(1) for each in reduced_values])

    def known_targets(self, batch: Any) -> Any:
        """Refuse the dataset's own boxes as labels of the model's.

        Raises:
            ValueError: Always. The message is the end of a sentence.
        """
        raise ValueError("which of its boxes is which of the model's is not known.")

    def residuals(self, logits: Any) -> Tensor:
        """Return the mean over each image's kept boxes of p - onehot, (B, C); 0 of none."""
        rows = []
        for (each, n), (anchors, labels) in zip(images_of(logits), self.pseudo_targets(logits), strict=True):
            boxes = each.logits[n, anchors]
            p = boxes.softmax(1) if each.family.exclusive else boxes.sigmoid()
            own = p - nn.functional.one_hot(labels, p.shape[1])
            rows.append(own.mean(0) if len(own) else boxes.new_zeros(p.shape[1]))
        return torch.stack(rows)

    def outputs_and_features(self, model: nn.Module, inputs: Any, layer: str | None = None) -> tuple[Any, Tensor]:
        """Return what the detector gives for each image, and the means of the backbone's maps, or of a layer's."""
        if layer is None and self._is_own():
            raise ValueError(NAME_A_LAYER)
        outputs: list[Outputs] = []
        features: list[Tensor] = []
        for image in inputs:
            if layer is None:
                own = self._outputs_alone(model, image)
                features.append(own.parts["features"])
            else:
                run = cast(Callable[[], Tensor], partial(self._outputs_alone, model, image))
                made, of_layer = outputs_and_features_of(model, run, layer)
                own = cast(Outputs, made)
                features.append(of_layer)
            outputs.append(own)
        return outputs, torch.cat(features)

    def new_target(self, label: Any) -> Any:
        """Return told boxes as the target of a sample that had none."""
        return self.decode_label(label)

    # -- what is refused before training -----------------------------------------------------------------------------

    def check(self, model: nn.Module, batch: Any) -> None:
        """Refuse images, boxes and models that do not belong together, and learn how many classes there are."""
        images = self.inputs(batch)
        check_images(images)
        if self._is_own():
            check_own_method(self.kept_boxes, model, images, type(self).__name__, classes=self._classes)
        else:
            self._check_detector(model, images)
        try:
            targets = self.targets(batch)
        except (TypeError, LookupError):
            return
        check_targets(images, targets, self._label_classes())

    def _check_detector(self, model: nn.Module, images: Any) -> None:
        family, own = family_of(model, self._detector), None
        check_channels(images[0], family.detector)
        with self.explaining(images):
            outputs = family.outputs(images[:1])  # a list, or a stack, as the model gets them
            with contextlib.suppress(NotImplementedError):  # a module need not have a `forward` beside its detector
                own = self.outputs_of(model, images[:1])
        classes = outputs.logits.shape[-1]
        if self._classes not in (None, classes):
            raise ValueError(
                f"`DetectionTask(num_classes={self._classes})`, and {type(family.detector).__name__} gives {classes} "
                "class scores for each anchor" + (", the background among them." if family.exclusive else ".")
            )
        check_own_detections(own, family.kept(outputs, 0), type(model).__name__)
        self._classes = classes
        self._first_class = 1 if family.exclusive else 0
