import numpy as np
import pytest
import torch
from PIL import Image

from lightning_al.zoo import ImageFolderDataModule
from lightning_al.zoo.image_files import MEAN, STD, image_files, read_image
from lightning_al.zoo.own_files import is_held_out
from tests.helpers.pictures import fill_folders, paint


def opened(folder, **options):
    data = ImageFolderDataModule(str(folder), size=8, **options)
    data.setup("fit")
    return data


def names(dataset):
    return [path.removeprefix(dataset.root).lstrip("/") for path, _ in dataset.samples]


def test_what_is_listed(tmp_path):
    fill_folders(tmp_path, labelled=1, unlabelled=1)
    paint(tmp_path / "labelled" / "red" / "deep" / "er" / "a.png", "red")
    (tmp_path / "labelled" / "red" / "deep" / "er" / "a.png").rename(tmp_path / "labelled/red/deep/er/A.PNG")
    paint(tmp_path / "unlabelled" / ".hidden.png", "red")
    paint(tmp_path / "unlabelled" / ".trash" / "x.png", "red")
    (tmp_path / "unlabelled" / "notes.txt").write_text("no image")
    data = opened(tmp_path)
    train = data.train_dataloader().dataset
    assert data.classes == train.classes == ["blue", "green", "red"]
    assert names(train) == ["blue/000.png", "green/100.png", "red/200.png", "red/deep/er/A.PNG"]
    assert [label for _, label in train.samples] == [0, 1, 2, 2]
    assert names(data.unlabelled_dataset()) == ["050.png", "150.png", "250.png"]
    assert [data.unlabelled_dataset()[i][1] for i in range(3)] == [-1] * 3


def test_pixels(tmp_path):
    """The square in the middle, upright, in colours, normalised; grey and palettes too."""
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, 2:6, 0] = [10, 20, 30, 40]
    picture = Image.fromarray(pixels)
    picture.save(tmp_path / "plain.png")
    assert torch.equal(read_image(str(tmp_path / "plain.png"), 4)[0] * 255, torch.tensor([[10.0, 20, 30, 40]] * 4))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    picture.save(tmp_path / "turned.png", exif=exif)
    assert torch.equal(read_image(str(tmp_path / "turned.png"), 4)[0] * 255, torch.tensor([[40.0, 30, 20, 10]] * 4))
    for mode in ("L", "P"):
        picture.convert(mode).save(tmp_path / f"{mode}.gif")
        assert read_image(str(tmp_path / f"{mode}.gif"), 5).shape == (3, 5, 5)
    fill_folders(tmp_path, labelled=1, unlabelled=1)
    image, _ = opened(tmp_path).train_dataloader().dataset[2]
    expected = (read_image(str(tmp_path / "labelled/red/200.png"), 8).double() - torch.tensor(MEAN).view(3, 1, 1)) / (
        torch.tensor(STD).view(3, 1, 1)
    )
    assert torch.allclose(image.double(), expected, atol=1e-6)


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "x.jpg"
    if content is None:
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
        content = path.read_bytes()[:900]  # cut off
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"x\.jpg cannot be read as an image"):
        read_image(str(path), 8)


def test_the_validation_share_is_kept(tmp_path):
    """Whatever joins, and whatever class it is put in, a file stays on its side; the share is about what was said."""
    fill_folders(tmp_path, labelled=20, unlabelled=1)
    data = opened(tmp_path, val_share=0.3)
    train, val = (set(names(loader().dataset)) for loader in (data.train_dataloader, data.val_dataloader))
    assert not train & val
    assert len(train | val) == 60
    assert 8 <= len(val) <= 28
    fill_folders(tmp_path, labelled=26, unlabelled=1)
    later = opened(tmp_path, val_share=0.3)
    assert train < set(names(later.train_dataloader().dataset))
    assert val < set(names(later.val_dataloader().dataset))
    held_out = sum(is_held_out(f"{number}.jpg", 0.3) for number in range(4000))
    assert abs(held_out / 4000 - 0.3) < 0.03


def test_files_are_listed_anew_after_a_teardown(tmp_path):
    fill_folders(tmp_path, labelled=1, unlabelled=1)
    data = opened(tmp_path)
    paint(tmp_path / "unlabelled" / "9.png", "red")
    data.setup("validate")
    assert len(data.unlabelled_dataset()) == 3
    data.teardown("fit")
    data.setup("fit")
    assert len(data.unlabelled_dataset()) == 4


def test_augmentation(tmp_path):
    fill_folders(tmp_path, labelled=1, unlabelled=1)
    image = torch.arange(192.0).view(3, 8, 8)
    plain, label = opened(tmp_path, augmentation=False).augment((image, 2))
    assert torch.equal(plain, image)
    assert label == 2
    torch.manual_seed(0)
    moved = [opened(tmp_path).augment((image, 1)) for _ in range(8)]
    assert {label for _, label in moved} == {1}
    assert any(not torch.equal(other, image) for other, _ in moved)


def test_what_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*unlabelled"):
        opened(tmp_path)
    (tmp_path / "unlabelled").mkdir()
    with pytest.raises(ValueError, match=r"no classes yet.*`--data.classes=\[cat,dog\]`"):
        opened(tmp_path)
    assert opened(tmp_path, classes=["b", "a"]).classes == ["b", "a"]
    paint(tmp_path / "labelled" / "red" / "1.png", "red")
    with pytest.raises(ValueError, match="red is the folder of no class: they are b, a"):
        opened(tmp_path, classes=["b", "a"])
    paint(tmp_path / "labelled" / "2.png", "red")
    with pytest.raises(ValueError, match=r"2\.png is in no folder of a class"):
        opened(tmp_path)
    with pytest.raises(ValueError, match=r"`val_share` must be .*, got 1\.5"):
        ImageFolderDataModule(str(tmp_path), val_share=1.5)
    assert image_files(tmp_path / "nothing") == []
