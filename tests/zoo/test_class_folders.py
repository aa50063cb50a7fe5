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
