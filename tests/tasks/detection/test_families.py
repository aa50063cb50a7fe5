"""The boxes that are kept are torchvision's own, with all their class scores and where they come from."""

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from lightning_al import DetectionTask
from lightning_al.functional.scores.uncertainty import entropies
from lightning_al.tasks.detection.families import family_of
from tests.helpers.detectors import FAMILIES, detector, images

SIZES = ((64, 96), (96, 64), (50, 70))


@pytest.mark.parametrize("name", FAMILIES)
def test_kept_boxes_are_torchvisions_own_detections(name):
    model, samples = detector(name), images(*SIZES)
    family = family_of(model)
    with torch.no_grad():
        for image in samples:
            (own,) = model([image])
            kept = family.kept(family.outputs([image]), 0)
            assert len(own["boxes"]) > 3
            assert len(own["labels"].unique()) > 1
            assert torch.equal(kept.boxes, own["boxes"])
            assert torch.equal(kept.labels, own["labels"])
            assert torch.equal(kept.scores, own["scores"])


@pytest.mark.parametrize("name", FAMILIES)
def test_images_of_one_size_go_together(name):
    model, samples = detector(name), images((64, 96), (64, 96))
    family = family_of(model)
    with torch.no_grad():
        together = family.outputs(torch.stack(samples))
        for index, own in enumerate(model(samples)):
            kept = family.kept(together, index)
            assert torch.equal(kept.boxes, own["boxes"])
            assert torch.equal(kept.scores, own["scores"])


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_are_those_that_the_score_was_made_of(name):
    model, (image,) = detector(name), images((64, 96))
    family = family_of(model)
    with torch.no_grad():
        outputs = family.outputs([image])
        kept = family.kept(outputs, 0)
    assert torch.equal(outputs.logits[0, kept.anchors], kept.logits)
    p = kept.logits.softmax(1) if family.exclusive else kept.logits.sigmoid()
    p = p.gather(1, kept.labels.unsqueeze(1)).squeeze(1)
    if name == "fcos":
        p = (p * outputs.parts["centredness"][0, kept.anchors, 0].sigmoid()).sqrt()
    torch.testing.assert_close(p, kept.scores)


def test_proposals_of_another_pass_are_looked_at():
    model, samples = detector("faster_rcnn"), images((64, 96))
    family = family_of(model)
    with torch.no_grad():
        proposals = family.proposals(samples)
        own = family.outputs(samples)
        some = family.outputs(samples, [proposals[0][3:7]])
    torch.testing.assert_close(own.logits[:, 3:7], some.logits)


def test_a_detector_is_found_in_a_module():
    class Project(LightningModule):
        def __init__(self):
            super().__init__()
            self.inner = nn.ModuleDict({"net": detector("fcos")})

    project = Project()
    assert family_of(project).detector is project.inner["net"]


def test_a_hidden_detector_is_refused():
    with pytest.raises(TypeError, match="among the modules of Linear, and found none"):
        family_of(nn.Linear(2, 2))


def test_of_several_detectors_one_is_named():
    model = nn.ModuleDict({"student": nn.ModuleDict({"net": detector("ssd")}), "teacher": detector("fcos")})
    with pytest.raises(TypeError, match=r"found 2 of these: `student.net` \(SSD\), `teacher` \(FCOS\).*student.net"):
        family_of(model)
    with pytest.raises(TypeError, match=r"found none called 'net.student' of these"):
        family_of(model, "net.student")
    for name, meant in (("student", "student.net"), ("net", "student.net"), ("teacher", "teacher")):
        assert family_of(model, name).detector is model.get_submodule(meant)
    samples = images((64, 64))
    with torch.no_grad():
        of_model = DetectionTask(detector="teacher").score(model, samples, entropies)
        alone = DetectionTask().score(model["teacher"], samples, entropies)
    assert of_model.item() == alone.item() > 0


def test_features_are_the_maps_means():
    model, samples = detector("ssd"), images((64, 64), (64, 64))
    with torch.no_grad():
        pooled = family_of(model).outputs(samples).parts["features"]
        maps = model.backbone(model.transform(samples)[0].tensors)
    torch.testing.assert_close(pooled, torch.cat([maps["0"].mean((2, 3)), maps["1"].mean((2, 3))], 1))
