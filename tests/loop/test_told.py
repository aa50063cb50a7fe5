"""Labels that were told without the model at hand."""

import pytest
import torch
from torch.utils.data import TensorDataset

from lightning_al import AwaitTell, BinaryTask, Campaign, ClassificationTask, MultiLabelTask, RegressionTask
from lightning_al.acquisition import Entropy, MCDropout
from tests.helpers.projects import Data, Net, loop_in, make_data, make_trainer


class Wide(Data):
    """Targets of three values."""

    def setup(self, stage):
        super().setup(stage)
        self.train = TensorDataset(make_data()[0], torch.zeros(60, 3))


class Three(Net):
    def training_step(self, batch, batch_idx):
        x, y = batch
        return (self(x) - y).square().mean()


class Pixels(ClassificationTask):
    """A class for each of some pixels, of which there are three."""

    def encode_label(self, label):
        values = label.tolist() if hasattr(label, "tolist") else list(label)
        if max(values) >= (self.num_classes or 99):
            raise ValueError(f"There are {self.num_classes} classes.")
        return values

    def decode_label(self, value):
        return torch.tensor(value)


def begin(folder, data, model, task, acquisition):
    options = {"oracle": AwaitTell(), "task": task(), "evaluate": None, "initial": 2, "query_size": 1, "rounds": 1}
    loop = loop_in(folder, model=model(dropout=0.1), data=data(), **options)
    return loop, make_trainer(folder, acquisition=acquisition(), max_epochs=1)


def variance():
    return MCDropout(score="variance", passes=2)


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("parts", "right", "wrong", "reason"),
    [
        (
            (Data, Net, ClassificationTask, Entropy),
            2,
            7,
            "has label 7: .*and below 3, .*; got 7",
        ),
        ((Data, Net, ClassificationTask, Entropy), 0, 3, "has label 3: .*below 3"),
        ((Wide, Three, MultiLabelTask, Entropy), [0, 1, 1], [0, 1], r"has label \[0, 1\]: The model has 3 labels"),
        ((Wide, Three, RegressionTask, variance), [0.5, 1.0, 2.0], [0.5], r"has label 0\.5: The model has 3 outputs"),
        ((Wide, Three, RegressionTask, variance), [1.0, 1.0, 2.0], [1.0, 2.0], "The model has 3 outputs"),
        ((Data, Net, Pixels, Entropy), 0, [1, 4], r"has label \[1, 4\]: There are 3 classes"),
    ],
)
def test_labels_that_the_model_does_not_take(tmp_path, parts, right, wrong, reason):
    loop, trainer = begin(tmp_path, *parts)
    asked = loop.ask(trainer)
    later, trainer = begin(tmp_path, *parts)
    later.tell(asked, [wrong, wrong if parts[2] is Pixels else right])
    before = len(Campaign.read_events(tmp_path / "c"))
    with pytest.raises(ValueError, match=rf"Sample {asked[0]} \(sha256:.*{reason}") as caught:
        later.run(trainer, resume=True)
    assert f"`loop.tell([{asked[0]}" in str(caught.value)
    assert len(Campaign.read_events(tmp_path / "c")) == before
    if parts[2] is Pixels:
        return
    last, trainer = begin(tmp_path, *parts)
    last.tell(asked[:1], [right])
    assert [r.labelled for r in last.run(trainer, resume=True)] == [2]
    assert Campaign.load(tmp_path / "c").labels[asked[0]] == right


def test_two_is_no_binary_label(tmp_path):
    loop, trainer = begin(tmp_path, Data, Net, ClassificationTask, Entropy)
    asked = loop.ask(trainer)
    later = loop_in(tmp_path, oracle=AwaitTell(), task=BinaryTask())
    with pytest.raises(TypeError, match=rf"Dataset index {asked[0]}: `BinaryTask` needs 0 or 1 as labels, got 2"):
        later.tell(asked[:1], [2])


def test_labels_that_a_fit_has_seen_are_not_held_against_the_model_again(tmp_path):
    loop, trainer = begin(tmp_path, Data, Net, ClassificationTask, Entropy)
    asked = loop.ask(trainer)
    loop.tell(asked, [0, 1])
    loop.run(trainer)
    calls = []

    class Counts(ClassificationTask):
        def check(self, model, batch):
            calls.append(len(batch))
            super().check(model, batch)

    Counts.__name__ = "ClassificationTask"
    again, trainer = begin(tmp_path, Data, Net, Counts, Entropy)
    again.run(trainer, resume=True)
    assert calls == []
    again.tell(loop.pool.pending, [2])
    again, trainer = begin(tmp_path, Data, Net, Counts, Entropy)
    again.run(trainer, resume=True)
    assert calls == [2]
