"""Campaigns as a report reads them: their ledgers, what was asked in which order, and what stands beside them."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lightning_al.campaign.events import Event, read_ledger
from lightning_al.campaign.metrics import shared_metrics
from lightning_al.campaign.results import INITIAL_ROUND, RoundResult, after_move
from lightning_al.campaign.saved import changes_of
from lightning_al.campaign.standing import Standing
from lightning_al.oracle.skip import DATASET, SIMULATED
from lightning_al.report.curves import Curves, curves_of, find_campaigns, method_of
from lightning_al.storage.blobs import Blob
from lightning_al.words import cut


@dataclass(frozen=True)
class Asked:
    """One question.

    Args:
        round: Its number; -1 is the initial set.
        time: When it was asked, as the ledger has it.
        units: Dataset indices as they are now; negative where a sample is gone.
        scores: Theirs, where the acquisition scores.
        regions: Which pixels were asked for, by unit, where it is for parts.
        quantiles: Scores of all candidates at 5, 25, 50, 75 and 95 %, where they are known.
        candidates: How many these are.
    """

    round: int
    time: str
    units: list[int]
    scores: list[float]
    regions: dict[int, Blob] = field(default_factory=dict)
    quantiles: list[float] = field(default_factory=list)
    candidates: int = 0

    @property
    def name(self) -> str:
        """What it is called."""
        return "initial set" if self.round == INITIAL_ROUND else f"round {self.round}"

    @property
    def is_by_score(self) -> bool:
        """Whether the samples are in the order of their scores, as neither random draws nor varied picks are."""
        return bool(self.scores) and self.scores == sorted(self.scores, reverse=True)


@dataclass(frozen=True)
class Told:
    """A campaign as it was read back.

    Args:
        folder: Its folder.
        method: What it repeats.
        standing: Where each sample stands.
        events: Oldest first.
        asked: The questions, oldest first.
    """

    folder: Path
    method: str
    standing: Standing
    events: list[Event]
    asked: list[Asked]

    @property
    def name(self) -> str:
        """What it is called beside others."""
        seed = self.standing.options.get("seed")
        return self.method if seed is None else f"{self.method}, seed {seed}"

    @property
    def rounds(self) -> list[RoundResult]:
        """What each round yielded."""
        return self.standing.rounds

    @property
    def times(self) -> tuple[datetime | None, datetime | None]:
        """When it began and when the last event was."""
        known = [time for event in (self.events[0], self.events[-1]) if (time := when(event.get("time"))) is not None]
        return (known[0], known[-1]) if known else (None, None)

    @property
    def versions(self) -> dict[str, str]:
        """Of the packages that it began with, where the ledger says so."""
        said = self.events[0].get("versions", {})
        return {str(name): str(version) for name, version in said.items()} if isinstance(said, dict) else {}

    @property
    def initial_weights(self) -> dict[str, str]:
        """Hashes of the weights that it began with, by part of the model, where the ledger says so."""
        said = self.events[0].get("weights", {})
        return {str(part): str(digest) for part, digest in said.items()} if isinstance(said, dict) else {}

    @property
    def changes(self) -> dict[int, str]:
        """What it was trained with otherwise than before, by the round that was the first to be."""
        return changes_of(self.folder, self.events)

    @property
    def left_to_do(self) -> int:
        """How many of its trainings are not done yet; 0 where nothing says how many there are to be."""
        options, standing = self.standing.options, self.standing
        rounds = options.get("rounds")
        if not isinstance(rounds, int) or options.get("stop") is not None or options.get("budget") is not None:
            return 0
        done = sum(bool(result.metrics or result.seconds.get("fit")) for result in self.rounds)
        return max(rounds + 1 - done, 0) if len(standing.units("labelled")) < standing.size else 0

    @property
    def answers_itself(self) -> bool:
        """Whether all labels are the dataset's own."""
        return self._annotators == {DATASET}

    @property
    def is_simulated(self) -> bool:
        """Whether no label is a person's."""
        return bool(self._annotators) and self._annotators <= SIMULATED

    @property
    def _annotators(self) -> set[Any]:
        return {event.get("annotator") for event in self.events if event["kind"] == "answered"}

    @property
    def labelled_before(self) -> int:
        """How many labels there were before the first question: those of a training set beside the pool."""
        answered: set[int] = set()
        for event in self.events:
            if event["kind"] == "fitted":
                return max(int(event["labelled"]) - len(answered), 0)
            if event["kind"] == "answered":
                answered.update(event["indices"])
            elif event["kind"] == "forgotten":
                answered.difference_update(event["indices"])
        return 0

    @property
    def labelled_after_each(self) -> list[list[int]]:
        """Of each question, the units up to it that have a label by now; without an initial set, none at the start."""
        samples = self.standing.samples
        asked: dict[int, None] = {}
        found: list[list[int]] = [] if self.asked and self.asked[0].round == INITIAL_ROUND else [[]]
        for question in self.asked:
            asked |= dict.fromkeys(question.units)
            found.append([unit for unit in asked if unit in samples and samples[unit].label is not None])
        return found


