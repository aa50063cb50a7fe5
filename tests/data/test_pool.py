import tracemalloc

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from lightning_al import Pool
from lightning_al.distributed.randomness import generator


def test_states_move_as_asked_and_told():
    pool = Pool(6)
    pool.ask([4, 2])
    assert pool.counts() == (4, 2, 0, 0)
    pool.label([2, 0])  # 0 was never asked for: welcome
    pool.skip([4])
    assert pool.labelled.tolist() == [2, 0]
    assert pool.skipped.tolist() == [4]
    assert pool.unlabelled.tolist() == [1, 3, 5]
    assert pool.pending.tolist() == []
    pool.label([2])  # told again: keeps its place
    assert pool.labelled.tolist() == [2, 0]
    pool.skip([2])  # a label is never lost to a late "skip"
    assert pool.is_labelled(2)
    pool.label([4])  # a skipped sample may be told later
    assert pool.labelled.tolist() == [2, 0, 4]
    assert "3 labelled" in repr(pool)


@pytest.mark.parametrize("state", ["pending", "labelled", "skipped"])
def test_only_unlabelled_can_be_asked(state):
    pool = Pool(3)
    {"pending": pool.ask, "labelled": pool.label, "skipped": pool.skip}[state]([1])
    with pytest.raises(ValueError, match=f"1 is {state}"):
        pool.ask([0, 1])
    assert 0 in pool.unlabelled.tolist()  # nothing changed


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        ([0, 0], ValueError, r"\[0\] more than once"),
        ([5], IndexError, r"between 0 and 4, got \[5\]"),
        ([-1], IndexError, "between 0 and 4"),
        ([1.0], TypeError, "must be integers, got 1.0"),
        ([True], TypeError, "must be integers, got True"),
        (["1"], TypeError, "must be integers"),
    ],
)
def test_bad_indices_are_refused(bad, error, words):
    for method in ("ask", "label", "skip"):
        with pytest.raises(error, match=words):
            getattr(Pool(5), method)(bad)


def test_negative_size_is_refused():
    with pytest.raises(ValueError, match="got -1"):
        Pool(-1)


def test_a_size_that_is_no_tensors_is_refused():
    with pytest.raises(ValueError, match=r"at most 9223372036854775807, got 1000\d*\.\.\.0+\."):
        Pool(10**4000)


@given(n=st.integers(0, 40), taken=st.sets(st.integers(0, 39)), size=st.none() | st.integers(0, 50))
def test_candidates_are_distinct_unlabelled_and_seeded(n, taken, size):
    pool = Pool(n)
    pool.label([i for i in taken if i < n])
    drawn = pool.candidates(size, generator=generator(0, "t"))
    again = pool.candidates(size, generator=generator(0, "t"))
    assert torch.equal(drawn, again)
    left = set(range(n)) - taken
    assert len(set(drawn.tolist())) == len(drawn) == min(len(left), len(left) if size is None else size)
    assert set(drawn.tolist()) <= left


def test_candidates_do_not_follow_the_dataset():
    assert Pool(100).candidates(generator=generator(0)).tolist() != list(range(100))


def test_cost_is_one_and_can_be_overridden():
    class Priced(Pool):
        def cost(self, unit):
            return 0.5 * unit

    assert Pool(3).cost(2) == 1.0
    assert Priced(3).cost(2) == 1.0 * 0.5 * 2


def test_units_move():
    pool = Pool(6)
    pool.ask([0, 1, 2, 3])
    pool.label([3, 1], [2.0, 0.5])
    pool.skip([0])
    moved = pool.moved({0: 7, 1: 3, 2: -1, 3: 0}, 8)
    assert moved.labelled.tolist() == [0, 3]  # in the order in which labels came
    assert (moved.cost(0), moved.cost(3), moved.spent) == (2.0, 0.5, 2.5)
    assert (moved.pending.tolist(), moved.skipped.tolist()) == ([], [7])
    assert moved.unlabelled.tolist() == [1, 2, 4, 5, 6]
    assert pool.labelled.tolist() == [3, 1]
    with pytest.raises(ValueError, match=r"distinct|unlabelled"):
        pool.moved({0: 1}, 6)
    with pytest.raises(IndexError):
        pool.moved({}, 3)


