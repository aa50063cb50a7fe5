"""Datasets of several kinds of samples, and collators that call the target otherwise than the samples do."""

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset

from lightning_al import ActiveLearningLoop, ClassificationTask
from lightning_al.acquisition import SAAL, Entropy
from lightning_al.data.collate import check_collate
from lightning_al.oracle import AwaitTell
from tests.helpers.pair_task import PairTask
from tests.helpers.projects import Data, Net, loop_in, make_data, make_trainer, picks

X, Y = make_data(24)
AS_TENSORS = TensorDataset(X, Y)
AS_INTS = [(x, int(y)) for x, y in zip(X, Y, strict=True)]
LONGER = [(x, int(y), "a.png") for x, y in zip(X, Y, strict=True)]
NAMED = [{"x": x, "y": int(y)} for x, y in zip(X, Y, strict=True)]
WIDER = [(torch.cat([x, x]), int(y)) for x, y in zip(X, Y, strict=True)]


class Parts(Data):
    def __init__(self, *parts):
        super().__init__()
        self.parts = parts

    def setup(self, stage):
        super().setup(stage)
        self.train = ConcatDataset(self.parts)


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("other", "kinds"),
    [
        (AS_INTS, r"\(Tensor\(4,\), Tensor\(\)\) and \(Tensor\(4,\), int\)"),
        (LONGER, r"\(Tensor\(4,\), Tensor\(\)\) and \(Tensor\(4,\), int, str\)"),
        (NAMED, r"\(Tensor\(4,\), Tensor\(\)\) and \{'x': Tensor\(4,\), 'y': int\}"),
        (WIDER, r"\(Tensor\(4,\), Tensor\(\)\) and \(Tensor\(8,\), int\)"),
    ],
)
def test_parts_of_different_kinds_are_refused(tmp_path, other, kinds):
    small = torch.utils.data.Subset(other, [0])  # which few samples would hardly meet
    for parts in ((AS_TENSORS, small), (small, AS_TENSORS)):
        loop = loop_in(tmp_path, data=Parts(*parts), initial=[4, 5, 6, 7])
        with pytest.raises(TypeError, match="cannot put samples of different kinds together") as caught:
            loop.run(make_trainer(tmp_path))
        assert len(str(caught.value)) < 700
        assert not (tmp_path / "c").exists()
    with pytest.raises(TypeError, match=kinds):
        check_collate(torch.utils.data.default_collate, [AS_TENSORS[0], other[0]], ClassificationTask())


def test_parts_of_one_kind_are_as_one_dataset(tmp_path):
    parts = [torch.utils.data.Subset(AS_INTS, range(9)), torch.utils.data.Subset(AS_INTS, range(9, 24))]
    got = loop_in(tmp_path, data=Parts(*parts)).run(make_trainer(tmp_path))
    assert picks(got) == picks(loop_in(tmp_path / "one", data=Parts(AS_INTS)).run(make_trainer(tmp_path)))


# -- collators that rename the target ------------------------------------------------------------------------------


def as_transformers_does(samples):
    """Hugging Face's ``default_data_collator``: "label" and "label_ids" of samples are "labels" of a batch."""
    first = samples[0]
    batch = {}
    for name in ("label", "label_ids"):
        if first.get(name) is not None:
            batch["labels"] = torch.tensor([int(sample[name]) for sample in samples])
            break
    for name, value in first.items():
        if name not in ("label", "label_ids") and value is not None and not isinstance(value, str):
            batch[name] = torch.stack([torch.as_tensor(sample[name]) for sample in samples])
    return batch


class Texts(Net):
    def __init__(self):
        super().__init__()
        self.trained_on = []

    def forward(self, input_ids, attention_mask):
        return self.net(input_ids * attention_mask)

    def training_step(self, batch, batch_idx):
        labels = batch.pop("labels")
        self.trained_on += zip(map(tuple, batch["input_ids"].tolist()), labels.tolist(), strict=True)
        return nn.functional.cross_entropy(self(**batch), labels)


class TextData(L.LightningDataModule):
    def __init__(self, target, shown=True):
        super().__init__()
        hidden = {} if shown else {"label": -1}
        self.samples = [
            {"input_ids": x, "attention_mask": torch.ones(4).double(), target: int(y), **hidden}
            for x, y in zip(X, Y, strict=True)
        ]

    def train_dataloader(self):
        return DataLoader(self.samples, batch_size=4, collate_fn=as_transformers_does)


INPUTS = ["input_ids", "attention_mask"]


@pytest.mark.parametrize("name", ["label", "label_ids"])
def test_the_message_says_what_to_do(tmp_path, name):
    task = ClassificationTask(inputs=INPUTS, target=name)
    loop = ActiveLearningLoop(Texts(), TextData(name), initial=8, query_size=4, task=task, evaluate=None)
    with pytest.raises(TypeError) as caught:
        loop.run(make_trainer(tmp_path))
    assert f"the collator renames '{name}' to 'labels'" in str(caught.value)
    assert f"task=ClassificationTask(inputs={INPUTS}, target='labels')`" in str(caught.value)


@pytest.mark.few(2)
@pytest.mark.parametrize("name", ["label", "label_ids", "labels"])
@pytest.mark.parametrize("acquisition", [Entropy, SAAL])
def test_told_labels_reach_the_batches(tmp_path, name, acquisition):
    model, task = Texts(), ClassificationTask(inputs=INPUTS, target="labels")
    data = TextData(name)
    loop = ActiveLearningLoop(
        model, data, initial=8, query_size=4, rounds=1, task=task, evaluate=None, oracle=AwaitTell(), dirpath=tmp_path
    )
    told = {}
    for _ in range(2):
        loop.run(make_trainer(tmp_path, acquisition=acquisition()))
        asked = loop.pool.pending.tolist()
        told.update({i: (int(Y[i]) + 1) % 3 for i in asked})  # other labels than the dataset's
        loop.tell(asked, [told[i] for i in asked])
    loop.run(make_trainer(tmp_path, acquisition=acquisition()))
    assert set(model.trained_on) == {(tuple(X[i].tolist()), label) for i, label in told.items()}
    assert all(data.samples[i][name] == int(Y[i]) for i in told)  # the dataset is as it was


# -- lists of images, whose number may be that of their channels -----------------------------------------------------


def side_by_side(samples):
    return tuple(zip(*samples, strict=True))


def largest_first(samples):
    return side_by_side(sorted(samples, key=lambda sample: -sample[0].shape[1]))


@pytest.mark.parametrize("n", [2, 3, 4, 5])
@pytest.mark.parametrize("boxes", [2, 3])
def test_lists_of_images_are_in_their_order(n, boxes):
    samples = [(torch.randn(3, 5, 5), {"boxes": torch.randn(boxes, 4), "labels": torch.ones(boxes)}) for _ in range(n)]
    check_collate(side_by_side, samples, PairTask())
