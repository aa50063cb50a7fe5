"""What several people say of one sample."""

import itertools

import pytest

from lightning_al import SKIP
from lightning_al.oracle.people.agreement import AGREEMENTS, Said, agree
from lightning_al.tasks.annotations import Boxes, Mask


def said(*words, times=True):
    """Each word is who and what; they came one after the other."""
    return [Said(who, number if times else None, what) for number, (who, what) in enumerate(words)]


A, B, C = ("anna", "cat"), ("ben", "dog"), ("carl", "dog")


@pytest.mark.parametrize(
    ("words", "latest", "first", "majority"),
    [
        ([], None, None, None),
        ([A], "cat", "cat", "cat"),
        ([A, B], "dog", "cat", None),
        ([A, B, C], "dog", "cat", "dog"),
        ([B, A], "cat", "dog", None),
        # a correction takes the place of what the same person said
        ([A, B, ("anna", "fox")], "fox", "fox", None),
        ([A, B, ("anna", "dog")], "dog", "dog", "dog"),
        # a skip counts where nobody gave a label
        ([("anna", SKIP)], SKIP, SKIP, SKIP),
        ([("anna", SKIP), B], "dog", "dog", "dog"),
        ([A, ("ben", SKIP)], "cat", "cat", "cat"),
        ([A, ("anna", SKIP)], SKIP, SKIP, SKIP),
        ([("anna", ["x", "y"]), ("ben", ["y", "x"]), ("carl", [])], [], ["x", "y"], ["x", "y"]),
        ([("anna", 1.0), ("ben", 5.0), ("carl", 2.0)], 2.0, 1.0, 2.0),
        ([("anna", 1.0), ("ben", 2.0)], 2.0, 1.0, 1.5),
        (
            [("anna", Mask([[1, 255, 2]])), ("ben", Mask([[1, 3, 1]])), ("carl", Mask([[0, 3, 0]]))],
            Mask([[0, 3, 0]]),
            Mask([[1, 255, 2]]),
            Mask([[1, 3, 255]]),
        ),
    ],
)
def test_rules(words, latest, first, majority):
    for rule, label in (("latest", latest), ("first", first), ("majority", majority)):
        for times in (True, False):
            assert agree(said(*words, times=times), rule).annotation == label, rule


def test_times_go_before_the_order_in_the_list():
    words = said(A, B, C)
    for order in itertools.permutations(words):
        assert agree(order, "latest").annotation == "dog"
        assert agree(order, "first").annotation == "cat"


def test_who_said_it_and_who_did_not():
    both = agree(said(A, B, C), "majority")
    assert (both.annotator, both.disagreement) == ("ben, carl", True)
    assert agree(said(A, ("ben", "cat"))).annotators == ("anna", "ben")
    assert not agree(said(A, ("ben", "cat"))).disagreement
    tie = agree(said(A, B), "majority")
    assert (tie.annotators, tie.disagreement) == ((), True)
    assert agree(said(A, ("ben", SKIP))).disagreement
    of_numbers = agree(said(("anna", 1.0), ("ben", 2.0)), "majority")
    assert of_numbers.annotators == ("anna", "ben")


def test_boxes_agree_if_all_of_them_do():
    one, other = Boxes([[0, 0, 1, 1]], ["cat"]), Boxes([[0, 0, 1, 2]], ["cat"])
    assert agree(said(("anna", one), ("ben", other), ("carl", one)), "majority").annotation == one
    assert agree(said(("anna", one), ("ben", other)), "majority").annotation is None


def test_masks_of_different_sizes_are_no_majority():
    assert agree(said(("anna", Mask([[1]])), ("ben", Mask([[1, 1]]))), "majority").annotation is None


def test_a_rule_that_there_is_not():
    assert set(AGREEMENTS) == {"first", "latest", "majority"}
    with pytest.raises(ValueError, match=r"`agreement` must be one of 'latest', 'first', 'majority', got 'best'"):
        agree(said(A), "best")


def test_what_means_the_same_agrees():
    one = Boxes([[0, 0, 1, 1], [2, 2, 3, 3]], ["cat", "dog"], size=(9, 9))
    other = Boxes([[2, 2, 3, 3], [0, 0, 1, 1]], ["dog", "cat"], scores=[0.5, 0.7])
    both = agree(said(("anna", one), ("ben", other)), "majority")
    assert (both.annotators, both.disagreement) == (("anna", "ben"), False)
