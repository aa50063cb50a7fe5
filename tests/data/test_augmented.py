"""Samples that augment themselves are told of where they are scored, or augmented once more; others are not."""

import random
import re

import lightning as L
import numpy as np
import pytest
import torch

from lightning_al import ClassificationTask
from lightning_al.data import augmented
from lightning_al.data.augmented import moving_sample
from lightning_al.data.pool_set import find_training_samples
from lightning_al.data.samples_alone import SamplesAlone
from lightning_al.data.unlabelled import find_samples
from tests.helpers.maps import Maps, MapTask, flipped

PLAIN, MOVES = Maps(), Maps(flipped)
BRIGHTER = Maps(lambda sample: (sample[0] + random.random(), sample[1]))
SCORED = "sample 0 is another each time it is read. So the pool is scored as a random draw has it"
TWICE = ", and augmented twice as they train: there, and by `augment(sample)`. "


def datamodule(**hooks):
    data = L.LightningDataModule()
    for name, given in hooks.items():
        setattr(data, name, lambda *_, given=given: given)
    return data


def said(recwarn):
    return [re.sub(r"\s+", " ", str(w.message)) for w in recwarn if w.category is UserWarning]


@pytest.mark.parametrize(
    ("train", "hooks", "words"),
    [
        (PLAIN, {}, None),
        (PLAIN, {"augment": 1}, None),
        (MOVES, {"pool_dataset": PLAIN}, None),
        (MOVES, {"pool_dataset": PLAIN, "augment": 1}, None),  # which trains on the pool's
        (MOVES, {}, f"LightningDataModule has no `pool_dataset()`, and its training set augments: {SCORED}; where tar"),
        (MOVES, {"augment": 1}, f"The training set of LightningDataModule augments its samples: {SCORED}{TWICE}Leave"),
        (MOVES, {"pool_dataset": MOVES}, f"`pool_dataset()` of LightningDataModule augments its samples: {SCORED}. Re"),
        (MOVES, {"pool_dataset": MOVES, "augment": 1}, f"augments its samples: {SCORED}{TWICE}Return them without"),
    ],
)
def test_a_pool_that_is_the_training_set(train, hooks, words, recwarn):
    find_training_samples(datamodule(**hooks), train, MapTask(), source="auto")
    if words is None:
        assert said(recwarn) == []
    else:
        [text] = said(recwarn)
        assert words in text


@pytest.mark.parametrize(
    ("train", "hooks", "words"),
    [
        (PLAIN, {"augment": 1}, None),
        (MOVES, {"pool_dataset": PLAIN, "augment": 1}, None),
        (MOVES, {"augment": 1}, f"The training set of LightningDataModule augments its samples{TWICE}Leave the"),
        (
            PLAIN,
            {"pool_dataset": BRIGHTER, "augment": 1},
            "`pool_dataset()` of LightningDataModule augments its samples, ",
        ),
    ],
)
def test_a_training_set_beside_the_pool(train, hooks, words, recwarn):
    hooks = {**hooks, "unlabelled_dataset": Maps(first=100)}
    find_samples(datamodule(**hooks), train, MapTask(), source="auto", collate=torch.utils.data.default_collate)
    if words is None:
        assert said(recwarn) == []
    else:
        [text] = said(recwarn)
        assert words in text


class Clouds(torch.utils.data.Dataset):
    """Inputs of a class of their own."""

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {"x": Cloud(), "y": index}


class Cloud:
    def __init__(self):
        self.points = random.random()


class CloudTask(ClassificationTask):
    def inputs(self, sample):
        return sample["x"]

    def targets(self, sample):
        return sample["y"]


def test_what_cannot_be_compared_is_said(recwarn):
    find_training_samples(datamodule(), Clouds(), CloudTask(), source="auto")
    [text] = said(recwarn)
    assert "Whether that augments its samples cannot be told: they hold a Cloud, and two of these cannot" in text
    find_training_samples(datamodule(pool_dataset=Clouds()), Clouds(), CloudTask(), source="auto")
    assert len(said(recwarn)) == 1  # whoever defines it has been asked


def test_what_is_looked_at():
    targets = Maps(lambda sample: (sample[0], sample[1] + random.randint(0, 1)))
    assert moving_sample(targets, MapTask()) == 0
    bare = [(torch.ones(2),)] * 3
    assert moving_sample(bare, ClassificationTask()) is None
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    for unknown in (torch.eye(2).to_sparse(), nested):  # which torch does not compare
        assert moving_sample([(unknown, 0)] * 3, ClassificationTask()) is None


class Reads(torch.utils.data.Dataset):
    """Made by a function of the index; counts its reads."""

    def __init__(self, make):
        self.make, self.count = make, 0

    def __len__(self):
        return 40

    def __getitem__(self, index):
        self.count += 1
        return self.make(index), index


def of_objects(index):
    return np.array([1000.5 + index, "steel", None], dtype=object)


def of_fields(index):
    """An array with gaps between its fields, in which anything may be."""
    array = np.frombuffer(random.randbytes(32), dtype=np.dtype([("a", "i1"), ("b", "f8")], align=True)).copy()
    array["a"], array["b"] = index, 0.5
    return array


def test_arrays_are_the_same_by_their_values_whatever_their_bytes():
    for plain in (of_objects, of_fields):
        assert moving_sample(Reads(plain), ClassificationTask()) is None
    noisy = Reads(lambda index: np.array([random.random(), "steel"], dtype=object))
    assert moving_sample(noisy, ClassificationTask()) == 0


def test_samples_that_cannot_be_read_are_passed_over():
    def some(index):
        if index < 20:
            raise OSError("not there")
        return torch.rand(2)

    assert moving_sample(Reads(some), ClassificationTask()) == 21
    assert moving_sample([], ClassificationTask()) is None


def test_of_samples_that_take_long_to_read_one_is_looked_at(monkeypatch):
    quick, slow = Reads(torch.full((2,), 1.0).mul), Reads(torch.full((2,), 1.0).mul)
    moving_sample(quick, ClassificationTask())
    monkeypatch.setattr(augmented, "_SECONDS", -1.0)
    moving_sample(slow, ClassificationTask())
    assert (quick.count, slow.count) == (24, 3)


class Folder(L.LightningDataModule):
    """Samples to score beside a training set."""

    def __init__(self, train):
        super().__init__()
        self.train = train

    def train_dataloader(self):
        return torch.utils.data.DataLoader(self.train, batch_size=4)

    def predict_dataloader(self):
        return torch.utils.data.DataLoader(Maps(first=100), batch_size=4)


@pytest.mark.parametrize(
    ("source", "labelled", "names"),
    [
        (PLAIN, False, []),
        (MOVES, False, ["`dataset`"]),
        (torch.utils.data.DataLoader(MOVES, batch_size=4), False, ["The loader"]),
        (Folder(PLAIN), True, []),
        (Folder(MOVES), True, ["The training set of Folder"]),
    ],
)
def test_samples_that_belong_to_no_campaign(source, labelled, names, recwarn):
    alone = SamplesAlone(source, task=MapTask(), labelled=labelled)
    alone.begin(L.Trainer(logger=False, barebones=True, accelerator="cpu"))
    told = [text for text in said(recwarn) if "augments its samples" in text]
    assert [text.partition(" augments")[0] for text in told] == names
