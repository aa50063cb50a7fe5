"""Masks as PNG files, beside what Pillow makes of them."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from lightning_al.tasks.mask_png import kept_values, mask_blob, mask_from_png, mask_to_png, not_said
from tests.helpers.extent import examples

SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=9)


@examples(30)
@given(
    st.sampled_from(["u1", "u2", "i8", "bool"]).flatmap(
        lambda kind: arrays.arrays(kind, SHAPES, elements={} if kind in ("bool", "u1", "u2") else st.integers(0, 65535))
    )
)
def test_values_come_back(values):
    data = mask_to_png(values)
    back = mask_from_png(data)
    assert np.array_equal(back, values)
    assert back.dtype == (np.uint16 if values.dtype == np.uint16 or values.max() > 255 else np.uint8)
    assert mask_blob(values) == mask_blob(values.copy(order="F"))
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.array(image), values)


def test_people_see_pascal_voc_s_colours():
    with Image.open(io.BytesIO(mask_to_png(np.array([[0, 1, 2, 255]])))) as image:
        colours = [image.convert("RGB").getpixel((x, 0)) for x in range(4)]
    assert colours == [(0, 0, 0), (128, 0, 0), (0, 128, 0), (224, 224, 192)]


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, **{"format": "PNG", **options})
    return file.getvalue()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_what_others_wrote_keeps_its_values(bits):
    """Indexed ones of few colours are packed; grey ones too, where readers stretch them."""
    values = np.arange(2**bits if bits < 8 else 250, dtype=np.uint8).reshape(2, -1)
    indexed = Image.fromarray(values)
    indexed.putpalette([255 - n // 3 for n in range(768)])
    assert np.array_equal(mask_from_png(saved(indexed, bits=bits)), values)
    assert np.array_equal(mask_from_png(grey(values, bits)), values)


def grey(values, bits):
    """A grey PNG of few bits, written by hand."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = [np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].ravel() for row in values]
    raw = b"".join(b"\0" + np.packbits(row).tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "is a PNG file"),
        (saved(Image.new("L", (4, 4)), format="JPEG"), "is a PNG file: other formats may lose values"),
        (saved(Image.new("RGB", (4, 4))), r"got colours \(RGB\)"),
        (saved(Image.new("LA", (4, 4))), r"got colours \(LA\)"),
        (saved(Image.new("L", (40, 40)))[:48], "damaged PNG"),
        (b"\x89PNG\r\n\x1a\n", "damaged PNG"),
    ],
)
def test_files_that_are_no_masks(data, what):
    with pytest.raises(ValueError, match=what):
        mask_from_png(data)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.zeros((2, 2)), "an integer for each pixel"),
        (np.zeros((1, 2, 2), int), "an integer for each pixel"),
        (np.zeros((0, 2), int), "an integer for each pixel"),
        (np.array([[-1]]), "room for values of 0 to 65535, got -1"),
        (np.array([[65536]]), "room for values of 0 to 65535, got 65536"),
    ],
)
def test_values_that_are_no_mask(values, what):
    with pytest.raises(ValueError, match=what):
        mask_to_png(values)


@pytest.mark.parametrize(
    ("values", "classes", "voids", "kept"),
    [
        ([[0, 2, 255]], 3, [255], [[0, 2, 255]]),
        ([[0, 2, -1, 200]], 3, [-1, 200], [[0, 2, 255, 255]]),
        ([[0, 2, 1]], 3, [1], [[0, 2, 255]]),
        ([[0, 254, 255]], 255, [255], [[0, 254, 255]]),
        ([[0, 255, 400]], 256, [400], [[0, 255, 65535]]),
        ([[0, 255, 7]], None, [255], [[0, 255, 7]]),
        ([[0, 65535, 256]], None, [65535], [[0, 65535, 256]]),
    ],
)
def test_what_is_kept(values, classes, voids, kept):
    found = kept_values(np.array(values), classes, voids)
    assert found.tolist() == kept
    assert found.dtype == (np.uint16 if np.max(kept) > 255 else np.uint8)


@pytest.mark.parametrize(
    ("values", "classes", "what"),
    [
        ([[0, 3]], 3, "3 in a mask is no class: there are 0 to 2"),
        ([[0, -1]], 3, "-1 in a mask is no class"),
        ([[-1]], None, "-1 in a mask is no class"),
    ],
)
def test_what_is_no_class(values, classes, what):
    with pytest.raises(ValueError, match=what):
        kept_values(np.array(values), classes, [255])


def test_what_stands_for_no_class():
    assert [not_said(count) for count in (None, 2, 255, 256, 1000)] == [255, 255, 255, 65535, 65535]