@dataclass(frozen=True)
class Read:
    """All campaigns of a report.

    Args:
        root: The folder that they lie in.
        campaigns: Those that can be read.
        problems: What is to be said of the others.
    """

    root: Path
    campaigns: list[Told]
    problems: list[str]

    @property
    def methods(self) -> dict[str, list[Told]]:
        """The campaigns by method."""
        found: dict[str, list[Told]] = {}
        for each in self.campaigns:
            found.setdefault(each.method, []).append(each)
        return found


def read_campaigns(folders: Sequence[Path]) -> Read:
    """Read the campaigns at or below folders.

    Raises:
        FileNotFoundError: If one holds none.
        ValueError: If none of them can be read.
    """
    found = list(dict.fromkeys(each for folder in folders for each in find_campaigns(folder)))
    paths = [folder.resolve() for folder in folders]
    root = Path(folders[0]) if len(folders) == 1 else Path(os.path.commonpath(paths))
    campaigns, problems = [], []
    for folder in found:
        try:
            events = read_ledger(folder)
            standing = Standing(folder)
        except (ValueError, OSError) as error:
            problems.append(f"{folder} is left out: {cut(error, 300)}")
            continue
        method = method_of(folder.resolve(), root.resolve())
        campaigns.append(Told(folder, method, standing, events, asked_in(events)))
    if not campaigns:
        raise ValueError("No campaign can be read. " + " ".join(problems))
    return Read(root, campaigns, problems)


def asked_in(events: Sequence[Event]) -> list[Asked]:
    """Return the questions of a campaign, with where their samples are now; none for an initial set of nothing."""
    questions: list[Event] = []
    for event in events:
        if event["kind"] == "moved":
            questions = [after_move(question, event) for question in questions]
        elif event["kind"] == "asked" and (event["indices"] or event["round"] != INITIAL_ROUND):
            questions.append(event)
    found = []
    for event in questions:
        regions = dict(zip(event["indices"], event.get("regions", ()), strict=False))
        of_all = event.get("all_scores")
        of_all = of_all if isinstance(of_all, dict) else {}
        quantiles = [float(value) for value in of_all.get("quantiles", []) if isinstance(value, (int, float))]
        found.append(
            Asked(
                event["round"],
                str(event.get("time", "")),
                list(event["indices"]),
                list(event["scores"]),
                regions,
                quantiles if len(quantiles) == 5 else [],
                count if isinstance(count := of_all.get("count"), int) else 0,
            )
        )
    return found


def when(text: Any) -> datetime | None:
    """Return a time of the ledger's; None where it is none."""
    try:
        return datetime.fromisoformat(str(text))
    except ValueError:
        return None


def time_of(text: Any) -> str:
    """Return a time of the ledger's as people read it.

    Example:
        >>> time_of("2026-11-27T16:34:26+00:00")
        '2026-11-27 16:34 UTC'
    """
    time = when(text)
    return str(text) if time is None else f"{time:%Y-%m-%d %H:%M} {time.tzname() or ''}".strip()


def metric_names(campaigns: Sequence[Told]) -> list[str]:
    """Return the metrics that all campaigns with any have in every round, see :func:`shared_metrics`."""
    with_some = [each for each in campaigns if any(result.metrics for result in each.rounds)]
    recorded = [result.metrics for each in with_some for result in each.rounds]
    return shared_metrics(recorded) if all(recorded) else []


def without_the_late(read: Read, baseline: str | None = None) -> tuple[Read, list[str]]:
    """Leave campaigns out that are under way and not half as far as others: means are of what all have.

    A method that was named as the baseline stays, however far it is.
    """
    done = {each.folder: len(each.rounds) for each in read.campaigns}
    most = max(done.values(), default=0)
    late = [each for each in read.campaigns if _is_late(each, most) and each.method != baseline]
    if not late:
        return read, []
    names = ", ".join(f"{each.name} ({done[each.folder]} of {most})" for each in late[:8])
    more = f" and {len(late) - 8} more" if len(late) > 8 else ""
    kept = [each for each in read.campaigns if each not in late]
    text = f"Left out of curves and comparisons, since they are under way and far behind: {names}{more}."
    return Read(read.root, kept, read.problems), [text]


def _is_late(campaign: Told, most: int) -> bool:
    return campaign.left_to_do > 0 and 2 * len(campaign.rounds) < most


def curves_in(read: Read, metric: str | None) -> tuple[Curves, list[str]]:
    """Return the curves of one metric by method, and what is to be said of them."""
    folders = [each.folder for each in read.campaigns if each.rounds]
    if not folders:
        return {}, ["No round is finished yet, so there is no curve."]
    if metric is None:
        some = any(result.metrics for each in read.campaigns for result in each.rounds)
        why = "record no metric in common: give folders of one project" if some else "record no metrics"
        return {}, [f"There are no curves, since the campaigns {why}."]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        curves = curves_of([folder.resolve() for folder in folders], read.root.resolve(), metric)
    names = {each.folder.resolve(): each.method for each in read.campaigns}
    named: Curves = {}
    for curve in (curve for repeats in curves.values() for curve in repeats):
        named.setdefault(names[Path(curve.path)], []).append(curve)
    return named, [str(warning.message) for warning in said]
