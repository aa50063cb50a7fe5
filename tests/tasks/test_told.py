"""Told labels take the place of placeholders, and lose nothing by it."""

import numpy as np
import pytest
import torch

from lightning_al import ClassificationTask, DetectionTask
from lightning_al.tasks.told import like


@pytest.mark.parametrize(
    ("old", "label", "expected"),
    [
        (torch.zeros(2, dtype=torch.uint8), torch.tensor([-1, 3]), torch.tensor([-1, 3])),
        (torch.zeros(2, dtype=torch.uint8), [300, 3], torch.tensor([300, 3])),
        (torch.zeros(2, dtype=torch.uint8), [255, 3], torch.tensor([255, 3], dtype=torch.uint8)),
        (torch.zeros(2, dtype=torch.long), [0.5, 3], torch.tensor([0.5, 3])),
        (torch.zeros(2, dtype=torch.bool), [2, 0], torch.tensor([2, 0])),
        (torch.zeros(2), [2, 0], torch.tensor([2.0, 0])),
        (np.zeros(2, np.uint8), np.array([-1, 3]), np.array([-1, 3])),
        (np.zeros(2, np.int64), [0.5, 3], np.array([0.5, 3], np.float32)),
        (np.zeros(2, np.uint8), [7, 3], np.array([7, 3], np.uint8)),
    ],
    ids=str,
)
def test_a_type_that_cannot_hold_the_label_gives_way(old, label, expected):
    got = like(old, label, new=pytest.fail)
    assert got.dtype == expected.dtype
    assert got.tolist() == expected.tolist()


class TestBesideImages:
    """torchvision's transforms move no plain tensor beside an image."""

    @pytest.fixture
    def vision(self):
        return pytest.importorskip("torchvision.tv_tensors"), pytest.importorskip("torchvision.transforms.v2")

    @pytest.mark.parametrize("placeholder", [torch.full((2, 3), 255), None, torch.full((2, 3), 255, dtype=torch.uint8)])
    @pytest.mark.parametrize("kind", ["tensor", "pil"])
    def test_told_maps_are_moved_with_them(self, vision, placeholder, kind):
        tv_tensors, v2 = vision
        label = torch.tensor([[1, 2, 3], [4, 5, 6]])
        image = tv_tensors.Image(label.expand(3, 2, 3).to(torch.uint8))
        sample = (image if kind == "tensor" else v2.functional.to_pil_image(image), placeholder)
        both = ClassificationTask().with_label(sample, label)
        moved, target = v2.RandomHorizontalFlip(p=1.0)(both)
        assert target.tolist() == [[3, 2, 1], [6, 5, 4]]
        assert v2.functional.pil_to_tensor(moved)[0].tolist() == target.tolist() if kind == "pil" else True

    @pytest.mark.parametrize("placeholder", [None, {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long()}])
    @pytest.mark.parametrize("kind", ["tensor", "pil"])
    def test_told_boxes_are_moved_with_them(self, vision, placeholder, kind):
        tv_tensors, v2 = vision
        image = tv_tensors.Image(torch.zeros(3, 6, 9, dtype=torch.uint8))
        sample = (image if kind == "tensor" else v2.functional.to_pil_image(image), placeholder)
        task = DetectionTask()
        both = task.with_label(sample, task.decode_label({"boxes": [[1, 2, 5, 4]], "labels": [1]}))
        _, target = v2.RandomHorizontalFlip(p=1.0)(both)
        assert target["boxes"].tolist() == [[4, 2, 8, 4]]
        assert target["boxes"].canvas_size == (6, 9)
        assert target["labels"].tolist() == [1]
        plain = task.with_label((torch.zeros(3, 6, 9), placeholder), task.decode_label({"boxes": [], "labels": []}))
        assert type(plain[1]["boxes"]) is torch.Tensor

    def test_the_kind_of_a_told_label_stays(self, vision):
        tv_tensors, _ = vision
        label = tv_tensors.Mask(torch.ones(4, 4, dtype=torch.long))
        _, target = ClassificationTask().with_label((torch.zeros(3, 2, 2), torch.zeros(4, 4, dtype=torch.long)), label)
        assert isinstance(target, tv_tensors.Mask)

    def test_nothing_else_becomes_a_mask(self, vision):
        tv_tensors, _ = vision
        image = tv_tensors.Image(torch.zeros(3, 2, 3))
        for label in (torch.ones(3, 2, dtype=torch.long), torch.tensor([1, 2]), torch.tensor(1)):
            _, target = ClassificationTask().with_label((image, torch.zeros_like(label)), label)
            assert type(target) is torch.Tensor
        _, target = ClassificationTask().with_label((torch.zeros(3, 2, 3), torch.zeros(2, 3)), torch.ones(2, 3))
        assert type(target) is torch.Tensor
