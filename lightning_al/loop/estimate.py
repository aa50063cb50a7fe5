"""When a campaign may be done, by what its rounds took so far: more labels take longer."""

import math
from collections.abc import Sequence
from datetime import datetime

from lightning_al.campaign.results import RoundResult
from lightning_al.loop.session import Session
from lightning_al.words import duration, time_of_day

_LEARNING = ("fit", "evaluate")
_RECENT = 10  # rounds; those of long before may have been on another machine
_LEAST = 60.0  # seconds left that are worth a word


def finished_rounds(session: Session) -> list[RoundResult]:
    """Return the rounds that a campaign is done with, their questions included."""
    return [result for result in session.campaign.rounds if result.round < session.campaign.next_round]


def rounds_left(session: Session) -> int | None:
    """Return how many fits are still to come, by the rounds, the budget and the pool; None: nobody knows yet.

    Each round is taken to add as many labels, and to spend as much, as the last one.
    """
    settings, done = session.settings, finished_rounds(session)
    left: list[float] = [] if settings.rounds is None else [settings.rounds - session.campaign.next_round + 1]
    if len(done) >= 2:
        before, last = done[-2:]
        spent, more = last.spent - before.spent, last.labelled - before.labelled
        if settings.budget is not None and spent > 0:
            left.append((settings.budget - last.spent) / spent)
        if more > 0 and not settings.asks_for_regions:
            asked = len(session.pool.unlabelled) + len(session.pool.pending) + len(session.labelled) - last.labelled
            left.append(asked / more)
    return math.ceil(max(min(left), 0)) if left else None


def seconds_left(session: Session) -> float:
    """Return what the rest of a campaign may take; NaN: nobody knows, before two rounds are finished.

    A straight line over the labels, through what the last rounds took, goes on. The last round asks for nothing.
    """
    done, left = finished_rounds(session)[-_RECENT:], rounds_left(session)
    if left is None or len(done) < 2:
        return math.nan
    labelled = [float(result.labelled) for result in done]
    growth = (labelled[-1] - labelled[0]) / (len(done) - 1)
    ahead = [labelled[-1] + growth * number for number in range(1, left + 1)]
    learning = [sum(result.seconds.get(name, 0.0) for name in _LEARNING) for result in done]
    asking = [sum(result.seconds.values()) - part for result, part in zip(done, learning, strict=True)]
    return sum(line_through(labelled, learning, ahead)) + sum(line_through(labelled, asking, ahead[:-1]))


def line_through(xs: Sequence[float], ys: Sequence[float], ahead: Sequence[float]) -> list[float]:
    """Return the values further on of the straight line of least squares through some points.

    It neither falls nor begins below 0: what comes next takes at least as long as the mean, and at most as much longer
    as there is more of it.

    Example:
        >>> line_through([10, 20], [3.0, 5.0], [30, 40])
        [7.0, 9.0]
        >>> line_through([10, 20], [5.0, 3.0], [30])  # not shorter
        [4.0]
        >>> line_through([10, 20], [1.0, 7.0], [100])  # not longer than in proportion: 0.3 each
        [30.0]
    """
    n = len(xs)
    x, y = sum(xs) / n, sum(ys) / n
    spread = sum((each - x) ** 2 for each in xs)
    slope = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / spread if spread else 0.0
    slope = max(slope, 0.0)
    begin = y - slope * x
    if begin < 0:
        begin, slope = 0.0, sum(a * b for a, b in zip(xs, ys, strict=True)) / sum(each**2 for each in xs)
    return [begin + slope * each for each in ahead]


def left_in_words(session: Session, *, now: datetime | None = None) -> str:
    """Return how long a campaign may still take, and until when; nothing where that is not known, or is no time."""
    seconds, now = seconds_left(session), datetime.now() if now is None else now
    if not seconds >= _LEAST:
        return ""
    most = "" if session.settings.stop is None else "at most "  # which may end it at any round
    return f"{most}about {duration(seconds)} left, until {time_of_day(now, seconds)}"


def until_in_words(session: Session, *, now: datetime | None = None) -> str:
    """Return until when a campaign may take, as :func:`left_in_words`."""
    seconds, now = seconds_left(session), datetime.now() if now is None else now
    return f"until about {time_of_day(now, seconds)}" if seconds >= _LEAST else ""


def round_in_words(session: Session) -> str:
    """Return which round a campaign is in, and of how many if that was said."""
    rounds = session.settings.rounds
    return f"round {session.campaign.next_round}" + ("" if rounds is None else f" of {rounds}")
