"""What every option's check says; which options have one is in ``reliability/test_bad_input.py``."""

import math
import pickle
import sys
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.checks import Findings, check_choice, check_count, check_flag, check_number, kind_of
from lightning_al.words import first_line

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


@given(st.integers(-5, 5), st.integers(-5, 0), st.integers(0, 5))
def test_counts_up_to_a_largest(value, least, most):
    if least <= value <= most:
        check_count("n", value, least, most=most)
    else:
        with pytest.raises(ValueError, match=f"`n` must be at least {least} and at most {most}, got {value}"):
            check_count("n", value, least, most=most)


def test_infinity_where_it_is_an_option():
    check_number("x", math.inf, above=1, may_be_infinite=True)
    for value in (-math.inf, math.nan, 1):
        with pytest.raises(ValueError, match=rf"`x` must be above 1 \(inf allowed\), got {value}"):
            check_number("x", value, above=1, may_be_infinite=True)
    with pytest.raises(ValueError, match="`x` must be above 1 and finite, got inf"):
        check_number("x", math.inf, above=1)


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


def fails(error):
    raise error


def test_one_finding_is_raised_as_it_is():
    error = TypeError("one")
    with pytest.raises(TypeError) as caught, Findings() as findings:
        assert findings.of(check_count, "n", 3)
        assert not findings.of(fails, error)
    assert caught.value is error
    with Findings() as findings:
        findings.of(check_count, "n", 3)


@pytest.mark.parametrize(
    ("kinds", "caught_by"),
    [
        ((TypeError, TypeError), [TypeError]),
        ((TypeError, ValueError), [TypeError, ValueError]),
        ((ValueError,) * 3, [ValueError]),
        ((IndexError, ValueError), [ValueError]),
    ],
)
def test_several_findings_are_one_error_with_a_line_each(kinds, caught_by):
    with pytest.raises(tuple(caught_by)) as caught, Findings() as findings:
        for number, each in enumerate(kinds):
            findings.of(fails, each(f"finding {number}"))
    assert [each for each in (TypeError, ValueError) if isinstance(caught.value, each)] == caught_by
    first, *lines = str(caught.value).splitlines()
    assert first == f"{len(kinds)} things cannot be as they are:"
    assert lines == [f"  {number + 1}. finding {number}" for number in range(len(kinds))]
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # between processes


def test_findings_of_findings_are_in_one_list():
    with pytest.raises(ValueError) as caught, Findings() as findings:
        with findings.of_block(), Findings() as inner:
            inner.of(fails, TypeError("a"))
            inner.of(fails, ValueError("b"))
        findings.of(fails, TypeError("c"))
    assert [str(error) for error in caught.value.args] == ["a", "b", "c"]


def test_what_is_no_finding_ends_the_checks():
    with pytest.raises(OSError, match="disk") as caught, Findings() as findings:
        findings.of(fails, TypeError("a"))
        findings.of(fails, OSError("disk"))
    if sys.version_info >= (3, 11):
        assert caught.value.__notes__ == ["Besides this: a"]


def test_an_error_of_other_code_keeps_its_traceback():
    with pytest.raises(ValueError, match="2 things") as caught, Findings() as findings:
        findings.of(check_count, "n", 0)
        findings.of(fails, theirs := ValueError("theirs"))
    assert caught.value.__cause__ is theirs
    with pytest.raises(ValueError, match="2 things") as caught, Findings() as findings:
        findings.of(check_count, "n", 0)
        findings.of(check_count, "m", 0)
    assert caught.value.__cause__ is None


def test_an_index_out_of_range_is_a_finding():
    with pytest.raises(ValueError) as several, Findings() as findings:
        findings.of([].__getitem__, 0)
        findings.of(check_count, "n", 0)
    assert isinstance(several.value.args[0], IndexError)


def test_advice_is_said_once():
    with pytest.raises(TypeError) as caught, Findings() as findings:
        for entry in (0, 1):
            with findings.of_block():
                raise TypeError(f"Entry {entry} is not there. Say `task=...`, or write one. Its `inputs` must know it.")
        findings.refuse("Entry 2 is none. Say `task=...`, or write one.")
    assert str(caught.value).splitlines()[1:] == [
        "  1. Entry 0 is not there. Say `task=...`, or write one. Its `inputs` must know it.",
        "  2. Entry 1 is not there.",
        "  3. Entry 2 is none.",
    ]
    assert "write one" in str(caught.value.args[2])
