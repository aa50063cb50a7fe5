"""Rules that end a campaign by its results."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_al import ActiveLearningLoop, RoundResult
from lightning_al.stopping import MetricPlateau, MetricReached
from tests.helpers.projects import Data, Net, make_trainer, picks


def history(*values):
    return [RoundResult(i, 6 + i, [], [], {"m": value}, {}) for i, value in enumerate(values)]


def test_reached():
    assert not MetricReached("m", 0.9)(history(0.1, 0.89))
    assert MetricReached("m", 0.9)(history(0.1, 0.9))
    assert MetricReached("m", 0.2, mode="min")(history(0.3, 0.2))
    assert not MetricReached("m", 0.2, mode="min")(history(0.3, math.nan))


@given(
    st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, math.nan]), max_size=8), st.integers(1, 3), st.sampled_from([0, 0.15])
)
def test_a_plateau_is_a_best_that_stood_for_some_rounds(values, patience, delta):
    """By looking back from the end, where the rule goes forward."""
    known = [-1.0 if math.isnan(v) else v for v in values]
    bests = []
    for i, value in enumerate(known):
        if value > max((known[b] for b in bests), default=-math.inf) + delta and not math.isnan(values[i]):
            bests.append(i)
    since = len(values) - 1 - (bests[-1] if bests else -1)
    assert MetricPlateau("m", patience, delta)(history(*values)) == (since >= patience)


def test_it_is_refused_what_was_not_logged():
    with pytest.raises(ValueError, match=r"MetricReached\(monitor='acc'\).*round 0 logged no such metric, only 'm'"):
        MetricReached("acc", 0.9)(history(0.1))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda: MetricReached("m", 0.9, mode="up"), "`mode` must be .* got 'up'"),
        (lambda: MetricReached("m", math.nan), "`value` must be finite, got nan"),
        (lambda: MetricPlateau("m", patience=0), "`patience` must be at least 1, got 0"),
        (lambda: MetricPlateau("m", patience=True), "`patience` .* got True"),
        (lambda: MetricPlateau("m", min_delta="0.1"), "`min_delta` must be a number.* got '0.1'"),
        (lambda: MetricReached("m", "0.9"), "`value` must be a number.* got '0.9'"),
        (lambda: MetricPlateau("m", min_delta=-0.1), r"`min_delta` must be at least 0 and finite, got -0\.1"),
    ],
)
def test_bad_rules(rule, message):
    with pytest.raises((TypeError, ValueError), match=message):
        rule()


def campaign(folder, stop, resume=False):
    loop = ActiveLearningLoop(Net(), Data(), initial=6, query_size=5, rounds=6, stop=stop, dirpath=folder)
    return loop, loop.run(make_trainer(folder, max_epochs=1), resume=resume)


def test_a_campaign_ends_when_the_rule_says_so_and_goes_on_without(tmp_path):
    whole = campaign(tmp_path / "whole", None)[1]
    loop, stopped = campaign(tmp_path / "stopped", lambda rounds: len(rounds) == 3)
    assert loop.status == "finished"
    assert picks(stopped) == [*picks(whole)[:2], []]
    assert [r.metrics for r in stopped] == [r.metrics for r in whole[:3]]
    assert picks(campaign(tmp_path / "stopped", lambda rounds: len(rounds) == 3, resume=True)[1]) == picks(stopped)
    assert picks(campaign(tmp_path / "stopped", None, resume=True)[1]) == picks(whole)


def test_a_metric_of_the_project(tmp_path):
    whole = campaign(tmp_path / "whole", None)[1]
    best = max(r.metrics["val_acc"] for r in whole[:4])
    at = next(r.round for r in whole if r.metrics["val_acc"] >= best)
    assert len(campaign(tmp_path / "stopped", MetricReached("val_acc", best))[1]) == at + 1


def test_ask_is_over_too(tmp_path):
    loop = ActiveLearningLoop(
        Net(), Data(), initial=6, query_size=5, stop=MetricReached("val_acc", 0.0), dirpath=tmp_path
    )
    trainer = make_trainer(tmp_path, max_epochs=1)
    loop.run(trainer)
    assert loop.ask(trainer) == []
    assert loop.status == "finished"


def test_what_is_no_rule_is_refused():
    with pytest.raises(TypeError, match="`stop` must be a `StopRule` or a function of the history, got 'plateau'"):
        ActiveLearningLoop(Net(), Data(), initial=6, query_size=5, stop="plateau")


def test_ask_asks_nothing_more_once_the_new_fit_is_good_enough(tmp_path):
    options = {"initial": 6, "query_size": 4, "dirpath": tmp_path}
    loop = ActiveLearningLoop(Net(), Data(), **options, stop=lambda history: len(history) == 2)
    trainer = make_trainer(tmp_path, max_epochs=1)
    asked = loop.ask(trainer)
    loop.tell(asked, [0, 1, 2, 0])
    assert loop.ask(trainer) == []
    assert loop.status == "finished"
    assert [(r.labelled, r.picked) for r in loop.history] == [(6, asked), (10, [])]
    assert loop.campaign.reported == {0, 1}
    assert loop.run(trainer) == loop.history
