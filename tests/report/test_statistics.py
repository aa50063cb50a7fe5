import statistics

import pytest

from lightning_al.report import (
    Spread,
    max_over_rounds,
    mean_over_curve,
    min_over_rounds,
    shared_labels,
    summarise,
)
from tests.helpers.curves import curve


class TestSummary:
    def test_mean_and_sample_deviation(self):
        summary = summarise([curve([0.1, 0.5]), curve([0.2, 0.6]), curve([0.6, 0.7])])
        assert list(summary) == [20, 30]
        assert summary[20].mean == pytest.approx(0.3)
        assert summary[20].std == pytest.approx((((0.2**2) + (0.1**2) + (0.3**2)) / 2) ** 0.5)  # ddof = 1

    def test_one_repeat_has_no_deviation(self):
        assert summarise([curve([0.25])]) == {20: Spread(0.25, None)}
        assert str(Spread(0.25, None)) == "0.2500"

    def test_repeats_of_different_length_are_cut_not_interpolated(self):
        long, short = curve([0.1, 0.2, 0.9]), curve([0.3, 0.4])
        assert summarise([long, short]) == {20: Spread.of([0.1, 0.3]), 30: Spread.of([0.2, 0.4])}
        assert max_over_rounds([long, short]) == Spread.of([0.2, 0.4])
        assert mean_over_curve([long, short]).mean == pytest.approx((0.15 + 0.35) / 2)

    def test_repeats_with_no_label_count_in_common(self):
        with pytest.raises(ValueError, match=r"x: 20 to 30; y: 25 to 35.*different folders"):
            shared_labels([curve([0, 0], path="x"), curve([0, 0], [25, 35], path="y")])

    def test_the_maximum_is_taken_per_repeat_and_before_the_mean(self):
        repeats = [curve([0.1, 0.9, 0.5]), curve([0.8, 0.2, 0.4])]
        assert min_over_rounds(repeats) == Spread.of([0.1, 0.2])
        best = max_over_rounds(repeats)
        assert best.mean == pytest.approx(0.85)
        assert best.std == pytest.approx(statistics.stdev([0.9, 0.8]))
