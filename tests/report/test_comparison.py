import itertools

import numpy as np
import pytest
from scipy import stats

from lightning_al.report.alignment import MEASURES, align
from lightning_al.report.comparison import differences, labels_saved, pairwise_of, ranked
from tests.helpers.curves import repeats


def noisy(count, shift=0.0, seed=0, rounds=4, **fields):
    values = 0.5 + shift + 0.02 * np.random.default_rng(seed).normal(size=(count, rounds))
    return repeats(*values.tolist(), **fields)


CURVES = {"saal": noisy(6, 0.05, 1), "random": noisy(6, 0.0, 2), "entropy": noisy(6, -0.01, 3), "few": noisy(3, 0.1, 4)}


class TestDifferences:
    @pytest.mark.parametrize("measure", MEASURES)
    @pytest.mark.parametrize("lower_is_better", [False, True])
    def test_against_scipy(self, measure, lower_is_better):
        of = {
            "last": lambda values: values[-1],
            "mean": np.mean,
            "best": min if lower_is_better else max,
        }[measure]
        numbers = {method: np.array([of(c.values) for c in curves]) for method, curves in CURVES.items()}
        rows = differences(align(CURVES, lower_is_better=lower_is_better), measure)
        means = [row.mean for row in rows]
        assert means == sorted(means, reverse=not lower_is_better)
        assert {row.method for row in rows} == {"saal", "entropy", "few"}
        p = {}
        for row in rows:
            n = len(numbers[row.method])
            test = stats.ttest_rel(numbers[row.method], numbers["random"][:n])
            assert row.values == pytest.approx(numbers[row.method] - numbers["random"][:n])
            assert row.interval == pytest.approx(tuple(test.confidence_interval(0.95)))
            assert row.mean == pytest.approx(np.mean(row.values))
            if row.method == "few":
                assert (row.t, row.t_holm, row.wilcoxon, row.wilcoxon_holm) == (None,) * 4
            else:
                p[row.method] = test.pvalue, stats.wilcoxon(row.values, method="exact").pvalue
                assert (row.t, row.wilcoxon) == pytest.approx(p[row.method])
        # Of two p-values Holm doubles the smaller one; the larger is at least that.
        for number, name in enumerate(("t_holm", "wilcoxon_holm")):
            small, large = sorted(pair[number] for pair in p.values())
            expected = sorted([min(1, 2 * small), min(1, max(2 * small, large))])
            assert sorted(getattr(row, name) for row in rows if row.t is not None) == pytest.approx(expected)

    def test_only_the_seeds_that_both_have(self):
        aligned = align({"saal": repeats([0.5], [0.9], seeds=(0, 1)), "random": repeats([0.4], [0.1], seeds=(0, 2))})
        [row] = differences(aligned, "last")
        assert (row.repeats, row.interval) == (["seed 0"], None)
        assert row.values == pytest.approx([0.1])

    def test_no_seed_in_common(self):
        [row] = differences(align({"saal": repeats([0.5]), "random": repeats([0.4], seeds=(1,))}), "last")
        assert (row.repeats, row.mean, row.interval, row.t) == ([], None, None, None)

    def test_without_a_baseline_there_are_none(self):
        assert differences(align({"a": repeats([0.5]), "b": repeats([0.4])}), "last") == []


class TestRanked:
    @pytest.mark.parametrize("lower_is_better", [False, True])
    def test_over_the_seeds_that_all_have(self, lower_is_better):
        aligned = align(CURVES, lower_is_better=lower_is_better)
        shared, means = ranked(aligned, list(CURVES), "mean")
        assert shared == ["seed 0", "seed 1", "seed 2"]
        assert means == pytest.approx({name: np.mean([c.values for c in of[:3]]) for name, of in CURVES.items()})
        assert list(means.values()) == sorted(means.values(), reverse=not lower_is_better)

    def test_nothing_in_common_has_no_order(self):
        aligned = align({"a": repeats([0.5], [0.6]), "random": repeats([0.4], seeds=[2])})
        assert ranked(aligned, ["a", "random"], "last") == ([], {})


class TestLabelsSaved:
    def test_the_mean_curve_on_straight_lines(self):
        aligned = align(
            {
                "random": repeats([0.2, 0.4, 0.6], [0.2, 0.4, 0.8]),
                "saal": repeats([0.2, 0.6, 0.8], [0.4, 0.6, 0.7]),
                "worse": repeats([0.1, 0.2, 0.3], [0.1, 0.2, 0.9]),
            }
        )
        saal, random, worse = labels_saved(aligned)
        # Random ends at 0.7, the mean. saal's means are 0.3, 0.6, 0.75 at 20, 30, 40.
        assert (saal.method, saal.target) == ("saal", pytest.approx(0.7))
        assert (saal.labels, saal.saved) == pytest.approx((30 + 10 * 0.1 / 0.15, 10 - 10 * 0.1 / 0.15))
        assert (saal.reached, saal.repeats) == (1, 2)  # of seed 1, 0.7 is below the 0.8 of random's
        assert (random.method, random.labels, random.saved, random.reached) == ("random", 40, 0, 2)
        assert (worse.method, worse.labels, worse.saved, worse.reached) == ("worse", None, None, 1)

    def test_of_an_error(self):
        curves = {"random": repeats([4.0, 2.0], metric="mse"), "saal": repeats([3.0, 1.0], metric="mse")}
        assert [(row.method, row.labels) for row in labels_saved(align(curves))] == [("saal", 25), ("random", 30)]

    def test_without_common_seeds_or_a_baseline(self):
        assert [r.method for r in labels_saved(align({"a": repeats([0.5], seeds=[1]), "random": repeats([0.4])}))] == [
            "random"
        ]
        assert labels_saved(align({"a": repeats([0.5]), "b": repeats([0.4])})) == []


class TestPairwise:
    def test_over_the_seeds_of_several_folders(self):
        first = align({"saal": repeats([0.5], [0.6]), "random": repeats([0.4], [0.7]), "badge": repeats([0.3])})
        second = align({"random": repeats([0.1]), "saal": repeats([0.3])})
        methods, matrices = pairwise_of([first, second], "last")
        assert methods == ["saal", "random", "badge"]
        cases = {
            ("saal", "random"): [0.1, -0.1, 0.2],
            ("saal", "badge"): [0.2],
            ("random", "badge"): [0.1],
        }
        for (i, a), (j, b) in itertools.combinations(enumerate(methods), 2):
            gains = cases[a, b]
            assert matrices.cases[i, j] == matrices.cases[j, i] == len(gains)
            assert matrices.wins[i, j] == pytest.approx(sum(gain > 0 for gain in gains) / len(gains))
            assert matrices.wins[j, i] == pytest.approx(sum(gain < 0 for gain in gains) / len(gains))
            assert matrices.gains[i, j] == -matrices.gains[j, i] == pytest.approx(np.mean(gains))

    def test_accuracies_and_losses_do_not_add_up(self):
        with pytest.raises(ValueError, match="do not add up"):
            pairwise_of([align({"m": repeats([0.5])}), align({"m": repeats([0.5], metric="loss")})], "last")

    def test_nothing_in_common(self):
        aligned = align({"saal": repeats([0.1]), "random": repeats([0.1], labels=[25])})
        methods, matrices = pairwise_of([aligned], "last")
        assert methods == ["saal", "random"]
        assert matrices.cases.tolist() == [[0, 0], [0, 0]]
