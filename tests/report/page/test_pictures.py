import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_al.campaign.regions import region_blob
from lightning_al.drawing.markup import Html, escape, tag
from lightning_al.report.page.pictures import (
    SIDES,
    Album,
    Look,
    class_key,
    colour_of,
    picture_of,
    tile,
    values_of,
    words_of,
)
from lightning_al.tasks.annotations import Boxes, Mask
from tests.helpers.pages import Page

NOISE = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)


def images_in(page):
    found = re.findall(r"data:image/(png|jpeg);base64,([A-Za-z0-9+/=]+)", page)
    return [(kind, Image.open(io.BytesIO(base64.b64decode(data)))) for kind, data in found]


def test_small_pictures_stay_pixel_by_pixel_and_large_ones_are_scaled():
    album = Album()
    page = f'<img src="{album.add(Image.fromarray(NOISE[:8, :8]))}"><img src="{album.add(Image.fromarray(NOISE))}">'
    (small, first), (large, second) = images_in(album.packed(page, 10**6))
    assert (small, first.size, large, second.size) == ("png", (8, 8), "jpeg", (SIDES[0], 192))
    assert np.array_equal(np.asarray(first), NOISE[:8, :8])


@pytest.mark.parametrize("most", [200_000, 30_000])
def test_pictures_are_as_small_as_the_page_needs(most):
    album = Album()
    page = "".join(f'<img src="{album.add(Image.fromarray(np.roll(NOISE, i)))}">' for i in range(8))
    packed = album.packed(page, most)
    assert len(packed) < most + 1000
    assert len(images_in(packed)) == 8
    assert album.side < SIDES[0]


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (torch.rand(3, 5, 7), (7, 5)),
        (torch.randn(1, 5, 7), (7, 5)),
        (torch.rand(5, 7, dtype=torch.bfloat16), (7, 5)),
        (torch.rand(12, 5, 7), (7, 5)),  # channels that are no colours
        (torch.rand(1, 9, 5, 7), (7, 5)),  # a volume
        (np.zeros((5, 7, 3), dtype=np.uint8), (7, 5)),
        (np.full((5, 7), np.nan), None),
        (torch.rand(5), None),
        (torch.rand(0, 5), None),
        (Image.new("L", (7, 5)), (7, 5)),
    ],
)
def test_what_is_an_image(value, size):
    picture = picture_of(value)
    assert (None if picture is None else picture.size) == size
    assert picture is None or picture.mode == "RGB"


def test_the_middle_slice_of_a_volume_and_the_mean_of_channels():
    volume = torch.zeros(1, 5, 2, 2)
    volume[0, 2] = 1
    assert np.asarray(picture_of(volume)).min() == 255
    channels = torch.zeros(4, 2, 2)
    channels[0] = 1
    assert np.asarray(picture_of(channels)).ravel().tolist() == [64] * 12


def test_boxes_are_drawn_where_they_are_with_their_class():
    album = Album()
    boxes = Boxes([[1, 2, 5, 6]], ["<b>"])
    drawn = tile(album, Look(image=Image.new("RGB", (10, 8))), boxes, ["a", "<b>"], alt="x", below=["y"])
    assert 'viewBox="0 0 10 8"' in drawn
    assert drawn.count('x="1.0" y="2.0" width="4.0" height="4.0"') == 2
    assert "<title>&lt;b&gt;</title>" in drawn
    scaled = Boxes([[2, 4, 10, 12]], ["a"], size=(20, 16))
    drawn = tile(album, Look(image=Image.new("RGB", (10, 8))), scaled, None, alt="x", below=[])
    assert 'x="1.0" y="2.0" width="4.0" height="4.0"' in drawn


def test_masks_are_mixed_in_and_regions_stand_out():
    album = Album()
    grey = Image.new("RGB", (4, 2), (100, 100, 100))
    mask = Mask([[0, 1, 255, 255], [0, 1, 255, 255]])
    page = album.packed(tile(album, Look(image=grey), mask, None, alt="x", below=[]), 10**6)
    [(_, image)] = images_in(page)
    pixels = np.asarray(image).astype(int)
    for column, number in ((0, 0), (1, 1)):
        assert abs(pixels[0, column] - (np.array(colour_of(number)) + 100) / 2).max() <= 1
    assert pixels[0, 2].tolist() == [100, 100, 100]

    album = Album()
    asked = np.zeros((8, 8), dtype=bool)
    asked[2:6, 2:6] = True
    look = Look(image=Image.new("RGB", (8, 8), (200, 200, 200)))
    page = album.packed(tile(album, look, None, None, alt="x", below=[], region=region_blob(asked)), 10**6)
    pixels = np.asarray(images_in(page)[0][1]).astype(int)
    assert pixels[0, 0].tolist() == [120, 120, 120]
    assert pixels[2, 2].tolist() == [255, 225, 0]
    assert pixels[3, 3].tolist() == [200, 200, 200]


def test_texts_numbers_and_what_cannot_be_seen():
    album = Album()
    text = tile(album, Look(text="a < b" + "c" * 900), None, None, alt="x", below=[])
    assert "a &lt; b" in text
    assert len(text) < 500
    row = tile(album, Look(values=values_of(torch.arange(20.0))), None, None, alt="x", below=[])
    assert "20 numbers" in row
    assert "<dd>7</dd>" in row
    assert Page(tile(album, None, None, None, alt="x", below=[], instead="a/b.png")).text == "a/b.png"
    assert len(album) == 0


def test_labels_in_a_few_words():
    assert words_of([]) == "none"
    assert words_of(Boxes([], [])) == "no box"
    assert words_of(list("abcdef")) == "a, b, c, d and 2 more"
    assert words_of(Mask([[0, 1]])) == "mask of 2 x 1"
    assert "sky" in class_key([0, 7], ["sky"])
    assert "7" in class_key([0, 7], ["sky"])


def test_everything_is_escaped_but_html():
    assert tag("p", "<", Html("<b>x</b>"), title='"><script>') == (
        '<p title="&quot;&gt;&lt;script&gt;">&lt;<b>x</b></p>'
    )
    assert escape("\x1a7\x1a\ud800") == "\ufffd7\ufffd\ufffd"
