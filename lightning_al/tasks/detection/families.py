"""What torchvision's detectors give for each anchor, and which boxes they keep of it.

Detectors of torchvision return boxes, scores and labels, and neither the other classes' scores nor where a box comes
from. Here their own parts are run, and the same boxes kept. torchvision is imported only where there is a detector:
without it all other tasks work, and their classes are listed beside this one.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al.inference.module_state import named_modules_of
from lightning_al.tasks.detection.kept import KeptBoxes
from lightning_al.words import cut

if TYPE_CHECKING:
    from torchvision.models.detection.image_list import ImageList

Parts = dict[str, Tensor]
Images = Tensor | Sequence[Tensor]


class Outputs:
    """What a detector gives for B images that went together: a pytree of tensors, each with the images first.

    Args:
        family: Whose they are.
        parts: ``"logits"`` (B, A, C), ``"features"`` (B, d), and what else places the boxes of its A anchors.
    """

    def __init__(self, family: "Family | Held", parts: Parts) -> None:
        self.family = family
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts["logits"])

    @property
    def logits(self) -> Tensor:
        """The class scores of each anchor, (B, A, C)."""
        return self.parts["logits"]


pytree.register_pytree_node(
    Outputs,
    lambda outputs: (list(outputs.parts.values()), (outputs.family, tuple(outputs.parts))),
    lambda parts, context: Outputs(context[0], dict(zip(context[1], parts, strict=True))),
)


@dataclass(frozen=True)
class Held:
    """Stands for a detector where outputs have the kept boxes alone: ``"logits"`` (1, n, C) and ``"labels"`` (1, n)."""

    exclusive: bool

    def targets(self, outputs: Outputs, index: int, threshold: float) -> tuple[Tensor, Tensor]:
        """Return anchors and classes of the kept boxes of an image, (n,) each."""
        labels = outputs.parts["labels"][index]
        return torch.arange(len(labels), device=labels.device), labels


class Family(ABC):
    """One kind of torchvision's detectors, in ``eval()``.

    Args:
        detector: The detector.
    """

    exclusive: ClassVar[bool]
    """Whether a box has one of C classes (softmax, of which 0 is the background) or each by itself (sigmoid)."""

    moves_anchors: ClassVar[bool] = False
    """Whether its anchors are proposals of its own, which change with the weights."""

    def __init__(self, detector: nn.Module) -> None:
        self.detector: Any = detector

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.detector is self.detector

    def __hash__(self) -> int:
        return hash((type(self), id(self.detector)))

    @property
    def mixes_sizes(self) -> bool:
        """Whether images of different sizes may go together: all are brought to one size. Else they get padding."""
        return self.detector.transform.fixed_size is not None

    @property
    def most_boxes(self) -> int:
        """How many boxes of an image are kept at most."""
        return int(self.detector.detections_per_img)

    def outputs(self, images: Images, proposals: Sequence[Tensor] | None = None) -> Outputs:
        """Return what the detector gives for images that go together, with the means of the backbone's maps.

        Args:
            images: B of them, (C, H, W) each.
            proposals: Anchors to look at in place of its own, where :attr:`moves_anchors`, in the resized images.
        """
        resized, features = self._features(images)
        parts = self._of_features(resized, features, proposals)
        device = parts["logits"].device
        parts["features"] = torch.cat([each.mean((2, 3)) for each in features.values()], 1)
        parts["sizes"] = torch.tensor(resized.image_sizes, device=device)
        parts["originals"] = torch.tensor([list(image.shape[-2:]) for image in images], device=device)
        return Outputs(self, parts)

    def kept(self, outputs: Outputs, index: int) -> KeptBoxes:
        """Return the boxes that the detector itself keeps of an image."""
        from torchvision.ops import batched_nms

        one = {name: part[index].detach() for name, part in outputs.parts.items()}
        height, width = one["sizes"].tolist()
        scores, anchors, labels, boxes = self._candidates(one, (height, width))
        best = batched_nms(boxes, scores, labels, self._nms_threshold())[: self.most_boxes]
        original = [tuple(one["originals"].tolist())]
        placed = self.detector.transform.postprocess([{"boxes": boxes[best]}], [(height, width)], original)
        return KeptBoxes(
            logits=one["logits"][anchors[best]],
            anchors=anchors[best],
            boxes=placed[0]["boxes"],
            labels=labels[best],
            scores=scores[best],
            exclusive=self.exclusive,
        )

    def targets(self, outputs: Outputs, index: int, threshold: float) -> tuple[Tensor, Tensor]:
        """Return anchors and classes of the kept boxes of an image that score more than ``threshold``, (n,) each."""
        kept = self.kept(outputs, index).above(threshold)
        return kept.anchors, kept.labels

    def _features(self, images: Images) -> "tuple[ImageList, dict[str, Tensor]]":
        resized, _ = self.detector.transform(list(images), None)
        features = self.detector.backbone(resized.tensors)
        return resized, {"0": features} if isinstance(features, Tensor) else features

    def _nms_threshold(self) -> float:
        return float(self.detector.nms_thresh)

    def _best(self, scores: Tensor) -> Tensor:
        """Return where the highest scores above the detector's threshold are, (n,).

        ``topk`` gets what it gets in torchvision, so that scores that tie come in the same order.
        """
        above = torch.where(scores > self.detector.score_thresh)[0]
        return above[scores[above].topk(min(self.detector.topk_candidates, len(above))).indices]

    @abstractmethod
    def _of_features(
        self, resized: "ImageList", features: dict[str, Tensor], proposals: Sequence[Tensor] | None
    ) -> Parts: ...

    @abstractmethod
    def _candidates(self, one: Parts, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return scores, anchors, labels and boxes of all that may be kept of an image, in its resized form."""


