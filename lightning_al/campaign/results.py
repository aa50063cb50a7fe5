"""What a round yielded."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class RoundResult:
    """What one round yielded.

    Args:
        round: Number of the round, from 0.
        labelled: Labels the model was trained on.
        picked: Dataset indices asked for, best first; empty in the last round.
        scores: Their scores; empty for acquisitions that score nothing.
        metrics: What the evaluation logged.
        seconds: Wall-clock seconds of ``fit``, ``evaluate``, ``score`` and ``select``, 0 for a stage that did not run;
            and of ``learn``, for acquisitions that train something of their own.
        spent: What the labels cost; their number, unless the oracle has other prices.
    """

    round: int
    labelled: int
    picked: list[int]
    scores: list[float]
    metrics: dict[str, float]
    seconds: dict[str, float]
    spent: float = math.nan

    def __str__(self) -> str:
        metrics = " ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        seconds = " ".join(f"{stage} {value:.1f}s" for stage, value in self.seconds.items())
        return f"round {self.round}: {self.labelled} labels | {metrics} | {seconds}"
