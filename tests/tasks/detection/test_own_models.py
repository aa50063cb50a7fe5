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
            anchors = torch.where(labels > 0)[0]
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


def test_boxes_below_the_threshold_are_left_out():
    model, task = Grid(), GridTask(score_threshold=0.7)
    with torch.no_grad():
        scores = task.score(model, images(), entropies)
        for image, score in zip(images(), scores, strict=True):
            p = model(image).softmax(1)
            p = p[(p.max(1).values > 0.7) & (p.argmax(1) > 0)]
            assert 0 < len(p) < len(task.kept_boxes(model, [image])[0])
            torch.testing.assert_close(score, -(p * p.log()).sum())


def test_a_threshold_that_keeps_nothing_is_refused_with_the_best_score():
    model, task = Grid(), GridTask(score_threshold=0.999999)
    with torch.no_grad():
        best = max(float(each.scores.max()) for each in task.kept_boxes(model, images()))
        scores = task.score(model, images() * 8, entropies)
    with pytest.raises(ValueError, match=rf"None of 16 candidates .*\(the best seen: {best:.3g}\)"):
        task.placed(scores, scores == 0, torch.zeros(16))


def kept(**parts):
    right = {"logits": torch.zeros(2, 3), "anchors": torch.arange(2), "boxes": torch.zeros(2, 4)}
    return KeptBoxes(**(right | {"labels": torch.tensor([0, 2]), "scores": torch.ones(2)} | parts))


@pytest.mark.parametrize(
    ("returned", "what"),
    [
        (None, "must return a list of one `KeptBoxes`.*got None"),
        (kept(), "must return a list of one `KeptBoxes`"),
        ([{"boxes": torch.zeros(1, 4)}], "must return a list of one `KeptBoxes`"),
        ([], "returned 0 `KeptBoxes` for 1 images"),
        ([kept(), kept()], "returned 2 `KeptBoxes` for 1 images"),
        ([kept(logits=torch.zeros(2))], r"`logits` must be \(n, C\) of n = 2 boxes, got \(2,\)"),
        ([kept(logits=[[0.1]])], "`logits` must be a tensor of floating numbers"),
        ([kept(boxes=torch.zeros(2, 5))], r"`boxes` must be \(n, 4\) of n = 2 boxes, got \(2, 5\)"),
        ([kept(anchors=torch.zeros(2))], "`anchors` must be a tensor of integers, got torch.float32"),
        ([kept(anchors=torch.arange(3))], r"`anchors` must be \(n\) of n = 2 boxes, got \(3,\)"),
        ([kept(labels=torch.tensor([0.0, 2.0]))], "`labels` must be a tensor of integers"),
        ([kept(labels=torch.tensor([1, 3]))], r"`labels` are columns of `logits`, 0 to 2, got \[3\]"),
        ([kept(labels=torch.tensor([-1, 1]))], r"`labels` are columns of `logits`, 0 to 2, got \[-1\]"),
        ([kept(scores=torch.ones(2, 1))], r"`scores` must be \(n\) of n = 2 boxes, got \(2, 1\)"),
        ([kept(logits=torch.zeros(2, 5))], "`logits` have 5 classes, and `num_classes=3` of the task says 3"),
    ],
)
def test_what_is_no_kept_box_is_refused_before_anything_trains(returned, what):
    class Wrong(DetectionTask):
        def kept_boxes(self, model, images):
            return returned

    with pytest.raises((TypeError, ValueError), match=rf"`kept_boxes\(model, images\)` of Wrong.*{what}"):
        Wrong(num_classes=3).check(Grid(), (images(), [None, None]))


def test_a_method_that_fails_is_named():
    class Failing(DetectionTask):
        def kept_boxes(self, model, images):
            return model.nets(images)

    with pytest.raises(
        ValueError, match=r"`kept_boxes.*of Failing failed on an image \(3, 16, 24\): AttributeError.*nets"
    ):
        Failing().check(Grid(), (images(), [None, None]))


def test_features_are_those_of_the_layer_that_is_named():
    model, task = Grid(), GridTask()
    with torch.no_grad():
        outputs, features = task.outputs_and_features(model, images(), "layer")
        expected = torch.stack([model.layer(image[None])[0].mean((1, 2)) for image in images()])
        boxes = [task.kept_boxes(model, [image])[0].above(0.5) for image in images()]
        residuals = [(own.logits.softmax(1) - nn.functional.one_hot(own.labels, 3)).mean(0) for own in boxes]
    torch.testing.assert_close(features, expected)
    torch.testing.assert_close(task.residuals(outputs), torch.stack(residuals))
    with pytest.raises(ValueError, match='Name a layer: `features="backbone"`'):
        task.outputs_and_features(model, images())
