"""The smaller parts of a page: words, coverage, settings, charts."""

import math
import re
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from lightning_al.drawing.numbers import alike
from lightning_al.report.alignment import align
from lightning_al.report.page.charts import _DASHES, _MARKS, STYLES, Bars, Line, _Scale, bar_chart, line_chart
from lightning_al.report.page.comparing import lines_of
from lightning_al.report.page.coverage import Clusters, class_counts, class_names_of, features_of, some_of
from lightning_al.report.page.reading import asked_in, metric_names, read_campaigns
from lightning_al.report.page.running import tenths
from lightning_al.report.page.style import DARK, LIGHT, css, script
from lightning_al.report.page.verdict import verdict_of_methods, verdict_of_repeats
from tests.helpers.curves import repeats, write_campaign
from tests.helpers.ledger import answered, asked, begin, record
from tests.helpers.pages import Page

LOW = [[0.1, 0.20], [0.1, 0.22], [0.1, 0.21], [0.1, 0.19], [0.1, 0.18]]
HIGH = [[0.1, 0.40], [0.1, 0.43], [0.1, 0.41], [0.1, 0.38], [0.1, 0.39]]
NOISY = [[0.1, 0.10], [0.1, 0.32], [0.1, 0.11], [0.1, 0.31], [0.1, 0.20]]


def first_word(methods, **options):
    return verdict_of_methods(align({name: repeats(*curves) for name, curves in methods.items()}, **options))


# -- what a result means -------------------------------------------------------------------------------------------


def test_a_better_method():
    said = first_word({"random": LOW, "badge": HIGH})
    assert said[0].startswith("Choosing what to label paid here: badge (+0.1")
    assert any(text.startswith("badge got where random ends") for text in said)


def test_random_wins_beyond_chance():
    assert first_word({"random": HIGH, "badge": LOW})[0].startswith("Random wins here: every method did worse")


def test_random_is_not_beaten():
    said = first_word({"random": LOW, "badge": [[0.1, y - d] for (_, y), d in zip(LOW, (0.02, -0.01, 0.01, 0, 0))]})
    assert said[0].startswith("Random wins here: it has the best mean")
    assert "costs nothing to compute" in said[1]


def test_it_is_open():
    said = first_word({"random": LOW, "badge": [[0.1, y + 0.01] for _, y in NOISY]})
    assert said[0].startswith("It is open whether choosing what to label pays here")
    assert said[1].startswith("The best difference to random is that of badge; more seeds")


def test_methods_of_too_few_seeds_are_left_out():
    """However well they did: the best of two seeds is what chance makes of two seeds."""
    said = first_word({"random": LOW, "badge": [[0.1, y + 0.01] for _, y in NOISY], "lucky": HIGH[:2]})
    assert said[1].startswith("The best difference to random is that of badge;")
    assert [text for text in said if "lucky" in text] == ["Left out here, with fewer than 5 seeds: lucky."]


def test_means_of_methods_without_a_seed_in_common_are_in_no_order():
    curves = {"a": repeats(*HIGH[:2]), "b": repeats(*LOW[:2], seeds=[7, 8])}
    [first, _] = verdict_of_methods(align(curves))
    assert first == "All 2 methods have no seed in common, so their means are in no order."


def test_the_best_of_different_seeds_is_that_with_the_best_difference():
    """Of more seeds, which are easy ones; beside random with the same seeds it gains less than the other."""
    seeds = range(10)
    of_random = repeats(*([[0.1, 0.2]] * 5 + [[0.1, 0.8]] * 5), seeds=seeds)
    near = repeats(*[[0.1, 0.2 + 0.4 * (i % 2) - 0.1] for i in range(5)])
    easy = repeats(*[[0.1, 0.8 + 0.1 * (i % 2) - 0.03] for i in range(5)], seeds=range(5, 10))
    said = verdict_of_methods(align({"random": of_random, "near": near, "easy": easy}))
    assert said[1].startswith("The best difference to random is that of near;")
    assert said[2] == "All 3 methods have no seed in common, so their means are in no order."


def test_a_method_as_good_as_random_is_no_better():
    assert first_word({"random": LOW, "badge": LOW})[0].startswith("Random wins here")


def test_less_of_a_loss_is_better():
    said = first_word({"random": HIGH, "badge": LOW}, lower_is_better=True)
    assert said[0].startswith("Choosing what to label paid here: badge (-0.1")
    assert any("less is better, best first: badge" in text for text in said)


def test_some_are_better_and_others_worse():
    said = first_word({"random": NOISY, "badge": [[0.1, y + 0.2] for _, y in NOISY], "bald": [[0, 0]] * 5})
    assert "badge" in said[0]
    assert any(text.startswith("Worse than random, beyond chance: bald") for text in said)


