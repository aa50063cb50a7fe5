"""What a sweep says while it runs: lines that stay, and in a terminal a few below them that are written anew."""

import math
import shutil
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import TextIO

from lightning_al.sweep.schedule import Entry, Schedule, State
from lightning_al.words import counted, cut, duration, time_of_day

_SAY_EVERY = 60.0  # seconds between two lines on a running job where nothing can be written anew


class Screen:
    """Writes what happens to a terminal, or line by line to a file.

    Args:
        stream: Where to.
        is_terminal: Whether lines can be written anew; None: as the stream says.
        clock: Seconds, as those of the schedule.
        now: The time of day.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        is_terminal: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self.stream = sys.stdout if stream is None else stream
        self.is_terminal = self.stream.isatty() if is_terminal is None else is_terminal
        self.clock, self.now = clock, now
        self._shown = 0
        self._said = self.clock()

    def changed(self, schedule: Schedule, entry: Entry) -> None:
        """Say that a job was started, or what became of it."""
        if entry.state is State.RUNNING and self.is_terminal:
            return  # the lines below tell
        end = f"; {self._left(schedule)}" if entry.state is not State.RUNNING else ""
        self.say(f"[{schedule.ended}/{len(schedule.entries)}] {_what(entry)}{end}")

    def looked(self, schedule: Schedule) -> None:
        """Show where the running jobs are."""
        running = schedule.of(State.RUNNING)
        if self.is_terminal:
            lines = [self._line(schedule, entry) for entry in running]
            self._show([*lines, f"[{schedule.ended}/{len(schedule.entries)}] {self._left(schedule)}"])
        elif self.clock() - self._said >= _SAY_EVERY:
            for entry in running:
                self.say(self._line(schedule, entry))

    def ending(self, schedule: Schedule) -> None:
        """Say that it takes a moment."""
        running = schedule.of(State.RUNNING)
        if running:
            self.say(f"Ending {counted(len(running), 'run')} (once more: at once) ...")

    def say(self, text: str) -> None:
        """Write a line that stays."""
        self._show([])
        self._said = self.clock()
        print(text, file=self.stream, flush=True)

    def close(self) -> None:
        """Take away what was to be written anew."""
        self._show([])

    def _show(self, lines: list[str]) -> None:
        if not self._shown and not lines:
            return
        width = shutil.get_terminal_size().columns
        up = f"\x1b[{self._shown}A" if self._shown else ""
        shown = "".join(f"{cut(line, max(width - 1, 8))}\n" for line in lines)
        self.stream.write(f"{up}\r\x1b[J{shown}")
        self.stream.flush()
        self._shown = len(lines)

    def _line(self, schedule: Schedule, entry: Entry) -> str:
        progress, until = entry.progress, self._until(schedule.seconds_left(entry, self.clock()))
        if progress.done == 0:
            return f"  {entry.job.name}: round 1{until}"
        if progress.left is None:
            return f"  {entry.job.name}: {progress.done} rounds done{until}"
        return f"  {entry.job.name}: {progress.done} of {progress.total} rounds done, {progress.left} left{until}"

    def _left(self, schedule: Schedule) -> str:
        """Say how many jobs are left, and when all will have ended."""
        left = len(schedule.entries) - schedule.ended
        if left == 0:
            return "none left"
        elsewhere = len(schedule.of(State.ELSEWHERE))
        others = f", {elsewhere} of them by another process" if elsewhere else ""
        return f"{left} left{others}{self._until(schedule.time_left(self.clock()))}"

    def _until(self, seconds: float) -> str:
        if math.isnan(seconds):
            return ", no telling yet how long"
        return f", about {duration(seconds)}, until {time_of_day(self.now(), seconds)}"


def _what(entry: Entry) -> str:
    name, took = entry.job.name, f" in {duration(entry.seconds)}" if entry.seconds else ""
    if entry.state is State.RUNNING:
        begun = f"goes on after {counted(entry.progress.done, 'round')}" if entry.progress.done else "starts"
        return f"{name}: {begun}; log {entry.job.log}"
    if entry.state is State.FAILED:
        return f"{name}: FAILED{took}, {entry.reason}; log {entry.job.log}"
    if entry.state is State.FINISHED and not took:
        return f"{name}: finished already"
    return f"{name}: {entry.state.value}{took}"


def failures(schedule: Schedule) -> str:
    """Return a table of the jobs that failed."""
    from lightning_al.report.tables import markdown

    rows = [
        [entry.job.name, cut(entry.reason.replace("|", "/"), 100), str(entry.job.log)]
        for entry in schedule.of(State.FAILED)
    ]
    return markdown([["failed", "why", "log"], *rows])
