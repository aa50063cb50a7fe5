"""What the rounds of a campaign yielded, read from its events without torch."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Any

from lightning_al.campaign.events import Event, check_events, read_ledger

INITIAL_ROUND = -1
"""The round of the question for the initial set, which comes before round 0."""

LABELS, PIXELS = "labels", "pixels"
"""What the size of a labelled set is counted in."""


_OF_ONE_CLASS = re.compile(r"(.*_class)_\d+")
"""A metric of one class alone, such as ``test_acc_class_3``."""


def is_of_one_class(metric: str) -> bool:
    """Whether a metric's name says that it is of the samples of one class alone."""
    return _OF_ONE_CLASS.fullmatch(metric) is not None


def metrics_in_words(metrics: dict[str, float]) -> str:
    """Return metrics on one line; of those of single classes the smallest and the largest.

    Example:
        >>> metrics_in_words({"test_acc": 0.5, "test_acc_class_0": 0.25, "test_acc_class_1": 0.75})
        'test_acc 0.5 test_acc_class 0.25 to 0.75'
    """
    words = [f"{name} {value:.4g}" for name, value in metrics.items() if not is_of_one_class(name)]
    of_classes: dict[str, list[float]] = {}
    for name, value in metrics.items():
        match = _OF_ONE_CLASS.fullmatch(name)
        if match is not None:
            of_classes.setdefault(match[1], []).append(value)
    words += [f"{name} {min(values):.4g} to {max(values):.4g}" for name, values in of_classes.items()]
    return " ".join(words) or "no metrics"


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


def rounds_of(events: Iterable[Event]) -> list[RoundResult]:
    """Return what each round yielded so far, oldest first.

    Args:
        events: A campaign's, oldest first. Of several fits of one round the last counts.
    """
    fits: dict[int, Event] = {}
    questions: dict[int, Event] = {}
    for event in events:
        if event["kind"] == "moved":
            questions = {number: after_move(question, event) for number, question in questions.items()}
        elif event["kind"] == "fitted":
            fits[event["round"]] = event
        elif event["kind"] == "asked" and event["round"] != INITIAL_ROUND:
            questions[event["round"]] = event
    results = []
    latest: Event = {"labelled": 0, "metrics": {}}
    for number in sorted(fits.keys() | questions.keys()):
        fit, question = fits.get(number), questions.get(number)
        latest = fit or latest
        seconds = {"fit": 0.0, "evaluate": 0.0, "score": 0.0, "select": 0.0}
        seconds |= (fit["seconds"] if fit else {}) | (question["seconds"] if question else {})
        here = [unit >= 0 for unit in question["indices"]] if question else []
        results.append(
            RoundResult(
                round=number,
                labelled=latest["labelled"],
                picked=list(compress(question["indices"], here)) if question else [],
                scores=list(compress(question["scores"], here)) if question else [],
                metrics=dict(latest["metrics"]),
                seconds=seconds,
                spent=float(latest["spent" if "spent" in latest else "labelled"]),
                counts=latest.get("counts", LABELS),
                acquisition=dict(question.get("acquisition", {})) if question else {},
            )
        )
    return results


def read_rounds(dirpath: str | Path) -> list[RoundResult]:
    """Read what each round of the campaign in ``dirpath`` yielded so far.

    Raises:
        FileNotFoundError: If there is no campaign.
        ValueError: If its ledger is damaged, or of a newer version.
    """
    events = read_ledger(dirpath)
    check_events(events, dirpath)
    return rounds_of(events)
