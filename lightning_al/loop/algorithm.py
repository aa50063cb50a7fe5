"""The rounds of a campaign: fit, evaluate, score, select, label, record."""

import contextlib
import functools
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from lightning_al.acquisition.base import Acquisition
from lightning_al.campaign.results import INITIAL_ROUND
from lightning_al.campaign.states import State
from lightning_al.distributed.ranks import check_same_on_every_rank
from lightning_al.loop import query
from lightning_al.loop.estimate import left_in_words, round_in_words, until_in_words
from lightning_al.loop.fit import begin_round, fit_round
from lightning_al.loop.initial import another_initial_set
from lightning_al.loop.label import collect_answers
from lightning_al.loop.query import Asking
from lightning_al.loop.race import check_racers, raced_before, release_racers
from lightning_al.loop.record import record_options
from lightning_al.loop.session import Session
from lightning_al.report.loggers import log_numbers
from lightning_al.stages import stage

LABELS = "the labels (here a hash of them)"


class Outcome(NamedTuple):
    """What a launch came to: the loop's status, what :func:`ask` picked, and the result of a :func:`race`."""

    status: str
    picked: list[int]
    race: State | None = None


def run(session: Session) -> Outcome:
    """Go on, round after round, to the campaign's end or until labels are missing."""
    campaign, pool = session.campaign, session.pool
    while True:
        if not _collect(session):
            rank_zero_info(
                f"Waiting for {len(pool.pending)} label(s), of dataset indices {_few(pool.pending)}: `tell` them, or "
                "let the oracle answer, and run again with `resume=True`."
            )
            return Outcome("waiting", [])
        _report(session)  # rounds that a killed process did not get to report
        check_same_on_every_rank(campaign.label_digest, LABELS)
        if session.is_over and session.is_fitted:
            return Outcome("finished", [])
        with _round(session, goes_on=True):
            if not session.is_over:
                query.query(session, session.settings.query_size)


def ask(session: Session, k: int | float | None, how: Asking) -> Outcome:
    """Pick what to label next; unless more is wanted, only where no question is open."""
    pool = session.pool
    if not how.more and len(pool.pending) > 0:
        return Outcome("waiting", pool.pending.tolist())
    check_same_on_every_rank(session.campaign.label_digest, LABELS)
    already_asked = not session.asked_initial_set and len(pool.pending) > 0
    if how.skip_unreadable and (
        session.asked_initial_set or len(session.labelled) == 0
    ):  # the initial set is drawn without a look at samples
        query.readable_ones(session, torch.cat([pool.pending, pool.unlabelled]))
    # Only an initial set is waited for; later questions wait for `tell`.
    if session.asked_initial_set or len(session.labelled) == 0:
        _collect(session, k)
    _report(session)
    if len(session.labelled) == 0 or (session.asked_initial_set and len(pool.pending) > 0):
        if already_asked:
            raise RuntimeError(
                "Nothing is labelled yet: `tell` the labels of the initial samples first. Pending: "
                f"{_few(pool.pending)} ({len(pool.pending)} in all, in `loop.pool.pending`)."
            )
        if k not in (None, len(pool.pending)):
            rank_zero_info(
                f"The initial set is asked for first, {len(pool.pending)} by `initial`; k={k} is of later questions."
            )
        return Outcome("waiting", pool.pending.tolist())
    _check_k(session, k, "ask")
    if how.acquisition is not None and not session.is_over:
        raced_before(session, how.acquisition, k)  # before anything is fitted
    if session.is_over:
        rank_zero_info("The campaign is over: the rounds, the budget or the pool are used up, or `stop` says so.")
        # What is skipped still frees its part of the budget.
        return Outcome("waiting" if len(pool.pending) > 0 else "finished", [])
    with _round(session):
        over = session.is_over  # `stop` may say so only now
        picked = [] if over else query.query(session, session.settings.query_size if k is None else k, how)
    return Outcome("finished" if over or not (picked or len(pool.pending)) else "waiting", picked)


