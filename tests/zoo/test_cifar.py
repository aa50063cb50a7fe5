import pickle
import sys

import numpy as np
import pytest
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden

from lightning_al import ClassificationTask
from lightning_al.zoo import CIFAR10DataModule, CIFAR100DataModule
from lightning_al.zoo.cifar import MEAN, STD
from lightning_al.zoo.images import crop_and_flip

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
datasets = pytest.importorskip("torchvision.datasets")


def write_batches(root, monkeypatch, rows=4):
    """Batches in the original format, with torchvision's checksums of the real ones taken out."""
    rng = np.random.default_rng(0)
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    made = {}
    for name in names:
        made[name] = (rng.integers(0, 256, (rows, 3072), dtype=np.uint8), rng.integers(0, 10, rows).tolist())
        (folder / name).write_bytes(pickle.dumps({"data": made[name][0], "labels": made[name][1]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": CLASSES}))
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[name, None] for name in names[:5]])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [[names[5], None]])
    monkeypatch.setattr(datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": None})
    return made


FINE = [f"thing_{number:02d}" for number in range(100)]


def write_batches_of_100(root, monkeypatch, rows=4):
    """The same of CIFAR-100, which has one file for each split, and coarse labels beside the fine ones."""
    rng = np.random.default_rng(1)
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    made = {}
    for name in ("train", "test"):
        made[name] = (rng.integers(0, 256, (rows, 3072), dtype=np.uint8), rng.integers(0, 100, rows).tolist())
        content = {"data": made[name][0], "fine_labels": made[name][1], "coarse_labels": [0] * rows}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": FINE, "coarse_label_names": ["all"]}))
    monkeypatch.setattr(datasets.CIFAR100, "train_list", [["train", None]])
    monkeypatch.setattr(datasets.CIFAR100, "test_list", [["test", None]])
    monkeypatch.setattr(datasets.CIFAR100, "meta", {**datasets.CIFAR100.meta, "md5": None})
    return made


def write_images(root, classes=CLASSES, per_class=2, size=32, split="train"):
    from PIL import Image

    for label, name in enumerate(classes):
        folder = root / split / name
        folder.mkdir(parents=True)
        for i in range(per_class):
            Image.new("RGB", (size, size), (25 * label, 100 * i, 7)).save(folder / f"{i:04d}.jpg", quality=95)


def test_batches(tmp_path, monkeypatch):
    made = write_batches(tmp_path, monkeypatch)
    data = CIFAR10DataModule(root=str(tmp_path))
    data.prepare_data()
    data.setup("fit")
    pool, test = data.pool_dataset(), data.splits.test
    expected = np.concatenate([made[f"data_batch_{i}"][0] for i in range(1, 6)]).reshape(-1, 3, 32, 32)
    assert torch.equal(pool.images, torch.from_numpy(expected))
    assert pool.targets.tolist() == [label for i in range(1, 6) for label in made[f"data_batch_{i}"][1]]
    assert torch.equal(test.images, torch.from_numpy(made["test_batch"][0]).view(-1, 3, 32, 32))
    assert test.targets.tolist() == made["test_batch"][1]
    scale = [torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD)]
    torch.testing.assert_close(pool[7][0], (pool.images[7] / 255 - scale[0]) / scale[1])
    assert not hasattr(pool, "samples")
    assert data.classes == pool.classes == CLASSES


def test_batches_of_100(tmp_path, monkeypatch):
    made = write_batches_of_100(tmp_path, monkeypatch)
    data = CIFAR100DataModule(root=str(tmp_path))
    for split, images in (("train", data.pool_dataset()), ("test", data.splits.test)):
        assert torch.equal(images.images, torch.from_numpy(made[split][0]).view(-1, 3, 32, 32))
        assert images.targets.tolist() == made[split][1]
    assert data.classes == FINE
    assert data.splits.train.augment is crop_and_flip
    assert [round(255 * value, 3) for value in (0.5071, 0.4865, 0.4409)] == pytest.approx(
        data.pool_dataset().mean.flatten().tolist(), abs=1e-3
    )


def test_image_folder_of_100(tmp_path):
    for split in ("train", "test"):
        write_images(tmp_path, FINE, per_class=1, split=split, size=4)
    data = CIFAR100DataModule(root=str(tmp_path))
    assert data.pool_dataset().targets.tolist() == list(range(100))
    with pytest.raises(ValueError, match="CIFAR-10 has the same 10 classes"):
        CIFAR10DataModule(root=str(tmp_path)).setup()