def test_labels_are_forgotten():
    pool = Pool(4)
    pool.label([3, 1, 0], [1.0, 5.0, 1.0])
    pool.forget([1, 3])
    assert (pool.labelled.tolist(), pool.skipped.tolist(), pool.spent) == ([0], [1, 3], 1)


def test_what_is_given_back_is_unlabelled():
    pool = Pool(5)
    pool.ask([3, 1, 4])
    pool.release([1])
    assert pool.pending.tolist() == [3, 4]
    assert pool.unlabelled.tolist() == [0, 1, 2]
    pool.label([3])
    for units in ([4, 3], [4, 0]):
        with pytest.raises(ValueError, match=r"Only pending units can be given back; \d is (un)?labelled"):
            pool.release(units)
    assert pool.pending.tolist() == [4]


def test_what_is_known_is_nothing_else_for_as_long_as_it_is():
    pool = Pool(6)
    pool.ask([1, 2, 3])
    pool.label([2, 5], costs=[3.0, 1.0])
    pool.skip([3])
    before = (pool.counts(), pool.labelled.tolist(), pool.pending.tolist(), pool.skipped.tolist())
    pool.know([0, 1, 2, 3])
    assert pool.counts() == (1, 0, 1, 0)
    assert (pool.labelled.tolist(), pool.known.tolist()) == ([5], [0, 1, 2, 3])
    assert pool.unlabelled.tolist() == [4]
    assert pool.spent == 4
    assert repr(pool) == "Pool(6 units: 1 unlabelled, 0 pending, 1 labelled, 0 skipped, 4 known)"
    with pytest.raises(ValueError, match="0 is known"):
        pool.ask([0])
    with pytest.raises(ValueError, match="1 is known"):
        pool.release([1])
    pool.know([])
    assert (pool.counts(), pool.labelled.tolist(), pool.pending.tolist(), pool.skipped.tolist()) == before
    assert pool.touched == [2, 5, 1, 3]


def test_a_question_makes_no_list_of_a_large_pool():
    """Of what is asked for, and nothing else: a pool may have ten million others."""
    pool = Pool(1_000_000)
    pool.label([5])
    tracemalloc.start()
    try:
        pool.ask([999_999, 0, 7])
        drawn = pool.candidates(10, generator=generator(0))
        assert not pool.is_used_up
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100_000
    assert pool.counts() == (999_996, 3, 1, 0)
    assert len(set(drawn.tolist()) - {999_999, 0, 7, 5}) == 10


@given(st.integers(0, 30), st.data())
def test_a_sub_pool_is_the_beginning_of_all_candidates(size, data):
    pool = Pool(size)
    pool.label(data.draw(st.lists(st.integers(0, size - 1), unique=True)) if size else [])
    whole = pool.candidates(generator=generator(3))
    most = data.draw(st.integers(0, size + 2))
    order = torch.randperm(size, generator=generator(3)).tolist()
    assert whole.tolist() == [unit for unit in order if not pool.is_labelled(unit)]
    assert pool.candidates(most, generator=generator(3)).tolist() == whole.tolist()[:most]
    assert pool.is_used_up == (len(whole) == 0)


def test_a_pool_is_used_up_once_nothing_may_be_asked_for():
    pool = Pool(3)
    pool.label([0], in_part=[0])
    pool.skip([1])
    pool.know([2])
    assert not pool.is_used_up  # 0, for another part
    with pytest.raises(ValueError, match="2 is known"):
        pool.ask([2])
    pool.ask([0])
    assert pool.is_used_up
    pool.release([0])
    pool.know([])
    assert pool.askable.tolist() == [0, 2]
