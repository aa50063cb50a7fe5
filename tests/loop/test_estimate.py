"""How long a campaign may still take."""

import math
from datetime import datetime
from types import SimpleNamespace

import pytest

from lightning_al.campaign.results import RoundResult
from lightning_al.loop.estimate import left_in_words, round_in_words, rounds_left, seconds_left, until_in_words

NOW = datetime(2025, 3, 1, 12, 0)


def session(labelled, fit, *, query=1.0, rounds=None, budget=None, stop=None, size=1000):
    """A campaign whose rounds so far are done, each with its question asked but not answered."""
    done = [
        RoundResult(n, count, [0], [], {}, {"fit": seconds, "evaluate": 0.0, "score": query}, spent=float(count))
        for n, (count, seconds) in enumerate(zip(labelled, fit, strict=True))
    ]
    settings = SimpleNamespace(rounds=rounds, budget=budget, stop=stop, asks_for_regions=False)
    pool = SimpleNamespace(unlabelled=range(size - labelled[-1] - 10), pending=range(10))
    campaign = SimpleNamespace(rounds=done, next_round=len(done))
    return SimpleNamespace(settings=settings, campaign=campaign, pool=pool, labelled=range(labelled[-1]))


@pytest.mark.parametrize(
    ("limits", "left"),
    [
        ({"rounds": 5}, 4),  # rounds 2, 3, 4 and 5
        ({"rounds": 1}, 0),
        ({"budget": 45}, 2),  # fits on 40 and on 45
        ({"budget": 30}, 0),
        ({"budget": 45, "rounds": 2}, 1),
        ({"size": 55}, 3),  # on 40, 50, 55
        ({}, 97),
    ],
)
def test_rounds_left(limits, left):
    assert rounds_left(session([20, 30], [1.0, 1.0], **limits)) == left


def test_fits_grow_with_the_labels_and_the_last_round_asks_nothing():
    """10 s, and 0.5 s a label: fits of 35, 40 and 45 s, and two questions more."""
    assert seconds_left(session([20, 40], [20.0, 30.0], rounds=4)) == pytest.approx(40 + 50 + 60 + 2)
    mean = (20 + 30) / 2 * 3 + 3
    assert seconds_left(session([20, 40], [20.0, 30.0], rounds=4)) > mean


def test_nothing_is_said_too_early_or_of_no_time():
    assert math.isnan(seconds_left(session([20], [100.0], rounds=4)))
    assert left_in_words(session([20], [100.0], rounds=4), now=NOW) == ""
    assert left_in_words(session([20, 30], [1.0, 1.0], rounds=4), now=NOW) == ""
    assert seconds_left(session([20, 30], [1.0, 1.0], rounds=1)) == 0


def test_the_words():
    some = session([20, 40], [20.0, 30.0], rounds=4)
    assert left_in_words(some, now=NOW) == "about 2:32 left, until 12:02"
    assert until_in_words(some, now=NOW) == "until about 12:02"
    some = session([20, 40], [20.0, 30.0], rounds=4, stop=lambda history: False)
    assert left_in_words(some, now=NOW) == "at most about 2:32 left, until 12:02"
    assert round_in_words(some) == "round 2 of 4"
    assert round_in_words(session([20, 40], [1.0, 1.0], budget=100)) == "round 2"
