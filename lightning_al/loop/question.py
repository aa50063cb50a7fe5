"""What the oracle is asked next: samples, or regions of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import Tensor

from lightning_al.campaign.events import Event
from lightning_al.data.image_size import label_size
from lightning_al.distributed.ranks import Ranks
from lightning_al.loop.project import Project
from lightning_al.scoring.pick import Pick
from lightning_al.scoring.regions import RegionPick

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Question:
    """What the oracle is asked next.

    Args:
        indices: Dataset indices, best first.
        keys: Their samples' names, which outlive a reordering.
        scores: Their scores; empty for acquisitions that score nothing.
        seconds: What it took to ``learn``, ``score`` and ``select``.
        sizes: Width and height of their images, where labels are masks or boxes.
        parts: Which part of each sample is meant, as fields of the event; empty where all of it is.
        choice: Which acquisition was chosen among which, as fields of the event; empty where it is the campaign's own.
    """

    indices: list[int]
    keys: list[str | None]
    scores: list[float]
    seconds: Mapping[str, float]
    sizes: Sequence[tuple[int, int] | None] = ()
    parts: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    choice: Mapping[str, Any] = field(default_factory=dict)

    def chosen(self, choice: Mapping[str, Any]) -> "Question":
        """Return the question with a note of which of several acquisitions it is of."""
        return replace(self, choice=choice)

    def first(self, count: int) -> "Question":
        """Return the question for the best ``count`` of these."""
        of_each = {name: getattr(self, name)[:count] for name in ("indices", "keys", "scores", "sizes")}
        return replace(self, **of_each)

    def event(self, round_number: int, all_scores: Tensor | None = None) -> Event:
        """Return the fields of the event that puts it on disk.

        Args:
            round_number: Of its round.
            all_scores: Those of all candidates, (N,), where there are any: what these are like is put on disk too.
        """
        return {
            "round": round_number,
            "indices": self.indices,
            "keys": self.keys,
            "scores": self.scores,
            "seconds": dict(self.seconds),
            **({"sizes": list(self.sizes)} if any(self.sizes) else {}),
            **({} if all_scores is None else {"all_scores": _in_short(all_scores)}),
            **self.parts,
            **self.choice,
        }


def _in_short(scores: Tensor) -> dict[str, Any]:
    """Return how many scores there are, (N,), and their quantiles, to compare those of the picks with."""
    known = scores.detach().double()
    values = known[known.isfinite()].cpu().numpy()
    quantiles = np.quantile(values, _QUANTILES).tolist() if len(values) else []
    return {"count": len(scores), "quantiles": quantiles}


def question_of(project: Project, ranks: Ranks, picked: Pick) -> Question:
    """Return the question for samples that were picked; the same on every rank."""
    data, task = project.data, project.task
    sizes = ranks.first(lambda: [label_size(data.pool_set, i, task) for i in picked.indices])
    return Question(picked.indices, _keys(project, ranks, picked.indices), picked.scores, picked.seconds, sizes=sizes)


def question_of_regions(project: Project, ranks: Ranks, picked: RegionPick) -> Question:
    """Return the question for regions that were picked; the same on every rank."""
    return Question(
        picked.indices,
        _keys(project, ranks, picked.indices),
        picked.scores,
        picked.seconds,
        sizes=picked.sizes,
        parts={"regions": picked.regions, "pixels": picked.pixels, "last": picked.last},
    )


def _keys(project: Project, ranks: Ranks, indices: list[int]) -> list[str | None]:
    return ranks.first(lambda: project.data.keys(indices))
