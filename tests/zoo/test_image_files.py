import numpy as np
import pytest
import torch
from PIL import Image

from lightning_al.zoo.image_files import ImageFiles, class_folders, decode, read_image


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return str(path)


def ramp(height, width):
    """Red is the row, green the column."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.arange(height)[:, None], np.arange(width)
    return pixels


def test_a_part_of_another_shape(tmp_path):
    path = save(tmp_path / "a.png", ramp(20, 20))
    image = 255 * read_image(path, (10, 20))  # the middle ten rows, as they are
    torch.testing.assert_close(image[0], torch.arange(5.0, 15)[:, None].expand(10, 20))
    torch.testing.assert_close(image[1], torch.arange(20.0).expand(10, 20))


def test_a_margin_leaves_what_a_crop_of_224_out_of_256_does(tmp_path):
    v2 = pytest.importorskip("torchvision.transforms.v2")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    path = save(tmp_path / "a.png", np.array(Image.fromarray(pixels).resize((340, 256), Image.Resampling.BICUBIC)))
    files = ImageFiles(
        [(path, 0)], root=str(tmp_path), classes=["a"], size=224, margin=1 / 16, mean=[0] * 3, std=[1] * 3
    )
    with Image.open(path) as file:
        expected = np.array(v2.CenterCrop(224)(v2.Resize(256)(file)))
    assert (255 * files[0][0] - torch.from_numpy(expected).permute(2, 0, 1)).abs().max() < 2


@pytest.mark.parametrize("augmentation", ["crop_and_flip", "resized_crop"])
def test_augmentation(tmp_path, augmentation):
    pytest.importorskip("torchvision")
    path = save(tmp_path / "a.png", ramp(40, 40))
    options = {"root": str(tmp_path), "classes": ["a"], "size": 16, "mean": [0] * 3, "std": [1 / 255] * 3}
    files = ImageFiles([(path, 0)], **options, augmentation=augmentation)
    plain = files.without_augmentation()
    assert torch.equal(plain[0][0], ImageFiles([(path, 0)], **options)[0][0])
    torch.manual_seed(0)
    drawn = [files[0][0] for _ in range(12)]
    assert {tuple(image.shape) for image in drawn} == {(3, 16, 16)}
    assert len({float(image[0, 8, 8]) for image in drawn}) > 3  # other rows in the middle
    mirrored = [bool(image[1, 8, 4] > image[1, 8, 12]) for image in drawn]
    assert 0 < sum(mirrored) < 12
    torch.manual_seed(0)
    assert all(torch.equal(files[0][0], image) for image in drawn)


def test_class_folders_are_those_of_torchvision(tmp_path):
    datasets = pytest.importorskip("torchvision.datasets")
    for name in ("b/2.png", "b/10.png", "a/deep/er/1.JPG".lower(), "c/x.png", ".hidden/1.png", "other/1.png"):
        save(tmp_path / name, ramp(4, 4))
    (tmp_path / "a" / "notes.txt").write_text("no image")
    classes, samples = class_folders(tmp_path, leave_out=("other", ".hidden"))
    theirs = datasets.ImageFolder(str(tmp_path), allow_empty=True)
    assert classes == ["a", "b", "c"]
    assert [path for path, _ in samples] == [path for path, _ in theirs.samples if ".hidden" not in path][:4]
    assert [label for _, label in samples] == [0, 1, 1, 2]
    (tmp_path / "d").mkdir()
    with pytest.raises(ValueError, match="d holds no image"):
        class_folders(tmp_path)
    with pytest.raises(ValueError, match="holds no class folders"):
        class_folders(tmp_path / "a" / "deep" / "er")


def test_decoding_refuses_another_size():
    sizes = {"a": (3, 4, 4), "b": (3, 4, 4), "c": (3, 5, 4)}
    with pytest.raises(ValueError, match=r"c has the shape \(3, 5, 4\)"):
        decode([(name, 0) for name in sizes], lambda name: torch.zeros(sizes[name], dtype=torch.uint8))
