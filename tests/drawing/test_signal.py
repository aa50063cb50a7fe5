"""Signals as pictures."""

import numpy as np
import pytest
import torch

from lightning_al.drawing.signal import signal_picture
from lightning_al.oracle.people.pictures import is_image, is_sight, sight_of


def inked(values):
    """Return where a picture is no paper, as its rows and columns."""
    pixels = np.asarray(signal_picture(values)).astype(int)
    return np.nonzero(np.ptp(pixels, axis=2) > 60)


def test_a_line_for_each_channel_goes_where_its_values_go():
    step = np.repeat([0.0, 1.0], 32)
    rows, columns = inked(np.stack([step, 5 - 3 * step]))
    for top, rises in ((0, True), (72, False)):  # two lanes of 144 pixels
        lane = (rows >= top) & (rows < top + 72)
        left, right = (rows[lane & where].mean() for where in (columns < 100, columns > 156))
        assert (left - right if rises else right - left) > 40


@pytest.mark.parametrize("steps", [9, 64, 100_000])
def test_a_peak_is_seen_however_many_steps_there_are(steps):
    flat = np.zeros((1, steps))
    flat[0, steps // 2] = 1
    rows, columns = inked(flat)
    assert rows.min() < 20
    assert abs(np.median(columns[rows < 100]) - 128) < 4
    assert np.asarray(signal_picture(flat)).shape == (144, 256, 3)


def test_a_gap_where_values_are_not_finite():
    values = np.zeros((1, 60))
    values[0, 20:40] = np.nan
    _, columns = inked(values)
    assert not ((columns > 92) & (columns < 164)).any()
    assert {(columns < 92).any(), (columns > 164).any()} == {True}
    assert len(inked(np.full((2, 60), np.inf))[0]) == 0


def test_people_see_lines_whichever_way_the_signal_lies():
    signal = torch.rand(2, 64, dtype=torch.bfloat16)
    pictures = [np.asarray(sight_of(each)) for each in (signal, signal.T)]
    assert np.array_equal(*pictures)
    assert pictures[0].shape == (144, 256, 3)
    assert sight_of(torch.rand(9, 64)).size == (64, 9)


@pytest.mark.parametrize("shape", [(1, 2, 64), (2, 1, 64), (2, 64, 1), (1, 64, 2), (64, 1, 2)])
def test_a_dimension_of_one_is_none_of_an_image(shape):
    """A signal with a leading 1, as layers for images take it, was an image two pixels high."""
    signal = torch.rand(2, 64)
    lies = signal if shape.index(2) < shape.index(64) else signal.T
    assert np.array_equal(np.asarray(sight_of(lies.reshape(shape))), np.asarray(signal_picture(signal.numpy())))


@pytest.mark.parametrize(
    ("shape", "seen"),
    [
        ((1, 28, 28), True), ((3, 28, 28), True), ((28, 28, 3), True), ((1, 8, 9), True), ((3, 2, 4), True),
        ((1, 64, 400), True), ((28, 28), True), ((3, 2, 64), False), ((2, 64, 3), False), ((3, 64, 5), False),
        ((16, 28, 28), False), ((2, 3, 64), False), ((64,), False), ((4, 28, 28), False),
    ],
)  # fmt: skip
def test_what_is_an_image(shape, seen):
    assert is_image(np.zeros(shape)) == is_sight(np.zeros(shape)) == seen
