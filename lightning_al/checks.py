"""Options and tensors refused in one voice: the name, what it may be, and the value seen; several in one error."""

import contextlib
import math
import re
from collections.abc import Callable, Iterable, Iterator
from numbers import Real
from typing import Any, ParamSpec

import torch
from torch import Tensor

from lightning_al.words import shown

P = ParamSpec("P")

_BLOCK_OF_NUMBERS = 2**20  # numbers at a time: a few MB, however many rows there are

_BETWEEN_SENTENCES = re.compile(r"(?<=\.) (?=[A-Z])")


class SeveralFindings(Exception):
    """Several things are wrong; each is one of :attr:`args`, and has a line of its own in the text.

    What to do is said once: of a later line, sentences that an earlier one has word for word are left out.
    """

    def __str__(self) -> str:
        said: set[str] = set()
        lines = ""
        for number, error in enumerate(self.args, 1):
            first, *others = _BETWEEN_SENTENCES.split(str(error))
            lines += f"\n  {number}. {' '.join([first, *(s for s in others if s not in said)])}"
            said.update(others)
        return f"{len(self.args)} things cannot be as they are:{lines}"


class SeveralTypeErrors(SeveralFindings, TypeError):
    """Several things are wrong, all of them of the wrong type."""


class SeveralValueErrors(SeveralFindings, ValueError):
    """Several things are wrong."""


class SeveralMixedErrors(SeveralTypeErrors, SeveralValueErrors):
    """Several things are wrong, some of them of the wrong type."""


class Findings:
    """What independent checks refuse, raised together at the end of a ``with`` block.

    One finding is raised as it is; several as one ``TypeError`` or ``ValueError``, or both at once if there are some of
    each. Only these two and ``IndexError`` are collected: anything else that a check raises ends the block at once, and
    what was found before is a note on it.

    Example:
        >>> with Findings() as findings:
        ...     findings.of(check_count, "rounds", -1, 0)
        ...     findings.of(check_flag, "redraw", "no")
        Traceback (most recent call last):
        ...
        lightning_al.checks.SeveralMixedErrors: 2 things cannot be as they are:
          1. `rounds` must be at least 0, got -1.
          2. `redraw` must be True or False, got 'no'.
    """

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    def of(self, check: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> bool:
        """Call a check and take note of what it refuses; return whether it refused nothing."""
        before = len(self.errors)
        with self.of_block():
            check(*args, **kwargs)
        return len(self.errors) == before

    def refuse(self, message: str) -> None:
        """Take note of what is wrong, with the value seen and what to do about it."""
        self.errors.append(ValueError(message))

    def refuse_if(self, is_wrong: bool, message: str) -> None:
        """Take note of what is wrong, if it is."""
        if is_wrong:
            self.refuse(message)

    @contextlib.contextmanager
    def of_block(self) -> Iterator[None]:
        """Take note of what the block refuses, and go on after it."""
        try:
            yield
        except SeveralFindings as error:
            self.errors += error.args
        except (TypeError, ValueError, IndexError) as error:
            self.errors.append(error)

    def __enter__(self) -> "Findings":
        return self

    def __exit__(self, kind: type[BaseException] | None, raised: BaseException | None, trace: object) -> None:
        if raised is not None:
            if self.errors and hasattr(raised, "add_note"):  # Python 3.11
                raised.add_note("Besides this: " + "; ".join(map(str, self.errors)))
            return
        if not self.errors:
            return
        if len(self.errors) == 1:
            raise self.errors[0]
        raise _kind_of_all(self.errors)(*self.errors) from next(
            filter(_of_other_code, self.errors), None
        )  # its traceback tells where


def kind_of(value: Any) -> str:
    """Name what a value is, for an error.

    Example:
        >>> kind_of(3), kind_of(int)
        ('int', 'the class int')
    """
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def check_type(name: str, value: Any, types: type | tuple[type, ...], must_be: str) -> None:
    """Refuse what is not of these types; ``must_be`` says in words what is.

    Raises:
        TypeError: With the type of the value.

    Example:
        >>> check_type("trainer", 3, float, "a `lightning.Trainer`")
        Traceback (most recent call last):
        ...
        TypeError: `trainer` must be a `lightning.Trainer`, got int.
    """
    if not isinstance(value, types):
        raise TypeError(f"`{name}` must be {must_be}, got {kind_of(value)}.")


def check_that(is_right: bool, name: str, value: Any, must_be: str) -> None:
    """Refuse a value that is not of the right kind; ``must_be`` says in words what is.

    Raises:
        TypeError: With the value.
    """
    if not is_right:
        raise TypeError(f"`{name}` must be {must_be}, got {shown(value)}.")


def check_count(name: str, value: Any, least: int = 1, *, most: int | None = None, optional: bool = False) -> None:
    """Refuse what is no integer from ``least`` to ``most``; ``optional``: None is one too.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is too small or too large.
    """
    if optional and value is None:
        return
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    limits = f"at least {least}" if most is None else f"at least {least} and at most {most}"
    check_that(is_integer, name, value, f"an integer of {limits}{' or None' if optional else ''}")
    if value < least or (most is not None and value > most):
        raise ValueError(f"`{name}` must be {limits}, got {shown(value)}.")


def check_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
    optional: bool = False,
    may_be_infinite: bool = False,
) -> None:
    """Refuse what is no number inside these bounds; it must be finite, unless it ``may_be_infinite``.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is out of bounds, NaN or, where it may not be, infinite.

    Example:
        >>> check_number("purity", 1.5, above=0, most=1)
        Traceback (most recent call last):
        ...
        ValueError: `purity` must be above 0 and at most 1, got 1.5.
    """
    if optional and value is None:
        return
    bounds = {"above": above, "at least": least, "below": below, "at most": most}
    said = [f"{words} {bound:g}" for words, bound in bounds.items() if bound is not None]
    if below is None and most is None and not may_be_infinite:
        said.append("finite")
    limits = " and ".join(said) + (" (inf allowed)" if may_be_infinite else "")
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    check_that(is_number, name, value, f"a number, {limits}{', or None' if optional else ''}")
    number = float(value)
    inside = (
        (may_be_infinite or math.isfinite(number))
        and not math.isnan(number)
        and (above is None or number > above)
        and (least is None or number >= least)
        and (below is None or number < below)
        and (most is None or number <= most)
    )
    if not inside:
        raise ValueError(f"`{name}` must be {limits}, got {shown(value)}.")


