"""What a run is at, in words and in steps, told from anywhere inside it to whoever shows it; free where nobody does."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TypeVar

T = TypeVar("T")

Told = Callable[[int, int], None]
"""Takes how many steps are done, and of how many."""


@dataclass(frozen=True)
class Stage:
    """What a run is at.

    Args:
        words: From the whole to the part.
        until: When all of it may be done, in words; empty: nobody knows.
    """

    words: tuple[str, ...] = ()
    until: str = ""

    def __str__(self) -> str:
        return " · ".join(self.words)


@dataclass
class _Hearer:
    told: Told
    is_told: bool = field(default=False)  # of steps of which those inside are a part


CHECKING = "checking a few samples"
"""The stage before all others."""

_NONE = Stage()
_STAGE = ContextVar("stage", default=_NONE)
_HEARER: ContextVar[_Hearer | None] = ContextVar("hearer", default=None)


def present_stage() -> Stage:
    """Return what the run is at; no words where nobody said."""
    return _STAGE.get()


@contextlib.contextmanager
def stage(words: str, *, until: str = "") -> Iterator[None]:
    """Inside, the run is at this, as a part of what it is at outside.

    Args:
        words: What it is at.
        until: When the run may be done, where that is known anew.

    Example:
        >>> with stage("round 3 of 10"), stage("scoring with SAAL"):
        ...     str(present_stage())
        'round 3 of 10 · scoring with SAAL'
    """
    outside = _STAGE.get()
    token = _STAGE.set(replace(outside, words=(*outside.words, words), until=until or outside.until))
    try:
        yield
    finally:
        _STAGE.reset(token)


@contextlib.contextmanager
def heard(told: Told) -> Iterator[None]:
    """Inside, ``told`` is called for each of :func:`steps`; of steps within steps, for the outer ones."""
    token = _HEARER.set(_Hearer(told))
    try:
        yield
    finally:
        _HEARER.reset(token)


def steps(things: Sequence[T]) -> Iterable[T]:
    """Return things to go through one after the other, each a step that whoever listens is told of when it is done.

    Example:
        >>> with heard(lambda done, total: print(done, "of", total)):
        ...     squares = [number**2 for number in steps(range(2))]
        0 of 2
        1 of 2
        2 of 2
    """
    hearer = _HEARER.get()
    return things if hearer is None or hearer.is_told else _told(things, hearer)


def _told(things: Sequence[T], hearer: _Hearer) -> Iterator[T]:
    total, hearer.is_told = len(things), True
    try:
        hearer.told(0, total)
        for done, thing in enumerate(things, 1):
            yield thing
            hearer.told(done, total)
    finally:
        hearer.is_told = False
