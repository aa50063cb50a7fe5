"""Samples that cannot be read: named, or left out as if they were not there."""

import contextlib

import pytest
from torch.utils.data import DataLoader, Dataset, Subset

from lightning_al.acquisition import (
    SAAL,
    VAAL,
    CoreSet,
    Entropy,
)
from lightning_al.data.readable import UnreadableSampleError
from tests.helpers.marks import slow
from tests.helpers.processes import fork
from tests.helpers.projects import SIZE, make_trainer
from tests.helpers.scored import SAMPLES, Never, X, Y, scored


class Files(Dataset):
    """Of which some cannot be read."""

    def __init__(self, *bad, several=False):
        self.bad, self.paths = bad, [f"/photos/cat/{i}.png" for i in range(SIZE)]
        self.root = "/photos"
        if several:
            self.__getitems__ = lambda indices: [self[i] for i in indices]

    def __len__(self):
        return SIZE

    def __getitem__(self, index):
        if index in self.bad:
            raise OSError("image file is truncated.")
        return X[index], Y[index]


@pytest.mark.parametrize("workers", [0, slow(2)])
@pytest.mark.parametrize("several", [False, True])
def test_an_unreadable_sample_is_named(tmp_path, workers, several):
    loader = DataLoader(Files(37, several=several), batch_size=8, num_workers=workers)
    with pytest.raises(UnreadableSampleError) as error:
        scored(tmp_path, Entropy(), dataset=loader)
    assert "Sample 37 ('cat/37.png') cannot be read: OSError: image file is truncated. Repair" in str(error.value)


@pytest.mark.parametrize(
    ("acquisition", "processes"),
    [
        (Entropy, 1),
        slow(lambda: VAAL(steps=3, width=4), 1),
        slow(lambda: SAAL(group_size=3, selection="top"), 1),
        slow(CoreSet, 2),
    ],
)
def test_unreadable_samples_are_left_out_as_if_they_were_not_there(tmp_path, acquisition, processes):
    bad = (0, 21, 37, 59)
    rest = [i for i in range(SIZE) if i not in bad]
    strategy, devices = fork(processes) if processes > 1 else ("auto", 1)
    trainer = make_trainer(tmp_path, strategy=strategy, devices=devices)
    options = {"k": 5, "labelled": Subset(SAMPLES, [2, 3, 4])}
    said = pytest.warns(UserWarning, match=r"4 of 63 samples.*left out: 0 \(OSError: image file is truncated\), 21 \(")
    with said if processes == 1 else contextlib.nullcontext():  # of others it is said elsewhere
        scores = scored(tmp_path, acquisition(), dataset=Files(*bad), skip_unreadable=True, trainer=trainer, **options)
    without = scored(tmp_path, acquisition(), dataset=Subset(SAMPLES, rest), **options)
    assert scores.unreadable == dict.fromkeys(bad, "OSError: image file is truncated")
    assert scores.index.tolist() == rest
    if isinstance(acquisition(), (Entropy, CoreSet)):  # others draw by number, or score in groups by it
        assert scores.picks == [rest[i] for i in without.picks]
        assert without.score is None or scores.score.equal(without.score)
    assert len(scores.picks) == 5
    assert not set(scores.picks) & set(bad)


def test_a_pool_of_which_nothing_can_be_read(tmp_path):
    with pytest.raises(ValueError, match="No sample can be read"), pytest.warns(UserWarning, match="60 of 60"):
        scored(tmp_path, Never(), dataset=Files(*range(SIZE)), skip_unreadable=True)
