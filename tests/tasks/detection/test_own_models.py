"""Models without a detector of torchvision's: one method gives the kept boxes, another their scores later."""

import pytest
import torch
from torch import nn

from lightning_al import DetectionTask
from lightning_al import functional as F_al
from lightning_al.functional.scores.uncertainty import entropies
from lightning_al.tasks.detection.kept import KeptBoxes


class Grid(nn.Module):
    """Three class scores in each cell of 8 x 8 pixels."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 3, 8, 8).double()

    def forward(self, image):
        return 8 * self.layer(image[None])[0].flatten(1).T  # (A, 3)


class GridTask(DetectionTask):
    """Cells that are not of class 0 are boxes."""

    def kept_boxes(self, model, images):
        kept = []
        for image in images:
            logits = model(image)
            scores, labels = logits.softmax(1).max(1)
            anchors = torch.where((labels > 0) & (scores > self.score_threshold))[0]
            parts = (logits[anchors], anchors, torch.zeros(len(anchors), 4), labels[anchors], scores[anchors])
            kept.append(KeptBoxes(*parts))
        return kept


class GradientTask(GridTask):
    def logits_at(self, model, images, anchors):
        return [model(image)[own] for image, own in zip(images, anchors, strict=True)]


def images():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(3, 16, 8 * n, generator=generator, dtype=torch.float64) for n in (3, 4)]


def test_kept_boxes_give_scores():
    model = Grid()
    with torch.no_grad():
        scores = GridTask().score(model, images(), entropies)
        for image, score in zip(images(), scores, strict=True):
            p = model(image).softmax(1)
            p = p[(p.max(1).values > 0.5) & (p.argmax(1) > 0)]
            assert len(p) > 1
            torch.testing.assert_close(score, -(p * p.log()).sum())


def test_scores_by_gradients_take_the_scores_at_the_same_anchors():
    model, task = Grid(), GradientTask()
    how = {"forward": task.logits, "target_fn": task.pseudo_targets, "loss_fn": task.loss}
    scores = F_al.saal(model, task.held(model, images()), rho=0.5, **how)
    for image, score in zip(images(), scores, strict=True):
        with torch.no_grad():
            (kept,) = task.kept_boxes(model, [image])

        def loss(weights, image=image, kept=kept):
            logits = torch.func.functional_call(model, weights, (image,))[kept.anchors]
            return nn.functional.cross_entropy(logits, kept.labels, reduction="sum")

        weights = dict(model.named_parameters())
        grads = torch.autograd.grad(loss(weights), list(weights.values()))
        norm = sum(g.square().sum() for g in grads).sqrt()
        moved = {name: w + 0.5 * g / norm for (name, w), g in zip(weights.items(), grads, strict=True)}
        torch.testing.assert_close(score, loss(moved).detach())
    norms = F_al.gradient_norm(model, task.held(model, images()), loss=task.entropy, forward=task.logits)
    assert bool((norms > 0).all())


def test_without_them_it_is_said_what_is_missing():
    model, task = Grid(), GridTask()
    with pytest.raises(NotImplementedError, match="scores by gradients need `logits_at"):
        task.logits(model, task.held(model, images()))
