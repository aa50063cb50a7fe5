"""Pictures of what is asked for."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_al.campaign.regions import region_blob
from lightning_al.oracle.people.pictures import asked_picture, is_picture, picture_file, region_beside
from lightning_al.oracle.regions import Region
from lightning_al.tasks.mask_png import mask_to_png

ASKED = np.zeros((7, 9), dtype=bool)
ASKED[0, 0] = ASKED[3:6, 4:7] = True
REGION = Region(region_blob(ASKED))
GREY = torch.arange(63.0).reshape(1, 7, 9) / 63


def touches(row, column):
    """Whether a pixel is beside one that is asked for."""
    near = [(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    return any(0 <= r < 7 and 0 <= c < 9 and ASKED[r, c] for r, c in near)


@pytest.mark.parametrize("value", [GREY, GREY.expand(3, 7, 9), GREY[0].numpy(), torch.zeros(4, 7, 9)])
def test_it_is_dark_outside_with_a_line_around(value):
    pixels = np.array(asked_picture(value, REGION))
    plain = np.rint(np.asarray(GREY[0].double()) * 255) if len(value) != 4 else np.full((7, 9), 255)  # what is no image
    for row in range(7):
        for column in range(9):
            if ASKED[row, column]:
                expected = [plain[row, column]] * 3
            elif touches(row, column):
                expected = [255, 225, 0]
            else:
                expected = [np.rint(0.35 * plain[row, column])] * 3
            assert pixels[row, column].tolist() == expected


def test_files_say_which_part_they_show(tmp_path):
    picture = tmp_path / "a.asked.png"
    picture.write_bytes(picture_file(GREY, REGION))
    mask = mask_to_png(np.zeros((7, 9), dtype=np.uint8))
    for name in ("a.png", "b.png", "b.asked.png"):
        (tmp_path / name).write_bytes(mask)
    assert [is_picture(tmp_path / name) for name in ("a.asked.png", "a.png", "b.asked.png")] == [True, False, False]
    assert region_beside(tmp_path / "a.png") == REGION.name
    assert region_beside(tmp_path / "b.png") == region_beside(tmp_path / "c.png") == ""
    assert Image.open(io.BytesIO(picture.read_bytes())).mode == "RGB"


def test_an_image_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"an image of 9 x 6 pixels, and the dataset gives it with 9 x 7"):
        asked_picture(GREY[0, :6], REGION)