class AnchoredFamily(Family):
    """Those whose head looks at anchors that lie in the same places whatever the weights."""

    def _of_features(
        self, resized: "ImageList", features: dict[str, Tensor], proposals: Sequence[Tensor] | None
    ) -> Parts:
        maps = list(features.values())
        made = self.detector.head(maps)
        anchors = torch.stack(self.detector.anchor_generator(resized, maps))
        parts = {"logits": made["cls_logits"], "regression": made["bbox_regression"], "anchors": anchors}
        return parts | self._beside(maps, made, anchors)

    def _beside(self, maps: Sequence[Tensor], made: Parts, anchors: Tensor) -> Parts:
        """Return what else places boxes. By default that is nothing."""
        return {}


class SSDFamily(AnchoredFamily):
    """SSD300 and SSDlite: softmax over classes and background, one shape of images."""

    exclusive = True

    def _candidates(self, one: Parts, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        from torchvision.ops import clip_boxes_to_image

        p = one["logits"].softmax(-1)[:, 1:]
        boxes = clip_boxes_to_image(self.detector.box_coder.decode_single(one["regression"], one["anchors"]), size)
        best = [self._best(of_class) for of_class in p.T]
        anchors = torch.cat(best)
        labels = torch.cat([torch.full_like(each, c) for c, each in enumerate(best, 1)])
        return p[anchors, labels - 1], anchors, labels, boxes[anchors]


class RetinaNetFamily(AnchoredFamily):
    """RetinaNet: a sigmoid for each class, the best of each level of the feature pyramid."""

    exclusive = False

    def _beside(self, maps: Sequence[Tensor], made: Parts, anchors: Tensor) -> Parts:
        positions = [each.shape[2] * each.shape[3] for each in maps]
        each = anchors.shape[1] // sum(positions)
        levels = torch.tensor([each * n for n in positions], device=anchors.device).expand(len(anchors), -1)
        centredness = {"centredness": made["bbox_ctrness"]} if "bbox_ctrness" in made else {}
        return {"levels": levels, **centredness}

    def _candidates(self, one: Parts, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        from torchvision.ops import clip_boxes_to_image

        p = self._scores(one)
        best: list[Tensor] = []
        start = 0
        for count in one["levels"].tolist():
            best.append(self._best(p[start : start + count].flatten()) + start * p.shape[1])
            start += count
        entries = torch.cat(best)
        anchors, labels = entries // p.shape[1], entries % p.shape[1]
        boxes = self._decoded(one["regression"][anchors], one["anchors"][anchors])
        return p.flatten()[entries], anchors, labels, clip_boxes_to_image(boxes, size)

    def _scores(self, one: Parts) -> Tensor:
        return one["logits"].sigmoid()

    def _decoded(self, regression: Tensor, anchors: Tensor) -> Tensor:
        boxes: Tensor = self.detector.box_coder.decode_single(regression, anchors)
        return boxes


class FCOSFamily(RetinaNetFamily):
    """FCOS: as RetinaNet, and scores are geometric means with how central the anchor is."""

    def _scores(self, one: Parts) -> Tensor:
        return (one["logits"].sigmoid() * one["centredness"].sigmoid()).sqrt()

    def _decoded(self, regression: Tensor, anchors: Tensor) -> Tensor:
        boxes: Tensor = self.detector.box_coder.decode(regression, anchors)
        return boxes


class FasterRCNNFamily(Family):
    """Faster R-CNN and what is built on it: softmax over classes and background, at proposals of its own."""

    exclusive = True
    moves_anchors = True

    @property
    def most_boxes(self) -> int:
        """How many boxes of an image are kept at most."""
        return int(self.detector.roi_heads.detections_per_img)

    def _nms_threshold(self) -> float:
        return float(self.detector.roi_heads.nms_thresh)

    def proposals(self, images: Images) -> list[Tensor]:
        """Return where the detector looks, (P, 4) of each image, in the resized image."""
        resized, features = self._features(images)
        return list(self.detector.rpn(resized, features)[0])

    def _of_features(
        self, resized: "ImageList", features: dict[str, Tensor], proposals: Sequence[Tensor] | None
    ) -> Parts:
        heads = self.detector.roi_heads
        places = list(self.detector.rpn(resized, features)[0] if proposals is None else proposals)
        pooled = heads.box_roi_pool(features, places, resized.image_sizes)
        logits, regression = heads.box_predictor(heads.box_head(pooled))
        counts = [len(each) for each in places]
        parts = {"logits": logits.split(counts), "regression": regression.split(counts), "anchors": places}
        outputs = {name: nn.utils.rnn.pad_sequence(list(part), batch_first=True) for name, part in parts.items()}
        outputs["counts"] = torch.tensor(counts, device=logits.device)
        return outputs

    def _candidates(self, one: Parts, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        from torchvision.ops import clip_boxes_to_image, remove_small_boxes

        heads, count = self.detector.roi_heads, int(one["counts"])
        p = one["logits"][:count].softmax(-1)
        boxes = heads.box_coder.decode(one["regression"][:count], [one["anchors"][:count]])
        boxes = clip_boxes_to_image(boxes, size)[:, 1:].reshape(-1, 4)
        scores = p[:, 1:].flatten()
        entries = torch.where(scores > heads.score_thresh)[0]
        entries = entries[remove_small_boxes(boxes[entries], min_size=1e-2)]
        classes = p.shape[1] - 1
        return scores[entries], entries // classes, entries % classes + 1, boxes[entries]


def _families() -> dict[type[nn.Module], type[Family]]:
    """Return the family of each of torchvision's detectors; none if no detector was ever made."""
    if "torchvision.models.detection" not in sys.modules:
        return {}
    from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
    from torchvision.models.detection.ssd import SSD

    return {SSD: SSDFamily, RetinaNet: RetinaNetFamily, FCOS: FCOSFamily, FasterRCNN: FasterRCNNFamily}


def family_of(model: nn.Module, name: str | None = None) -> Family:
    """Return the family of the one detector of torchvision's that a model is, or has in it.

    Args:
        model: Any module.
        name: Of the module that the detector is, or is in, where there are several.

    Raises:
        TypeError: If there is none, or several.
    """
    families = _families()
    kinds = tuple(families)
    found = {
        place: family(module)
        for place, module in named_modules_of(model)  # asked for in every pass
        if isinstance(module, kinds)
        for kind, family in families.items()
        if isinstance(module, kind)
    }
    meant = [place for place in found if name is None or f".{name}." in f".{place}."]
    if len(meant) == 1:
        return found[meant[0]]
    look = "`DetectionTask` looks for one detector of torchvision's (SSD, RetinaNet, FCOS, Faster R-CNN) among the "
    look += f"modules of {type(model).__name__}"
    if not found:
        raise TypeError(
            f"{look}, and found none. Make it an attribute of the model that holds it, or override `kept_boxes(model, "
            "images)` of the task, which returns the `KeptBoxes` of each image."
        )
    places = ", ".join(f"`{place}` ({type(family.detector).__name__})" for place, family in found.items())
    called = "" if name is None else f" called {name!r}"
    raise TypeError(
        f"{look}, and found {len(meant) or 'none'}{called} of these: {cut(places, 300)}. Say which: "
        f'`task=DetectionTask(detector="{next(iter(found))}")`.'
    )


def outputs_together(family: Family, images: Any) -> list[tuple[list[int], Outputs]]:
    """Return outputs of images that give the same together as alone, and which they are of."""
    groups: dict[Any, list[int]] = {}
    for place, image in enumerate(images):
        groups.setdefault(None if family.mixes_sizes else image.shape, []).append(place)
    return [(places, family.outputs([images[place] for place in places])) for places in groups.values()]


def images_of(outputs: Outputs | list[Outputs]) -> list[tuple[Outputs, int]]:
    """Return each image of outputs, with the outputs that it is in and its place there."""
    several = outputs if isinstance(outputs, list) else [outputs]
    return [(each, n) for each in several for n in range(len(each))]
