import hashlib

import pytest
import torch

from lightning_al.zoo.long_tail import long_tail


def test_sizes():
    """As Cui et al. count them: of 5,000 images of each class, 12,406 in all at an imbalance of 100."""
    targets = torch.arange(10).repeat(5000)
    kept = targets[long_tail(targets, 100)].bincount().tolist()
    assert kept == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    few = torch.arange(10).repeat(50)
    assert few[long_tail(few, 10)].bincount().tolist()[::9] == [50, 5]
    assert few[long_tail(few, 1)].bincount().tolist() == [50] * 10
    assert few[long_tail(few, 50)].bincount().tolist()[-1] == 1


def test_which():
    targets = torch.arange(4).repeat(50)
    rows = long_tail(targets, 20)
    drawn = sorted(range(200), key=lambda number: hashlib.sha256(f"0/{number}".encode()).digest()[:8])
    expected = set()
    for c in range(4):
        expected |= set([number for number in drawn if number % 4 == c][: int(50 * 20 ** (-c / 3))])
    assert rows.tolist() == sorted(expected)
    assert set(long_tail(targets, 40).tolist()) < set(rows.tolist())
    assert long_tail(targets, 20, seed=1).tolist() != rows.tolist()
    assert set((targets == 0).nonzero().flatten().tolist()) < set(rows.tolist())


def test_a_class_that_has_fewer_keeps_all():
    targets = torch.tensor([0] * 16 + [1] * 2 + [2] * 9)
    assert targets[long_tail(targets, 4)].bincount().tolist() == [16, 2, 4]
    assert long_tail(targets, 1).tolist() == list(range(27))


def test_at_most_so_many():
    targets = torch.tensor([0] * 16 + [1] * 2 + [2] * 9)
    assert targets[long_tail(targets, most=4)].bincount().tolist() == [4, 2, 4]
    assert targets[long_tail(targets, 4, most=8)].bincount().tolist() == [8, 2, 2]
    assert long_tail(targets, most=99).tolist() == list(range(27))
    assert set(long_tail(targets, most=3).tolist()) < set(long_tail(targets, most=4).tolist())


def test_nothing_left_is_refused():
    with pytest.raises(ValueError, match=r"`imbalance` must be at most .* largest class, 3, .*got 3\.5"):
        long_tail(torch.arange(2).repeat(3), 3.5)
    with pytest.raises(ValueError, match="kept of the largest class, 2, or"):
        long_tail(torch.arange(2).repeat(3), 3.0, most=2)
