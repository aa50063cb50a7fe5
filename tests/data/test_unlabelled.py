"""Samples of an `unlabelled_dataset()`: brought into the form of the training samples, or refused with both named."""

from collections import namedtuple

import lightning as L
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, default_collate

from lightning_al import BinaryTask, ClassificationTask, Loaders, MultiLabelTask, RegressionTask
from lightning_al.data.unlabelled import find_samples
from lightning_al.tasks.base import Task
from lightning_al.tasks.entries import BatchEntries

X = torch.arange(12.0).view(6, 2)
Y = torch.tensor([0, 1, 2, 0, 1, 2])
Triple = namedtuple("Triple", "x weight y")


class Items:
    """A dataset of samples that are there already."""

    def __init__(self, samples):
        self.samples = list(samples)

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]


def found(train, unlabelled, task=None, collate=default_collate, **hooks):
    data = Loaders(DataLoader(train, batch_size=2), unlabelled=unlabelled, **hooks)
    return find_samples(data, train, task or ClassificationTask(), source="auto", collate=collate)


def of_pool(samples, label, task=None):
    """The pool's first sample, once it has this label."""
    task = task or ClassificationTask()
    view = samples.view(torch.tensor([0]), {0: task.encode_label(label)})
    return view[0]


PAIRS = TensorDataset(X, Y)
NAMES = ClassificationTask(inputs=["ids", "mask"], target="labels")


@pytest.mark.parametrize(
    ("train", "sample", "labelled", "task"),
    [
        (PAIRS, X[0], (X[0], torch.tensor(2)), None),
        (PAIRS, (X[0],), (X[0], torch.tensor(2)), None),
        (PAIRS, (X[0], None), (X[0], torch.tensor(2)), None),
        (PAIRS, (X[0], -1), (X[0], torch.tensor(2)), None),
        (PAIRS, [X[0]], (X[0], torch.tensor(2)), None),
        (Items([([3, 4], 1)]), [5, 6, 7], ([5, 6, 7], 2), None),  # an input that is a list
        (Items([([3, 4], 1)]), [5, 6], ([5, 6], 2), None),
        (Items([([3, 4], 1)]), [[5, 6], None], ([5, 6], 2), None),
        (Items([[X[0], 1]]), [X[1]], [X[1], 2], None),
        (Items([("a b", 1)]), "c", ("c", 2), None),
        (Items([(1, X[0])]), X[1], (2, X[1]), ClassificationTask(inputs=1, target=0)),
        (Items([(X[0], X[1], 1)]), (X[2], X[3]), (X[2], X[3], 2), ClassificationTask(inputs=[0, 1], target=2)),
        (Items([(X[0], X[1], 1)]), (X[2], X[3]), (X[2], X[3], 2), ClassificationTask(inputs=[0, 1], target=-1)),
        (Items([Triple(X[0], 0.5, 1)]), (X[2], 0.25), Triple(X[2], 0.25, 2), ClassificationTask(target=2)),
        (Items([{"image": X[0], "label": 1}]), X[1], {"image": X[1], "label": 2},
         ClassificationTask(inputs="image", target="label")),
        (Items([{"image": X[0], "label": np.int64(1)}]), {"image": X[1], "file": "f"},
         {"image": X[1], "label": np.int64(2)}, ClassificationTask(inputs="image", target="label")),
        (Items([{"ids": [3], "mask": [1], "label": 1}]), {"ids": [4, 5], "mask": [1, 1]},
         {"ids": [4, 5], "mask": [1, 1], "label": 2}, NAMES),  # a collator renames it
        (Items([{"ids": [3], "mask": [1], "label": 1}]), ([4], [1]), {"ids": [4], "mask": [1], "label": 2}, NAMES),
    ],
)  # fmt: skip
def test_a_label_stands_where_that_of_the_training_samples_does(train, sample, labelled, task):
    made = of_pool(found(train, Items([sample]), task, collate=list), 2, task)
    assert type(made) is type(labelled)
    pairs = [(made[name], labelled[name]) for name in labelled] if isinstance(labelled, dict) else zip(made, labelled)
    assert isinstance(made, dict) is False or list(made) == list(labelled)
    for one, other in pairs:
        assert type(one) is type(other)
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def test_targets_take_the_type_of_the_training_sets():
    task = MultiLabelTask()
    samples = found(TensorDataset(X, torch.eye(6)), TensorDataset(X), task)
    _, y = of_pool(samples, [0, 1, 0, 0, 0, 1], task)
    assert y.dtype == torch.float32
    assert y.tolist() == [0, 1, 0, 0, 0, 1]