def test_too_few_seeds_and_no_baseline():
    assert first_word({"random": LOW[:2], "badge": HIGH[:2]})[0].startswith(
        "Nothing can be concluded yet: with 2 seeds"
    )
    assert "No baseline is named" in first_word({"a": LOW, "b": HIGH})[1]


def test_repeats_of_one_method():
    said = verdict_of_repeats(align({"saal": repeats(*LOW)}))
    assert said[0] == "From 20 to 30 labels, test_acc went from 0.1 to 0.2, the mean of 5 campaigns."


# -- what labels cover ---------------------------------------------------------------------------------------------


def test_class_counts_of_single_and_several_classes(tmp_path):
    campaign = begin(tmp_path)
    asked(campaign, -1, [3, 1, 2])
    for labels, counts in (
        ([0, 2, 2], {"2": 2, "0": 1}),
        ([[1, 0, 1], [0, 0, 1], [0, 0, 0]], {"2": 2, "0": 1}),
        ([0.5, 1.5, 2.5], {}),
        ([{"boxes": [[0, 0, 1, 1]] * 2, "labels": [1, 1]}] * 3, {"1": 3}),
    ):
        answered(campaign, [3, 1, 2], labels)
        [told] = read_campaigns([tmp_path]).campaigns
        assert class_counts(class_names_of(told.standing, [3, 1, 2])) == Counter(counts)


def test_clusters_are_the_groups_that_are_there():
    generator = np.random.default_rng(0)
    where = np.repeat(np.arange(4), [40, 30, 20, 10])
    points = np.eye(4)[where] * 9 + generator.normal(size=(100, 4)) * 0.1
    clusters = Clusters(points, 4)
    found = clusters.of(points)
    assert all(len(set(found[where == group])) == 1 for group in range(4))
    assert sorted(clusters.shares) == pytest.approx([0.1, 0.2, 0.3, 0.4])
    drawn = generator.choice(4, p=[0.4, 0.3, 0.2, 0.1], size=(5_000, 6))
    share = np.mean([len(set(row)) for row in drawn.tolist()]) / 4
    assert clusters.expected(6) == pytest.approx(share, abs=0.01)
    assert len(Clusters(np.zeros((5, 2)), 3).centres) == 1


def test_some_of_a_pool_are_always_the_same():
    assert some_of(4) == [0, 1, 2, 3]
    assert some_of(9000, 50) == some_of(9000, 50)
    assert len(set(some_of(9000, 50))) == 50
    assert features_of([1, 2], lambda place: None if place == 2 else np.zeros(2)) is None
    assert features_of([1, 2], lambda place: np.zeros(place)) is None


# -- reading -------------------------------------------------------------------------------------------------------


def test_the_main_metric_is_an_accuracy_or_one_of_which_more_is_better(tmp_path):
    for name, extra, first in (("val_loss", ["val_acc", "val_acc_class_0", "val_acc_class_1"], "val_acc"),
                               ("val_loss", ["val_miou"], "val_miou"), ("val_loss", [], "val_loss")):  # fmt: skip
        folder = tmp_path / first
        write_campaign(folder, [0.5, 0.6], metric=name, extra=extra)
        assert metric_names(read_campaigns([folder]).campaigns)[0] == first
        assert "val_acc_class_0" not in metric_names(read_campaigns([folder]).campaigns)


def test_questions_go_where_their_samples_went(tmp_path):
    campaign = begin(tmp_path)
    asked(campaign, -1, [3, 1])
    record(campaign, "moved", size=10, root="", indices=[3, 1], now=[5, -1], keys=["k3", "k1"])
    [question] = asked_in(campaign.read_events(tmp_path))
    assert question.units == [5, -1]


def test_a_damaged_summary_of_scores_is_no_reason_to_fail():
    event = {"kind": "asked", "round": 0, "indices": [1], "keys": ["a"], "scores": [0.5], "seconds": {}}
    for said in ([1], {"quantiles": ["x"], "count": "y"}, {"quantiles": [1, 2]}):
        [question] = asked_in([{**event, "all_scores": said}])
        assert (question.quantiles, question.candidates) == ([], 0)
    [question] = asked_in([{**event, "all_scores": {"quantiles": [1, 2, 3, 4, 5], "count": 9}}])
    assert (question.quantiles, question.candidates) == ([1.0, 2.0, 3.0, 4.0, 5.0], 9)


# -- charts --------------------------------------------------------------------------------------------------------


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("ground", [LIGHT, DARK])
def test_colours_can_be_read_on_their_ground(ground):
    for name, colour in ground.items():
        for back in ("back", "card"):
            if name in ("ink", "soft", "link"):
                assert contrast(colour, ground[back]) >= 4.5, name
            elif name.startswith("c") and name[1:].isdigit():
                assert contrast(colour, ground[back]) >= 3, name


def test_curves_are_told_apart_without_colours():
    assert len(set(_MARKS)) == STYLES
    assert len({(mark, dash) for mark in _MARKS for dash in _DASHES}) == STYLES * len(_DASHES)
    assert "prefers-color-scheme:dark" in css()
    assert "@media print" in css()
    assert "</" not in script()


