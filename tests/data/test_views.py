"""The labelled part of a dataset."""

import copy
import pickle

import lightning as L
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset

from lightning_al import ActiveLearningLoop, ClassificationTask, Loaders
from lightning_al.data.augmentation import Augment
from lightning_al.data.views import LabelledView
from tests.helpers.projects import Net, make_data, make_trainer


def test_batched_reads_go_through():
    class Batched(TensorDataset):
        def __getitems__(self, indices):
            reads.append(indices)
            return [self[i] for i in indices]

    reads = []
    view = LabelledView(
        Batched(*make_data()), torch.tensor([5, 9, 2]), {i: i % 3 for i in (5, 9, 2)}, ClassificationTask()
    )
    samples = view.__getitems__([2, 0])
    assert reads == [[2, 5]]
    assert [int(y) for _, y in samples] == [2, 2]
    assert len(view) == 3
    assert int(view[1][1]) == 0


class Writes(ClassificationTask):
    """Puts labels into the sample that it gets."""

    def with_label(self, sample, label):
        sample["mask"][:] = label
        sample["seen"].append("label")
        return sample


@pytest.mark.parametrize("batched", [False, True])
def test_neither_the_data_nor_the_labels_are_written_to(batched):
    def augment(sample):
        sample["x"].neg_()
        sample["mask"] = sample["mask"][::-1]
        sample["seen"].append("augment")
        return sample

    kept = [{"x": torch.ones(2), "mask": np.zeros(3), "seen": []} for _ in range(3)]
    labels = {1: [1, 2, 3]}
    view = LabelledView(kept, torch.tensor([2, 1]), labels, Writes(), augment=Augment(augment))
    for _ in range(2):  # the same again
        first, second = view.__getitems__([0, 1]) if batched else (view[0], view[1])
        assert first["seen"] == ["augment"]
        assert second["seen"] == ["label", "augment"]
        assert second["mask"].tolist() == [3, 2, 1]
        assert first["x"].tolist() == second["x"].tolist() == [-1, -1]
    assert [(s["x"].tolist(), s["mask"].tolist(), s["seen"]) for s in kept] == [([1, 1], [0, 0, 0], [])] * 3


def test_a_label_that_is_a_list_stays_as_it_was_told():
    def augment(sample):
        sample[1].append("more")
        sample[1][0].clear()
        return sample

    class Lists(ClassificationTask):
        def with_label(self, sample, label):
            return [sample[0], label]

        def decode_label(self, value):
            return value

    labels = {0: [[1, 2]]}
    view = LabelledView([("a", None)], torch.tensor([0]), labels, Lists(), augment=Augment(augment))
    assert view[0] == view[0] == ["a", [[], "more"]]
    assert labels == {0: [[1, 2]]}


def test_a_view_goes_to_workers_without_the_trainer():
    class Mine(L.LightningDataModule):
        strength = 2

        def augment(self, sample):
            return sample[0] * self.strength, sample[1]

    globals()["Mine"] = Mine
    Mine.__qualname__ = "Mine"
    mine = Mine()
    mine.trainer = (i for i in ())  # cannot be pickled
    view = LabelledView([(3, 1)], torch.tensor([0]), {}, ClassificationTask(), augment=Augment.of(mine))
    mine.strength = 5  # is looked up when a sample is drawn
    assert pickle.loads(pickle.dumps(view))[0] == view[0] == (15, 1)
    assert mine.trainer is not None


class Leveled(TensorDataset):
    """The dataset of a curriculum."""

    level, classes = 0, ("a", "b", "c")

    def __init__(self):
        super().__init__(*make_data())
        self.targets, self.paths = self.tensors[1], [f"{i}.png" for i in range(len(self))]

    def set_level(self, level):
        self.level = level


def viewed(dataset):
    return LabelledView(dataset, torch.tensor([5, 3]), {5: 1}, ClassificationTask())


def test_what_is_no_sample_is_the_datasets():
    dataset = Leveled()
    view = viewed(dataset)
    view.set_level(2)
    assert (view.level, dataset.level, view.classes) == (2, 2, ("a", "b", "c"))
    view.transform = view.labels = view.augment = "mine"  # also what a view might well call its own
    assert (dataset.transform, dataset.labels, dataset.augment) == ("mine", "mine", "mine")
    del view.transform
    assert not hasattr(dataset, "transform")
    assert not hasattr(view, "transform")
    assert [int(y) for _, y in view] == [1, int(dataset.targets[3])]


def test_a_view_of_a_subset():
    dataset = Leveled()
    view = viewed(Subset(dataset, range(10, 60)))
    view.dataset.level = 4
    assert dataset.level == 4
    assert view.indices == [15, 13]
    assert viewed(Subset(dataset, range(60))).dataset is dataset


@pytest.mark.parametrize("name", ["targets", "paths", "tensors"])
def test_what_all_samples_have_is_not_handed_on(name):
    with pytest.raises(AttributeError, match=f"`{name}` of Leveled is of all 60 samples, and 2 are labelled: read"):
        getattr(viewed(Leveled()), name)


def test_copies_of_a_view_are_whole():
    for copied in (pickle.loads(pickle.dumps(viewed(Leveled()))), copy.deepcopy(viewed(Leveled()))):
        copied.level = 3
        assert (len(copied), copied.level, int(copied[0][1])) == (2, 3, 1)


def test_a_curriculum_reaches_the_dataset_through_the_loader(tmp_path):
    class Rises(L.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            trainer.train_dataloader.dataset.dataset.level = trainer.current_epoch

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            levels.append(dataset.level)

    levels, dataset = [], Leveled()
    part = Subset(dataset, range(40))
    data = Loaders(DataLoader(part, batch_size=4), DataLoader(dataset, batch_size=30), pool=part)
    loop = ActiveLearningLoop(Net(), data, initial=4, query_size=2, rounds=1, dirpath=tmp_path / "c")
    loop.run(make_trainer(tmp_path, Rises()))
    assert levels == [0, 1, 0, 0, 1, 1]
