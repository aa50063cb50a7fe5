"""The loss of each image in a batch of one of torchvision's detectors, which give numbers for the whole batch."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_al.inference.precision import at_least_float32
from lightning_al.inference.replaced import replaced


def detectors_in(model: nn.Module) -> list[tuple[str, Any]]:
    """Return the detectors of torchvision's that a model is or has in it, with their names in it."""
    if "torchvision.models.detection" not in sys.modules:  # then there is none
        return []
    from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
    from torchvision.models.detection.ssd import SSD

    return [
        (n, module) for n, module in model.named_modules() if isinstance(module, (SSD, RetinaNet, FCOS, FasterRCNN))
    ]


class _Loss(NamedTuple):
    """One entry of a detector's dict of losses."""

    value: Tensor
    """Of the batch, with its graph."""
    each: Tensor
    """Of each image, (B,), detached."""


class ImageLosses:
    """Watches torchvision's detectors in a model: SSD, SSDlite, RetinaNet, FCOS, Faster R-CNN.

    An image's loss is what the detector's own loss functions make of that image's outputs in the batch, and its boxes,
    alone. Of RetinaNet the mean of these is the batch's loss; SSD and FCOS weigh an image by its matched anchors there,
    and an image without boxes has no loss under SSD. Of Faster R-CNN the loss of an image is that of the anchors and
    proposals that were drawn for it. What entries of the dict count in the loss of the batch they count here: a sum
    with weights has them. Masks and keypoints are left out.

    Args:
        model: Has any number of detectors in it.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._losses: list[_Loss] = []
        self._watching = ExitStack()

    def __enter__(self) -> "ImageLosses":
        for _, detector in detectors_in(self._model):
            if hasattr(detector, "compute_loss"):
                self._watch(detector)
            else:
                self._watch_proposals(detector.rpn)
                self._watch_heads(detector.roi_heads)
        return self

    def __exit__(self, *raised: object) -> None:
        self._watching.close()

    def of(self, loss: Tensor) -> Tensor | None:
        """Return the loss of each image, (B,), where detectors' losses count in the batch's; else None."""
        losses = [each for each in self._losses if each.value.requires_grad]
        if not losses or not loss.requires_grad:
            return None
        shares = torch.autograd.grad(loss, [each.value for each in losses], retain_graph=True, allow_unused=True)
        parts = [share * own.each for share, own in zip(shares, losses, strict=True) if share is not None]
        if not parts or len({len(part) for part in parts}) > 1:
            return None
        return torch.stack(parts).sum(0)

    def _take(self, values: Sequence[Tensor], of_images: Sequence[Sequence[Tensor]]) -> None:
        """Take note of values of the batch, and of each image's in the same order."""
        for value, each in zip(values, zip(*of_images, strict=True), strict=True):
            self._losses.append(_Loss(value, at_least_float32(torch.stack(each).detach())))

    def _watch(self, detector: Any) -> None:
        """Watch the method that makes a dict of losses from targets, outputs of the heads, and anchors."""
        compute = detector.compute_loss

        def watched(targets: Any, outputs: Any, anchors: Any, *others: Any) -> Any:
            losses = compute(targets, outputs, anchors, *others)
            with torch.no_grad():
                each = [
                    compute(
                        [targets[i]],
                        {name: part[i : i + 1] for name, part in outputs.items()},
                        [anchors[i]],
                        # SSD's: to which box each anchor belongs, of each image; FCOS's: anchors of each level
                        *([each[i]] if isinstance(each[0], Tensor) else each for each in others),
                    )
                    for i in range(len(targets))
                ]
            self._take(list(losses.values()), [[own[name] for name in losses] for own in each])
            return losses

        self._watching.enter_context(replaced(detector, "compute_loss", watched))

    def _watch_proposals(self, network: Any) -> None:
        """Watch the losses of a region proposal network, and which anchors are drawn for them."""
        compute, draw = network.compute_loss, network.fg_bg_sampler
        drawn: list[Any] = []

        def drawing(labels: Any) -> Any:
            drawn[:] = draw(labels)
            return tuple(drawn)

        def watched(objectness: Tensor, deltas: Tensor, labels: Any, targets: Any) -> Any:
            losses = compute(objectness, deltas, labels, targets)
            positive, negative = drawn
            counts = [len(own) for own in labels]
            parts = zip(objectness.split(counts), deltas.split(counts), labels, targets, strict=True)
            each = []
            with torch.no_grad():
                for i, (scores, moves, own, aims) in enumerate(parts):
                    of_this = partial(_drawn_before, [positive[i]], [negative[i]])
                    with replaced(network, "fg_bg_sampler", of_this):
                        each.append(compute(scores, moves, [own], [aims]))
            self._take(losses, each)
            return losses

        self._watching.enter_context(replaced(network, "fg_bg_sampler", drawing))
        self._watching.enter_context(replaced(network, "compute_loss", watched))

    def _watch_heads(self, heads: Any) -> None:
        """Watch the losses of the heads, and which proposals are drawn for them."""
        from torchvision.models.detection.roi_heads import fastrcnn_loss

        select = heads.select_training_samples
        seen: dict[str, Any] = {}

        def selecting(proposals: Any, targets: Any) -> Any:
            selected = select(proposals, targets)
            seen["labels"], seen["targets"] = selected[2], selected[3]
            return selected

        def predicted(module: nn.Module, inputs: Any, outputs: Any) -> None:
            seen["logits"], seen["moves"] = outputs

        def watched(module: nn.Module, inputs: Any, outputs: Any) -> None:
            losses = outputs[1]
            if "loss_classifier" not in losses:
                return
            counts = [len(own) for own in seen["labels"]]
            parts = seen["logits"].split(counts), seen["moves"].split(counts), seen["labels"], seen["targets"]
            with torch.no_grad():
                each = [fastrcnn_loss(a, b, [own], [aims]) for a, b, own, aims in zip(*parts, strict=True)]
            self._take([losses["loss_classifier"], losses["loss_box_reg"]], each)
            seen.clear()

        self._watching.enter_context(replaced(heads, "select_training_samples", selecting))
        for module, hook in ((heads.box_predictor, predicted), (heads, watched)):
            self._watching.callback(module.register_forward_hook(hook).remove)


def _drawn_before(positive: Any, negative: Any, labels: Any) -> Any:
    return positive, negative
