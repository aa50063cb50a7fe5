"""One query: score the candidates, pick a batch of them, put the question on disk."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from lightning_al.acquisition.base import Acquisition, learns
from lightning_al.acquisition.query import LocalRows, Query, Rows, RowSource
from lightning_al.campaign.events import Event
from lightning_al.distributed.randomness import derive_seed, generator
from lightning_al.distributed.ranks import Ranks
from lightning_al.fitting.members import refit
from lightning_al.loop.predict import keep_predictions
from lightning_al.loop.project import Project
from lightning_al.loop.score import score
from lightning_al.loop.session import Session


@dataclass(frozen=True)
class Question:
    """What the oracle is asked next.

    Args:
        indices: Dataset indices, best first.
        keys: Their samples' names, which outlive a reordering.
        scores: Their scores; empty for acquisitions that score nothing.
        seconds: What it took to ``learn``, ``score`` and ``select``.
    """

    indices: list[int]
    keys: list[str | None]
    scores: list[float]
    seconds: Mapping[str, float]

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
        }


def query(session: Session, k: int) -> list[int]:
    """Score candidates, pick ``k`` of them and put the question on disk; return their dataset indices."""
    settings, campaign, budget = session.settings, session.campaign, session.budget
    number = campaign.next_round
    session.call_hooks("on_query_start")
    left = session.pool.candidates(generator=generator(settings.seed, number, "candidates"))
    candidates = budget.affordable(left)[: settings.subpool_size]
    if settings.subpool_size is not None and len(candidates) < settings.subpool_size:
        rank_zero_info(f"Only {len(candidates)} of subpool_size={settings.subpool_size} candidates are left.")
    k = min(k, budget.count(candidates))
    question = pick(session, session.project.acquisition, candidates, k, purpose=(number, "select"))
    question = question.first(budget.count_in_order(question.indices))
    if session.project.oracle.wants_predictions and question.indices:
        keep_predictions(session.project, campaign, question.indices, seed=derive_seed(settings.seed, number, "score"))
    event = campaign.record("asked", lambda: question.event(number))
    session.call_hooks("on_query_end")
    return list(event["indices"])


def pick(
    session: Session, acquisition: Acquisition, candidates: Tensor, k: int, *, purpose: tuple[int | str, ...]
) -> Question:
    """Let the acquisition learn what it needs, score candidates and select ``k`` of them.

    Args:
        session: Of the campaign.
        acquisition: Bound to its task.
        candidates: Dataset indices.
        k: How many, at most as many as there are.
        purpose: What the draws are for; with the campaign's seed it decides them.

    Returns:
        The question for them; the same on every rank.
    """
    seed, number = session.settings.seed, session.campaign.next_round
    start = time.perf_counter()
    learnt: dict[str, float] = {}
    if learns(acquisition):
        acquisition.learn(_what_to_learn_from(session, candidates, derive_seed(seed, *purpose, "learn")))
        learnt["learn"] = time.perf_counter() - start
    question = pick_scored(
        session.project,
        session.campaign.ranks,
        acquisition,
        candidates,
        k=k,
        labelled=session.pool.labelled,
        seed=derive_seed(seed, number, "score"),
        draws=generator(seed, *purpose),
    )
    return replace(question, seconds={**learnt, **question.seconds})


def pick_scored(
    project: Project,
    ranks: Ranks,
    acquisition: Acquisition,
    candidates: Tensor,
    *,
    k: int,
    labelled: Tensor,
    seed: int,
    draws: torch.Generator,
) -> Question:
    """Score candidates and select ``k`` of them, where the acquisition has learnt what it needs.

    Args:
        project: Of the launch.
        ranks: Of the launch.
        acquisition: Bound to its task.
        candidates: Dataset indices.
        k: How many, at most as many as there are.
        labelled: Dataset indices of the labelled samples.
        seed: Of what draws in the passes over samples.
        draws: Of the selection.

    Returns:
        The question for them; the same on every rank.
    """
    start = time.perf_counter()
    rows = score(project, acquisition, candidates, seed=seed)
    labelled_rows: dict[str, Tensor] = {}
    if acquisition.uses_labelled and len(labelled) > 0:
        # Either both stay where they are, or every process has all of both.
        labelled_rows = score(project, acquisition, labelled, seed=seed, gather=not isinstance(rows, LocalRows))
    seconds = {"score": time.perf_counter() - start}

    def select() -> Question:
        start = time.perf_counter()
        positions = acquisition.select(rows, k, labelled_rows=labelled_rows, generator=draws)
        chosen = check_positions(positions, k, len(candidates), acquisition)
        indices = candidates[chosen].tolist()
        return Question(
            indices=indices,
            keys=[project.data.key(i) for i in indices],
            scores=rows["score"][chosen].tolist() if "score" in rows and acquisition.gathers else [],
            seconds={**seconds, "select": time.perf_counter() - start},
        )

    if acquisition.gathers:
        return ranks.first(select)
    question = select()  # rows stay in the process that made them, so that every process selects
    return ranks.first(lambda: question)


def _what_to_learn_from(session: Session, candidates: Tensor, seed: int) -> Query:
    """Return what an acquisition may learn from."""
    project, campaign, settings = session.project, session.campaign, session.settings
    number = campaign.next_round

    def score_all(acquisition: RowSource, indices: Tensor) -> Rows:
        seed = derive_seed(settings.seed, number, "score")
        return score(project, acquisition, indices, seed=seed, gather=True)

    return Query(
        trainer=project.trainer,
        model=project.model,
        round=number,
        size=len(session.pool),
        seed=seed,
        candidates=candidates,
        labelled=session.pool.labelled,
        loader=project.data.plain_dataloader,
        to_device=lambda batch, device: project.data.to_device(batch, project.model, device),
        score=score_all,
        keep=lambda name, make: campaign.states.keep(campaign.round_file(name), make),
        refit=lambda member, redraw: refit(session.fits, number, member, weights=settings.weights, redraw=redraw),
    )


def check_positions(positions: Any, k: int, n: int, acquisition: Acquisition) -> Tensor:
    """Return what an acquisition's ``select`` gave as a LongTensor (k,), refusing what it must not give.

    Raises:
        TypeError: If they are not integers.
        ValueError: If they are not ``k`` distinct positions of ``n`` candidates.
    """
    chosen = torch.as_tensor(positions).flatten().cpu()
    name = type(acquisition).__name__
    if chosen.is_floating_point() or chosen.dtype == torch.bool:
        raise TypeError(f"`{name}.select` must return integer positions, got {chosen.dtype}.")
    if len(chosen) != k or len(chosen.unique()) != k or (k and not 0 <= int(chosen.min()) <= int(chosen.max()) < n):
        raise ValueError(
            f"`{name}.select` must return {k} distinct positions between 0 and {n - 1}, got {chosen.tolist()[:20]}."
        )
    return chosen.long()
