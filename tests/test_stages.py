"""The words of a stage, and its steps."""

import threading

import pytest
import torch

from lightning_al import functional as F_al
from lightning_al.stages import heard, present_stage, stage, steps
from tests.helpers.bound import seeded

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
LOG_P = torch.randn(20, 5, 3, generator=torch.Generator().manual_seed(0)).log_softmax(2)

SELECTORS = {
    "k_center_greedy": lambda: F_al.k_center_greedy(X, 7, labelled=X[:2]),
    "kmeans_plusplus": lambda: F_al.kmeans_plusplus(X, 7, generator=seeded()),
    "badge": lambda: F_al.badge(X[:, :2], X, 7, generator=seeded()),
    "prob_cover": lambda: F_al.prob_cover(X, 7, delta=0.5),
    "prob_cover of all": lambda: F_al.prob_cover(X, 7, delta=3.0),
    "batch_bald": lambda: F_al.batch_bald(LOG_P, 7, generator=seeded()),
    "typiclust": lambda: F_al.typiclust(X, 7, generator=seeded()),
    "typiclust's code": lambda: F_al.typiclust(X, 7, generator=seeded(), variant="code"),
    "core_gcn": lambda: F_al.core_gcn(X[4:], 7, labelled=X[:4], generator=seeded(), steps=7),
}


def test_a_part_stands_behind_the_whole_and_goes_with_it():
    with stage("round 1 of 3", until="until about 14:05"):
        with stage("scoring with SAAL"):
            assert present_stage().words == ("round 1 of 3", "scoring with SAAL")
            assert present_stage().until == "until about 14:05"
        assert str(present_stage()) == "round 1 of 3"
    assert present_stage().words == ()
    with pytest.raises(KeyError), stage("lost"):
        raise KeyError
    assert present_stage().words == ()


def test_other_threads_hear_nothing():
    told, seen = [], []
    with heard(lambda *step: told.append(step)), stage("here"):
        thread = threading.Thread(target=lambda: seen.extend([list(steps(range(3))), present_stage().words]))
        thread.start()
        thread.join()
    assert seen == [[0, 1, 2], ()]
    assert told == []


def test_where_nobody_listens_steps_are_the_things_themselves():
    things = range(5)
    assert steps(things) is things
    with heard(lambda done, total: None):
        assert steps(things) is not things
    assert steps(things) is things


def test_of_steps_within_steps_the_outer_ones_are_told_of():
    told = []
    with heard(lambda *step: told.append(step)):
        for _ in steps(range(2)):
            list(steps(range(9)))
        for number in steps(range(5)):
            if number == 1:
                break  # nothing is in the way of the next
        list(steps("ab"))
    assert told == [(0, 2), (1, 2), (2, 2), (0, 5), (1, 5), (0, 2), (1, 2), (2, 2)]


@pytest.mark.parametrize("name", SELECTORS)
def test_selectors_tell_of_their_steps_and_pick_the_same(name):
    select, told = SELECTORS[name], []
    alone = select()
    with heard(lambda *step: told.append(step)):
        heard_too = select()
    assert torch.equal(alone, heard_too)
    assert (7, 7) in told or (6, 6) in told
    assert all(0 <= done <= total for done, total in told)
