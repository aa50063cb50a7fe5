"""A command with a name, and how far it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lightning_al.sweep.estimate import seconds_left


@dataclass(frozen=True)
class Progress:
    """How far a job is, in steps that take about as long as each other: the rounds of a campaign.

    Args:
        seconds: What each finished step took.
        total: How many steps there are; None: nobody knows.

    Example:
        >>> progress = Progress([2.0, 2.0], total=5)
        >>> progress.left, progress.seconds_left
        (3, 6.0)
    """

    seconds: Sequence[float] = field(default_factory=list)
    total: int | None = None

    @property
    def done(self) -> int:
        """How many steps are finished."""
        return len(self.seconds)

    @property
    def left(self) -> int | None:
        """How many are not; None: nobody knows."""
        return None if self.total is None else max(self.total - self.done, 0)

    @property
    def seconds_left(self) -> float:
        """What the steps that are left will take; NaN: nobody knows."""
        return math.nan if self.left is None else seconds_left(self.seconds, self.left)


@dataclass(frozen=True)
class Job:
    """A command with a name. Subclasses know more of what it does.

    Args:
        name: In what is printed; no other job of a list has it.
        words: The command.
        log: File that its output is appended to. It is also the lock: no two processes run a job with the same log.
        kind: Jobs of one kind take about as long as each other.
    """

    name: str
    words: tuple[str, ...]
    log: Path
    kind: str = ""

    def is_done(self) -> bool:
        """Whether it need not run: an earlier process finished it."""
        return False

    def end(self) -> bool:
        """Take note that the command ended without an error; return whether the job is finished with that."""
        return True

    def progress(self) -> Progress:
        """How far it is."""
        return Progress()