def test_what_a_chart_says_is_what_it_was_given():
    lines = [
        Line("a", 0, [20, 30, 40], [0.5, math.nan, 0.75], [0.4, math.nan, 0.7], [0.6, math.nan, 0.8]),
        Line("b", 1, [20, 40], [0.25, 1.0]),
    ]
    page = Page(line_chart(lines, x="labels", y="acc", about="x"))
    assert page.tips == [
        "20 labels\na: 0.50 (0.40 to 0.60)\nb: 0.25",
        "30 labels\na: - (- to -)",
        "40 labels\na: 0.75 (0.70 to 0.80)\nb: 1.00",
    ]
    page = Page(bar_chart([Bars("r", {"fit": 3.0, "score": 1.0}, "{:.1f} s".format)], x="seconds", about="x"))
    assert page.tips == ["r\nfit: 3.0 s (75%)", "r\nscore: 1.0 s (25%)"]


def test_wide_bands_are_cut_where_curves_would_be_flattened():
    wide = Line("a (n=3)", 0, [20, 30], [0.2, 0.4], [-5.0, 0.3], [5.4, 0.5])
    drawn = line_chart([wide], x="labels", y="error", about="x")
    found = [re.search(rf'y="([0-9.]+)" text-anchor="end">{value}<', drawn) for value in ("0.2", "0.4")]
    bottom, top = (float(place[1]) for place in found)
    assert bottom - top == pytest.approx((340 - 46 - 18) / 2, abs=1)  # half of the axis
    assert ">-1<" not in drawn
    assert ">5<" not in drawn
    assert "bands go on beyond the chart; their ends are in the table" in drawn
    assert "a (n=3): 0.2 (-5.0 to 5.4)" in drawn  # what a mouse reads is whole
    narrow = Line("a (n=5)", 0, [20, 30], [0.2, 0.4], [0.15, 0.35], [0.25, 0.45])
    assert "beyond" not in line_chart([narrow], x="labels", y="error", about="x")
    # Of a single place nothing is flattened.
    assert "beyond" not in line_chart([Line("a", 0, [20], [0.2], [-5.0], [5.0])], x="labels", y="error", about="x")


def test_two_repeats_have_an_interval_and_no_band():
    drawn = {
        n: line_chart(lines_of({"m": repeats(*HIGH[:n])}), x="labels", y="acc", about="x").count('class="band')
        for n in (1, 2, 3, 5)
    }
    assert drawn == {1: 0, 2: 0, 3: 1, 5: 1}
    [line] = lines_of({"m": repeats(*HIGH[:2])})
    assert line.low[1] == pytest.approx(0.415 - stats.t.ppf(0.975, 1) * np.std([0.40, 0.43], ddof=1) / 2**0.5)


def test_ticks_of_an_axis_have_the_same_decimals():
    drawn = line_chart([Line("a", 0, [20, 30], [0.5, 0.62])], x="labels", y="acc", about="x")
    found = re.findall(r'text-anchor="end">([^<]+)<', drawn)
    assert found == ["0.50", "0.52", "0.54", "0.56", "0.58", "0.60", "0.62"]


@pytest.mark.parametrize(
    "values", [[0.755, 0.8064], [2.5, 100.0], [0.1, 1e-7, 0.0], [1e9, 1234.5], [1e-12, 1.0], [-0.25]]
)
def test_numbers_beside_each_other_have_the_same_decimals_and_none_becomes_zero(values):
    texts = [alike(values)(value) for value in values]
    for value, text in zip(values, texts):
        assert float(text.replace(",", "")) == pytest.approx(value, rel=0.001)
    decimals = {len(text.partition(".")[2]) for text in texts if "e" not in text}
    assert len(decimals) == 1


def test_seconds_are_said_to_a_tenth():
    said = {0.0: "0.0", 0.0001014: "<0.1", 0.049: "<0.1", 0.06: "0.1", 59.94: "59.9", 1000.0: "1,000"}
    assert [tenths(value) for value in said] == list(said.values())


@pytest.mark.parametrize(
    "values", [[0.5], [0.0], [-3.0, -3.0], [1e-9, 2e-9], [1e12, 3e12], [math.nan], [], [0, 1e-300]]
)
def test_axes_have_a_few_round_ticks_inside(values):
    scale = _Scale(values, 0, 100)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 8
    assert all(-0.1 <= scale(tick) <= 100.1 for tick in ticks)


def test_counts_have_no_ticks_between_them():
    assert _Scale([10], 0, 100).ticks() == [10]
    assert _Scale([2, 4], 0, 100).ticks() == [2, 3, 4]
    assert _Scale([0.2, 0.4], 0, 100).ticks() == [0.2, 0.25, 0.3, 0.35, 0.4]