def test_image_folder(tmp_path):
    write_images(tmp_path)
    write_images(tmp_path, per_class=1, split="test")
    data = CIFAR10DataModule(root=str(tmp_path))
    data.prepare_data()
    pool = data.pool_dataset()
    assert pool.images.shape == (20, 3, 32, 32)
    assert pool.targets.tolist() == [label for label in range(10) for _ in range(2)]
    assert [label for _, label in pool.samples] == pool.targets.tolist()
    assert pool.samples == datasets.ImageFolder(str(tmp_path / "train")).samples
    for row, (label, i) in enumerate((label, i) for label in range(10) for i in range(2)):
        colour = pool.images[row].float().mean((1, 2))
        assert (colour - torch.tensor([25.0 * label, 100.0 * i, 7.0])).abs().max() < 4
    assert len(data.splits.test) == 10
    assert ClassificationTask().key(pool, 3) == "automobile/0001.jpg"


def test_files_of_a_long_tail_keep_their_names(tmp_path):
    for split in ("train", "test"):
        write_images(tmp_path, per_class=4, split=split, size=4)
    pool = CIFAR10DataModule(root=str(tmp_path), imbalance=4).pool_dataset()
    assert pool.targets.bincount().tolist()[0] == 4
    assert pool.targets.bincount().tolist()[-1] == 1
    assert [label for _, label in pool.samples] == pool.targets.tolist()
    assert ClassificationTask().key(pool, len(pool) - 1).startswith("truck/")


def test_only_files_that_are_kept_are_read(tmp_path):
    for split in ("train", "test"):
        write_images(tmp_path, per_class=4, split=split, size=4)
    whole = CIFAR10DataModule(root=str(tmp_path)).splits
    kept = CIFAR10DataModule(root=str(tmp_path), train_per_class=2, test_per_class=1).splits
    assert (kept.train.targets.bincount().tolist(), len(kept.test)) == ([2] * 10, 10)
    for row, (path, _) in enumerate(kept.train.samples):
        assert torch.equal(kept.train.images[row], whole.train.images[whole.train.samples.index((path, row // 2))])
    for path, _ in set(whole.train.samples) - set(kept.train.samples):
        (tmp_path / path).write_bytes(b"")
    assert torch.equal(CIFAR10DataModule(root=str(tmp_path), train_per_class=2).splits.train.images, kept.train.images)


def test_augments_only_what_trains(tmp_path, monkeypatch):
    write_batches(tmp_path, monkeypatch)
    data = CIFAR10DataModule(batch_size=5, root=str(tmp_path))
    train, pool = data.train_dataloader().dataset, data.pool_dataset()
    assert train.augment is crop_and_flip
    assert torch.equal(train.images, pool.images)
    assert torch.equal(train.targets, pool.targets)
    assert not all(torch.equal(train[0][0], train[0][0]) for _ in range(10))
    assert all(torch.equal(pool[i][0], pool[i][0]) for i in range(len(pool)))
    assert data.test_dataloader().dataset.augment is None
    assert not is_overridden("val_dataloader", data)


def test_images_of_another_size_are_refused(tmp_path):
    write_images(tmp_path, CLASSES[:9])
    write_images(tmp_path, CLASSES[9:], size=16)
    write_images(tmp_path, per_class=1, split="test")
    with pytest.raises(ValueError, match=r"truck/0000.jpg has the shape \(3, 16, 16\)"):
        CIFAR10DataModule(root=str(tmp_path)).setup()


def test_classes_are_checked(tmp_path):
    write_images(tmp_path, CLASSES[:9])
    write_images(tmp_path, split="test", per_class=1)
    with pytest.raises(ValueError, match=r"same 10 classes in .*found \['airplane'"):
        CIFAR10DataModule(root=str(tmp_path)).setup()


def test_an_empty_class_is_refused(tmp_path):
    write_images(tmp_path, per_class=0)
    write_images(tmp_path, split="test", per_class=1)
    with pytest.raises(ValueError, match="airplane holds no image"):
        CIFAR10DataModule(root=str(tmp_path)).setup()


def test_batches_that_are_not_what_was_published(tmp_path, monkeypatch):
    write_batches(tmp_path, monkeypatch)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(ValueError, match=r"cifar-10-batches-py is not what was published.*Unpack the archive"):
        CIFAR10DataModule(root=str(tmp_path)).setup()


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"cifar-10-batches-py.*`train` and `test`"):
        CIFAR10DataModule(root=str(tmp_path)).setup()


def test_no_network(tmp_path, monkeypatch):
    def download(root, download):
        raise OSError("no route to host")

    monkeypatch.setattr(datasets, "CIFAR10", download)
    with pytest.raises(RuntimeError, match=r"no route to host.*`root="):
        CIFAR10DataModule(root=str(tmp_path), download=True).prepare_data()


def test_no_torchvision(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(RuntimeError, match=r"lightning-al\[vision\]"):
        CIFAR10DataModule(root=str(tmp_path), download=True).prepare_data()
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(ImportError, match=r"lightning-al\[vision\]"):
        CIFAR10DataModule(root=str(tmp_path)).setup()
