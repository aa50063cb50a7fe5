"""The loss of each image in a batch of a detector, beside the detector's own loss of that image alone."""

import copy

import pytest
import torch
from torch import nn

from lightning_al.training import LossPredictionMixin
from lightning_al.training.loss_prediction.features import predict_losses
from lightning_al.training.losses.image_losses import ImageLosses
from tests.helpers.detecting import Detecting, Squares, in_lists
from tests.helpers.detectors import FAMILIES, detector


def trained_as_it_is(name):
    """A detector in float64 that gives losses, with BatchNorm's statistics as they are, and nothing drawn."""
    model = detector(name).double()
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    if name == "faster_rcnn":  # all anchors and proposals are drawn
        model.rpn.fg_bg_sampler.batch_size_per_image = model.roi_heads.fg_bg_sampler.batch_size_per_image = 100_000
    return model


def batch_of(*indices):
    images, targets = in_lists([Squares()[index] for index in indices])
    return [image.double() for image in images], [{**t, "boxes": t["boxes"].double()} for t in targets]


def alone(model, batch, index, weights):
    images, targets = copy.deepcopy(batch)
    losses = model([images[index]], [targets[index]])
    return float(sum(weights.get(name, 1.0) * value.detach() for name, value in losses.items()))


@pytest.mark.parametrize("name", FAMILIES)
def test_losses_are_those_of_each_image_alone(name):
    model, batch = trained_as_it_is(name), batch_of(0, 1, 2, 3)  # the first image has no box
    before = dict(vars(model)), [len(module._forward_hooks) for module in model.modules()]
    weights = {"bbox_regression": 3.0, "loss_rpn_box_reg": 3.0}
    with ImageLosses(nn.Sequential(model)) as watched:
        losses = model(*copy.deepcopy(batch))
    loss = sum(weights.get(entry, 1.0) * value for entry, value in losses.items())
    each = watched.of(loss)
    expected = torch.tensor([alone(model, batch, index, weights) for index in range(4)], dtype=torch.float64)
    assert expected[1:].min() > 0.01
    assert len(expected.unique()) == 4
    torch.testing.assert_close(each, expected, rtol=1e-9, atol=1e-12)
    assert not each.requires_grad
    assert (dict(vars(model)), [len(module._forward_hooks) for module in model.modules()]) == before
    loss.backward()  # the graph of the batch's loss is left

    mean = {"retinanet": each.mean()}.get(name)
    if mean is not None:
        torch.testing.assert_close(mean, loss.detach())
    if name.startswith("ssd"):
        assert float(each[0]) == 0.0


def test_of_faster_rcnn_they_are_of_what_was_drawn():
    """Where each image has as many anchors and proposals drawn, their mean is the loss of the batch."""
    model = trained_as_it_is("faster_rcnn")
    model.rpn.fg_bg_sampler.batch_size_per_image = 16
    model.roi_heads.fg_bg_sampler.batch_size_per_image = 8
    torch.manual_seed(0)
    with ImageLosses(model) as watched:
        losses = model(*batch_of(1, 2, 3))
    loss = sum(losses.values())
    torch.testing.assert_close(watched.of(loss).mean(), loss.detach())
    torch.manual_seed(0)  # and nothing more was drawn
    assert torch.equal(sum(model(*batch_of(1, 2, 3)).values()), loss)


def test_what_does_not_count_in_the_loss_is_left_out():
    model = trained_as_it_is("ssd")
    with ImageLosses(model) as watched:
        losses = model(*batch_of(1, 2))
    assert watched.of(model.head.classification_head.module_list[0].weight.sum()) is None
    own = watched.of(losses["classification"])
    assert (own < watched.of(losses["classification"] + losses["bbox_regression"])).all()
    with ImageLosses(nn.Linear(2, 1)) as watched:
        pass
    assert watched.of(losses["classification"]) is None


def test_an_image_is_predicted_as_it_would_be_alone():
    """Images of two sizes, of which RetinaNet would pad the smaller."""

    class Predicting(LossPredictionMixin, Detecting):
        loss_width = 8

    model = Predicting("retinanet")
    images = [image for image, _ in (Squares(2, ((64, 64), (48, 96)))[index] for index in range(2))]
    together = model.predict_losses(images)
    assert together.shape == (2,)
    each = [predict_losses(model, model.loss_prediction, [image], None) for image in images]
    torch.testing.assert_close(together, torch.cat(each))
    assert float(together[0]) != float(together[1])
