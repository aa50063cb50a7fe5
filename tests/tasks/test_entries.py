"""Where inputs and target are in a batch."""

from collections import OrderedDict, UserDict, namedtuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lightning_al import ClassificationTask, SegmentationTask
from lightning_al.tasks.entries import BatchEntries
from lightning_al.tasks.texts import input_entries, text_of

X, MASK = torch.arange(6.0).view(3, 2), torch.ones(3, 2)


class Both(nn.Module):
    def forward(self, x, mask):
        return x * mask + 1


@pytest.mark.parametrize("make", [dict, OrderedDict, UserDict])
def test_names(make):
    batch = make(x=X, mask=2 * MASK, label=torch.tensor([0, 1, 0]), name=["a", "b", "c"])
    one = BatchEntries(inputs="x", target="label")
    assert one.inputs(batch) is X
    assert one.targets(batch).tolist() == [0, 1, 0]
    assert torch.equal(one.outputs_of(nn.Identity(), one.inputs(batch)), X)
    several = BatchEntries(inputs=["mask", "x"], target="label")  # by name, so the order is no matter
    assert torch.equal(several.outputs_of(Both(), several.inputs(batch)), 2 * X + 1)
    labelled = one.with_label(make(x=X[0], label=1), 5)
    assert type(labelled) is make
    assert labelled["label"] == 5


def test_a_sample_without_a_target_gets_one():
    assert BatchEntries(inputs="x", target="label").with_label({"x": 1}, 2) == {"x": 1, "label": 2}
    assert BatchEntries().with_label((1,), 2) == (1, 2)
    with pytest.raises(TypeError, match=r"entry 'label' .* got a tuple of 2"):
        BatchEntries(inputs="x", target="label").with_label((1, 2), 2)


def test_a_sample_keeps_its_old_label_and_gets_the_new_one_in_a_copy():
    sample = {"x": X[0], "label": torch.tensor(1, dtype=torch.int32)}
    labelled = BatchEntries(inputs="x", target="label").with_label(sample, 0)
    assert (labelled["label"].tolist(), labelled["label"].dtype, sample["label"].tolist()) == (0, torch.int32, 1)


@given(st.permutations(range(4)))
def test_positions(order):
    entries = ["numbers", "categories", "weight", "label"]
    sample = tuple(entries[i] for i in order)
    where = {entries[i]: position for position, i in enumerate(order)}
    task = BatchEntries(inputs=[where["numbers"], where["categories"]], target=where["label"])
    assert task.inputs(sample) == ("numbers", "categories")
    assert task.targets(sample) == "label"
    labelled = task.with_label(sample, "new")
    assert labelled == tuple("new" if entry == "label" else entry for entry in sample)
    assert task.outputs_of(lambda *inputs: inputs, task.inputs(sample)) == ("numbers", "categories")


def test_a_target_at_the_end():
    Row = namedtuple("Row", "left right label")
    task = BatchEntries(inputs=[0, 1], target=-1)
    assert task.with_label(Row(1, 2, 3), 9) == Row(1, 2, 9)
    assert task.with_label([1, 2, 3], 9) == [1, 2, 9]


def test_forward_says_where_outputs_come_from():
    task = ClassificationTask(forward=lambda model, x: model(x, MASK))
    assert torch.equal(task.logits(Both(), X), X + 1)


def test_logits_in_a_dict_of_outputs():
    class Output(OrderedDict):
        pass

    assert torch.equal(ClassificationTask().logits(lambda x: Output(loss=None, logits=x + 1), X), X + 1)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"inputs": []}, ValueError, "`inputs` is an empty list"),
        ({"inputs": "x"}, TypeError, "all be positions .* or all names .* got inputs='x', target=1"),
        ({"inputs": ["x", 1], "target": "y"}, TypeError, "all be positions"),
        ({"inputs": True}, TypeError, "all be positions"),
        ({"forward": "net"}, TypeError, "`forward` must be a function .* got 'net'"),
    ],
)
def test_bad_options(options, error, words):
    with pytest.raises(error, match=words):
        ClassificationTask(**options)


@pytest.mark.parametrize(
    ("options", "batch", "words"),
    [
        ({}, {"x": X, "y": X}, r"entry 1 .* got a dict of 'x', 'y': say the names .*`task=ClassificationTask\(inputs="),
        ({"target": 2}, (X, X), r"entry 2 in .* got a tuple of 2: say the positions"),
        ({"inputs": "x", "target": "label"}, {"x": X}, r"entry 'label' .* got a dict of 'x': say the names"),
        ({"inputs": "x", "target": "label"}, [X, X], r"entry 'label' .* got a list of 2: say the positions"),
        ({}, 3, r"got a int. Give a `task=` of your own"),
        ({}, "xy", r"got a str. Give"),
    ],
)
def test_batches_that_are_otherwise(options, batch, words):
    with pytest.raises(TypeError, match=words):
        ClassificationTask(**options).targets(batch)


