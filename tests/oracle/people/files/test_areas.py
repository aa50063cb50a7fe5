"""Areas as COCO writes them, beside loops over pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lightning_al.oracle.people.files.areas import Areas, pixels_of, runs_of
from lightning_al.tasks.annotations import Boxes, Mask

MAPS = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40))
CORNER = st.tuples(st.floats(-2, 9, width=16), st.floats(-2, 9, width=16))


def packed(counts):
    """Run lengths as a text: differences to the last but one, 5 bits a letter, the lowest first, signed."""
    letters = []
    for place, count in enumerate(counts):
        left = count - (counts[place - 2] if place > 2 else 0)
        while True:
            group, left = left & 31, left >> 5
            is_last = (left == -1 and group & 16) or (left == 0 and not group & 16)
            letters.append(chr(48 + group + (0 if is_last else 32)))
            if is_last:
                break
    return "".join(letters)


@settings(max_examples=60)
@given(MAPS)
def test_runs_come_back(covered):
    height, width = covered.shape
    runs = runs_of(covered)
    assert sum(runs["counts"]) == covered.size
    by_columns = [bool(covered[row, column]) for column in range(width) for row in range(height)]
    spelt = [place % 2 == 1 for place, count in enumerate(runs["counts"]) for _ in range(count)]
    assert spelt == by_columns
    assert np.array_equal(pixels_of(runs, (width, height)), covered)
    assert np.array_equal(pixels_of({**runs, "counts": packed(runs["counts"])}, (width, height)), covered)


def inside(points, x, y):
    """Whether an odd number of edges is crossed on the way from a point to the left."""
    odd = False
    for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
        if (y0 <= y) != (y1 <= y) and x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x:
            odd = not odd
    return odd


@settings(max_examples=60)
@given(st.lists(CORNER, min_size=3, max_size=6))
def test_a_polygon_covers_pixels_whose_centre_is_inside(points):
    polygon = [side for point in points for side in point]
    expected = [[inside(points, column + 0.5, row + 0.5) for column in range(7)] for row in range(6)]
    assert pixels_of([polygon], (7, 6)).tolist() == expected


def test_several_polygons_are_one_area():
    left, right = [0, 0, 1, 0, 1, 2, 0, 2], [2, 0, 3, 0, 3, 2, 2, 2]
    assert pixels_of([left, right], (3, 2)).tolist() == [[True, False, True]] * 2


def test_what_is_drawn_later_is_on_top():
    whole, left = [[0, 0, 3, 0, 3, 1, 0, 1]], [[0, 0, 1, 0, 1, 1, 0, 1]]
    areas = Areas(Boxes([], []), (("b", whole), ("a", left)), (3, 2))
    assert areas.mask(["a", "b"]) == Mask([[0, 1, 1], [255, 255, 255]])
    with pytest.raises(ValueError, match="no class 'b'"):
        areas.mask(["a"])


@pytest.mark.parametrize("far", [float("nan"), float("inf"), -1e300, 10**400])
def test_corners_that_are_nowhere(far):
    with pytest.raises(ValueError, match="must be polygons or runs of pixels"):
        pixels_of([[0, 0, far, 0, 4, 4]], (7, 6))
