"""Brush masks, packed and unpacked, beside a reader and a writer of single bits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lightning_al.oracle.people.label_studio.rle import decode, encode

# [[1, 0, 0], [0, 0, 1]] as Label Studio's own converter packs it.
OF_LABEL_STUDIO = [0, 0, 0, 24, 57, 27, 252, 127, 247, 192, 35, 255, 0]


def plain_decode(rle):
    """The bytes of a packed image, read bit by bit."""
    bits = [byte >> (7 - place) & 1 for byte in rle for place in range(8)]

    def number(count):
        taken, bits[:count] = bits[:count], []
        return sum(bit << place for place, bit in enumerate(reversed(taken)))

    count, word = number(32), number(5) + 1
    sizes = [number(4) + 1 for _ in range(4)]
    values = []
    while len(values) < count:
        repeats, length = number(1), number(sizes[number(2)]) + 1
        values += [number(word)] * length if repeats else [number(word) for _ in range(length)]
    return values


def plain_encode(values):
    """An image all of whose runs are literals of one byte."""
    bits = f"{len(values):032b}{7:05b}{0:04b}{0:04b}{0:04b}{0:04b}" + "".join(f"000{0}{v:08b}" for v in values)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


masks = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda shape: arrays(bool, shape))


@given(masks)
@settings(max_examples=60, deadline=None)
def test_what_is_packed_is_unpacked(painted):
    rle = encode(painted)
    assert (decode(rle, painted.shape[::-1]) == painted).all()
    assert plain_decode(rle) == (255 * painted.repeat(4)).tolist()
    assert (decode(plain_encode(plain_decode(rle)), painted.shape[::-1]) == painted).all()


@pytest.mark.parametrize("shape", [(1, 1), (128, 128), (200, 130)])
def test_runs_longer_than_a_length_can_say(shape):
    for painted in (np.zeros(shape, bool), np.ones(shape, bool)):
        assert (decode(encode(painted), shape[::-1]) == painted).all()


def test_what_label_studio_packed():
    assert decode(OF_LABEL_STUDIO, (3, 2)).tolist() == [[True, False, False], [False, False, True]]


def test_soft_edges_are_painted_from_half_on():
    values = [0, 0, 0, 127, 0, 0, 0, 128, 9, 9, 9, 255, 255, 255, 255, 2]
    assert decode(plain_encode(values), (4, 1)).tolist() == [[False, True, True, False]]


@pytest.mark.parametrize(
    ("rle", "size", "message"),
    [
        (OF_LABEL_STUDIO[:-3], (3, 2), "in the middle of a run"),
        (OF_LABEL_STUDIO, (4, 2), "an image of 4 x 2 pixels has 32 of 8"),
        ([0, 0, 0, 4, *encode(np.ones((1, 2)))[4:]], (1, 1), "longer than its 4 numbers"),
        ([], (3, 2), "in the middle"),
        ([256], (3, 2), "numbers from 0 to 255"),
        ("abc", (3, 2), "numbers from 0 to 255"),
    ],
)
def test_damaged_masks_are_refused(rle, size, message):
    with pytest.raises(ValueError, match=message):
        decode(rle, size)
