"""One query: score the candidates, select a batch of them, put the question on disk."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from lightning_al.acquisition.base import Acquisition, LocalRows, Query, State, learns
from lightning_al.checks import check_positions
from lightning_al.distributed import Shard, on_rank_zero
from lightning_al.fitting import call_round_hook
from lightning_al.pool import Pool
from lightning_al.randomness import derive_seed, generator
from lightning_al.refitting import refit
from lightning_al.scoring import score_pool
from lightning_al.spending import affordable, count_affordable, within_budget

NOT_OF_THE_PASS = {"classes", "labels"}
"""What an acquisition may require that does not come from a pass over samples."""

if TYPE_CHECKING:
    from lightning_al.loop import ActiveLearningLoop


def query(loop: ActiveLearningLoop, trainer: pl.Trainer, acquisition: Acquisition, number: int, k: int) -> list[int]:
    """Score candidates, select ``k`` of them and put the question on disk; return their dataset indices."""
    assert loop.campaign is not None
    call_round_hook(trainer, "on_query_start", loop)
    left = loop.pool.candidates(generator=generator(loop.seed, number, "candidates"))
    candidates = affordable(loop, left)[: loop.subpool_size]
    if loop.subpool_size is not None and len(candidates) < loop.subpool_size:
        rank_zero_info(f"Only {len(candidates)} of subpool_size={loop.subpool_size} candidates are left.")
    k = min(k, count_affordable(loop, candidates))
    picked = within_budget(loop, pick(loop, trainer, acquisition, candidates, k, number, "select"))
    event = loop.campaign.record(trainer.strategy, "asked", lambda: {"round": number, **picked})
    call_round_hook(trainer, "on_query_end", loop)
    return list(event["indices"])


def pick_initial(
    loop: ActiveLearningLoop, trainer: pl.Trainer, pool: Pool, k: int, *purpose: int | str
) -> dict[str, Any]:
    """Let ``initial_by``, an acquisition, choose ``k`` samples that are unlabelled in ``pool``; see :func:`pick`."""
    chooser = loop.initial_by
    assert isinstance(chooser, Acquisition)
    assert loop.oracle is not None
    chooser.bind(loop.task, loop.oracle)
    try:
        chooser.check_pool(len(pool))
        candidates = pool.candidates(generator=generator(loop.seed, *purpose))
        return pick(loop, trainer, chooser, candidates, min(k, len(candidates)), *purpose, "select")
    finally:
        if chooser not in trainer.callbacks:  # one may do both
            chooser.unbind()


def pick(
    loop: ActiveLearningLoop,
    trainer: pl.Trainer,
    acquisition: Acquisition,
    candidates: Tensor,
    k: int,
    *purpose: int | str,
) -> dict[str, Any]:
    """Let the acquisition learn what it needs, score candidates and select ``k`` of them.

    Args:
        loop: Its model, datamodule, pool and seed.
        trainer: The user's Trainer.
        acquisition: Bound to the loop's task.
        candidates: Dataset indices.
        k: How many, at most as many as there are.
        *purpose: What the draws are for; with the loop's seed it decides them.

    Returns:
        Their dataset indices, keys and scores, and the seconds it took; the same on every rank.
    """
    seconds: dict[str, float] = {}
    start = time.perf_counter()
    if learns(acquisition):
        acquisition.learn(_query(loop, trainer, candidates, derive_seed(loop.seed, *purpose, "learn")))
        seconds["learn"] = time.perf_counter() - start
        start = time.perf_counter()
    rows = score(loop, trainer, acquisition, candidates)
    labelled_rows: dict[str, Tensor] = {}
    if acquisition.uses_labelled and len(loop.pool.labelled) > 0:
        # Either both stay where they are, or every process has all of both.
        gather = not isinstance(rows, LocalRows)
        labelled_rows = score(loop, trainer, acquisition, loop.pool.labelled, gather=gather)
    seconds["score"] = time.perf_counter() - start

    def select() -> dict[str, Any]:
        start = time.perf_counter()
        draws = generator(loop.seed, *purpose)
        positions = acquisition.select(rows, k, labelled_rows=labelled_rows, generator=draws)
        chosen = check_positions(positions, k, len(candidates), acquisition)
        indices = candidates[chosen].tolist()
        return {
            "indices": indices,
            "keys": [loop.datamodule.key(i) for i in indices],
            "scores": rows["score"][chosen].tolist() if "score" in rows and acquisition.gathers else [],
            "seconds": {**seconds, "select": time.perf_counter() - start},
        }

    if acquisition.gathers:
        return on_rank_zero(trainer.strategy, select)
    found = select()
    return on_rank_zero(trainer.strategy, lambda: found)


def _query(loop: ActiveLearningLoop, trainer: pl.Trainer, candidates: Tensor, seed: int) -> Query:
    """Return what an acquisition may learn from."""
    campaign = loop.campaign
    assert campaign is not None
    number = campaign.next_round

    def keep(name: str, make: Callable[[], State]) -> State:
        file = campaign.round_file(name)
        kept = on_rank_zero(trainer.strategy, lambda: campaign.load_state(file))
        if kept is not None:
            return kept
        made = make()

        def put() -> State:
            campaign.save_state(file, made)
            return made

        return on_rank_zero(trainer.strategy, put)

    def refit_model(member: int, redraw: bool) -> State:
        assert loop._fits is not None
        return refit(loop._fits, number, member, weights=loop.weights, redraw=redraw)

    return Query(
        trainer=trainer,
        model=loop.model,
        round=number,
        seed=seed,
        candidates=candidates,
        labelled=loop.pool.labelled,
        loader=loop.datamodule.plain_dataloader,
        to_device=lambda batch, device: loop.datamodule.to_device(batch, loop.model, device),
        score=lambda acquisition, indices: score(loop, trainer, acquisition, indices, gather=True),
        keep=keep,
        refit=refit_model,
    )


def score(
    loop: ActiveLearningLoop,
    trainer: pl.Trainer,
    acquisition: Acquisition,
    indices: Tensor,
    *,
    gather: bool = False,
    check: bool = False,
) -> dict[str, Tensor]:
    """Return the acquisition's rows of dataset ``indices``, in that order, as :func:`score_pool` does.

    ``gather`` puts the rows of all processes together in any case; ``check`` refuses what cannot work.
    """
    scored = [acquisition] if acquisition.requires - NOT_OF_THE_PASS else []
    if not scored and not check and (gather or acquisition.gathers):
        return {"index": indices}
    sampler = loop.datamodule.pool_pass(indices, acquisition.batch_multiple)
    if not scored and not check:  # what comes from a file is dealt out too
        if sampler.num_replicas == 1:
            return {"index": indices}
        block = sampler.block
        shard = Shard.of_blocks(block, len(indices), trainer.strategy.root_device)
        return LocalRows({"index": indices[block.start : block.stop]}, shard)
    found = score_pool(
        trainer,
        loop.model,
        loop.datamodule,
        indices,
        scored,
        sampler=sampler,
        seed=derive_seed(loop.seed, loop.campaign.next_round if loop.campaign is not None else 0, "score"),
        gather=gather,
        check=loop.task.check if check else None,
    )
    return found[0] if scored else {"index": indices}
