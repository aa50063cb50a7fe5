import gzip
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden

from lightning_al.zoo import fashion_mnist
from lightning_al.zoo.fashion_mnist import DEBIAN_FOLDER, FILES, MEAN, STD, FashionMNISTDataModule, read_idx


def idx(tensor):
    head = bytes([0, 0, 8, tensor.ndim]) + b"".join(size.to_bytes(4, "big") for size in tensor.shape)
    return head + tensor.numpy().tobytes()


def write(folder, gz=True, train=30, test=20, seed=0):
    g = torch.Generator().manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    made = {}
    for name in FILES:
        n = train if name.startswith("train") else test
        if "images" in name:
            made[name] = torch.randint(256, (n, 28, 28), dtype=torch.uint8, generator=g)
        else:
            made[name] = torch.randint(10, (n,), dtype=torch.uint8, generator=g)
        content = idx(made[name])
        (folder / (f"{name}.gz" if gz else name)).write_bytes(gzip.compress(content) if gz else content)
    return made


@pytest.fixture(autouse=True)
def no_debian_package(monkeypatch, tmp_path, request):
    if "real" not in request.node.name:
        monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", str(tmp_path / "debian"))
        monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("gz", [True, False])
@pytest.mark.parametrize("below", [".", "raw", "FashionMNIST/raw"])
def test_reads_a_given_root(tmp_path, gz, below):
    made = write(tmp_path / "given" / below, gz)
    data = FashionMNISTDataModule(root=str(tmp_path / "given"))
    data.prepare_data()
    data.setup("fit")
    train, test, val = data.splits
    assert torch.equal(train.images, made[FILES[0]].unsqueeze(1))
    assert torch.equal(train.targets, made[FILES[1]].long())
    assert torch.equal(test.images, made[FILES[2]].unsqueeze(1))
    assert torch.equal(test.targets, made[FILES[3]].long())
    assert val is None
    torch.testing.assert_close(train[3][0], (made[FILES[0]][3:4] / 255 - MEAN) / STD)


def test_pool_and_loaders(tmp_path):
    write(tmp_path)
    data = FashionMNISTDataModule(batch_size=8, eval_batch_size=20, root=str(tmp_path))
    pool = data.pool_dataset()
    assert torch.equal(pool.images, data.splits.train.images)
    for i in range(len(pool)):
        assert torch.equal(pool[i][0], data.splits.train[i][0])  # never augmented
    x, y = next(iter(data.train_dataloader()))
    assert (x.shape, y.shape) == ((8, 1, 28, 28), (8,))
    assert next(iter(data.test_dataloader()))[1].tolist() == data.splits.test.targets.tolist()
    assert not is_overridden("val_dataloader", data)


def test_without_a_root_the_debian_package_comes_before_an_earlier_download(tmp_path):
    write(tmp_path / "data" / "FashionMNIST" / "raw", train=5)
    assert len(FashionMNISTDataModule().pool_dataset()) == 5
    write(tmp_path / "debian", train=7)
    assert len(FashionMNISTDataModule().pool_dataset()) == 7


def test_a_given_root_without_the_files_is_an_error_even_if_the_package_is_there(tmp_path):
    write(tmp_path / "debian")
    with pytest.raises(FileNotFoundError, match=r"mistyped.*apt-get install dataset-fashion-mnist.*`root=`"):
        FashionMNISTDataModule(root="mistyped").setup()


def test_an_incomplete_folder_is_not_taken(tmp_path):
    write(tmp_path)
    (tmp_path / f"{FILES[3]}.gz").unlink()
    with pytest.raises(FileNotFoundError, match="was looked for in"):
        FashionMNISTDataModule(root=str(tmp_path)).setup()


def test_labels_of_another_data_set_are_refused(tmp_path):
    write(tmp_path)
    labels = tmp_path / f"{FILES[1]}.gz"
    for content, match in (
        (torch.arange(30), "labels 30, of which one is 10"),
        (torch.zeros(29), "are 30, their labels 29"),
    ):
        labels.write_bytes(gzip.compress(idx(content.byte())))
        with pytest.raises(ValueError, match=rf"one label per image, from 0 to 9; the train images .*{match}"):
            FashionMNISTDataModule(root=str(tmp_path)).setup()


def test_images_and_labels_that_changed_places_are_refused(tmp_path):
    write(tmp_path)
    images, labels = (tmp_path / f"{name}.gz" for name in FILES[:2])
    images.rename(tmp_path / "kept")
    labels.rename(images)
    (tmp_path / "kept").rename(labels)
    said = rf"{FILES[0]}.gz must hold images \(N, 28, 28\) and {FILES[1]}.gz labels .* got \(30,\) and \(30, 28, 28\)"
    with pytest.raises(ValueError, match=said):
        FashionMNISTDataModule(root=str(tmp_path)).setup()


def test_downloads_through_torchvision_only_if_the_files_are_nowhere(tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")
    calls = []

    def download(root, download):
        calls.append(Path(root))
        write(Path(root) / "FashionMNIST" / "raw", gz=False)

    monkeypatch.setattr(datasets, "FashionMNIST", download)
    FashionMNISTDataModule(root=str(tmp_path / "new")).prepare_data()
    assert not calls  # unless it is asked for
    data = FashionMNISTDataModule(root=str(tmp_path / "new"), download=True)
    data.prepare_data()
    data.prepare_data()
    assert calls == [tmp_path / "new"]
    assert len(data.pool_dataset()) == 30


def test_no_network(tmp_path, monkeypatch):
    datasets = pytest.importorskip("torchvision.datasets")

    def download(root, download):
        raise RuntimeError("Error downloading train-images")

    monkeypatch.setattr(datasets, "FashionMNIST", download)
    with pytest.raises(RuntimeError, match=r"Error downloading train-images.*dataset-fashion-mnist.*`root=`"):
        FashionMNISTDataModule(download=True).prepare_data()


def test_no_torchvision(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    with pytest.raises(RuntimeError, match=r"lightning-al\[vision\].*dataset-fashion-mnist"):
        FashionMNISTDataModule(download=True).prepare_data()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "not an IDX file"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00\x00\x00\x00", "not an IDX file of unsigned bytes"),
        (gzip.compress(idx(torch.arange(9).byte()))[:-12], r"broken cannot be unzipped .*was it cut short"),
        (b"\x1f\x8bno gzip at all", r"broken cannot be unzipped"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x05abc", r"promises \[5\] bytes and holds 3"),
    ],
    # Not of the bytes: gzip's have the time in them, and processes of pytest must find the same names.
    ids=["nothing", "floats", "gzip cut short", "no gzip", "bytes missing"],
)
def test_refuses_a_broken_file(tmp_path, content, match):
    path = tmp_path / "broken"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match):
        read_idx(path)


@pytest.mark.skipif(not Path(DEBIAN_FOLDER).is_dir(), reason=f"no dataset-fashion-mnist in {DEBIAN_FOLDER}")
def test_real_data():
    data = FashionMNISTDataModule()
    data.prepare_data()
    train, test, _ = data.splits
    assert train.images.shape == (60_000, 1, 28, 28)
    assert test.images.shape == (10_000, 1, 28, 28)
    assert torch.bincount(train.targets).tolist() == [6000] * 10
    assert torch.bincount(test.targets).tolist() == [1000] * 10
    pixels = train.images[::10].double() / 255
    assert abs(pixels.mean() - MEAN) < 0.005
    assert abs(pixels.std() - STD) < 0.005
