"""What is said of an option that cannot be honoured: its name, what it may be, and the value seen."""

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

import torch
from torch import Tensor

_BLOCK = 2**20  # numbers at a time: a few MB, however many rows there are


def kind_of(value: Any) -> str:
    """Name what a value is, for an error.

    Example:
        >>> kind_of(3), kind_of(int)
        ('int', 'the class int')
    """
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def check_count(name: str, value: Any, least: int = 1, *, optional: bool = False) -> None:
    """Refuse what is no integer of at least ``least``; ``optional``: None is one too.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is too small.
    """
    if optional and value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(
            f"`{name}` must be an integer of at least {least}{' or None' if optional else ''}, got {value!r}."
        )
    if value < least:
        raise ValueError(f"`{name}` must be at least {least}, got {value}.")


def check_number(
    name: str,
    value: Any,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
    optional: bool = False,
) -> None:
    """Refuse what is no number inside these bounds; it must be finite.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is out of bounds, NaN or infinite.

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
    if below is None and most is None:
        said.append("finite")
    limits = " and ".join(said)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"`{name}` must be a number, {limits}{', or None' if optional else ''}, got {value!r}.")
    number = float(value)
    inside = (
        math.isfinite(number)
        and (above is None or number > above)
        and (least is None or number >= least)
        and (below is None or number < below)
        and (most is None or number <= most)
    )
    if not inside:
        raise ValueError(f"`{name}` must be {limits}, got {value!r}.")


def check_choice(name: str, value: Any, choices: Iterable[str]) -> None:
    """Refuse what is none of these names.

    Raises:
        ValueError: With the names.
    """
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, known))}, got {value!r}.")


def check_flag(name: str, value: Any) -> None:
    """Refuse what is neither True nor False.

    Raises:
        TypeError: With the value.
    """
    if not isinstance(value, bool):
        raise TypeError(f"`{name}` must be True or False, got {value!r}.")


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


def first_line(error: BaseException) -> str:
    """The kind of an error and the first sentence of its text, which may go on for pages."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0].split('. ')[0]}" if str(error) else repr(error)


def check_k(k: int, n: int) -> None:
    """Refuse to pick more candidates than there are, or fewer than none."""
    if isinstance(k, bool) or not hasattr(k, "__index__"):
        raise TypeError(f"Cannot pick k = {k!r} of {n} candidates: k must be an integer.")
    if not 0 <= k <= n:
        raise ValueError(f"Cannot pick k = {k} of {n} candidates: k must be between 0 and {n}.")


def check_tensor(name: str, value: object) -> None:
    """Refuse what is no tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"`{name}` must be a tensor, got {type(value).__name__}.")


def rows_not_finite(x: Tensor) -> Tensor:
    """Positions of the rows of ``x`` (N, ...) that hold NaN or infinite values; block by block."""
    size = blocks_of_rows(x)
    bad = [~torch.isfinite(part.reshape(len(part), -1)).all(1) for part in x.split(size)] if len(x) else []
    return torch.nonzero(torch.cat(bad)).flatten() if bad else torch.empty(0, dtype=torch.long)


def blocks_of_rows(x: Tensor, numbers: int = _BLOCK, columns: int = 1) -> int:
    """Return how many rows of ``x``, or of products with ``columns`` others, are a block of ``numbers`` numbers."""
    return max(1, numbers // max(x.shape[1:].numel(), columns))
