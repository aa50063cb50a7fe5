"""What every option's check says; which options have one is in ``reliability/test_bad_input.py``."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.checks import check_choice, check_count, check_flag, check_number, first_line, kind_of

BOUNDS = {
    "above": lambda value, bound: value > bound,
    "least": lambda value, bound: value >= bound,
    "below": lambda value, bound: value < bound,
    "most": lambda value, bound: value <= bound,
}


@given(st.integers(-5, 5), st.integers(-5, 5))
def test_counts(value, least):
    if value >= least:
        check_count("n", value, least)
    else:
        with pytest.raises(ValueError, match=f"`n` must be at least {least}, got {value}"):
            check_count("n", value, least)


@given(st.one_of(st.integers(-2, 2), st.floats()), st.dictionaries(st.sampled_from(sorted(BOUNDS)), st.integers(-2, 2)))
def test_numbers(value, bounds):
    if math.isfinite(value) and all(BOUNDS[name](value, bound) for name, bound in bounds.items()):
        check_number("x", value, **bounds)
    else:
        with pytest.raises(ValueError, match=r"`x` must be .*got "):
            check_number("x", value, **bounds)


@pytest.mark.parametrize("value", [np.float32(0.5), np.float64(0.5), Fraction(1, 2)])
def test_numbers_of_other_libraries(value):
    check_number("x", value, above=0, below=1)


@pytest.mark.parametrize("value", [True, "1", None, [1], 1j])
def test_no_numbers(value):
    with pytest.raises(TypeError, match=r"`x` must be a number, above 0 and finite, got "):
        check_number("x", value, above=0)
    with pytest.raises(TypeError, match=r"`n` must be an integer of at least 1, got "):
        check_count("n", value)


def test_none_where_it_is_an_option():
    check_number("x", None, above=0, optional=True)
    check_count("n", None, optional=True)
    with pytest.raises(TypeError, match="or None, got '1'"):
        check_number("x", "1", above=0, optional=True)


def test_choices_and_flags():
    check_choice("c", "a", {"a": 1})
    for value in ("b", ["a"], None, 1):
        with pytest.raises(ValueError, match="`c` must be one of 'a', got "):
            check_choice("c", value, {"a": 1})
    check_flag("f", False)
    for value in (0, "yes", None):
        with pytest.raises(TypeError, match="`f` must be True or False, got "):
            check_flag("f", value)


def test_words():
    assert (kind_of(3), kind_of(dict)) == ("int", "the class dict")
    assert first_line(ValueError("This. And that.\nAnd more.")) == "ValueError: This"
    assert first_line(KeyError()) == "KeyError()"
