"""Small curves."""

import math
import re

from lightning_al.drawing.curve import sparkline


def points(svg):
    return [tuple(map(float, pair.split(","))) for pair in re.search(r'points="([^"]*)"', svg)[1].split()]


def test_points_are_where_their_values_say():
    drawn = points(sparkline([20, 30, 60], [0.0, 1.0, 0.5], "acc"))
    assert drawn == [(6.0, 58.0), (63.0, 6.0), (234.0, 32.0)]  # y goes down


def test_what_is_not_finite_is_left_out():
    assert points(sparkline([1, 2, 3], [0.0, math.nan, 2.0], "")) == [(6.0, 58.0), (234.0, 6.0)]
    assert sparkline([1], [math.inf], "") == ""


def test_one_value_and_equal_ones_have_a_place():
    assert points(sparkline([20], [0.5], "")) == [(6.0, 58.0)]
    assert points(sparkline([20, 30], [0.5, 0.5], "")) == [(6.0, 58.0), (234.0, 58.0)]


def test_what_it_is_about_is_text():
    assert "<b>" not in sparkline([1], [1], "<b>")
