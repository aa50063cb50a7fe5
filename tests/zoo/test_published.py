import sys
from types import SimpleNamespace

import pytest
import torch

from lightning_al.zoo import (
    CIFAR10DataModule,
    CIFAR100DataModule,
    FashionMNISTDataModule,
    SVHNDataModule,
)
from lightning_al.zoo.images import crop_and_flip
from lightning_al.zoo.long_tail import long_tail
from lightning_al.zoo.published import Pixels, PublishedImages
from tests.helpers.published import DATA, NETS
from tests.helpers.recipes import ROOT

ALL = [
    *(CIFAR10DataModule, CIFAR100DataModule, SVHNDataModule, FashionMNISTDataModule),
]


class Stripes(PublishedImages):
    title, augmented, pixel_mean, pixel_std = "Stripes", True, (0.5, 0.25), (0.1, 0.2)

    def find(self):
        return self.folder if (self.folder / "stripes").exists() else None

    def read_split(self, folder, split):
        count = 6 if split == "train" else 3
        return Pixels(torch.arange(count * 8).view(count, 2, 2, 2).byte(), torch.arange(count) % 2, ["no", "yes"])

    def fetch(self, datasets):
        datasets.fetched.append(self.folder)
        (self.folder / "stripes").touch()

    def where_from(self):
        return "Paint them."


@pytest.fixture
def there(tmp_path):
    (tmp_path / "stripes").touch()
    return str(tmp_path)


def test_what_it_gives(there):
    data = Stripes(4, root=there)
    pool, train, test = data.pool_dataset(), data.train_dataloader().dataset, data.test_dataloader().dataset
    assert (len(pool), len(train), len(test)) == (6, 6, 3)
    assert data.classes == pool.classes == test.classes == ["no", "yes"]
    mean, std = torch.tensor([0.5, 0.25]).view(2, 1, 1), torch.tensor([0.1, 0.2]).view(2, 1, 1)
    torch.testing.assert_close(pool[3][0], (torch.arange(24, 32).view(2, 2, 2) / 255 - mean) / std)
    assert (train.augment, pool.augment, test.augment) == (crop_and_flip, None, None)


def test_augmentation_and_normalisation_are_options(there):
    data = Stripes(root=there, augmentation=False, mean=[0.0, 0.0], std=[1.0, 1.0])
    assert data.splits.train.augment is None
    torch.testing.assert_close(data.pool_dataset()[1][0], torch.arange(8, 16).view(2, 2, 2) / 255)


def test_a_long_tail(there):
    class Many(Stripes):
        def read_split(self, folder, split):
            return Pixels(torch.arange(800).view(100, 2, 2, 2).byte(), torch.arange(100) % 2, ["no", "yes"])

    whole, data = Many(root=there), Many(root=there, imbalance=10)
    rows = long_tail(whole.pool_dataset().targets, 10)
    assert len(rows) == 55
    assert torch.equal(data.pool_dataset().images, whole.pool_dataset().images[rows])
    assert data.pool_dataset().targets.bincount().tolist() == [50, 5]
    assert torch.equal(data.train_dataloader().dataset.images, data.pool_dataset().images)
    assert torch.equal(data.splits.test.images, whole.splits.test.images)
    others = Many(root=there, imbalance=10, imbalance_seed=1).pool_dataset()
    assert others.targets.bincount().tolist() == [50, 5]
    assert not torch.equal(others.images, data.pool_dataset().images)


def test_so_many_of_each_class(there):
    class Many(Stripes):
        def read_split(self, folder, split):
            return Pixels(torch.arange(800).view(100, 2, 2, 2).byte(), torch.arange(100) % 2, ["no", "yes"])

    whole, data = Many(root=there), Many(root=there, train_per_class=20, test_per_class=3)
    assert data.pool_dataset().targets.bincount().tolist() == [20, 20]
    assert data.splits.test.targets.bincount().tolist() == [3, 3]
    rows = long_tail(whole.splits.test.targets, most=3)
    assert torch.equal(data.splits.test.images, whole.splits.test.images[rows])
    rare = Many(root=there, train_per_class=20, imbalance=5)
    assert rare.pool_dataset().targets.bincount().tolist() == [20, 4]
    assert rare.splits.test.targets.bincount().tolist() == [50, 50]
    others = Many(root=there, train_per_class=20, imbalance_seed=1).pool_dataset()
    assert not torch.equal(others.images, data.pool_dataset().images)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"mean": [0.5]}, ValueError, r"`mean` must have one number per channel, 2, got \[0.5\]"),
        ({"std": [1.0, 0.0]}, ValueError, "`std` must be above 0 and finite, got 0.0"),
        ({"augmentation": "some", "download": 1, "batch_size": 0}, ValueError, "3 things"),
        ({"imbalance": 0.01}, ValueError, r"`imbalance` must be at least 1 and finite, got 0\.01"),
        ({"imbalance": None, "imbalance_seed": -1}, TypeError, r"2 things(.|\n)*`imbalance`(.|\n)*`imbalance_seed`"),
        ({"test_per_class": 0}, ValueError, "`test_per_class` must be at least 1, got 0"),
        ({"train_per_class": 2.5}, TypeError, "`train_per_class`"),
        ({"num_workers": -1}, ValueError, "`num_workers` must be at least 0, got -1"),
    ],
)
def test_refused(options, error, match):
    with pytest.raises(error, match=match):
        Stripes(**options)


@pytest.mark.parametrize("kind", ALL)
def test_nothing_is_there_and_nothing_is_downloaded(kind, tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")
    for name in ("CIFAR10", "CIFAR100", "SVHN", "FashionMNIST"):
        monkeypatch.delattr(datasets, name)
    data = kind(root=str(tmp_path / "nowhere"))
    data.prepare_data()
    with pytest.raises(FileNotFoundError, match=rf"{data.title} is not there.*nowhere.*`download=True`"):
        data.setup()


def test_download(tmp_path, monkeypatch):
    torchvision = pytest.importorskip("torchvision")
    stand_in = SimpleNamespace(fetched=[])
    monkeypatch.setitem(sys.modules, "torchvision.datasets", stand_in)
    monkeypatch.setattr(torchvision, "datasets", stand_in)
    data = Stripes(root=str(tmp_path), download=True)
    data.prepare_data()
    data.prepare_data()
    assert stand_in.fetched == [tmp_path]
    assert len(data.pool_dataset()) == 6


@pytest.mark.parametrize("kind", ALL)
def test_docstrings_say_where_from_and_under_which_licence(kind):
    said = (kind.__doc__ or "") + (kind.__mro__[1].__doc__ or "")
    assert "https://" in said or "http://" in said
    assert "Licence: " in said


def test_the_page_has_all_of_them():
    page = (ROOT / "docs" / "data_sets.md").read_text()
    for name in (*DATA, *NETS):
        assert f"`{name}`" in page
