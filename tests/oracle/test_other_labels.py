"""Simulated annotators whose labels lie in another dataset than the loop's."""

import pytest
import torch
from torch.utils.data import TensorDataset

from lightning_al import ClassificationTask, DatasetOracle, NoisyOracle
from lightning_al.acquisition import SAAL, Entropy, Random
from tests.helpers.projects import Data, loop_in, make_data, make_trainer, start


class Segments(ClassificationTask):
    """Classes of pixels."""

    def encode_label(self, label):
        return label.tolist() if isinstance(label, torch.Tensor) else label


class Hidden(Data):
    """All samples have one class, as if nobody had labelled them."""

    stands_for_none = 0

    def setup(self, stage):
        super().setup(stage)
        x, y = self.train.tensors
        self.train = TensorDataset(x, torch.full_like(y, self.stands_for_none))


class Negative(Hidden):
    stands_for_none = -1


def rare():
    """The samples with a class that one in six has, and another."""
    return TensorDataset(make_data()[0], torch.arange(60) % 6 // 5)


@pytest.mark.parametrize(
    ("data", "oracle"), [(Hidden, NoisyOracle(DatasetOracle(rare()))), (Negative, DatasetOracle(rare()))]
)
def test_initial_sets_and_races_go_by_the_labels_of_the_oracles_dataset(tmp_path, data, oracle):
    loop = loop_in(tmp_path, data=data(), oracle=oracle, initial=8, initial_by="balanced", rounds=None)
    race = loop.race(make_trainer(tmp_path, max_epochs=1), [Entropy(), Random()])
    labels = dict(loop.campaign.labels)
    assert sorted(labels.values()) == [0] * 4 + [1] * 4
    assert labels == {i: i % 6 // 5 for i in labels}
    assert race.classes_are == "true"
    ones = [sum(i % 6 // 5 for i in each.indices) for each in race.raced]
    assert [each.classes for each in race.raced] == [[4 - count, count, 0] for count in ones]


@pytest.mark.parametrize("initial_by", ["random", "balanced"])
def test_another_dataset_has_as_many_samples(tmp_path, initial_by):
    short = DatasetOracle(TensorDataset(*make_data(12)))
    with pytest.raises(ValueError, match=r"^`DatasetOracle\(dataset\)` has 12 samples, but there are 60 to ask for"):
        start(tmp_path, data=Negative(), oracle=short, initial_by=initial_by)
    with pytest.raises(TypeError, match=r"`DatasetOracle\(dataset\)` must be a map-style dataset, .* got 3"):
        start(tmp_path, data=Negative(), oracle=DatasetOracle(3), initial_by=initial_by)
    assert not (tmp_path / "c").exists()


def test_labels_that_cannot_be_flipped_are_those_of_the_oracles_dataset():
    oracle = NoisyOracle(DatasetOracle([("a", [0.5, 1.5])]), flip=0.5, classes=2)
    oracle.bind([("a", 0)], Segments())
    with pytest.raises(ValueError, match=r"such as \[0\.5, 1\.5\]"):
        oracle.check()


def test_what_reads_labels_in_batches_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"`SAAL\(labels=\"true\"\)` scores with the labels that samples of the loop's"
    ):
        start(tmp_path, data=Hidden(), oracle=DatasetOracle(rare()), acquisition=SAAL(labels="true"))
