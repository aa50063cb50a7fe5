"""Scores of images by their boxes, written out with torch alone: one image, one box, one perturbation at a time."""

import torch
from torch.nn import functional as F

from lightning_al import DetectionTask

EXCLUSIVE = ("ssd", "ssdlite", "faster_rcnn")
"""Families in which a box has one class of several; in the others each class is a yes or no."""


def top_quarter(values):
    count = -(-len(values) // 4)
    return sum(sorted(values)[-count:]) / count


REDUCTIONS = {"sum": sum, "mean": lambda values: sum(values) / len(values), "max": max, 0.25: top_quarter}


def value_of(score, logits, exclusive):
    """The value of one box."""
    if not exclusive:
        return sum(value_of(score, torch.stack([0 * z, z]), True) for z in logits) / len(logits)
    p = logits.softmax(0)
    if score == "entropy":
        return float(-(p * p.log()).sum())
    if score == "least_confidence":
        return float(1 - p.max())
    return float(p.sort().values[-2] - p.max())


def values_of(score, kept, exclusive):
    """Those of an image's boxes."""
    return [value_of(score, logits, exclusive) for logits in kept.logits]


class Held:
    """An image's boxes above a threshold, at the weights as they are, and their losses at other weights."""

    def __init__(self, model, image, *, name, threshold):
        self.name = name
        with torch.no_grad():
            (self.kept,) = DetectionTask(score_threshold=threshold).kept_boxes(model, [image])
            self.resized = model.transform([image])[0]
            features = model.backbone(self.resized.tensors)
            self.proposals = model.rpn(self.resized, features)[0] if name == "faster_rcnn" else None

    def logits(self, model):
        """The class scores at the same anchors, (n, C)."""
        features = model.backbone(self.resized.tensors)
        if self.proposals is None:
            return model.head(list(features.values()))["cls_logits"][0][self.kept.anchors]
        heads = model.roi_heads
        pooled = heads.box_roi_pool(features, self.proposals, self.resized.image_sizes)
        return heads.box_predictor(heads.box_head(pooled))[0][self.kept.anchors]

    def loss(self, model, reduce):
        """That of the image, under the classes that its boxes were kept as."""
        values = []
        for z, label in zip(self.logits(model), self.kept.labels, strict=True):
            if self.name in EXCLUSIVE:
                values.append(-z.log_softmax(0)[label])
            else:
                values.append(F.binary_cross_entropy_with_logits(z, F.one_hot(label, len(z)).to(z)))
        return REDUCTIONS[reduce](values)


def saal(model, images, *, name, rho, reduce, threshold, asam=False, difference=False):
    """SAAL of images that share one perturbation, that of their mean loss; of each its own loss under it."""
    held = [Held(model, image, name=name, threshold=threshold) for image in images]
    weights = list(model.parameters())
    plain = [each.loss(model, reduce) for each in held]
    grads = torch.autograd.grad(sum(plain) / len(plain), weights, allow_unused=True)
    grads = [torch.zeros_like(w) if g is None else g for w, g in zip(weights, grads, strict=True)]
    scaled = [w.abs() * g if asam else g for w, g in zip(weights, grads, strict=True)]
    norm = sum(each.square().sum() for each in scaled).sqrt()
    before = [w.detach().clone() for w in weights]
    with torch.no_grad():
        for w, s in zip(weights, scaled, strict=True):
            w.add_(rho * (w.abs() * s if asam else s) / norm)
        moved = [each.loss(model, reduce) for each in held]
        for w, own in zip(weights, before, strict=True):
            w.copy_(own)
    return [float(m - p if difference else m) for m, p in zip(moved, plain, strict=True)]
