"""What is refused of images, boxes and detectors before anything trains, and what is not."""

import pytest
import torch
from lightning.pytorch import LightningModule

from lightning_al import ClassificationTask, DetectionTask
from lightning_al.tasks.detection.checking import check_images
from tests.helpers.detectors import detector, images

TARGET = {"boxes": torch.tensor([[4.0, 4.0, 20.0, 30.0]]), "labels": torch.tensor([1])}


@pytest.mark.parametrize(
    ("shape", "way"),
    [
        ((64, 48, 3), r"They look like \(H, W, C\): `image.permute"),
        ((4, 64, 48), "ImageReadMode.RGB"),
    ],
)
def test_images_of_another_number_of_channels(shape, way):
    with pytest.raises(ValueError, match=f"SSD takes images .* of 3 channels, got .*{way}"):
        DetectionTask().check(detector("ssd"), ([torch.rand(shape)], [TARGET]))


def test_a_single_channel_is_spread_over_three():
    DetectionTask().check(detector("ssd"), ([torch.rand(1, 64, 64)], [TARGET]))


@pytest.mark.parametrize("boxes", [[[0.1, 0.2, 0.5, 0.9]], [[0.0, 0.0, 0.5, 1.0], [0.3, 0.3, 0.2, 0.2]]])
def test_shares_of_the_image_are_no_pixels(boxes):
    label = {"boxes": boxes, "labels": [1] * len(boxes)}
    with pytest.raises(ValueError, match=r"Boxes look like shares of an image from 0 to 1, .*Multiply them"):
        DetectionTask().encode_label(label)
    for right in ([[0, 0, 1, 1]], [[0.1, 0.2, 0.5, 1.5]], [[0.1, 0.2, 0.5, 0.9], [2, 2, 3, 3]]):
        DetectionTask().encode_label({"boxes": right, "labels": [1] * len(right)})


@pytest.mark.parametrize("target", [None, -1, "a.jpg", b"a"])
def test_what_stands_where_boxes_would_and_is_none_is_passed_over(target):
    DetectionTask().check(detector("ssd"), (images((64, 64)), [target]))


def test_a_list_of_images_is_a_batch_without_targets():
    task, samples = DetectionTask(), images((64, 64), (48, 80))
    assert task.inputs(samples) is samples
    with pytest.raises(TypeError, match="without boxes"):
        task.targets(samples)
    task.check(detector("ssd"), samples)
    assert task.inputs((samples, [TARGET, TARGET])) is samples
    assert task.inputs((samples[0],)) is samples[0]  # a sample
    with pytest.raises(TypeError, match="or `collate_fn=list` where a sample is an image alone"):
        check_images([torch.rand(64, 64)])


def test_a_module_needs_no_forward_beside_its_detector():
    class Project(LightningModule):
        def __init__(self):
            super().__init__()
            self.detector = detector("fcos")

    task = DetectionTask()
    task.check(Project(), (images((64, 64)), [TARGET]))
    assert task.num_classes == 4


def test_another_task_names_this_one():
    with pytest.raises(TypeError, match=r"got .* \(dict\)\. Of boxes: `task=DetectionTask\(\)`"):
        ClassificationTask().encode_label(TARGET)
