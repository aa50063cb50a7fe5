"""What one round of a campaign yielded, without torch."""

import math
from dataclasses import dataclass, field
from typing import Any

from lightning_al.campaign.events import Event
from lightning_al.campaign.metrics import metrics_in_words

INITIAL_ROUND = -1
"""The round of the question for the initial set, which comes before round 0."""

QUERY = ("learn", "score", "select")
"""Stages of a query, as seconds name them."""

LABELS, PIXELS = "labels", "pixels"
"""What the size of a labelled set is counted in."""


@dataclass(frozen=True)
class RoundResult:
    """What one round yielded.

    Args:
        round: Number of the round, from 0.
        labelled: Labels the model was trained on, those of a training set beside the pool included.
        picked: Dataset indices asked for, best first; empty in the last round. After samples moved, where they are now,
            without those that the dataset has no more.
        scores: Their scores; empty for acquisitions that score nothing.
        metrics: What the evaluation logged; empty where nothing was evaluated.
        seconds: Wall-clock seconds of ``fit``, ``evaluate``, ``score`` and ``select``, 0 for a stage that did not run;
            and of ``learn``, for acquisitions that train something of their own.
        spent: What the labels cost; their number, or that of the labelled pixels where regions are asked for, unless
            the oracle has other prices.
        counts: What :attr:`amount` is of: ``"labels"``, or ``"pixels"`` where regions are asked for.
        acquisition: Class and options of the one that was asked out of a race; empty: the campaign's own.
    """

    round: int
    labelled: int
    picked: list[int]
    scores: list[float]
    metrics: dict[str, float]
    seconds: dict[str, float]
    spent: float = math.nan
    counts: str = LABELS
    acquisition: dict[str, Any] = field(default_factory=dict)

    @property
    def amount(self) -> float:
        """How much was labelled, by which campaigns compare: the labels, or what was spent on pixels."""
        return self.spent if self.counts == PIXELS else float(self.labelled)

    def __str__(self) -> str:
        metrics = metrics_in_words(self.metrics)
        seconds = " ".join(f"{stage} {value:.1f}s" for stage, value in self.seconds.items())
        return f"round {self.round}: {self.amount:.0f} {self.counts} | {metrics} | {seconds}"


def after_move(question: Event, move: Event) -> Event:
    """Return a question as it reads after samples moved: where its samples are now, negative numbers for those gone."""
    places = dict(zip(move["indices"], move["now"], strict=True))
    return {**question, "indices": [places.get(unit, unit) for unit in question["indices"]]}