@pytest.mark.parametrize(
    ("look", "words"),
    [
        (lambda task, batch: task.inputs(batch), r"entry 'imges' .* got a dict of .* \(did you mean 'images'\?\): say"),
        (lambda task, batch: task.targets(batch), r"entry 'Label' .* got a dict of .* \(did you mean 'label'\?\): say"),
        (
            lambda task, batch: task.with_label((1, 2), 0),
            r"entry 'Label' in batches and samples, got a tuple of 2: say",
        ),
    ],
)
def test_what_was_meant_by_a_name_that_is_none(look, words):
    task = ClassificationTask(inputs="imges", target="Label")
    with pytest.raises(TypeError, match=words):
        look(task, {"images": X, "label": X, "weight": X})


def test_a_model_that_is_called_wrongly_is_explained():
    with pytest.raises(
        ValueError, match=r"shapes \[\(3, 2\)\]: TypeError: .*'mask'.*inputs=\[0, 1\].*forward="
    ) as caught:
        ClassificationTask().check(Both(), (X, torch.zeros(3)))
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize("name", [1, "target"])
def test_labels_become_tensors_of_the_kind_that_the_dataset_has(name):
    """As plain tensors, torchvision would leave them where they are when it flips the image."""
    v2, tv_tensors = pytest.importorskip("torchvision.transforms.v2"), pytest.importorskip("torchvision.tv_tensors")
    image, told = tv_tensors.Image(torch.arange(6.0).view(1, 2, 3)), torch.tensor([[0, 1, 2], [3, 4, 5]])
    boxes = tv_tensors.BoundingBoxes(torch.zeros(1, 4), format="XYXY", canvas_size=(2, 3))
    task = ClassificationTask(inputs=0 if name == 1 else "image", target=name)

    def flipped(target, label):
        sample = (image, target) if name == 1 else {"image": image, "target": target}
        return v2.RandomHorizontalFlip(1.0)(task.with_label(sample, label))[name]

    for label in (told, told.numpy(), told.tolist()):
        mask = flipped(tv_tensors.Mask(torch.zeros(2, 3, dtype=torch.long)), label)
        assert type(mask) is tv_tensors.Mask
        assert mask.tolist() == told.flip(1).tolist()
    two = torch.tensor([[0.0, 0, 1, 2], [1, 0, 3, 1]])
    moved = flipped({"boxes": boxes, "labels": torch.zeros(1)}, {"boxes": two, "labels": torch.tensor([2, 1])})
    assert moved["boxes"].tolist() == [[2, 0, 3, 2], [0, 0, 2, 1]]
    assert moved["labels"].tolist() == [2, 1]
    first = flipped({"labels": torch.zeros(1)}, {"boxes": two})["boxes"]  # there were none before
    assert first.tolist() == [[2, 0, 3, 2], [0, 0, 2, 1]]


def test_an_entry_that_a_collate_function_makes_is_in_no_sample():
    task, sample = ClassificationTask(inputs=["x", "lengths"], target="y"), {"x": X[0], "y": 1}
    with pytest.raises(
        TypeError, match=r"entry 'lengths' .* of 'x', 'y'. If a `collate_fn` makes 'lengths' in batches"
    ):
        task.inputs(sample)
    assert task.inputs_there(sample)["x"] is sample["x"]
    assert [entry.name for entry in input_entries(task, sample)] == ["x"]
    assert text_of([{"x": "so long", "y": 0}], 0, task) == "so long"
    wrong = ClassificationTask(inputs=["image", "lengths"], target="y")
    with pytest.raises(TypeError, match=r"say the names of its entries") as error:  # no other is there either
        wrong.inputs(sample)
    assert "collate_fn" not in str(error.value)
    in_tuples = ClassificationTask(inputs=[0, 1], target=2)
    with pytest.raises(
        TypeError, match=r"a tuple of 2. If a `collate_fn` puts one more entry into batches, put it into"
    ):
        in_tuples.targets((X[0], 1))
    with pytest.raises(TypeError, match=r"got a tuple of 3: say the positions"):
        ClassificationTask(inputs=0, target=5).targets((X[0], 1, 2))


def test_unlabelled_samples_need_no_entry_that_a_collate_function_makes():
    task = SegmentationTask(3, inputs=["x", "valid"], target="y")
    example = {"x": torch.ones(1, 4, 6), "y": torch.ones(4, 6, dtype=torch.int64)}
    completed = task.completed({"x": torch.zeros(1, 5, 6)}, example)
    assert completed["x"].shape == (1, 5, 6)
    assert completed["y"].tolist() == [[255] * 6] * 5
