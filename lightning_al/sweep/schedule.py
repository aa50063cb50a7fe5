"""Which job starts next, what became of each, and when all of them will end; without processes or clocks."""

import enum
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from lightning_al.sweep.estimate import time_until_all_end
from lightning_al.sweep.jobs import Job, Progress


class State(enum.Enum):
    """What a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    ELSEWHERE = "run by another process"
    FINISHED = "finished"
    OPEN = "waits for labels"
    FAILED = "failed"


_ENDED = (State.FINISHED, State.OPEN, State.FAILED)


@dataclass
class Entry:
    """A job, and what became of it so far.

    Args:
        job: The job.
        state: What it is.
        progress: How far it is, as it was last seen.
        started: When it was started, in seconds of some clock.
        stepped: When its last step was seen to end, or it was started.
        is_whole: Whether it was started from its beginning, and by this process.
        seconds: How long this process ran it.
        reason: Why it failed.
    """

    job: Job
    state: State = State.WAITING
    progress: Progress = field(default_factory=Progress)
    started: float = math.nan
    stepped: float = math.nan
    is_whole: bool = False
    seconds: float = 0.0
    reason: str = ""


class Schedule:
    """What became of each of some jobs so far.

    Args:
        jobs: In the order in which they start.
        slots: How many run at a time.

    Example:
        >>> from pathlib import Path
        >>> jobs = [Job(name, ("true",), Path(name)) for name in "abc"]
        >>> schedule = Schedule(jobs, slots=2)
        >>> while (entry := schedule.next_to_start()) is not None:
        ...     schedule.start(entry, now=0.0)
        >>> [entry.state.value for entry in schedule.entries]
        ['running', 'running', 'waiting']
    """

    def __init__(self, jobs: Iterable[Job], slots: int) -> None:
        self.entries = [Entry(job) for job in jobs]
        self.slots = slots

    def of(self, *states: State) -> list[Entry]:
        """Return the jobs in these states, in order."""
        return [entry for entry in self.entries if entry.state in states]

    def next_to_start(self) -> Entry | None:
        """Return the job that should start now; None: all slots are taken, or none waits.

        What another process runs is looked at again once nothing else is left to start: it may have given up.
        """
        if len(self.of(State.RUNNING)) >= self.slots:
            return None
        return next(iter(self.of(State.WAITING)), None)

    def start(self, entry: Entry, now: float) -> None:
        """Note that a job was started."""
        entry.state, entry.started, entry.stepped = State.RUNNING, now, now
        entry.is_whole = entry.progress.done == 0

    def see(self, entry: Entry, progress: Progress, now: float) -> bool:
        """Note how far a job is; return whether it got further."""
        is_further = progress.done > entry.progress.done
        if is_further:
            entry.stepped = now
        entry.progress = progress
        return is_further

    def end(self, entry: Entry, state: State, now: float, reason: str = "") -> None:
        """Note what became of a job."""
        entry.state, entry.reason = state, reason
        if not math.isnan(entry.started):
            entry.seconds = now - entry.started

    def look_again(self) -> list[Entry]:
        """Let jobs wait again that another process ran when they were last looked at, and return them."""
        elsewhere = self.of(State.ELSEWHERE)
        for entry in elsewhere:
            entry.state = State.WAITING
        return elsewhere

    @property
    def is_over(self) -> bool:
        """Whether all jobs have ended."""
        return len(self.of(*_ENDED)) == len(self.entries)

    @property
    def ended(self) -> int:
        """How many jobs have ended."""
        return len(self.of(*_ENDED))

    def seconds_left(self, entry: Entry, now: float) -> float:
        """Return how long a job will take from now on; NaN: nobody knows yet.

        By its own steps, or else by what jobs of its kind took, or else by what all jobs took.
        """
        left, since = entry.progress.seconds_left, entry.stepped
        if math.isnan(left):
            left, since = self._seconds_of_a_whole_one(entry.job.kind), entry.started
        return max(left - (now - since), 0.0) if entry.state is State.RUNNING else left

    def time_left(self, now: float) -> float:
        """Return when all jobs will have ended, in seconds from now; NaN: nobody knows yet."""
        running = [self.seconds_left(entry, now) for entry in self.of(State.RUNNING)]
        waiting = [self.seconds_left(entry, now) for entry in self.of(State.WAITING)]
        return time_until_all_end(running, waiting, self.slots)

    def _seconds_of_a_whole_one(self, kind: str) -> float:
        """Return what a job of a kind takes from its beginning to its end, by those that have got somewhere."""
        wholes = [(entry.job.kind, _seconds_of_all(entry)) for entry in self.entries]
        known = [(of_kind, seconds) for of_kind, seconds in wholes if not math.isnan(seconds)]
        own: Sequence[float] = [seconds for of_kind, seconds in known if of_kind == kind]
        some = own or [seconds for _, seconds in known]
        return fmean(some) if some else math.nan


def _seconds_of_all(entry: Entry) -> float:
    """Return what a job takes from its beginning to its end, as far as that can be told; else NaN."""
    if entry.state is State.FINISHED:
        steps = sum(entry.progress.seconds) if entry.progress.done else math.nan
        return entry.seconds if entry.is_whole else steps
    left = entry.progress.seconds_left
    if entry.state is State.RUNNING and entry.is_whole:  # with what it takes to start
        return entry.stepped - entry.started + left
    return sum(entry.progress.seconds) + left
