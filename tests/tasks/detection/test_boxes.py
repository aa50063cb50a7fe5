"""Boxes as labels: kept as JSON, told in several forms, refused where they are none."""

import json

import numpy as np
import pytest
import torch
from torchvision import tv_tensors

from lightning_al import DetectionTask
from lightning_al.tasks.annotations import Boxes
from tests.helpers.detecting import Detecting, Squares, in_lists

LABEL = {"boxes": [[1.0, 2.0, 5.5, 8.0]], "labels": [2]}


@pytest.mark.parametrize(
    "told",
    [
        LABEL,
        {"boxes": torch.tensor(LABEL["boxes"]), "labels": torch.tensor([2])},
        {"boxes": np.array(LABEL["boxes"]), "labels": np.array([2])},
        {"boxes": torch.tensor(LABEL["boxes"]), "labels": torch.tensor([2]), "image_id": 7},
        Boxes(LABEL["boxes"], ["2"]),
    ],
)
def test_labels_are_json(told):
    task = DetectionTask()
    value = task.encode_label(told)
    assert value == LABEL
    assert json.loads(json.dumps(value)) == value
    decoded = task.decode_label(value)
    assert decoded["boxes"].dtype == torch.float32
    assert decoded["labels"].dtype == torch.int64
    assert decoded["boxes"].tolist() == LABEL["boxes"]
    assert task.encode_label(decoded) == LABEL


def test_an_image_may_have_no_box():
    task = DetectionTask()
    value = task.encode_label({"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)})
    assert value == {"boxes": [], "labels": []}
    assert task.decode_label(value)["boxes"].shape == (0, 4)
    assert task.encode_label({"boxes": [], "labels": []}) == value


def test_labels_are_said_by_names():
    task, classes = DetectionTask(), ["background", "red", "green"]
    said = task.to_annotation(LABEL, classes)
    assert said.labels == ("green",)
    assert task.from_annotation(said, classes) == LABEL


def test_a_label_is_put_into_a_sample():
    task = DetectionTask()
    label = task.decode_label(LABEL)
    image = torch.zeros(3, 9, 9)
    boxes = tv_tensors.BoundingBoxes(torch.zeros(2, 4), format="XYXY", canvas_size=(9, 9))
    _, target = task.with_label((image, {"boxes": boxes, "labels": torch.tensor([1, 1])}), label)
    assert isinstance(target["boxes"], tv_tensors.BoundingBoxes)
    assert target["boxes"].canvas_size == (9, 9)
    assert target["boxes"].tolist() == LABEL["boxes"]
    assert target["labels"].tolist() == [2]
    _, target = task.with_label((image, None), label)
    assert target["boxes"].tolist() == LABEL["boxes"]


@pytest.mark.parametrize(
    ("label", "error", "message"),
    [
        ([1, 2, 3, 4], TypeError, "Boxes are told as"),
        ({"boxes": [[1, 2, 3]], "labels": [1]}, ValueError, r"got \(1, 3\) and \(1,\)"),
        ({"boxes": [[1, 2, 3, 4]], "labels": [1, 2]}, ValueError, r"got \(1, 4\) and \(2,\)"),
        ({"boxes": [[1, 2, 3, 4]], "labels": ["cat"]}, TypeError, "must be numbers"),
        ({"boxes": [[1, 2, 3, 4]], "labels": [1.5]}, TypeError, "class numbers, integers"),
        ({"boxes": [[1, 2, 3, 4], [1, 2, 3, 4]], "labels": [1, -1]}, ValueError, r"numbered from 0, got \[-1\]"),
        ({"boxes": [[1, 2, 1, 4]], "labels": [1]}, ValueError, "a width and a height, got"),
        ({"boxes": [[float("nan"), 2, 3, 4]], "labels": [1]}, ValueError, "no finite number"),
    ],
)
def test_a_label_that_is_none_is_refused(label, error, message):
    with pytest.raises(error, match=message):
        DetectionTask().encode_label(label)


# -- before anything trains --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    return Detecting("ssd").eval()


def batch(*targets):
    images, own = in_lists([Squares()[3], Squares()[2]])
    return images, [*targets, *own[len(targets) :]]


def one(*boxes, label=1):
    return {"boxes": torch.tensor(boxes).float(), "labels": torch.full((len(boxes),), label)}


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (one((10, 10, 80, 40)), r"Image 0 of a batch: A box reaches out of its image of 64 x 64 pixels"),
        (one((-5, 10, 20, 40)), "reaches out of its image"),
        (one((10, 10, 10, 40), (3, 3, 3, 60)), "must have a width and a height, got .* 2 of 2"),
        (one((0, 0, 0, 0)), "must have a width and a height"),
        (one((40, 30, 12, 14), (2, 2, 20, 20)), r"look like \(left, top, width, height\).* 1 of 2 .*\(40.0, 30.0"),
        (one((0.25, 0.5, 0.75, 1)), r"look like shares of an image .*\(0.25, 0.5, 0.75, 1.0\) in an image of 64 x 64"),
        (one((1, 1, 9, 9), label=0), r"classes \[0\], and there are 1 to 3. 0 is the background"),
        (one((1, 1, 9, 9), label=4), r"classes \[4\], and there are 1 to 3. Number them"),
    ],
)
def test_boxes_that_are_none_are_refused(model, target, message):
    with pytest.raises(ValueError, match=message):
        DetectionTask().check(model, batch(target))


