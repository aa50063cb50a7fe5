import numpy as np
import pytest
import torch

from lightning_al.zoo import SVHNDataModule
from lightning_al.zoo.images import crop_and_flip

io = pytest.importorskip("scipy.io")


def write(folder, train=12, test=7, **changed):
    """The two files, as published: images last, labels 1 to 10 in a column."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for split, count in (("train", train), ("test", test)):
        images = rng.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8)[:, None] % 10 + 1
        made[split] = {"X": images, "y": labels, **changed}
        io.savemat(folder / f"{split}_32x32.mat", made[split], do_compression=True)
    return made


@pytest.mark.parametrize("below", [".", "svhn"])
def test_it_is_read(tmp_path, below):
    made = write(tmp_path / below)
    data = SVHNDataModule(root=str(tmp_path), mean=[0, 0, 0], std=[1, 1, 1])
    for split, images in (("train", data.pool_dataset()), ("test", data.splits.test)):
        for row in range(len(images)):
            image, label = images[row]
            assert label == (row + 1) % 10  # 10 is the digit 0
            expected = torch.from_numpy(made[split]["X"][:, :, :, row]).permute(2, 0, 1)
            torch.testing.assert_close(image, expected / 255)
    assert (len(data.pool_dataset()), len(data.splits.test)) == (12, 7)
    assert data.classes == [str(digit) for digit in range(10)]
    assert data.splits.train.augment is None
    assert SVHNDataModule(root=str(tmp_path), augmentation=True).splits.train.augment is crop_and_flip


def test_it_is_what_torchvision_reads(tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")
    write(tmp_path)
    monkeypatch.setattr(datasets.SVHN, "_check_integrity", lambda _: True)
    theirs = datasets.SVHN(str(tmp_path), split="test")
    ours = SVHNDataModule(root=str(tmp_path)).splits.test
    assert torch.equal(ours.images, torch.from_numpy(theirs.data))
    assert ours.targets.tolist() == theirs.labels.tolist()


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"y": np.zeros((12, 1), np.uint8)}, "labels 1 to 10, of which 10 is the digit 0; got 0"),
        ({"y": np.ones((5, 1), np.uint8)}, r"`X`, bytes \(32, 32, 3, N\).*and 5 labels"),
        ({"X": np.zeros((12, 3, 32, 32), np.uint8)}, r"got uint8 \(12, 3, 32, 32\)"),
        ({"X": np.zeros((32, 32, 3, 12))}, r"got float64 \(32, 32, 3, 12\)"),
    ],
)
def test_other_content_is_refused(tmp_path, changed, match):
    write(tmp_path, **changed)
    with pytest.raises(ValueError, match=rf"train_32x32.mat.*{match}"):
        SVHNDataModule(root=str(tmp_path)).setup()


def test_files_that_cannot_be_read_are_refused(tmp_path):
    write(tmp_path)
    path = tmp_path / "train_32x32.mat"
    whole = path.read_bytes()
    for content in (b"", b"garbage" * 40, whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"train_32x32.mat cannot be read as SVHN's"):
            SVHNDataModule(root=str(tmp_path)).setup()
    io.savemat(path, {"Z": np.zeros(3)})
    with pytest.raises(ValueError, match="has no variable 'X'"):
        SVHNDataModule(root=str(tmp_path)).setup()


def test_one_file_alone_is_not_enough(tmp_path):
    write(tmp_path)
    (tmp_path / "test_32x32.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"train_32x32.mat and test_32x32.mat"):
        SVHNDataModule(root=str(tmp_path)).setup()


def test_both_files_are_downloaded(tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")
    calls = []
    monkeypatch.setattr(datasets, "SVHN", lambda root, split, download: calls.append((root, split, download)))
    SVHNDataModule(root=str(tmp_path), download=True).prepare_data()
    assert calls == [(tmp_path, "train", True), (tmp_path, "test", True)]
