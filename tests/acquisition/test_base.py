import math
import warnings

import pytest
import torch

from lightning_al.acquisition import (
    SAAL,
    Acquisition,
    Entropy,
    EntropyGradNorm,
    ExpectedGradNorm,
    LeastConfidence,
    Margin,
    Random,
)
from lightning_al.acquisition.base import REQUIREMENTS
from tests.helpers.bound import pick, seeded
from tests.helpers.greedy import brute_force

SCORED = [Acquisition, Entropy, LeastConfidence, Margin, EntropyGradNorm, ExpectedGradNorm, SAAL]
SPREAD = [0.1, 5.0, 4.9, 0.2, 2.5, 5.0]


@pytest.mark.parametrize("cls", SCORED)
def test_selection(cls):
    assert pick(cls(selection="top"), SPREAD, 4) == [1, 5, 2, 4]
    for seed in range(5):
        got = pick(cls(selection="kmeans++"), SPREAD, 4, seed)
        assert got == brute_force(SPREAD, 4, seeded(seed), first=1, ids=range(100, 106))
    assert any(pick(cls(selection="kmeans++"), SPREAD, 3, s) != [1, 5, 2] for s in range(3))


@pytest.mark.parametrize("cls", SCORED[1:])
def test_the_default_selection(cls):
    assert cls().selection == ("kmeans++" if cls is SAAL else "top")


def test_kmeans_plusplus_starts_with_the_largest_score_not_the_largest_size():
    """Margins are negative: the largest absolute value would be the most certain sample."""
    assert pick(Margin(selection="kmeans++"), [-0.9, -0.1, -0.5], 1) == [1]


@pytest.mark.parametrize("selection", ["top", "kmeans++"])
def test_select_all_or_none(selection):
    assert sorted(pick(Entropy(selection=selection), SPREAD, 6)) == [0, 1, 2, 3, 4, 5]
    assert pick(Entropy(selection=selection), SPREAD, 0) == []
    assert pick(Entropy(selection=selection), torch.zeros(0), 0) == []


@pytest.mark.parametrize("selection", ["top", "kmeans++"])
def test_equal_scores_are_said_once_and_keep_the_order(selection):
    acquisition = EntropyGradNorm(selection=selection)
    with pytest.warns(UserWarning, match=r"EntropyGradNorm gave all 4 candidates the same score, 0\.25;"):
        assert pick(acquisition, [0.25] * 4, 2) == [0, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pick(acquisition, [0.25] * 4, 2) == [0, 1]


def test_equal_scores_of_all_that_is_left_are_no_news():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pick(Entropy(), [0.25] * 4, 4) == [0, 1, 2, 3]
        assert pick(Entropy(), [0.25, 0.5], 1) == [1]


@pytest.mark.parametrize("selection", ["top", "kmeans++"])
def test_a_score_of_ones_own(selection):
    class Certain(Acquisition):
        def score_batch(self, model, batch):
            return batch.amax(1)

    got = Certain(selection=selection).rows(None, torch.tensor([[1.0, 2.0], [4.0, 3.0]]))
    assert list(got) == ["score"]
    assert got["score"].tolist() == [2.0, 4.0]


def test_what_an_acquisition_says_of_itself():
    assert Random.requires == frozenset()
    assert Entropy.requires == LeastConfidence.requires == Margin.requires == {"logits"}
    assert SAAL.requires == EntropyGradNorm.requires == ExpectedGradNorm.requires == {"logits", "gradients"}
    for cls in [*SCORED, Random]:
        assert cls().batch_multiple == 1
        assert not cls.uses_labelled


def test_unknown_words_in_requires_are_refused_when_the_class_is_written():
    with pytest.raises(
        TypeError, match=r"`Mine\.requires` has the unknown word 'logit'\. Use some of \"outputs\", \"logits\", "
    ):

        class Mine(Acquisition):
            requires = frozenset({"logit", "labels"})

    with pytest.raises(TypeError, match=r"`Other\.requires` must be a frozenset .* got 'logits'"):

        class Other(Entropy):
            requires = "logits"

    for word in REQUIREMENTS:
        type("Allowed", (Acquisition,), {"requires": frozenset({word})})


def test_unknown_words_in_requires_of_an_instance_are_refused_by_the_loop(bound):
    class Late(Entropy):
        def __init__(self):
            super().__init__()
            self.requires |= {"feature"}

    class Computed(Entropy):
        @property
        def requires(self):
            return frozenset({"classes", "clases"})

    for cls, word in ((Late, "feature"), (Computed, "clases")):
        with pytest.raises(TypeError, match=f"`{cls.__name__}.requires` has the unknown word '{word}'"):
            bound.bind(cls())


def test_binding(bound):
    acquisition = Entropy()
    with pytest.raises(RuntimeError, match="Entropy is bound to no loop"):
        acquisition.score_batch(bound.model, bound.batch)
    bound.bind(acquisition)
    assert acquisition.task.inputs(bound.batch) is bound.batch[0]
    acquisition.unbind()
    with pytest.raises(RuntimeError, match="ActiveLearningLoop"):
        acquisition.task


def test_a_plain_fit_warns(bound):
    with pytest.warns(UserWarning, match="Margin is among the callbacks, but no loop is bound"):
        Margin().on_fit_start(None, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bound.bind(Margin()).on_fit_start(None, None)


@pytest.mark.parametrize("cls", SCORED)
def test_refuses_an_unknown_selection(cls):
    with pytest.raises(ValueError, match=r"`selection` must be one of 'top', 'kmeans\+\+', 'badge', got 'best'"):
        cls(selection="best")


def test_refuses_to_score_without_a_score():
    class Mine(Acquisition):
        pass

    with pytest.raises(NotImplementedError, match="Mine must define `score_batch`"):
        Mine().rows(None, None)


def test_refuses_kmeans_plusplus_without_a_generator():
    with pytest.raises(ValueError, match=r"`selection='kmeans\+\+'`.*needs a `generator`"):
        SAAL().select({"score": torch.rand(3)}, 2, labelled_rows={}, generator=None)


@pytest.mark.parametrize("selection", ["top", "kmeans++"])
def test_refuses_what_cannot_be_picked(selection):
    with pytest.raises(ValueError, match="k = 4 of 3"):
        pick(Entropy(selection=selection), [1.0, 2.0, 3.0], 4)
    with pytest.raises(ValueError, match=r"positions \[1\]"):
        pick(Entropy(selection=selection), [1.0, math.nan, 3.0], 2)
