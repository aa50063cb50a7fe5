import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from lightning_al.tasks.keys import name_of
from lightning_al.zoo.image_files import MEAN, STD
from lightning_al.zoo.segmentation.images import (
    VOID,
    SegmentationFiles,
    augmented,
    normalised,
    read_numbers,
    read_rgb,
)
from tests.helpers.street_scenes import masks, picture, png_of_16_bits, save


def files(tmp_path, pixels, mask, **options):
    save(pixels, tmp_path / "images" / "a.png")
    save(mask.astype(np.uint8), tmp_path / "masks" / "a.png")
    given = {"classes": "abc", "class_of": {0: 0, 1: 2, 7: VOID}, **options}
    return SegmentationFiles(
        [str(tmp_path / "images" / "a.png")],
        [str(tmp_path / "masks" / "a.png")],
        root=str(tmp_path / "images"),
        **given,
    )


def test_a_sample(tmp_path):
    pixels, [mask] = picture(0, 5, 7), masks(1, 5, 7, [0, 1, 7])
    dataset = files(tmp_path, pixels, mask)
    image, classes = dataset[0]
    expected = (torch.from_numpy(pixels).permute(2, 0, 1).double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / (
        torch.tensor(STD).view(3, 1, 1)
    )
    assert torch.allclose(image.double(), expected, atol=1e-6)
    assert classes.dtype == torch.long
    assert classes.tolist() == [[{0: 0, 1: 2, 7: VOID}[n] for n in row] for row in mask.tolist()]
    assert torch.equal(dataset.mask(0), classes)
    assert name_of(dataset, 0) == "a.png"


def test_another_size_keeps_classes_and_what_is_where(tmp_path):
    """Twice as large: each pixel's class four times; half as large: one of the four, and the mean colour."""
    pixels, [mask] = picture(0, 4, 6), masks(1, 4, 6, [0, 1, 7])
    plain = files(tmp_path, pixels, mask)
    _, larger = files(tmp_path, pixels, mask, size=(8, 12))[0]
    assert torch.equal(larger, plain.mask(0).repeat_interleave(2, 0).repeat_interleave(2, 1))
    flat = np.repeat(np.repeat(pixels[::2, ::2], 2, 0), 2, 1)
    image, smaller = files(tmp_path, flat, mask, size=(2, 3))[0]
    assert torch.equal(smaller, plain.mask(0)[::2, ::2])  # masks are of 2x2 blocks
    assert image.shape == (3, 2, 3)


def test_masks_of_all_kinds_of_png(tmp_path):
    [numbers] = masks(1, 4, 6, [0, 1, 2, 9])
    palette = Image.fromarray(numbers.astype(np.uint8), "L").convert("P")
    palette.putdata(numbers.flatten().tolist())
    palette.putpalette([v for n in range(256) for v in (255 - n, n, 7)])
    palette.save(tmp_path / "palette.png")
    Image.fromarray((numbers + 300).astype(np.uint16)).save(tmp_path / "deep.png")
    for channels in (3, 4):
        colours = np.stack([numbers, numbers + 999, 0 * numbers, 0 * numbers], 2)[..., :channels]
        (tmp_path / "colours.png").write_bytes(png_of_16_bits(colours))
        assert np.array_equal(read_numbers(str(tmp_path / "colours.png")), numbers)
    assert np.array_equal(read_numbers(str(tmp_path / "palette.png")), numbers)
    assert np.array_equal(read_numbers(str(tmp_path / "deep.png")), numbers + 300)


def test_what_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"masks/a\.png has 4x4 pixels, its image 6x4"):
        files(tmp_path, picture(0, 4, 6), np.zeros((4, 4)))[0]
    for number in (2, 200):
        with pytest.raises(ValueError, match=rf"masks/a\.png has pixels of the number {number}.*masks have 0, 1, 7"):
            files(tmp_path, picture(0, 4, 6), np.full((4, 6), number))[0]
    for read, path in ((read_rgb, tmp_path / "x.png"), (read_numbers, tmp_path / "x.png")):
        path.write_bytes(b"garbage")
        with pytest.raises(OSError, match=r"x\.png cannot be read"):
            read(str(path))
        with pytest.raises(OSError, match=r"gone\.png"):
            read(str(tmp_path / "gone.png"))


class TestAugmentation:
    def sample(self):
        [mask] = masks(1, 6, 8, range(3))
        mask = torch.from_numpy(mask)
        # The image says the class of each pixel: so it can be seen whether both were moved alike.
        image = normalised((mask[None].expand(3, -1, -1) + 1) / 10.0)
        mask = torch.where(torch.rand(6, 8, generator=torch.Generator().manual_seed(0)) < 0.2, VOID, mask)
        return image, mask, "more"

    def agree(self, image, mask):
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
        said = (image * std + mean)[0] * 10 - 1
        known = mask != VOID
        return bool((said[known] - mask[known]).abs().max() < 1e-4)

    def test_image_and_mask_move_together(self):
        torch.manual_seed(0)
        sample = self.sample()
        steps = [v2.RandomHorizontalFlip(), v2.RandomCrop((4, 5)), v2.RandomVerticalFlip()]
        seen = set()
        for _ in range(20):
            image, mask, more = augmented(steps, sample)
            assert image.shape == (3, 4, 5)
            assert mask.shape == (4, 5)
            assert mask.dtype == sample[1].dtype
            assert type(image) is type(mask) is torch.Tensor
            assert more == "more"
            assert self.agree(image, mask)
            seen.add(tuple(mask.flatten().tolist()))
        assert len(seen) > 5

    def test_what_is_filled_in_does_not_count(self):
        image, mask, _ = augmented([v2.Pad(2)], self.sample())
        inside = torch.zeros(10, 12, dtype=torch.bool)
        inside[2:8, 2:10] = True
        assert (mask[~inside] == VOID).all()
        assert torch.equal(mask[2:8, 2:10], self.sample()[1])
        black = normalised(torch.zeros(3, 10, 12))
        assert torch.allclose(image[:, ~inside], black[:, ~inside], atol=1e-6)

    def test_colours_change_the_image_alone(self):
        torch.manual_seed(0)
        image, mask, _ = augmented([v2.ColorJitter(brightness=0.5)], self.sample())
        assert torch.equal(mask, self.sample()[1])
        assert not torch.allclose(image, self.sample()[0])

    def test_of_none_the_sample_is_left_alone(self):
        sample = self.sample()
        assert augmented([], sample) is sample
