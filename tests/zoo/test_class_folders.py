import hashlib

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lightning_al import ActiveLearningLoop, ClassificationTask
from lightning_al.acquisition import Entropy
from lightning_al.report import load_curves
from lightning_al.zoo import (
    Caltech101DataModule,
    ClassFoldersDataModule,
    Classifier,
    DisasterDataModule,
    ImageNetDataModule,
)
from lightning_al.zoo.image_files import MEAN, STD, read_image
from lightning_al.zoo.images import ImageDataset


def paint(path, number=0, size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def fill(folder, classes=("cat", "dog"), per_class=3):
    for place, name in enumerate(classes):
        for number in range(per_class):
            paint(folder / name / f"{number}.png", 100 * place + number)


def keys(dataset):
    return [ClassificationTask().key(dataset, row) for row in range(len(dataset))]


def in_order_of_hashes(names, seed=0):
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8])


class TestTrainAndTest:
    def test_what_it_gives(self, tmp_path):
        fill(tmp_path / "train")
        fill(tmp_path / "test", per_class=1)
        data = ClassFoldersDataModule(str(tmp_path), size=(4, 6), batch_size=5, augmentation="none")
        pool, test = data.pool_dataset(), data.splits.test
        assert keys(pool) == [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(3)]
        assert keys(test) == ["cat/0.png", "dog/0.png"]
        assert data.classes == ["cat", "dog"]
        image, label = pool[4]
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        torch.testing.assert_close(image, (read_image(str(tmp_path / "train/dog/1.png"), (4, 6)) - mean) / std)
        assert label == 1
        images, labels = next(iter(data.train_dataloader()))
        assert (images.shape, labels.shape) == ((5, 3, 4, 6), (5,))

    def test_what_is_kept_in_memory_is_what_files_give(self, tmp_path):
        fill(tmp_path / "train")
        fill(tmp_path / "test")
        made = [ClassFoldersDataModule(str(tmp_path), size=16, in_memory=memory) for memory in (False, True)]
        files, memory = (data.pool_dataset() for data in made)
        assert isinstance(memory, ImageDataset)
        assert (keys(files), files.classes) == (keys(memory), memory.classes)
        for row in range(len(files)):
            assert files[row][1] == memory[row][1]
            torch.testing.assert_close(files[row][0], memory[row][0], atol=1e-5, rtol=0)
        for data in made:
            shifted = data.splits.train
            torch.manual_seed(1)
            assert len({float(shifted[0][0][0, 3, 4]) for _ in range(8)}) > 1

    def test_other_classes_are_refused(self, tmp_path):
        fill(tmp_path / "train", ("cat", "dog"))
        fill(tmp_path / "test", ("cat", "dogs"))
        with pytest.raises(ValueError, match=r"same classes; 'dog' is in one of them alone \(2 in all\)"):
            ClassFoldersDataModule(str(tmp_path)).setup()

    def test_a_missing_folder(self, tmp_path):
        fill(tmp_path / "train")
        with pytest.raises(FileNotFoundError, match=r"test is no folder of class folders. `root=.*` must hold the cl"):
            ClassFoldersDataModule(str(tmp_path)).setup()

    def test_a_file_that_cannot_be_read_is_named(self, tmp_path):
        fill(tmp_path / "train")
        fill(tmp_path / "test")
        (tmp_path / "train" / "dog" / "1.png").write_bytes(b"no image")
        with pytest.raises(OSError, match=r"dog/1.png cannot be read"):
            ClassFoldersDataModule(str(tmp_path)).pool_dataset()[4]
        with pytest.raises(OSError, match=r"dog/1.png cannot be read"):
            ClassFoldersDataModule(str(tmp_path), in_memory=True).setup()

    @pytest.mark.parametrize(
        ("options", "error", "match"),
        [
            ({"augmentation": "cutout"}, ValueError, "`augmentation` must be one of 'none', 'crop_and_flip', 'resized"),
            ({"augmentation": "resized_crop", "in_memory": True}, ValueError, "Leave one of them out"),
            ({"size": (3, 4, 5)}, ValueError, "`size` must be height and width"),
            ({"size": 0}, ValueError, "`size` must be at least 1, got 0"),
            ({"test_share": 1.0}, ValueError, "`test_share` must be above 0 and below 1, got 1.0"),
            ({"margin": 0.5, "std": [1.0]}, ValueError, "2 things"),
            ({"in_memory": "yes"}, TypeError, "`in_memory` must be True or False"),
            (
                {"imbalance": 0.5, "imbalance_seed": -1},
                ValueError,
                r"2 things(.|\n)*`imbalance` (.|\n)*`imbalance_seed`",
            ),
            (
                {"train_per_class": 0, "test_per_class": 1.5},
                TypeError,
                r"2 things(.|\n)*`train_per(.|\n)*`test_per_class`",
            ),
        ],
    )
    def test_refused(self, options, error, match):
        with pytest.raises(error, match=match):
            ClassFoldersDataModule(**options)


