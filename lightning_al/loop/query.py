"""One query: score the candidates, pick a batch of them, put the question on disk."""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from lightning_al.acquisition.base import Acquisition
from lightning_al.checks import Findings, check_flag, check_that
from lightning_al.distributed.randomness import generator
from lightning_al.fitting.members import refit
from lightning_al.loop.predict import keep_predictions
from lightning_al.loop.question import Question, question_of, question_of_regions
from lightning_al.loop.race import question_of_race, raced_before, result_of, say_who_races
from lightning_al.loop.session import Session
from lightning_al.scoring.kept_passes import KeptPasses
from lightning_al.scoring.pick import Candidates, Pick, learn, pick, picks
from lightning_al.scoring.race_result import RaceResult
from lightning_al.scoring.regions import HowMany, RegionPick, RegionPicker, pick_regions
from lightning_al.scoring.scores import Scores, scores_file
from lightning_al.scoring.unreadable import find_unreadable, without
from lightning_al.storage.kept_rows import KeptRowsOnDisk

UNREADABLE = "unreadable"
"""Stands in the ledger for the annotator of samples that are skipped since they cannot be read."""


@dataclass(frozen=True)
class Asking:
    """How a question is asked.

    Args:
        keep_scores: Whether the scores of all candidates are written beside the ledger.
        skip_unreadable: Whether candidates that cannot be read are skipped for good.
        more: Whether to ask for more while a question is open; else it is handed out again.
        keep_passes: Whether what the model gives of samples is taken from, and kept for, other questions.
        acquisition: The name of one that was raced, whose picks are asked for; None: the campaign's own picks.
    """

    keep_scores: bool = False
    skip_unreadable: bool = False
    more: bool = True
    keep_passes: bool = False
    acquisition: str | None = None

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            TypeError: If an option has the wrong type.
            ValueError: If a race is asked for something that it has not.
        """
        with Findings() as findings:
            findings.of(check_flag, "more", self.more)
            findings.of(check_flag, "keep_scores", self.keep_scores)
            findings.of(check_flag, "skip_unreadable", self.skip_unreadable)
            is_name = self.acquisition is None or isinstance(self.acquisition, str)
            findings.of(check_that, is_name, "acquisition", self.acquisition, "the name of one that was raced, or None")
            findings.refuse_if(
                self.acquisition is not None and (self.keep_scores or self.skip_unreadable),
                "`acquisition=` asks for picks that a race made before, without a look at samples: leave out "
                "`keep_scores` and `skip_unreadable`.",
            )


AS_EVER = Asking()


def query(session: Session, k: int | float, how: Asking = AS_EVER) -> list[int]:
    """Score candidates, pick ``k`` of them, or regions, and put the question on disk; return their dataset indices.

    Args:
        session: Of the campaign.
        k: How many, as ``query_size``.
        how: What else is done for it.
    """
    campaign = session.campaign
    number = campaign.next_round
    session.call_hooks("on_query_start")
    candidates = candidates_of(session, how)
    indices = candidates.indices
    with kept_passes(session, how):
        question, picked = _asks(session, candidates, k, how)
    if not question.indices:  # of regions, where all are asked for
        session.note_found_nothing()
    if how.keep_scores:
        scores = Scores.of(indices, picked.all_scores, question.indices, session.project.data.keys_of)
        campaign.ranks.first(lambda: scores.to_csv(campaign.dirpath / scores_file(number)))
    if session.project.oracle.wants_predictions and question.indices:
        keep_predictions(session.project, campaign, question, seed=candidates.scoring_seed)
    if question.indices:
        campaign.record("asked", lambda: question.event(number, picked.all_scores))
    session.call_hooks("on_query_end")
    return question.indices


def candidates_of(session: Session, how: Asking = AS_EVER) -> Candidates:
    """Return what the round's question may be for."""
    settings, budget, number = session.settings, session.budget, session.campaign.next_round
    most = settings.subpool_size if budget.limit is None else None  # some may cost too much
    left = session.pool.candidates(most, generator=generator(settings.seed, number, "candidates"))
    indices = budget.affordable(left)[: settings.subpool_size]
    if settings.subpool_size is not None and len(indices) < settings.subpool_size:
        rank_zero_info(f"Only {len(indices)} of subpool_size={settings.subpool_size} candidates are left.")
    if how.skip_unreadable:
        indices = readable_ones(session, indices)
    return Candidates(indices, session.labelled, settings.seed, number, purpose=(number, "select"))