def check_choice(name: str, value: Any, choices: Iterable[str], *, or_else: str = "") -> None:
    """Refuse what is none of these names; ``or_else`` says what else may be given, which the caller has looked for.

    Raises:
        ValueError: With the names.
    """
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        or_else = f" or {or_else}" if or_else else ""
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, known))}{or_else}, got {shown(value)}.")


def check_flag(name: str, value: Any) -> None:
    """Refuse what is neither True nor False.

    Raises:
        TypeError: With the value.
    """
    check_that(isinstance(value, bool), name, value, "True or False")


def needed_generator(generator: torch.Generator | None, who: str, why: str) -> torch.Generator:
    """Return the generator, or refuse to do without one.

    Args:
        generator: What was given.
        who: The name of the method, or the option, that needs it.
        why: What it does at random, as a verb and its object.

    Raises:
        ValueError: If there is none.

    Example:
        >>> needed_generator(None, "BADGE", "draws at random")
        Traceback (most recent call last):
        ...
        ValueError: `BADGE` draws at random and needs a `generator`.
    """
    if generator is None:
        raise ValueError(f"`{who}` {why} and needs a `generator`.")
    return generator


def _kind_of_all(errors: list[Exception]) -> type[SeveralFindings]:
    of_types = sum(isinstance(error, TypeError) for error in errors)
    if of_types == 0:
        return SeveralValueErrors
    return SeveralTypeErrors if of_types == len(errors) else SeveralMixedErrors


def _of_other_code(error: BaseException) -> bool:
    return error.__cause__ is not None or not where_raised(error).startswith(("lightning_al.", "nowhere"))


def where_raised(error: BaseException) -> str:
    """The name of the module that raised an error, ``"nowhere"`` if it was not raised yet."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "nowhere" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))


def check_k(k: int, n: int) -> None:
    """Refuse to pick more candidates than there are, or fewer than none."""
    if isinstance(k, bool) or not hasattr(k, "__index__"):
        raise TypeError(f"Cannot pick k = {shown(k)} of {n} candidates: k must be an integer.")
    if not 0 <= k <= n:
        raise ValueError(f"Cannot pick k = {shown(k)} of {n} candidates: k must be between 0 and {n}.")


def check_tensor(name: str, value: object) -> None:
    """Refuse what is no tensor."""
    check_type(name, value, Tensor, "a tensor")


def rows_not_finite(x: Tensor) -> Tensor:
    """Positions of the rows of ``x`` (N, ...) that hold NaN or infinite values; block by block."""
    size = blocks_of_rows(x)
    bad = [~torch.isfinite(part.reshape(len(part), -1)).all(1) for part in x.split(size)] if len(x) else []
    return torch.nonzero(torch.cat(bad)).flatten() if bad else torch.empty(0, dtype=torch.long)


def blocks_of_rows(x: Tensor, numbers: int = _BLOCK_OF_NUMBERS, columns: int = 1) -> int:
    """Return how many rows of ``x``, or of products with ``columns`` others, are a block of ``numbers`` numbers."""
    return max(1, numbers // max(x.shape[1:].numel(), columns))
