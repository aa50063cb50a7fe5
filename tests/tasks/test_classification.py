"""The task of one class per sample."""

from collections import namedtuple

import numpy as np
import pytest
import torch

from lightning_al import ClassificationTask

Sample = namedtuple("Sample", "image label name")
TASK = ClassificationTask()


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (("x", 0), ("x", 5)),
        (("x", 0, "extra"), ("x", 5, "extra")),
        (["x", 0], ["x", 5]),
        (("x",), ("x", 5)),
        (Sample("x", 0, "n"), Sample("x", 5, "n")),
    ],
)
def test_with_label_keeps_the_kind_of_sample(sample, expected):
    labelled = TASK.with_label(sample, 5)
    assert labelled == expected
    assert type(labelled) is type(expected)


def test_with_label_keeps_the_type_of_the_label():
    labelled = TASK.with_label((0, torch.tensor([0], dtype=torch.int32)), 5)[1]
    assert labelled.tolist() == [5]
    assert labelled.dtype == torch.int32
    assert isinstance(TASK.with_label((0, np.int16(0)), 5)[1], np.int16)
    x, y = TASK.with_label(torch.zeros(2), 5)
    assert (x.tolist(), y) == ([0, 0], 5)


def test_inputs_and_targets():
    x, y = torch.zeros(2, 3), torch.zeros(2)
    assert TASK.inputs((x, y)) is x
    assert TASK.inputs([x]) is x
    assert TASK.inputs(x) is x
    assert TASK.targets([x, y, 1]) is y
    with pytest.raises(TypeError, match=r"got a tuple of 1.*task="):
        TASK.targets((x,))


@pytest.mark.parametrize("label", [3, np.int64(3), torch.tensor(3), torch.tensor([3])])
def test_labels_become_plain_ints(label):
    assert TASK.encode_label(label) == 3
    assert type(TASK.encode_label(label)) is int
    assert TASK.decode_label(3) == 3


def test_probabilities_become_their_logarithm():
    p = torch.tensor([[0.25, 0.75], [0.0, 1.0]])
    z = ClassificationTask(outputs="probabilities").logits(lambda x: x, p)
    assert torch.allclose(z.softmax(1), p)
    assert bool(torch.isfinite(z).all())
    with pytest.raises(ValueError, match="got 'logit'"):
        ClassificationTask(outputs="logit")


@pytest.mark.parametrize("mask", [torch.zeros(4, 6, dtype=torch.long), np.zeros((4, 6), dtype=int)])
def test_masks_have_a_task_of_their_own(mask):
    with pytest.raises(TypeError, match=r"needs one class index.*`task=SegmentationTask\(num_classes=\.\.\.\)`"):
        TASK.encode_label(mask)
    with pytest.raises(ValueError, match=r"got \(2, 3, 4, 6\).*`task=SegmentationTask\(num_classes=C\)`"):
        TASK.check(torch.nn.Conv2d(1, 3, 1), (torch.zeros(2, 1, 4, 6), torch.zeros(2)))
