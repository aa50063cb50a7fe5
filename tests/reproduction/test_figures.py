import math

import pytest

from lightning_al.reproduction.figures import Figure, Published, over_seeds


def test_the_difference_is_in_standard_errors_of_our_mean():
    figure = Figure("cifar10", "saal", "maximum", Published(52.3, 2.3), [54.0, 55.0, 56.5, 54.5])
    # By hand: mean 55, squares 1, 0, 2.25, .25 = 3.5, deviation sqrt(3.5 / 3), error that over 2.
    assert (figure.spread.mean, figure.difference) == pytest.approx((55.0, 2.7))
    assert figure.spread.std == pytest.approx(math.sqrt(3.5 / 3))
    assert figure.in_errors == pytest.approx(2.7 / (math.sqrt(3.5 / 3) / 2))


@pytest.mark.parametrize(
    ("published", "ours", "difference"),
    [(None, [1.0, 2.0], None), (Published(1.0), [], None), (Published(1.0), [3.0], 2.0), (Published(1.0), [2, 2], 1.0)],
)
def test_there_are_no_errors_of_one_seed_or_of_equal_ones(published, ours, difference):
    figure = Figure("a", "b", "c", published, ours)
    assert figure.difference == difference
    assert figure.in_errors is None


def test_rows_of_seeds_come_together_in_their_order():
    rows = over_seeds(
        [
            [Figure("a", "x", "last", Published(1.0)), Figure("a", "y", "last")],
            [Figure("a", "y", "last", None, [0.5])],
            [Figure("a", "x", "last", Published(1.0), [0.25]), Figure("a", "y", "last", None, [0.75])],
        ]
    )
    assert rows == [Figure("a", "x", "last", Published(1.0), [0.25]), Figure("a", "y", "last", None, [0.5, 0.75])]