def test_they_come_first_and_the_known_ones_after_them():
    samples = found(PAIRS, Items(-X[:4]))
    assert (samples.size, len(samples)) == (4, 10)
    assert samples.known_indices.tolist() == [4, 5, 6, 7, 8, 9]
    assert [x.tolist() for x, _ in samples.pool_set.__getitems__([9, 0, 4])] == [[10, 11], [0, -1], [0, 1]]
    assert torch.equal(samples.pool.label_set[0], -X[0])  # without the target that stands in its place elsewhere


def test_they_are_augmented_with_their_label_as_the_others():
    def augment(sample):
        x, y = sample
        return x + 100 * y, y

    samples = found(PAIRS, Items(X), augment=augment)
    view = samples.view(torch.tensor([0, 6 + 1]), {0: 2})
    assert [x.tolist() for x, _ in view] == [[200, 201], [102, 103]]
    assert samples.pool_set[0][0].tolist() == [0, 1]


class Own(Task):
    """Finds inputs and targets under names of its own."""

    def inputs(self, batch):
        return batch["x"]

    def targets(self, batch):
        return batch["y"]

    def with_label(self, sample, label):
        return {**sample, "y": label}


class Completing(Own):
    def completed(self, sample, example):
        return {"x": sample, "y": example["y"]}


def test_a_task_of_ones_own():
    train = Items([{"x": X[0], "y": 1}])
    assert sorted(of_pool(found(train, Items([{"x": X[1]}]), Own()), 2, Own())) == ["x", "y"]
    assert of_pool(found(train, Items([X[1]]), Completing()), 2, Completing())["y"] == 2
    with pytest.raises(TypeError, match=r"one is float32 \(2,\), a training sample \{'x': .*`completed\(sample"):
        found(train, Items([X[1]]), Own())


def test_all_that_a_dict_lacks_is_said():
    train = Items([{"x": X[0], "y": 1, "file": "a.npy", "id": 3}])
    task = ClassificationTask(inputs="x", target="y")
    said = (
        r"beside the target it needs 'x', 'file', 'id', and 'file', 'id' are missing\).*all that a training sample has"
    )
    with pytest.raises(TypeError, match=said):
        found(train, Items([{"x": X[1]}]), task)

    class Filling(ClassificationTask):
        def completed(self, sample, example):
            return super().completed({"file": "", "id": -1, **sample}, example)

    filled = of_pool(found(train, Items([{"x": X[1]}]), task := Filling(inputs="x", target="y")), 2, task)
    assert (filled["y"], filled["file"], filled["id"]) == (2, "", -1)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(X)


@pytest.mark.parametrize(
    ("unlabelled", "kind", "words"),
    [
        (Items([(X[0], 1, 1)]), TypeError, r"one is \(float32 \(2,\), int, int\), .* \(float32 \(2,\), int64 \(\)\)"),
        (Items([{"image": X[0]}]), TypeError, r"are \{'image': float32 \(2,\)\}, and those of the training set"),
        (Items(X.double()), TypeError, r"are float64 \(2,\), and those of the training set float32 \(2,\)"),
        (Items((X > 3).to(torch.uint8)), TypeError, "are uint8 .* the same transforms"),
        (Items(X.numpy()), TypeError, r"are float32 array \(2,\)"),
        (Items(["a.jpg"]), TypeError, "are str, and those of the training set float32"),
        (Items(X.view(4, 3)), TypeError, r"are float32 \(3,\), .* float32 \(2,\), which cannot be in one batch"),
        (Stream(), TypeError, r"`unlabelled_dataset\(\)` must be a map-style dataset, .*Stream"),
        (DataLoader(PAIRS), TypeError, r"`unlabelled_dataset\(\)` must be a map-style dataset, .*DataLoader"),
        (PAIRS, ValueError, "returns the training set itself"),
    ],
)  # fmt: skip
def test_what_is_refused(unlabelled, kind, words):
    with pytest.raises(kind, match=words):
        found(PAIRS, unlabelled)


def test_the_pools_own_dataset_is_refused_too():
    plain = TensorDataset(X, Y)
    with pytest.raises(ValueError, match=r"returns `pool_dataset\(\)` itself"):
        found(PAIRS, plain, pool=plain)


