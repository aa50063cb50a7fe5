"""What the oracle is asked next: samples, or regions of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lightning_al.campaign.events import Event
from lightning_al.distributed.ranks import Ranks
from lightning_al.loop.project import Project
from lightning_al.scoring.pick import Pick
from lightning_al.scoring.regions import RegionPick


@dataclass(frozen=True)
class Question:
    """What the oracle is asked next.

    Args:
        indices: Dataset indices, best first.
        keys: Their samples' names, which outlive a reordering.
        scores: Their scores; empty for acquisitions that score nothing.
        seconds: What it took to ``learn``, ``score`` and ``select``.
        parts: Which part of each sample is meant, as fields of the event; empty where all of it is.
    """

    indices: list[int]
    keys: list[str | None]
    scores: list[float]
    seconds: Mapping[str, float]
    parts: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def first(self, count: int) -> "Question":
        """Return the question for the best ``count`` of these."""
        return replace(self, indices=self.indices[:count], keys=self.keys[:count], scores=self.scores[:count])

    def event(self, round_number: int) -> Event:
        """Return the fields of the event that puts it on disk."""
        return {
            "round": round_number,
            "indices": self.indices,
            "keys": self.keys,
            "scores": self.scores,
            "seconds": dict(self.seconds),
            **self.parts,
        }


def question_of(project: Project, ranks: Ranks, picked: Pick | RegionPick) -> Question:
    """Return the question for what was picked; the same on every rank."""
    keys = ranks.first(lambda: [project.data.key(i) for i in picked.indices])
    return Question(picked.indices, keys=keys, scores=picked.scores, seconds=picked.seconds)


def question_of_regions(project: Project, ranks: Ranks, picked: RegionPick) -> Question:
    """Return the question for regions that were picked; the same on every rank."""
    question = question_of(project, ranks, picked)
    return replace(question, parts={"regions": picked.regions, "pixels": picked.pixels, "last": picked.last})
