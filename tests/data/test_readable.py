"""Errors of datasets that name the sample."""

import pickle

import pytest
from torch.utils.data import DataLoader, Dataset

from lightning_al import ClassificationTask
from lightning_al.data.readable import NamedSamples, UnreadableSampleError, readable
from tests.helpers.marks import slow


class Bad(Dataset):
    def __init__(self, error, keys=True):
        self.error = error
        if keys:
            self.paths = [f"{i}.png" for i in range(4)]

    def __len__(self):
        return 4

    def __getitem__(self, index):
        if index == 2:
            raise self.error
        return index


class Nameless(ClassificationTask):
    def key(self, dataset, index):
        return str(dataset[index])


@pytest.mark.parametrize("kind", [OSError, ValueError, KeyError, IndexError])
def test_which_sample_and_why(kind):
    error = kind("cut off")
    samples = NamedSamples(Bad(error), ClassificationTask())
    assert samples.__getitems__([3, 1]) == [3, 1]
    for read in (lambda: samples[2], lambda: samples.__getitems__([3, 2])):
        with pytest.raises(
            UnreadableSampleError, match=rf"Sample 2 \('2.png'\).*{type(error).__name__}: .?cut off"
        ) as e:
            read()
        assert e.value.__cause__ is error


def test_samples_without_a_name_that_could_be_had():
    for task, keys in ((ClassificationTask(), False), (Nameless(), True)):
        with pytest.raises(UnreadableSampleError, match="Sample 2 cannot be read"):
            NamedSamples(Bad(OSError("cut off"), keys), task)[2]


def test_a_person_who_stops_it_is_no_unreadable_sample():
    with pytest.raises(KeyboardInterrupt):
        NamedSamples(Bad(KeyboardInterrupt()), ClassificationTask())[2]


@pytest.mark.parametrize("how", [slow("fork"), slow("spawn")])
def test_workers_hand_the_error_on(how):
    samples = NamedSamples(Bad(OSError("cut off")), ClassificationTask())
    assert pickle.loads(pickle.dumps(samples))[1] == 1
    with pytest.raises(UnreadableSampleError, match=r"Sample 2 \('2.png'\) cannot be read: OSError: cut off"):
        list(DataLoader(samples, batch_size=2, num_workers=1, multiprocessing_context=how))


class TestAFewThatCanBeRead:
    def test_others_are_passed_over(self):
        assert readable(Bad(OSError("cut")), [2, 1, 3, 0]) == [1, 3, 0]
        assert readable(Bad(OSError("cut")), iter([2, 1, 3, 0]), 2) == [1, 3]
        assert readable(Bad(OSError("cut")), []) == []

    def test_where_none_can_it_is_the_first_error(self):
        with pytest.raises(OSError, match="cut"):
            readable(Bad(OSError("cut")), [2, 2])