def test_inputs_of_many_shapes_are_what_a_collate_function_takes():
    train = Items([(torch.zeros(3, size), 1) for size in (5, 6)])
    assert len(found(train, Items([torch.zeros(3, 7)]), collate=list)) == 3
    same = Items([(torch.zeros(3, 5), 1)] * 2)
    assert len(found(same, Items([torch.zeros(3, 7)]), collate=list)) == 3  # pads, say


@pytest.mark.parametrize("label", [-1, None, 1.5])
def test_a_training_set_without_labels_is_no_labelled_one(label):
    train = Items([(X[0], 1), (X[1], label)])
    with pytest.raises(ValueError, match=r"is labelled already.* but sample 1 has no label that could be taken"):
        found(train, Items(X), collate=list)


def test_an_attribute_is_no_method():
    data = L.LightningDataModule.from_datasets(PAIRS, batch_size=2)
    data.unlabelled_dataset = PAIRS
    with pytest.raises(TypeError, match="must be a method that returns a dataset, got TensorDataset"):
        find_samples(data, PAIRS, ClassificationTask(), source="auto", collate=default_collate)


class Noisy(Items):
    """Pairs, or inputs alone, whose inputs are others in each draw."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        return (sample[0] + torch.rand(2), sample[1]) if isinstance(sample, tuple) else sample + torch.rand(2)


NOISY, INPUTS = Noisy(zip(X, Y, strict=True)), Items(X)


@pytest.mark.parametrize(
    ("hooks", "said"),
    [
        (
            {},
            r"has neither `augment\(sample\)` nor `pool_dataset\(\)`: .* train without augmentation.*augmented ones\.",
        ),
        ({"pool": PAIRS}, r"has no `augment\(sample\)`: .* train without augmentation once they are labelled\. Leave"),
        (
            {"pool": Items([(x, -1) for x in X])},  # a pool whose labels are hidden
            r"has no `augment\(sample\)`: .* train without augmentation once they are labelled\. Leave",
        ),
    ],
)
def test_augmentation_inside_of_the_training_set_alone_is_said(hooks, said):
    with pytest.warns(UserWarning, match=said):
        samples = found(NOISY, INPUTS, **hooks)
    torch.manual_seed(0)
    view = samples.view(torch.tensor([0, 6]), {0: 1, 6: 0})
    assert [torch.equal(view[i][0], view[i][0]) for i in (0, 1)] == [True, False]  # what was told, and what was known


@pytest.mark.parametrize("augment", [None, lambda sample: sample])
def test_augmentation_inside_of_the_pool_is_said(augment):
    with pytest.warns(
        UserWarning, match=r"`unlabelled_dataset\(\)` of \w+ augments its samples: they are scored as a r"
    ):
        found(NOISY if augment is None else PAIRS, Noisy(X), augment=augment)


def test_nothing_is_said_of_a_training_set_without_augmentation(recwarn):
    found(PAIRS, INPUTS)
    found(PAIRS, INPUTS, pool=PAIRS)
    found(NOISY, INPUTS, pool=PAIRS, augment=lambda sample: sample)
    assert not recwarn.list


def test_every_task_of_tuples_and_dicts_can_complete():
    assert {task.completed for task in (ClassificationTask, MultiLabelTask)} == {BatchEntries.completed}


def test_what_is_set_on_the_loaders_dataset_reaches_the_training_set():
    train = Items(zip(X, Y, strict=True))
    view = found(train, Items(X)).view(torch.tensor([0]), {0: 1})
    view.level = 3
    assert (train.level, view.level) == (3, 3)
    with pytest.raises(AttributeError, match="`samples` of Items is of all 6 samples, and 1 are labelled"):
        view.samples


def test_a_told_map_keeps_its_height_and_width_beside_an_example_of_others():
    told = torch.arange(24).view(6, 4)
    sample = ClassificationTask().completed(torch.zeros(1, 6, 4), (torch.zeros(1, 4, 6), torch.zeros(4, 6).long()))
    for label in (told, told.tolist(), told.numpy()):
        _, labelled = ClassificationTask().with_label(sample, label)
        assert torch.equal(labelled, told)
    _, flat = ClassificationTask().with_label(sample, told.flatten().tolist())  # nothing else says its shape
    assert flat.shape == (4, 6)


def test_real_values_and_single_logits():
    for task, y in ((RegressionTask(), torch.randn(6)), (BinaryTask(), Y.clamp(max=1).float())):
        _, target = of_pool(found(TensorDataset(X, y), TensorDataset(X), task), 1.0, task)
        assert target.dtype == torch.float32
        assert target.item() == 1.0