def race(session: Session, racers: Mapping[str, Acquisition], k: int | None) -> Outcome:
    """Let acquisitions pick what they would ask for next, after the round's fit; nothing is asked for."""
    pool = session.pool
    try:
        check_racers(session, racers)
        check_same_on_every_rank(session.campaign.label_digest, LABELS)
        if session.asked_initial_set or len(session.labelled) == 0:
            _collect(session)
        _report(session)
        if len(session.labelled) == 0 or (session.asked_initial_set and len(pool.pending) > 0):
            raise RuntimeError(
                "A race needs a model that was fitted, and the initial samples have no labels yet: `tell` them first. "
                f"Pending: {_few(pool.pending)} ({len(pool.pending)} in all, in `loop.pool.pending`)."
            )
        _check_k(session, k, "race")
        _check_not_over(session)
        with _round(session):
            _check_not_over(session)  # `stop` may say so only now
            result = query.race(session, racers, int(session.settings.query_size) if k is None else k)
    finally:
        release_racers(session, racers.values())
    return Outcome("waiting" if len(pool.pending) > 0 else "new", [], result.as_state())


def _check_not_over(session: Session) -> None:
    if session.is_over:
        raise ValueError(
            "The campaign is over, so that nothing can be asked for: the rounds, the budget or the pool are used up, "
            "or `stop` says so. Give it more, as `loop.rounds = None`."
        )


def _check_k(session: Session, k: int | float | None, verb: str) -> None:
    if session.settings.asks_for_regions:  # as many as there are
        return
    left = len(session.pool.unlabelled)
    covered = session.budget.count(session.pool.unlabelled)
    limits = {"pool": left, "sub-pool": min(session.settings.subpool_size or left, left), "budget": covered}
    for name, limit in limits.items():
        if k is not None and k > limit:
            raise ValueError(f"`{verb}(k={k})` is more than the {name} has left, {limit}: ask for fewer.")


def _collect(session: Session, k: int | float | None = None) -> bool:
    """Ask the oracle for what is pending and put its answers on disk; return whether nothing is pending any more.

    Args:
        session: Of the campaign.
        k: How many are asked for where nothing is labelled, and ``initial`` does not say.
    """
    project, campaign, pool = session.project, session.campaign, session.pool
    while True:
        if len(pool.pending) == 0 and len(session.labelled) == 0:
            question = another_initial_set(session, None if k is None else int(k))
            campaign.record("asked", functools.partial(question.event, INITIAL_ROUND))
        if len(pool.pending) > 0 or project.oracle.corrects:
            collect_answers(campaign, project)
        if len(pool.pending) > 0:
            return False
        if len(session.labelled) > 0:
            return True


@contextlib.contextmanager
def _round(session: Session, *, goes_on: bool = False) -> Iterator[None]:
    """Fit a round, have it asked for inside, and report it where nothing was raised.

    Args:
        session: Of the campaign.
        goes_on: Whether further rounds follow at once, so that it is said for how long they may.
    """
    with stage(round_in_words(session), until=until_in_words(session) if goes_on else ""):
        record_options(session.campaign, session.options)
        begin_round(session)
        session.call_hooks("on_round_start")
        fit_round(session)
        yield
        _report(session, goes_on=goes_on)
        session.call_hooks("on_round_end")


def _report(session: Session, *, goes_on: bool = False) -> None:
    """For each finished round one line on the console and one row in every logger, the labelled count as step.

    Args:
        session: Of the campaign.
        goes_on: Whether further rounds follow at once; the line then says for how long they may.
    """
    campaign, trainer = session.campaign, session.project.trainer
    for result in campaign.rounds:
        if result.round in campaign.reported or (result.round == campaign.next_round and not session.is_over):
            continue  # reported before; or not finished, with its question still to come
        rank_zero_info(" | ".join(filter(None, [str(result), left_in_words(session) if goes_on else ""])))
        row: dict[str, Any] = {f"al/{name}": value for name, value in result.metrics.items()}
        row |= {f"al/{stage}_seconds": value for stage, value in result.seconds.items()}
        row |= {"al/labelled": float(result.labelled), "al/round": float(result.round), "al/spent": result.spent}
        for logger in trainer.loggers:
            log_numbers(logger, row, step=int(result.amount))
        session.call_hooks("on_round_reported", result)
        for logger in trainer.loggers:
            logger.save()  # before it is taken as reported
        campaign.record("reported", functools.partial(dict, round=result.round))


def _few(indices: Tensor) -> str:
    shown = ", ".join(map(str, indices[:10].tolist()))
    return shown if len(indices) <= 10 else f"{shown}, ..."
