"""Outputs and features of one pass over samples kept on disk, for a later look at them with the same weights."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lightning_al.data.readable import readable
from lightning_al.data.validation import spread_over
from lightning_al.distributed.ranks import Ranks
from lightning_al.inference.fingerprint import fingerprint
from lightning_al.inference.shared_forward import SharedForward, sharing
from lightning_al.scoring.subject import Subject
from lightning_al.storage.kept_rows import KeptRowsOnDisk, make_room
from lightning_al.storage.weights import in_pieces

FOLDER = "cache"
"""In a campaign's folder, what was kept of passes. It may be removed at any time."""

_DRAWS = 3  # of each of a few samples, to find out whether inputs are random
_SAID: set[str] = set()


@dataclass(frozen=True)
class KeptPasses:
    """What the model gave of samples, kept for later passes.

    A row is found again by a hash of what the model is called with for a sample, as it comes from the dataset, the
    collate function and the transfer to the device, in a folder named after a fingerprint of the model. So another
    transform, other data or other weights are never mistaken for those of before. The first rows that are found in a
    pass are compared with what the model gives now: what code does that no fingerprint tells.

    Args:
        dirpath: The campaign's folder, or any.
        gigabytes: How much may be there, those of several models together.
    """

    dirpath: Path
    gigabytes: float

    @contextlib.contextmanager
    def used(self, subject: Subject, ranks: Ranks) -> Iterator[KeptRowsOnDisk | None]:
        """Inside, passes over samples take what is kept, and keep what is new. All processes must go in together.

        What is new is found by passes after a ``flush`` of what this gives; None where nothing is kept.

        Args:
            subject: What is scored.
            ranks: Of the launch.
        """
        if self.gigabytes <= 0:
            yield None
            return
        why_not = _why_not(subject, ranks)
        if why_not:
            _say(why_not)
            yield None
            return
        root = self.dirpath / FOLDER
        folder = root / fingerprint(subject.model)
        limit = int(self.gigabytes * 1e9)
        left = ranks.first(lambda: make_room(root, folder, limit))
        here = ranks.is_first or self.dirpath.is_dir()  # another machine may have no such folder
        processes = max(subject.trainer.world_size, 1)
        size: int = len(subject.data.pool_set)  # type: ignore[arg-type]
        mine = left // processes if here else 0
        kept = KeptRowsOnDisk(folder, limit=mine, expected=-(-size // processes), say=_say)
        try:
            with sharing(SharedForward(subject.model, kept)):
                yield kept
        finally:
            kept.flush()


def _why_not(subject: Subject, ranks: Ranks) -> str:
    """Return why nothing can be kept, or ""."""
    if in_pieces(subject.model.modules()):
        return "weights are spread over processes"
    return "inputs are random, or cannot be told from each other" if ranks.first(lambda: _are_random(subject)) else ""


def _are_random(subject: Subject) -> bool:
    """Whether one of a few samples has an input that is not the same each time."""
    samples, task = subject.data.pool_set, subject.task
    few = spread_over(len(samples))[::2]  # type: ignore[arg-type]
    return any(task.input_key(samples, row, _DRAWS) is None for row in readable(samples, few))


def _say(why: str) -> None:
    if why not in _SAID:
        _SAID.add(why)
        rank_zero_info(f"What the model gives of samples is not kept for later questions: {why}.")
