"""What people say of samples, in names and pixels, and the labels it stands for."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al import BinaryTask, ClassificationTask, MultiLabelTask, RegressionTask
from lightning_al.tasks.annotations import Boxes, Mask, annotation_of, class_index, label_of
from tests.helpers.pair_task import PairTask

NAMES = ["cat", "dog", "a, b", "3", "skip", "=1+1", ""]


class Own(PairTask):
    """A task with the base's labels."""


LABELS = [
    (ClassificationTask(), 1, "dog"),
    (ClassificationTask(), torch.tensor(3), "3"),
    (ClassificationTask(), np.int64(6), ""),
    (MultiLabelTask(), torch.tensor([0.0, 1, 1, 0, 0, 0, 1]), ["dog", "a, b", ""]),
    (MultiLabelTask(), [0] * 7, []),
    (BinaryTask(), torch.tensor([1.0]), "dog"),
    (RegressionTask(), torch.tensor([2.5]), 2.5),
    (Own(), 2, "a, b"),
    (Own(), 0.25, 0.25),
    (Own(), torch.tensor(2.0), 2.0),
    (Own(), [1, 0, 0, 0, 1, 0, 0], ["cat", "skip"]),
    (Own(), torch.tensor([[0, 1], [1, 0], [255, 6]]), Mask([[0, 1], [1, 0], [255, 6]])),
    (
        Own(),
        {"boxes": torch.tensor([[0, 1, 2.5, 3]]), "labels": torch.tensor([1])},
        Boxes([[0, 1, 2.5, 3]], ["dog"]),
    ),
    (Own(), {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}, Boxes([], [])),
]


@pytest.mark.parametrize(("task", "label", "annotation"), LABELS, ids=lambda value: type(value).__name__)
def test_a_label_is_said_and_understood_again(task, label, annotation):
    assert task.to_annotation(label, NAMES) == annotation
    back = task.from_annotation(annotation, NAMES)
    assert task.encode_label(back) == task.encode_label(label)
    assert task.to_annotation(task.decode_label(task.encode_label(back)), NAMES) == annotation


def test_without_names_classes_are_called_by_their_numbers():
    task = ClassificationTask()
    assert task.to_annotation(torch.tensor(12), None) == "12"
    assert task.from_annotation("12", None) == 12
    for wrong in ("cat", "-1", "1.0", "", "²"):
        with pytest.raises(ValueError, match="by their numbers"):
            task.from_annotation(wrong, None)


def test_names_go_before_numbers():
    assert class_index("3", NAMES) == 3
    with pytest.raises(ValueError, match=r"no class '1'.*'cat', 'dog'"):
        class_index("1", NAMES)
    with pytest.raises(ValueError, match="no class 'Dog'; did you mean 'dog'"):
        class_index("Dog", NAMES)


@given(st.lists(st.sampled_from(NAMES), unique=True))
def test_several_names_are_a_set(names):
    label = label_of(names, NAMES)
    assert [NAMES[i] for i, value in enumerate(label) if value] == sorted(names, key=NAMES.index)
    assert annotation_of(label, NAMES) == sorted(names, key=NAMES.index)


def test_how_many_labels_there_are_must_be_known():
    task = MultiLabelTask()
    with pytest.raises(ValueError, match="How many labels"):
        task.from_annotation(["0"], None)
    task.check(torch.nn.Identity(), (torch.zeros(2, 3), torch.zeros(2, 3)))
    assert task.from_annotation(["0", "2"], None) == [1, 0, 1]
    with pytest.raises(ValueError, match="3 labels, 0 to 2"):
        task.from_annotation(["3"], None)
    with pytest.raises(TypeError, match="a list of the names"):
        task.from_annotation("0", None)


@pytest.mark.parametrize(
    ("boxes", "labels", "what"),
    [
        ([[0, 0, 1]], ["a"], "four numbers"),
        ([[3, 0, 1, 1]], ["a"], "right not before the left"),
        ([[0, float("nan"), 1, 1]], ["a"], "right not before the left"),
        ([[0, 0, 1, 1]], [], "1 boxes, 0 labels"),
    ],
)
def test_boxes_that_are_none(boxes, labels, what):
    with pytest.raises(ValueError, match=what):
        Boxes(boxes, labels)


def test_masks_that_are_none():
    with pytest.raises(ValueError, match="shape"):
        Mask(np.zeros((2, 2, 3), int))
    with pytest.raises(TypeError, match="integers"):
        Mask(np.zeros((2, 2)))


def test_annotations_are_values():
    mask = Mask(torch.tensor([[1, 2]]))
    assert mask == copy.deepcopy(mask)
    assert len({mask, Mask([[1, 2]]), Mask([[2, 1]])}) == 2
    with pytest.raises(ValueError, match="read-only"):
        mask.values[0, 0] = 9
    boxes = Boxes(torch.tensor([[0.0, 0, 1, 1]]), ("a",), scores=torch.tensor([0.5]), size=torch.tensor([4, 3]))
    assert boxes == Boxes([(0, 0, 1, 1)], ["a"], [0.5], (4, 3))


def test_labels_that_cannot_be_said():
    for label in ({"text": "x"}, "cat", None, [[0.5, 1.0]], [0.5, 1.0], [[1], [1, 2]]):
        with pytest.raises(TypeError, match="to_annotation"):
            annotation_of(label, None)
    with pytest.raises(ValueError, match="Class 7 has no name"):
        annotation_of(7, NAMES)
    with pytest.raises(TypeError, match=r"class name.*got None"):
        label_of(None, NAMES)
