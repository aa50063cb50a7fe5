"""Values and texts of any size in a few words, for messages; without torch."""

import difflib
import math
import re
import reprlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

_MOST_SHOWN = 120  # characters of a value
_MOST_TOLD = 500  # characters of another error's text
WITHOUT_METRICS = (
    "pass the loop `evaluate=None` (`--loop.evaluate=null`): it trains and picks the same, and records no metrics"
)
"""How a campaign goes without metrics, as errors offer it."""

WHY_NO_METRICS = (
    "the loop was passed `evaluate=None`, or what it evaluated logged nothing. For metrics pass "
    '`evaluate="validate"` or `"test"`, and log them in `validation_step` or `test_step`'
)
"""Why rounds may have no metrics, and how they get some."""

_SENTENCE_END = re.compile(r"(?<=\.) (?=[A-Z`])")


class _Short(reprlib.Repr):
    """Writes values of any size in a few words: of arrays with many numbers, and of images, what they are."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxdict, self.maxstring, self.maxother, self.maxlong = 3, 4, 60, 60, 40

    def repr1(self, x: Any, level: int) -> str:
        """Return what a value is, nested ``level`` deep."""
        shape = getattr(x, "shape", None)
        if isinstance(shape, tuple) and math.prod(shape, start=1) > 8:
            return f"<{type(x).__name__} of {getattr(x, 'dtype', 'shape')}, {tuple(shape)}>"
        text = super().repr1(x, level)
        return " ".join(text.split()) if "\n" in text else text


_short = _Short()


def shown(value: Any) -> str:
    """Return a value as messages show it: its ``repr``, or the beginning of it, however large it is.

    Example:
        >>> shown("acc"), shown([1, 2])
        ("'acc'", '[1, 2]')
        >>> import torch
        >>> shown({"boxes": torch.zeros(90, 4), "labels": list(range(90))})
        "{'boxes': <Tensor of torch.float32, (90, 4)>, 'labels': [0, 1, 2, 3, 4, 5, ...]}"
    """
    return cut(_short.repr(value), _MOST_SHOWN)


def counted(count: int, what: str) -> str:
    """Return how many there are of something.

    Example:
        >>> counted(1, "run"), counted(2, "run"), counted(3, "entry")
        ('1 run', '2 runs', '3 entries')
    """
    several = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{count} {what if count == 1 else several}"


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """Return ``" (did you mean X?)"`` where one of the known names is spelt about as this one, else nothing.

    Example:
        >>> did_you_mean("lable", ["image", "label"]), did_you_mean("Val_ac", ["val_acc"]), did_you_mean(0, ["image"])
        (" (did you mean 'label'?)", " (did you mean 'val_acc'?)", '')
    """
    if not isinstance(name, str):  # a position
        return ""
    by_letters = {str(each).lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_letters, 1)
    return f" (did you mean {shown(by_letters[near[0]])}?)" if near else ""


def cut(text: object, most: int = _MOST_TOLD) -> str:
    """Return a text, such as another error's, or as much of its beginning as belongs in a message.

    Example:
        >>> cut("It does not fit.", 10)
        'It does...'
    """
    whole = str(text)
    return whole if len(whole) <= most else f"{whole[: most - 3].rstrip()}..."


def said_once(texts: Iterable[str]) -> list[str]:
    """Return texts without the sentences that one before them said already.

    Example:
        >>> said_once(["Got 1. Give a name.", "Got 2. Give a name."])
        ['Got 1. Give a name.', 'Got 2.']
    """
    said: set[str] = set()
    kept = []
    for text in texts:
        sentences = [s for s in _SENTENCE_END.split(text) if s not in said]
        said.update(sentences)
        kept.append(" ".join(sentences))
    return kept


def first_line(error: BaseException) -> str:
    """The kind of an error and the first sentence of its text, which may go on for pages.

    Example:
        >>> first_line(ValueError("It is wrong. And so on."))
        'ValueError: It is wrong'
    """
    text = str(error).strip()
    return f"{type(error).__name__}: {cut(text.splitlines()[0].split('. ')[0])}" if text else cut(repr(error))


def duration(seconds: float) -> str:
    """Return seconds as people say them.

    Example:
        >>> duration(7.2), duration(125), duration(7260), duration(200_000)
        ('0:07', '2:05', '2:01:00', '2 d 7:33:20')
    """
    days, rest = divmod(round(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    clock = f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours or days else f"{rest // 60}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock


def time_of_day(now: datetime, seconds: float) -> str:
    """Return the time in some seconds, with the date if that is another.

    Example:
        >>> now = datetime(2025, 3, 1, 23, 50)
        >>> time_of_day(now, 60), time_of_day(now, 3600)
        ('23:51', 'Sun 2 Mar 00:50')
    """
    then = now + timedelta(seconds=seconds)
    return f"{then:%H:%M}" if then.date() == now.date() else f"{then:%a} {then.day} {then:%b} {then:%H:%M}"