class TestAShareIsTestedOn:
    def test_which(self, tmp_path):
        fill(tmp_path, per_class=10)
        data = ClassFoldersDataModule(str(tmp_path), test_share=0.25, size=4)
        names = [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(10)]
        drawn = in_order_of_hashes(names)[:5]
        assert keys(data.splits.test) == sorted(drawn)
        assert keys(data.pool_dataset()) == sorted(set(names) - set(drawn))
        other = ClassFoldersDataModule(str(tmp_path), test_share=0.25, size=4, split_seed=1)
        assert keys(other.splits.test) == sorted(in_order_of_hashes(names, 1)[:5])
        assert data.pool_dataset().samples[0][1] == 0


class TestALongTail:
    """Of classes a, b and c with 16 files each an imbalance of 4 leaves 16, 8 and 4, drawn by a hash of their names."""

    CLASSES = ("a", "b", "c")

    def left(self, counts, of=16, seed=0):
        """The files of each class that are left, so many of each."""
        names = {name: [f"{name}/{number}.png" for number in range(of)] for name in self.CLASSES}
        drawn = [in_order_of_hashes(names[n], seed)[:c] for n, c in zip(self.CLASSES, counts, strict=True)]
        return sorted(name for of_class in drawn for name in of_class)

    @pytest.mark.parametrize("in_memory", [False, True])
    def test_which_train_and_which_are_tested_on(self, tmp_path, in_memory):
        fill(tmp_path / "train", self.CLASSES, per_class=16)
        fill(tmp_path / "test", self.CLASSES, per_class=2)
        options = {"size": 4, "in_memory": in_memory, "imbalance": 4}
        data = ClassFoldersDataModule(str(tmp_path), **options, test_per_class=1)
        assert keys(data.pool_dataset()) == self.left([16, 8, 4])
        assert [label for _, label in data.splits.train.samples] == [0] * 16 + [1] * 8 + [2] * 4
        assert keys(data.splits.test) == self.left([1, 1, 1], of=2)
        other = ClassFoldersDataModule(str(tmp_path), **options, imbalance_seed=5, train_per_class=8)
        assert keys(other.pool_dataset()) == self.left([8, 4, 2], seed=5)
        assert len(ClassFoldersDataModule(str(tmp_path), size=4).pool_dataset()) == 48

    def test_of_a_share_only_what_trains_is_cut(self, tmp_path):
        fill(tmp_path, self.CLASSES, per_class=16)
        whole = ClassFoldersDataModule(str(tmp_path), size=4, test_share=0.25)
        data = ClassFoldersDataModule(str(tmp_path), size=4, test_share=0.25, imbalance=4)
        counts = torch.tensor([label for _, label in whole.splits.train.samples]).bincount()
        left = torch.tensor([label for _, label in data.splits.train.samples]).bincount()
        assert keys(data.splits.test) == keys(whole.splits.test)
        largest = int(counts.max())
        assert left.tolist() == [min(int(n), largest // d) for n, d in zip(counts, (1, 2, 4), strict=True)]

    def test_a_file_that_joins_leaves_the_others_as_they_are(self, tmp_path):
        fill(tmp_path / "train", self.CLASSES, per_class=16)
        fill(tmp_path / "test", self.CLASSES, per_class=1)
        before = set(keys(ClassFoldersDataModule(str(tmp_path), size=4, imbalance=4).pool_dataset()))
        paint(tmp_path / "train" / "b" / "00.png", 7)
        after = set(keys(ClassFoldersDataModule(str(tmp_path), size=4, imbalance=4).pool_dataset()))
        assert len(before - after) <= 1

    def test_nothing_would_be_left(self, tmp_path):
        fill(tmp_path / "train", self.CLASSES)
        fill(tmp_path / "test", self.CLASSES)
        with pytest.raises(ValueError, match=r"`imbalance` must be at most .* largest class, 3, .* got 4\."):
            ClassFoldersDataModule(str(tmp_path), imbalance=4).setup()


class TestImageNet:
    def test_layout(self, tmp_path):
        for place, name in enumerate(("n01440764", "n01443537")):
            paint(tmp_path / "train" / name / f"{name}_10.JPEG", place, (300, 260))
            paint(tmp_path / "val" / name / f"ILSVRC2012_val_0000000{place}.JPEG", place, (300, 260))
        data = ImageNetDataModule(str(tmp_path), num_workers=0)
        assert data.classes == ["n01440764", "n01443537"]
        assert keys(data.splits.test)[1] == "n01443537/ILSVRC2012_val_00000001.JPEG"
        assert data.pool_dataset()[0][0].shape == (3, 224, 224)
        assert data.splits.train.augmentation == "resized_crop"
        assert (data.pool_dataset().augmentation, data.pool_dataset().margin) == ("none", 1 / 16)

    def test_a_flat_validation_folder(self, tmp_path):
        paint(tmp_path / "train" / "n01440764" / "1.JPEG")
        paint(tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG")
        for place, part in ((tmp_path, "val"), (tmp_path / "nowhere", "train")):
            with pytest.raises(FileNotFoundError, match=rf"{part} is no folder of .*torchvision.datasets.ImageNet"):
                ImageNetDataModule(str(place)).setup()


class TestCaltech101:
    @pytest.mark.parametrize("below", [".", "caltech101"])
    def test_layout(self, tmp_path, below):
        folder = tmp_path / below / "101_ObjectCategories"
        for name in ("accordion", "zebra", "BACKGROUND_Google"):
            for number in range(6):
                paint(folder / name / f"image_{number:04d}.jpg", number, (30, 20))
        data = Caltech101DataModule(str(tmp_path))
        assert data.classes == ["accordion", "zebra"]
        assert (len(data.pool_dataset()), len(data.splits.test)) == (8, 4)
        assert data.pool_dataset()[0][0].shape == (3, 200, 300)
        assert keys(data.pool_dataset())[0].startswith("accordion/image_")

    def test_the_published_sizes(self):
        share = Caltech101DataModule().test_share
        assert round(share * 8677) == 2877
        assert 8677 - round(share * 8677) == 5800

    def test_nothing_there(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"`101_ObjectCategories` or `caltech101/101_ObjectCategories`"):
            Caltech101DataModule(str(tmp_path)).setup()


class TestDisasters:
    @pytest.mark.parametrize("below", [".", "Comprehensive Disaster Dataset(CDD)"])
    def test_layout(self, tmp_path, below):
        folder = tmp_path / below
        for number in range(4):
            paint(folder / "Fire_Disaster" / "Urban_Fire" / f"{number}.png", number)
            paint(folder / "Fire_Disaster" / "Wild_Fire" / f"{number}.jpg", number)
            paint(folder / "Human_Damage" / f"{number}.png", number)
        data = DisasterDataModule(str(tmp_path))
        assert data.classes == ["Fire_Disaster", "Human_Damage"]
        assert (len(data.pool_dataset()), len(data.splits.test)) == (10, 2)
        assert data.pool_dataset()[0][0].shape == (3, 32, 32)
        assert {"Fire_Disaster/Urban_Fire/0.png", "Fire_Disaster/Wild_Fire/0.jpg", "Human_Damage/0.png"} <= set(
            keys(data.pool_dataset()) + keys(data.splits.test)
        )

    def test_nothing_there(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="the folders of the six classes"):
            DisasterDataModule(str(tmp_path / "nowhere")).setup()


@pytest.mark.parametrize("kind", [ImageNetDataModule, Caltech101DataModule, DisasterDataModule])
def test_docstrings_say_where_from_and_under_which_licence(kind):
    assert "From https://" in kind.__doc__
    assert "Licence: " in kind.__doc__


def test_a_campaign_with_class_accuracies(tmp_path):
    """Augmented where it trains and nowhere else; the accuracy of each class is a metric like others."""
    for part, count in (("train", 6), ("test", 3)):
        fill(tmp_path / part, ("cat", "dog", "eel"), per_class=count)
    data = ClassFoldersDataModule(str(tmp_path), size=8, batch_size=4)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 3))
    trainer = pl.Trainer(
        **{"max_epochs": 1, "accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False},
        **{"enable_progress_bar": False, "enable_model_summary": False, "callbacks": [Entropy()]},
    )
    model = Classifier(net, num_classes=3, class_accuracies=True)
    dirpath = tmp_path / "runs" / "entropy"
    options = {"initial": 6, "query_size": 3, "rounds": 1, "evaluate": "test", "dirpath": str(dirpath)}
    history = ActiveLearningLoop(model, data, **options).run(trainer)
    names = {f"test_acc_class_{c}" for c in range(3)}
    assert [set(result.metrics) for result in history] == [{"test_acc", "test_loss"} | names] * 2
    mean = sum(history[1].metrics[name] for name in names) / 3  # as many of each class
    assert history[1].metrics["test_acc"] == pytest.approx(mean)
    assert "test_acc_class_1" not in str(history[1])
    assert len(load_curves(dirpath, "test_acc_class_1")["entropy"][0].values) == 2
    assert load_curves(dirpath)["entropy"][0].metric == "test_acc"