def test_classes_are_numbered_as_the_family_does():
    retinanet = Detecting("retinanet").eval()
    DetectionTask().check(retinanet, batch(one((1, 1, 9, 9), label=0)))
    with pytest.raises(ValueError, match="there are 0 to 3"):
        DetectionTask().check(retinanet, batch(one((1, 1, 9, 9), label=4)))


def test_batches_of_another_form_are_refused(model):
    images, targets = batch()
    task = DetectionTask()
    with pytest.raises(ValueError, match="2 images and 1 targets"):
        task.check(model, (images, targets[:1]))
    with pytest.raises(TypeError, match="Targets must be a list of one dict"):
        task.check(model, (images, targets[0]))
    with pytest.raises(TypeError, match="list of images"):
        task.check(model, (images[0], targets))
    with pytest.raises(TypeError, match=r"torch.uint8 of shape \(3, 64, 64\)"):
        task.check(model, ([image.to(torch.uint8) for image in images], targets))
    with pytest.raises(ValueError, match=r"num_classes=7.*SSD gives 4 class scores .* the background among them"):
        DetectionTask(7).check(model, (images, targets))
    task.check(model, (images, targets))
    task.check(model, (torch.stack(images), targets))
    assert task.num_classes == 4


def test_a_forward_gets_a_stack_where_batches_are_stacks():
    class Stacked(Detecting):
        def forward(self, images):
            return self.detector(list(images * 1.0))

    images, targets = batch()
    DetectionTask().check(Stacked("ssd").eval(), (torch.stack(images), targets))


def test_a_forward_that_changes_images_is_refused():
    class Shifted(Detecting):
        def forward(self, images):
            return self.detector([image.flip(-1) * 0.5 for image in images])

    with pytest.raises(ValueError, match="the detector in it, called by itself"):
        DetectionTask().check(Shifted("ssd").eval(), batch())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"score_threshold": 1.0}, ValueError, "at least 0 and below 1"),
        ({"score_threshold": "high"}, TypeError, "score_threshold"),
        ({"reduce": "median"}, ValueError, "reduce"),
        ({"reduce": 0}, ValueError, "reduce"),
        ({"empty": "middle"}, ValueError, "empty"),
        ({"num_classes": 0}, ValueError, "num_classes"),
        ({"empty": "middle", "reduce": 2}, ValueError, "(?s)empty.*reduce|reduce.*empty"),
    ],
)
def test_wrong_options_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        DetectionTask(**options)


def test_an_image_without_a_target_gets_no_box_of_another():
    task, image = DetectionTask(), torch.zeros(3, 6, 7)
    example = (torch.zeros(3, 9, 9), {"boxes": torch.ones(2, 4), "labels": torch.ones(2).long(), "image_id": 7})
    for sample in (image, (image,), (image, None)):
        made = task.completed(sample, example)
        assert made[0] is image
        assert {name: getattr(part, "shape", part) for name, part in made[1].items()} == {
            "boxes": (0, 4),
            "labels": (0,),
            "image_id": 7,
        }
    own = {"boxes": torch.ones(1, 4), "labels": torch.ones(1).long()}
    assert task.completed((image, own), example)[1] is own
    named = DetectionTask(inputs="x", target="y").completed({"x": image}, {"x": example[0], "y": example[1]})
    assert named["y"]["boxes"].shape == (0, 4)
