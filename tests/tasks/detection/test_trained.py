"""Scores of detectors that were trained until the boxes they keep are real, against plain loops in float64."""

import functools

import pytest
import torch
from torch import nn

from lightning_al import DetectionTask
from lightning_al import functional as F_al
from tests.helpers.boxes_by_hand import saal
from tests.helpers.detecting import Squares, in_lists
from tests.helpers.detectors import FAMILIES
from tests.helpers.marks import slow

SIZES = ((64, 64), (48, 80), (80, 64))
STEPS = 400
TRAINED = [slow(name) for name in FAMILIES]


@functools.cache
def trained(name):
    """A detector in eval() and float64 that finds the squares."""
    torch.manual_seed(0)
    model, data = FAMILIES[name]().train(), Squares(64, SIZES, seed=3)
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3)
    for _ in range(STEPS):
        losses = model(*in_lists([data[index] for index in torch.randperm(64)[:8].tolist()]))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    return model.eval().double()


def unseen():
    return [image.double() for image, _ in Squares(12, SIZES, seed=9).samples]


@pytest.mark.parametrize("name", TRAINED)
def test_kept_boxes_are_torchvisions_own_whatever_goes_with_an_image(name):
    model, images = trained(name), unseen()
    with torch.no_grad():
        for threshold in (0.0, 0.3):
            kept = DetectionTask(score_threshold=threshold).kept_boxes(model, images)
            for image, own in zip(images, kept, strict=True):
                (alone,) = model([image])
                counts = alone["scores"] > threshold
                assert all(torch.equal(getattr(own, part), alone[part][counts]) for part in alone)
    counts = [len(each) for each in kept]
    assert sum(count > 0 for count in counts) >= 4
    assert min(counts) == 0  # in the first image there is nothing
    assert len({count for count in counts if count}) > 1


@pytest.mark.parametrize("name", TRAINED)
def test_saal_is_that_of_one_image_at_a_time(name):
    model, images = trained(name), unseen()
    for options in (
        {"reduce": "sum"},
        {"reduce": "mean", "asam": True},
        {"reduce": 0.25, "difference": True},
        {"reduce": "sum", "asam": True, "difference": True, "group_size": 2},
    ):
        task = DetectionTask(score_threshold=0.3, reduce=options["reduce"])
        with torch.no_grad():
            kept = task.kept_boxes(model, images)
        some = [image for image, own in zip(images, kept, strict=True) if len(own)][:4]
        group = options.get("group_size", 1)
        found = F_al.saal(
            model,
            task.held(model, some),
            perturbation="asam" if options.get("asam") else "sam",
            score="difference" if options.get("difference") else "max",
            group_size=group,
            forward=task.logits,
            target_fn=task.pseudo_targets,
            loss_fn=task.loss,
        )
        by_hand = {key: value for key, value in options.items() if key != "group_size"}
        groups = [some[start : start + group] for start in range(0, len(some), group)]
        expected = [
            score for own in groups for score in saal(model, own, name=name, rho=0.05, threshold=0.3, **by_hand)
        ]
        assert found.tolist() == pytest.approx(expected, rel=1e-7, abs=1e-9)
        assert max(map(abs, expected)) > 1e-3
