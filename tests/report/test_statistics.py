import itertools
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lightning_al.report import Spread, max_over_rounds, mean_over_curve, min_over_rounds, shared_labels, summarise
from lightning_al.report.alignment import MEASURES, align
from lightning_al.report.statistics import (
    holm,
    labels_to_reach,
    last_round,
    paired_t,
    pairwise,
    smallest_wilcoxon,
    t_interval,
    wilcoxon,
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
        assert last_round([long, short]) == Spread.of([0.2, 0.4])
        assert mean_over_curve([long, short]).mean == pytest.approx((0.15 + 0.35) / 2)

    def test_a_label_count_that_was_measured_twice_counts_once_by_its_later_value(self):
        one = curve([0.9, 0.4, 0.6], [20, 20, 30])
        assert one.points == {20: 0.4, 30: 0.6}
        assert summarise([one]) == {20: Spread(0.4, None), 30: Spread(0.6, None)}
        found = [measure([one]).mean for measure in (last_round, mean_over_curve, max_over_rounds, min_over_rounds)]
        assert found == [0.6, 0.5, 0.6, 0.4]
        aligned = align({"m": [one]})
        assert [list(aligned.measured("m", by).values()) for by in MEASURES] == [[0.6], [0.5], [0.6]]

    def test_labels_that_were_taken_back_make_no_last_round(self):
        one = curve([0.2, 0.6, 0.4], [20, 30, 25])
        assert list(one.points) == [20, 25, 30]
        assert last_round([one]).mean == align({"m": [one]}).measured("m", "last")["a"] == 0.6

    def test_repeats_with_no_label_count_in_common(self):
        with pytest.raises(ValueError, match=r"x: 20 to 30; y: 25 to 35.*different folders"):
            shared_labels([curve([0, 0], path="x"), curve([0, 0], [25, 35], path="y")])

    def test_the_maximum_is_taken_per_repeat_and_before_the_mean(self):
        repeats = [curve([0.1, 0.9, 0.5]), curve([0.8, 0.2, 0.4])]
        assert min_over_rounds(repeats) == Spread.of([0.1, 0.2])
        best = max_over_rounds(repeats)
        assert best.mean == pytest.approx(0.85)
        assert best.std == pytest.approx(statistics.stdev([0.9, 0.8]))

    @pytest.mark.parametrize("values", [[np.nan, 0.5, 0.2], [0.5, np.nan, 0.2]])
    def test_what_is_not_finite_stays_so(self, values):
        for measure in (mean_over_curve, max_over_rounds, min_over_rounds):
            assert str(measure([curve(values), curve([0.1, 0.2, 0.3])])) == "nan ± nan"
        assert str(Spread.of([np.inf, 0.5])) == "inf ± nan"


WHOLE = st.lists(st.integers(-5, 5), min_size=1, max_size=7)
VALUES = st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=2, max_size=12)


def normal(count, seed=0):
    return np.random.default_rng(seed).normal(0.3, 1.0, count)


class TestTInterval:
    @pytest.mark.parametrize("count", [2, 5, 30])
    @pytest.mark.parametrize("level", [0.5, 0.95])
    def test_against_scipy(self, count, level):
        values = normal(count)
        expected = stats.ttest_1samp(values, 0.0).confidence_interval(level)
        assert t_interval(values, level) == pytest.approx((expected.low, expected.high), rel=1e-12)

    def test_one_value_has_none(self):
        assert t_interval([0.5]) is None
        assert t_interval([]) is None

    def test_holds_the_true_mean_as_often_as_it_says(self):
        samples = np.random.default_rng(0).normal(2.0, 3.0, (2000, 4))
        ends = [t_interval(sample) for sample in samples]
        assert np.mean([low <= 2.0 <= high for low, high in ends]) == pytest.approx(0.95, abs=0.015)


class TestPairedT:
    @pytest.mark.parametrize("count", [2, 5, 30])
    def test_against_scipy(self, count):
        a, b = normal(count), normal(count, seed=1)
        assert paired_t(a - b) == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=1e-10)

    def test_differences_without_spread(self):
        assert paired_t([0.0, 0.0, 0.0]) == 1.0
        assert paired_t([0.5, 0.5, 0.5]) == 0.0
        assert paired_t([0.5]) is None

    @settings(max_examples=40, deadline=None)
    @given(VALUES)
    def test_below_a_level_where_the_interval_leaves_zero_out(self, values):
        p, (low, high) = paired_t(values), t_interval(values)
        assert 0 <= p <= 1
        if abs(p - 0.05) > 1e-6:
            assert (p < 0.05) == (not low <= 0 <= high)


def by_all_signs(differences):
    """The share of all signs of the ranks whose smaller sum is at most the one seen."""
    d = np.array([each for each in differences if each != 0])
    ranks = stats.rankdata(abs(d))
    seen = min(ranks[d > 0].sum(), ranks[d < 0].sum())
    sums = [np.dot(signs, ranks) for signs in itertools.product([0, 1], repeat=len(d))]
    return np.mean([min(each, ranks.sum() - each) <= seen for each in sums])


