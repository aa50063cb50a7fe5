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
from tests.helpers.boxes_by_hand import EXCLUSIVE, REDUCTIONS, Held, saal, values_of
from tests.helpers.detecting import Squares, in_lists
from tests.helpers.detectors import FAMILIES, detector, images
from tests.helpers.marks import slow

SIZES = ((64, 96), (96, 64), (64, 96), (50, 70))


def double(name):
    return detector(name).double(), [image.double() for image in images(*SIZES)]


SCORES = {"entropy": entropies, "least_confidence": least_confidences, "margin": margins}


@pytest.mark.few(3)
@pytest.mark.parametrize("name", FAMILIES)
def test_an_image_has_the_score_it_has_alone(name):
    model, samples = double(name)
    samples = samples[1:]
    task = DetectionTask(score_threshold=0.4)
    with torch.no_grad():
        kept = [task.kept_boxes(model, [image])[0] for image in samples]
        for image, own in zip(samples, kept, strict=True):
            scores = model([image])[0]["scores"]
            assert torch.equal(own.scores, scores[scores > 0.4])
        together = task.kept_boxes(model, samples)
    for score, function in SCORES.items():
        by_hand = [values_of(score, own, name in EXCLUSIVE) for own in kept]
        for reduce in REDUCTIONS:
            found = KeptBefore(together, reduce=reduce, score_threshold=0.4).score(model, samples, function)
            expected = [REDUCTIONS[reduce](values) for values in by_hand]
            torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=0)


class KeptBefore(DetectionTask):
    """Spares the passes in which the same boxes would be kept again."""

    def __init__(self, kept, **options):
        super().__init__(**options)
        self.known = kept

    def kept_boxes(self, model, images):
        return self.known


@pytest.mark.few(3)
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
        (expected,) = saal(model, [image], name=name, threshold=0.4, **by_hand)
        assert float(found) == pytest.approx(expected, rel=1e-7)
        assert abs(expected) > 1e-3


@pytest.mark.few(2)
@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize(("perturbation", "score"), [("sam", "max"), ("asam", "max"), ("sam", "difference")])
def test_images_of_different_sizes_share_a_perturbation(name, perturbation, score):
    model, samples = double(name)
    task = DetectionTask(score_threshold=0.4)
    how = {"forward": task.logits, "target_fn": task.pseudo_targets, "loss_fn": task.loss}
    how |= {"rho": 0.05, "perturbation": perturbation, "score": score}
    found = F_al.saal(model, task.held(model, samples[:3]), group_size=2, **how)
    by_hand = {"rho": 0.05, "reduce": "sum", "asam": perturbation == "asam", "difference": score == "difference"}
    for group in (slice(0, 2), slice(2, 3)):  # the last group is what is left
        expected = saal(model, samples[group], name=name, threshold=0.4, **by_hand)
        assert found[group].tolist() == pytest.approx(expected, rel=1e-7)
    (alone,) = saal(model, samples[:1], name=name, threshold=0.4, **by_hand)
    assert float(found[0]) != pytest.approx(alone, rel=1e-4)


@pytest.mark.few(3)
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


@pytest.mark.few(1)
@pytest.mark.parametrize("gradients", ["saal", "norms"])
def test_a_stack_has_the_scores_of_a_list(gradients):
    model, samples = detector("ssd").double(), [image.double() for image in images((64, 64), (64, 64))]
    task = DetectionTask(score_threshold=0.4)
    how = {"forward": task.logits, "target_fn": task.pseudo_targets, "loss_fn": task.loss}
    if gradients == "norms":
        how = {"forward": task.logits, "loss": task.entropy}
    score = F_al.saal if gradients == "saal" else F_al.gradient_norm
    torch.testing.assert_close(
        score(model, torch.stack(samples), **how), score(model, task.held(model, samples), **how)
    )


@pytest.mark.few(3)
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
    held = Held(model, image, name=name, threshold=0.4)
    with torch.no_grad():
        before = {key: value.clone() for key, value in model.state_dict().items()}
        found = []
        for state in states:
            model.load_state_dict(state)
            z = held.logits(model)
            found.append(
                z.log_softmax(1) if name in EXCLUSIVE else torch.stack((F.logsigmoid(-z), F.logsigmoid(z)), -1)
            )
        model.load_state_dict(before)
    return torch.stack(found)


@pytest.mark.few(3)
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


@pytest.mark.parametrize("stacked", [False, slow(True)])
def test_an_image_without_a_box_scores_0_by_itself(stacked):
    model, samples = detector("ssd"), images((64, 64), (64, 64))
    task = DetectionTask(score_threshold=0.9999999, empty="first")
    how = {"forward": task.logits, "target_fn": task.pseudo_targets, "loss_fn": task.loss}
    inputs = torch.stack(samples) if stacked else task.held(model, samples)
    assert F_al.saal(model, inputs, **how).tolist() == [0.0, 0.0]
    assert F_al.gradient_norm(model, inputs, loss=task.entropy, forward=task.logits).tolist() == [0.0, 0.0]
    with torch.no_grad():
        assert task.score(model, samples, entropies).tolist() == [0.0, 0.0]


@pytest.mark.few(2)
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
