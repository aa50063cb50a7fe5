import sys

import pytest
import torch

from lightning_al.zoo import DigitsDataModule

pytest.importorskip("sklearn")


def test_sizes_shares_and_range():
    data = DigitsDataModule()
    train, test, val = data.splits
    assert (len(train), len(test), len(val)) == (1197, 300, 300)
    for part in (train, test, val):
        assert torch.bincount(part.targets).min() >= len(part) // 10 - 3
    image, label = train[0]
    assert image.shape == (1, 8, 8)
    assert image.dtype == torch.float32
    assert type(label) is int
    assert train.images.max() == 16
    assert all(image.min() >= 0 and image.max() <= 1 for image, _ in test)


def test_the_parts_do_not_overlap_and_make_up_the_whole():
    from sklearn.datasets import load_digits

    whole = torch.as_tensor(load_digits().data).flatten(1)
    parts = torch.cat([part.images for part in DigitsDataModule().splits]).flatten(1).double()
    assert sorted(map(tuple, whole.tolist())) == sorted(map(tuple, parts.tolist()))


def test_the_split_depends_on_its_own_seed_only():
    torch.manual_seed(1)
    one = DigitsDataModule().splits.train
    torch.manual_seed(2)
    same = DigitsDataModule().splits.train
    other = DigitsDataModule(split_seed=1).splits.train
    assert torch.equal(one.images, same.images)
    assert not torch.equal(one.images, other.images)


def test_rare_classes_in_what_is_trained_on_and_nowhere_else():
    whole, rare = DigitsDataModule().splits, DigitsDataModule(imbalance=12).splits
    counts = whole.train.targets.bincount()
    assert counts.max() == 122
    # 122 * 12^(-c/9), rounded down; there are no more than 118 zeros
    assert rare.train.targets.bincount().tolist() == [118, 92, 70, 53, 40, 30, 23, 17, 13, 10]
    assert torch.equal(rare.test.images, whole.test.images)
    assert torch.equal(rare.val.images, whole.val.images)


@pytest.mark.parametrize("imbalance", [0.5, "12", 1000])
def test_an_imbalance_that_leaves_nothing(imbalance):
    with pytest.raises((TypeError, ValueError), match="imbalance"):
        DigitsDataModule(imbalance=imbalance).setup()


def test_loaders():
    data = DigitsDataModule(batch_size=100)
    assert len(data.train_dataloader()) == 12
    [(x, _)] = data.val_dataloader()
    assert len(x) == 300
    assert torch.equal(data.pool_dataset().targets, data.splits.train.targets)


def test_names_the_extra_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"lightning-al\[demo\]"):
        DigitsDataModule().setup()