class TestWilcoxon:
    @pytest.mark.parametrize("count", [1, 5, 12, 40])
    def test_without_ties_against_scipy(self, count):
        values = normal(count)
        assert wilcoxon(values) == pytest.approx(stats.wilcoxon(values, method="exact").pvalue, rel=1e-12)

    @settings(max_examples=40, deadline=None)
    @given(WHOLE)
    def test_with_ties_and_zeros_against_all_signs(self, values):
        assert wilcoxon(values) == pytest.approx(by_all_signs(values) if any(values) else 1.0, rel=1e-12)

    @settings(max_examples=40, deadline=None)
    @given(WHOLE)
    def test_rounding_unties_nothing(self, values):
        # 0.1 * 3 - 0.1 * 2 is not 0.1: scipy's ranks would differ.
        accuracies = [(0.7 + 0.01 * value) - 0.7 for value in values]
        assert wilcoxon(accuracies) == wilcoxon(values)

    @settings(max_examples=40, deadline=None)
    @given(WHOLE)
    def test_symmetric_and_of_any_unit(self, values):
        assert wilcoxon(values) == wilcoxon([-value for value in values]) == wilcoxon([7e3 * value for value in values])

    @pytest.mark.parametrize("count", [1, 4, 6])
    def test_never_below_the_smallest(self, count):
        assert smallest_wilcoxon(count) == wilcoxon(range(1, count + 1))

    def test_nothing(self):
        assert wilcoxon([]) is None
        assert wilcoxon([0.0, 0.0]) == 1.0


class TestHolm:
    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.floats(0, 1), max_size=6))
    def test_against_closed_testing(self, p):
        """A hypothesis falls where every set that it is in falls by Bonferroni's correction."""
        numbers = range(len(p))
        sets = [chosen for size in numbers for chosen in itertools.combinations(numbers, size + 1)]
        expected = [max(min(1.0, len(s) * min(p[j] for j in s)) for s in sets if i in s) for i in numbers]
        assert holm(p) == pytest.approx(expected, rel=1e-12)

    def test_keeps_the_order_of_what_is_given(self):
        assert holm([0.04, 0.01, 0.5]) == pytest.approx([0.08, 0.03, 0.5])


class TestLabelsToReach:
    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0, 1))
    def test_the_curve_is_there_and_was_not_before(self, values, target):
        labels = np.arange(20.0, 20 + 10 * len(values), 10)
        reached = labels_to_reach(labels, values, target)
        if reached is None:
            assert max(values) < target
            return
        assert np.interp(reached, labels, values) == pytest.approx(max(target, values[0]), abs=1e-9)
        before = np.linspace(labels[0], reached, 7)[:-1]
        assert reached == labels[0] or (np.interp(before, labels, values) <= target + 1e-9).all()

    def test_of_an_error_it_is_fallen_to(self):
        assert labels_to_reach([10, 20, 30], [0.5, 0.3, 0.1], 0.2, lower_is_better=True) == pytest.approx(25)
        assert labels_to_reach([10, 20], [0.5, 0.3], 0.2, lower_is_better=True) is None

    def test_a_curve_that_falls_back_got_there_all_the_same(self):
        assert labels_to_reach([10, 20, 30], [0.0, 1.0, 0.0], 0.5) == 15
        assert labels_to_reach([10, 20, 30], [0.0, 0.5, 0.0], 0.5) == 20


class TestPairwise:
    @pytest.mark.parametrize("lower_is_better", [False, True])
    def test_against_loops(self, lower_is_better):
        values = np.random.default_rng(0).integers(0, 4, (4, 6)).astype(float)
        values[1, 2] = values[3, 0] = values[3, 5] = np.nan
        found = pairwise(values, lower_is_better=lower_is_better)
        sign = -1 if lower_is_better else 1
        for i, j in itertools.product(range(4), repeat=2):
            gains = [sign * (a - b) for a, b in zip(values[i], values[j], strict=True) if a == a and b == b]
            assert found.cases[i, j] == len(gains)
            if i == j:
                assert np.isnan(found.wins[i, j])
                assert np.isnan(found.gains[i, j])
            else:
                assert found.wins[i, j] == pytest.approx(sum(gain > 0 for gain in gains) / len(gains))
                assert found.gains[i, j] == pytest.approx(sum(gains) / len(gains))

    def test_of_a_tie_neither_wins(self):
        found = pairwise([[0.3, 0.5], [0.1 + 0.2, 0.4]])
        assert found.wins[0, 1] == 0.5
        assert found.wins[1, 0] == 0.0

    def test_methods_without_a_case_in_common(self):
        found = pairwise([[0.5, np.nan], [np.nan, 0.5]])
        assert np.isnan(found.wins).all()
        assert found.cases[0, 1] == 0


@pytest.mark.parametrize("test", [paired_t, wilcoxon])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_differences_that_are_not_finite_are_refused(test, bad):
    with pytest.raises(ValueError, match="must be finite to be tested, got"):
        test([bad, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("level", [0.0, 1.0, 95, np.nan])
def test_a_level_is_a_share(level):
    with pytest.raises(ValueError, match=r"`level` must be between 0 and 1, as 0\.95, got"):
        t_interval([0.1, 0.2], level)
