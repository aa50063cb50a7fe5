"""One query: score the candidates, select a batch of them, put the question on disk."""

import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from lightning_al.acquisition.base import Acquisition, learns
from lightning_al.acquisition.query import LocalRows, Query, Scorer
from lightning_al.distributed.randomness import derive_seed, generator
from lightning_al.distributed.ranks import on_rank_zero
from lightning_al.fitting.members import refit
from lightning_al.loop.project import Project
from lightning_al.loop.score import score
from lightning_al.loop.session import Session


def query(session: Session, k: int) -> list[int]:
    """Score candidates, select ``k`` of them and put the question on disk; return their dataset indices."""
    settings, campaign, budget = session.settings, session.campaign, session.budget
    number = campaign.next_round
    session.call_hooks("on_query_start")
    left = session.pool.candidates(generator=generator(settings.seed, number, "candidates"))
    candidates = budget.affordable(left)[: settings.subpool_size]
    if settings.subpool_size is not None and len(candidates) < settings.subpool_size:
        rank_zero_info(f"Only {len(candidates)} of subpool_size={settings.subpool_size} candidates are left.")
    k = min(k, budget.count(candidates))
    picked = budget.first(pick(session, session.project.acquisition, candidates, k, number, "select"))
    event = campaign.record("asked", lambda: {"round": number, **picked})
    session.call_hooks("on_query_end")
    return list(event["indices"])


def pick(session: Session, acquisition: Acquisition, candidates: Tensor, k: int, *purpose: int | str) -> dict[str, Any]:
    """Let the acquisition learn what it needs, score candidates and select ``k`` of them.

    Args:
        session: Of the campaign.
        acquisition: Bound to its task.
        candidates: Dataset indices.
        k: How many, at most as many as there are.
        *purpose: What the draws are for; with the campaign's seed it decides them.

    Returns:
        Their dataset indices, keys and scores, and the seconds it took; the same on every rank.
    """
    return _pick(
        session.project,
        acquisition,
        candidates,
        k,
        seed=session.settings.seed,
        purpose=purpose,
        number=session.campaign.next_round,
        labelled=session.pool.labelled,
        query_of=lambda seed: _query(session, candidates, seed),
    )


def _pick(
    project: Project,
    acquisition: Acquisition,
    candidates: Tensor,
    k: int,
    *,
    seed: int,
    purpose: tuple[int | str, ...],
    number: int = 0,
    labelled: Tensor | None = None,
    query_of: Callable[[int], Query] | None = None,
) -> dict[str, Any]:
    seconds: dict[str, float] = {}
    scoring = derive_seed(seed, number, "score")
    start = time.perf_counter()
    if learns(acquisition):
        assert query_of is not None
        acquisition.learn(query_of(derive_seed(seed, *purpose, "learn")))
        seconds["learn"] = time.perf_counter() - start
        start = time.perf_counter()
    rows = score(project, acquisition, candidates, seed=scoring)
    labelled_rows: dict[str, Tensor] = {}
    if acquisition.uses_labelled and labelled is not None and len(labelled) > 0:
        # Either both stay where they are, or every process has all of both.
        gather = not isinstance(rows, LocalRows)
        labelled_rows = score(project, acquisition, labelled, seed=scoring, gather=gather)
    seconds["score"] = time.perf_counter() - start

    def select() -> dict[str, Any]:
        start = time.perf_counter()
        draws = generator(seed, *purpose)
        positions = acquisition.select(rows, k, labelled_rows=labelled_rows, generator=draws)
        chosen = check_positions(positions, k, len(candidates), acquisition)
        indices = candidates[chosen].tolist()
        return {
            "indices": indices,
            "keys": [project.data.key(i) for i in indices],
            "scores": rows["score"][chosen].tolist() if "score" in rows and acquisition.gathers else [],
            "seconds": {**seconds, "select": time.perf_counter() - start},
        }

    strategy = project.trainer.strategy
    if acquisition.gathers:
        return on_rank_zero(strategy, select)
    found = select()
    return on_rank_zero(strategy, lambda: found)


def _query(session: Session, candidates: Tensor, seed: int) -> Query:
    """Return what an acquisition may learn from."""
    project, campaign, settings = session.project, session.campaign, session.settings
    number = campaign.next_round

    def score_all(acquisition: Scorer, indices: Tensor) -> dict[str, Tensor]:
        seed = derive_seed(settings.seed, number, "score")
        return score(project, acquisition, indices, seed=seed, gather=True)

    return Query(
        trainer=project.trainer,
        model=project.model,
        round=number,
        seed=seed,
        candidates=candidates,
        labelled=session.pool.labelled,
        loader=project.data.plain_dataloader,
        to_device=lambda batch, device: project.data.to_device(batch, project.model, device),
        score=score_all,
        keep=lambda name, make: campaign.keep(campaign.round_file(name), make),
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