def kept_passes(session: Session, how: Asking) -> contextlib.AbstractContextManager[KeptRowsOnDisk | None]:
    """Inside, passes over samples take what was kept of earlier ones, where that is wanted."""
    kept = KeptPasses(session.campaign.dirpath, session.settings.cache_gb if how.keep_passes else 0)
    return kept.used(session.project, session.campaign.ranks)


def race(session: Session, racers: Mapping[str, Acquisition], k: int) -> RaceResult:
    """Let acquisitions that can take part pick what they would ask for; nothing is asked for.

    Args:
        session: Of the campaign.
        racers: By name.
        k: How many each picks, where the budget covers as many.
    """
    project, ranks, start = session.project, session.campaign.ranks, time.perf_counter()
    for racer in racers.values():
        racer.check_fitted(project.model)
    session.call_hooks("on_query_start")
    candidates = candidates_of(session)
    count = min(k, session.budget.count(candidates.indices))
    say_who_races(racers, candidates)
    with kept_passes(session, Asking(keep_passes=True)) as kept:
        learnt = [learn_for(session, racer, candidates) for racer in racers.values()]
        picked = picks(project, ranks, list(racers.values()), candidates, count)
        picked = [
            replace(pick, seconds={**seconds, **pick.seconds}) for seconds, pick in zip(learnt, picked, strict=True)
        ]
        if kept is not None:
            kept.flush()  # what follows looks at picks once more
        result = result_of(session, candidates, racers, picked, k=count, start=start)
    session.call_hooks("on_query_end")
    return result


def _asks(session: Session, candidates: Candidates, k: int | float, how: Asking) -> tuple[Question, Pick | RegionPick]:
    if how.acquisition is not None:
        question = question_of_race(session, candidates, *raced_before(session, how.acquisition, None))
        return question.first(session.budget.count_in_order(question.indices)), Pick.unscored([])
    if session.project.task.region_kind is None:
        return _asks_for_samples(session, candidates, k)
    return _asks_for_regions(session, candidates, k)


def _asks_for_samples(session: Session, candidates: Candidates, k: int | float) -> tuple[Question, Pick]:
    budget = session.budget
    count = min(int(k), budget.count(candidates.indices))
    picked = learn_and_pick(session, session.project.acquisition, candidates, count)
    question = question_of(session.project, session.campaign.ranks, picked)
    return question.first(budget.count_in_order(question.indices)), picked


def _asks_for_regions(session: Session, candidates: Candidates, k: int | float) -> tuple[Question, RegionPick]:
    project, campaign = session.project, session.campaign
    learnt = learn_for(session, project.acquisition, candidates)
    picker = RegionPicker(
        project.acquisition,
        HowMany(k, project.task.per_image, images=len(session.pool)),
        campaign.regions.all,
        seed=candidates.seed,
        round=candidates.round,
    )
    picked = pick_regions(project, campaign.ranks, picker, candidates, session.budget.count_in_order)
    picked = replace(picked, seconds={**learnt, **picked.seconds})
    return question_of_regions(project, campaign.ranks, picked), picked


def learn_and_pick(session: Session, acquisition: Acquisition, candidates: Candidates, k: int) -> Pick:
    """Let the acquisition learn what it needs, then pick ``k`` of the candidates; the same on every rank."""
    learnt = learn_for(session, acquisition, candidates)
    picked = pick(session.project, session.campaign.ranks, acquisition, candidates, k)
    return replace(picked, seconds={**learnt, **picked.seconds})


def learn_for(session: Session, acquisition: Acquisition, candidates: Candidates) -> dict[str, float]:
    """Let the acquisition learn what it needs, and return the seconds it took."""
    campaign, number = session.campaign, candidates.round
    return learn(
        session.project,
        acquisition,
        candidates,
        keep=lambda name, make: campaign.states.keep(campaign.round_file(name), make),
        refit=lambda member, redraw: refit(
            session.fits, number, member, weights=session.settings.weights, redraw=redraw
        ),
    )


def readable_ones(session: Session, indices: Tensor) -> Tensor:
    """Return the candidates that can be read; the others are skipped from now on, and the ledger says so."""
    unreadable = find_unreadable(session.project, indices)
    if unreadable:
        names = session.project.data.sample_keys.name  # a hash is of what cannot be read
        session.campaign.record(
            "skipped",
            lambda: {
                "indices": list(unreadable),
                "keys": [session.campaign.keys.get(i) or names(i) for i in unreadable],
                "annotator": UNREADABLE,
            },
        )
        indices = without(indices, unreadable)
    if len(indices) == 0:
        raise ValueError(f"None of {len(unreadable)} candidates can be read, so there is nothing to ask for.")
    return indices
