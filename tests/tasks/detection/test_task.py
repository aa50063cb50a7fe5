"""Scores per image of a detector, against loops over one image and one box at a time in float64."""

from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_al import DetectionTask
from lightning_al import functional as F_al
from lightning_al.functional.scores.disagreement import mutual_informations
from lightning_al.functional.scores.uncertainty import entropies, least_confidences, margins
from lightning_al.inference.outputs import plain_outputs
from tests.helpers.detecting import Squares, in_lists
from tests.helpers.detectors import FAMILIES, detector, images

SIZES = ((64, 96), (96, 64), (64, 96), (50, 70))
REDUCTIONS = {"sum": sum, "mean": lambda v: sum(v) / len(v), "max": max, 0.25: lambda v: top_quarter(v)}
EXCLUSIVE = ("ssd", "ssdlite", "faster_rcnn")


def top_quarter(values):
    count = -(-len(values) // 4)
    return sum(sorted(values)[-count:]) / count


def double(name):
    return detector(name).double(), [image.double() for image in images(*SIZES)]


def value_of(score, logits, exclusive):
    """The value of one box, written out."""
    if exclusive:
        p = logits.softmax(0)
    else:
        return sum(value_of(score, torch.stack([0 * z, z]), True) for z in logits) / len(logits)
    if score == "entropy":
        return float(-(p * p.log()).sum())
    if score == "least_confidence":
        return float(1 - p.max())
    return float(p.sort().values[-2] - p.max())


SCORES = {"entropy": entropies, "least_confidence": least_confidences, "margin": margins}


@pytest.mark.parametrize("name", FAMILIES)
def test_an_image_has_the_score_it_has_alone(name):
    model, samples = double(name)
    task = DetectionTask(score_threshold=0.4)
    with torch.no_grad():
        kept = [task.kept_boxes(model, [image])[0] for image in samples]
        for image, own in zip(samples, kept, strict=True):
            scores = model([image])[0]["scores"]
            assert torch.equal(own.scores, scores[scores > 0.4])
        for (score, function), (reduce, by_hand) in product(SCORES.items(), REDUCTIONS.items()):
            found = DetectionTask(reduce=reduce, score_threshold=0.4).score(model, samples, function)
            for own, value in zip(kept, found, strict=True):
                values = [value_of(score, logits, name in EXCLUSIVE) for logits in own.logits]
                assert float(value) == pytest.approx(by_hand(values), rel=1e-9)


def test_images_without_a_box_have_a_place():
    model, samples = detector("ssd"), images((64, 64), (64, 64), (48, 64))
    with torch.no_grad():
        for function, low, high in ((entropies, 0.0, 1.3863), (margins, -1.0, 0.0)):
            for reduce, most in (("mean", 1), ("sum", 200)):
                none = {"score_threshold": 0.99999, "reduce": reduce}
                last = DetectionTask(**none, empty="last").score(model, samples, function)
                first = DetectionTask(**none, empty="first").score(model, samples, function)
                drawn = DetectionTask(**none, empty="random").score(model, samples, function)
                torch.testing.assert_close(last, torch.full((3,), low * most))
                torch.testing.assert_close(first, torch.full((3,), high * most), atol=1e-2, rtol=1e-4)
                assert len(drawn.unique()) == 3
                assert bool(((drawn >= low) & (drawn <= high)).all())
                alone = DetectionTask(**none, empty="random").score(model, samples[1:2], function)
                torch.testing.assert_close(alone, drawn[1:2])


def test_it_is_said_once_if_most_images_have_no_box(recwarn):
    model, samples = detector("ssd"), images(*[(32, 32)] * 8)
    task = DetectionTask(score_threshold=0.99999)
    with torch.no_grad():
        for _ in range(4):
            task.score(model, samples, entropies)
    said = [str(each.message) for each in recwarn if "score_threshold" in str(each.message)]
    assert len(said) == 1
    assert "of the first 16 images have no box" in said[0]


def plain_saal(model, image, *, name, rho, reduce, asam, difference, threshold):
    """SAAL of one image, written out with torch alone: kept classes at the weights, fixed anchors, one perturbation."""
    task = DetectionTask(score_threshold=threshold)
    with torch.no_grad():
        (kept,) = task.kept_boxes(model, [image])
        resized = model.transform([image])[0]
        proposals = model.rpn(resized, model.backbone(resized.tensors))[0] if name == "faster_rcnn" else None

    def loss():
        features = model.backbone(resized.tensors)
        if name == "faster_rcnn":
            pooled = model.roi_heads.box_roi_pool(features, proposals, resized.image_sizes)
            logits = model.roi_heads.box_predictor(model.roi_heads.box_head(pooled))[0]
        else:
            logits = model.head(list(features.values()))["cls_logits"][0]
        values = []
        for anchor, label in zip(kept.anchors, kept.labels, strict=True):
            z = logits[anchor]
            if name in EXCLUSIVE:
                values.append(-z.log_softmax(0)[label])
            else:
                values.append(F.binary_cross_entropy_with_logits(z, F.one_hot(label, len(z)).to(z)))
        return torch.stack(values).sum() if reduce == "sum" else torch.stack(values).mean()

    weights = list(model.parameters())
    plain = loss()
    grads = torch.autograd.grad(plain, weights, allow_unused=True)
    grads = [torch.zeros_like(w) if g is None else g for w, g in zip(weights, grads, strict=True)]
    scaled = [w.abs() * g if asam else g for w, g in zip(weights, grads, strict=True)]
    norm = sum(each.square().sum() for each in scaled).sqrt()
    before = [w.detach().clone() for w in weights]
    with torch.no_grad():
        for w, s in zip(weights, scaled, strict=True):
            w.add_(rho * (w.abs() * s if asam else s) / norm)
        moved = loss()
        for w, own in zip(weights, before, strict=True):
            w.copy_(own)
    return float(moved - plain if difference else moved)


@pytest.mark.few(5)
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(
    ("reduce", "perturbation", "score"), [("sum", "sam", "max"), ("mean", "asam", "max"), ("sum", "sam", "difference")]
)
def test_saal_is_that_of_one_image_at_a_time(name, reduce, perturbation, score):
    model, samples = double(name)
    samples = samples[1:]
    task = DetectionTask(reduce=reduce, score_threshold=0.4)
    scores = F_al.saal(
        model,
        task.held(model, samples),
        rho=0.05,
        perturbation=perturbation,
        score=score,
        forward=task.logits,
        target_fn=task.pseudo_targets,
        loss_fn=task.loss,
    )
    by_hand = {"rho": 0.05, "reduce": reduce, "asam": perturbation == "asam", "difference": score == "difference"}
    for image, found in zip(samples, scores, strict=True):
        expected = plain_saal(model, image, name=name, threshold=0.4, **by_hand)
        assert float(found) == pytest.approx(expected, rel=1e-7)
        assert abs(expected) > 1e-3


@pytest.mark.parametrize("name", FAMILIES)
def test_entropy_gradients_are_those_of_one_image_at_a_time(name):
    model, samples = double(name)
    samples = samples[2:]
    task = DetectionTask(score_threshold=0.4)
    norms = F_al.gradient_norm(model, task.held(model, samples), loss=task.entropy, forward=task.logits)
    for image, found in zip(samples, norms, strict=True):
        (outputs,) = task.logits(model, [image])
        with torch.no_grad():
            (kept,) = task.kept_boxes(model, [image])
        z = outputs.logits[0, kept.anchors]
        if name in EXCLUSIVE:
            p = z.softmax(1)
            total = -(p * p.log()).sum()
        else:
            p = z.sigmoid()
            total = -(p * p.log() + (1 - p) * (1 - p).log()).mean(1).sum()
        grads = torch.autograd.grad(total, list(model.parameters()), allow_unused=True)
        expected = sum(g.square().sum() for g in grads if g is not None).sqrt()
        torch.testing.assert_close(found, expected)


def test_a_stack_has_the_scores_of_a_list():
    model, samples = detector("ssd").double(), [image.double() for image in images((64, 64), (64, 64), (64, 64))]
    task = DetectionTask(score_threshold=0.4)
    how = {"forward": task.logits, "target_fn": task.pseudo_targets, "loss_fn": task.loss}
    torch.testing.assert_close(
        F_al.saal(model, torch.stack(samples), **how), F_al.saal(model, task.held(model, samples), **how)
    )
    how = {"loss": task.entropy, "forward": task.logits}
    stacked = F_al.gradient_norm(model, torch.stack(samples), **how)
    torch.testing.assert_close(stacked, F_al.gradient_norm(model, task.held(model, samples), **how))


def test_images_that_share_a_perturbation_may_be_of_different_sizes():
    model, samples = double("retinanet")
    task = DetectionTask(score_threshold=0.4)
    how = {"forward": task.logits, "target_fn": task.pseudo_targets, "loss_fn": task.loss}
    samples = task.held(model, samples)
    shared = F_al.saal(model, samples, group_size=2, **how)
    assert len(shared) == 4
    assert not torch.allclose(shared, F_al.saal(model, samples, **how))


@pytest.mark.parametrize("name", FAMILIES)
def test_features_and_residuals_are_those_of_an_image_alone(name):
    model, samples = double(name)
    task = DetectionTask(score_threshold=0.4)
    outputs, features = plain_outputs(model, samples, task.outputs_and_features)
    residuals = task.residuals(outputs)
    for n, image in enumerate(samples):
        with torch.no_grad():
            maps = model.backbone(model.transform([image])[0].tensors)
            (kept,) = task.kept_boxes(model, [image])
        torch.testing.assert_close(features[n], torch.cat([each.mean((2, 3))[0] for each in maps.values()]))
        p = kept.logits.softmax(1) if name in EXCLUSIVE else kept.logits.sigmoid()
        torch.testing.assert_close(residuals[n], (p - nn.functional.one_hot(kept.labels, 4)).mean(0))
    _, of_layer = plain_outputs(model, samples, lambda m, x: task.outputs_and_features(m, x, "backbone.coarse"))
    assert of_layer.shape == (4, 32)


def passes_by_hand(model, image, name, states):
    """Log-probabilities of the boxes that the model keeps, in other weights, (T, n, C) or (T, n, K, 2)."""
    task = DetectionTask(score_threshold=0.4)
    with torch.no_grad():
        (kept,) = task.kept_boxes(model, [image])
        resized = model.transform([image])[0]
        proposals = model.rpn(resized, model.backbone(resized.tensors))[0] if name == "faster_rcnn" else None
        before = {key: value.clone() for key, value in model.state_dict().items()}
        found = []
        for state in states:
            model.load_state_dict(state)
            features = model.backbone(resized.tensors)
            if proposals is None:
                z = model.head(list(features.values()))["cls_logits"][0][kept.anchors]
            else:
                pooled = model.roi_heads.box_roi_pool(features, proposals, resized.image_sizes)
                z = model.roi_heads.box_predictor(model.roi_heads.box_head(pooled))[0][kept.anchors]
            found.append(
                z.log_softmax(1) if name in EXCLUSIVE else torch.stack((F.logsigmoid(-z), F.logsigmoid(z)), -1)
            )
        model.load_state_dict(before)
    return torch.stack(found)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_committee_looks_at_the_same_boxes(name):
    model, samples = double(name)
    samples = samples[2:]
    generator = torch.Generator().manual_seed(5)
    states = [
        {
            key: value + 0.005 * torch.randn(value.shape, generator=generator) if value.is_floating_point() else value
            for key, value in model.state_dict().items()
            if "running_var" not in key
        }
        for _ in range(3)
    ]
    states = [{**model.state_dict(), **state} for state in states]
    task = DetectionTask(score_threshold=0.4)

    def values(forward, inputs):
        logits = torch.stack([plain_outputs(model, inputs, forward, state) for state in states], 1)  # (1, T, C, n, ...)
        return task.reduce(mutual_informations(logits.log_softmax(2)))

    scores = task.score_of_several(model, samples, values)
    for image, score in zip(samples, scores, strict=True):
        log_p = passes_by_hand(model, image, name, states)
        p = log_p.exp().mean(0)
        information = torch.special.entr(p).sum(-1) + (log_p.exp() * log_p).sum(-1).mean(0)
        expected = (information if name in EXCLUSIVE else information.mean(1)).sum()
        torch.testing.assert_close(score, expected)
        assert float(expected) > 1e-4


def test_expected_gradient_norms_are_over_labellings_of_the_kept_boxes():
    model, samples = double("ssd")
    image = samples[2]
    with torch.no_grad():
        top = float(model([image])[0]["scores"][1:3].mean())  # so that two boxes are kept, or one
    task = DetectionTask(score_threshold=top)

    def values(forward, inputs):
        return F_al.gradient_norm(model, inputs, loss="expected_norm", reduce=task.reduce, forward=forward)

    (found,) = task.score_of_several(model, [image], values)
    (outputs,) = task.logits(model, [image])
    (kept,) = task.kept_boxes(model, [image])
    log_p = outputs.logits[0, kept.anchors].log_softmax(1)
    expected = 0.0
    for labels in product(range(4), repeat=len(kept)):
        total = sum(log_p[n, c] for n, c in enumerate(labels))
        grads = torch.autograd.grad(-total, list(model.parameters()), retain_graph=True, allow_unused=True)
        expected += float(total.exp() * sum(g.square().sum() for g in grads if g is not None).sqrt())
    assert float(found) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize(("empty", "expected"), [("last", 0.0), ("first", 200 * 1.3862944)])
def test_images_without_a_box_have_a_place_under_saal(empty, expected):
    model, samples = detector("ssd"), images((64, 64), (64, 64))
    task = DetectionTask(score_threshold=0.9999999, empty=empty)
    how = {"forward": task.logits, "target_fn": task.pseudo_targets, "loss_fn": task.loss}
    for inputs in (task.held(model, samples), torch.stack(samples)):
        torch.testing.assert_close(F_al.saal(model, inputs, **how), torch.full((2,), expected))
        assert F_al.gradient_norm(model, inputs, loss=task.entropy, forward=task.logits).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", FAMILIES)
def test_after_some_steps_of_training_boxes_are_the_detectors_own(name):
    model = detector(name).train()
    data = Squares(4, ((64, 64), (48, 80)))
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    for _ in range(3):
        losses = model(*in_lists([data[i] for i in range(4)]))
        optimizer.zero_grad()
        sum(losses.values()).clamp(max=1e3).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        for image in [data[i][0] for i in range(4)]:
            (own,), (kept,) = model([image]), DetectionTask(score_threshold=0).kept_boxes(model, [image])
            assert all(torch.equal(getattr(kept, part), own[part]) for part in ("boxes", "scores", "labels"))
