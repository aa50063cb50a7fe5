"""One query: score the candidates, select a batch of them, put the question on disk."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from lightning_al.acquisition.base import Acquisition
from lightning_al.checks import check_positions
from lightning_al.fitting import call_round_hook
from lightning_al.randomness import derive_seed, generator
from lightning_al.scoring import score_pool

if TYPE_CHECKING:
    from lightning_al.loop import ActiveLearningLoop


def query(loop: ActiveLearningLoop, trainer: pl.Trainer, acquisition: Acquisition, number: int, k: int) -> list[int]:
    """Score candidates, select ``k`` of them and put the question on disk; return their dataset indices."""
    assert loop.campaign is not None
    call_round_hook(trainer, "on_query_start", loop)
    candidates = loop.pool.candidates(loop.subpool_size, generator=generator(loop.seed, number, "candidates"))
    if loop.subpool_size is not None and len(candidates) < loop.subpool_size:
        rank_zero_info(f"Only {len(candidates)} of subpool_size={loop.subpool_size} candidates are left.")
    k = min(k, len(candidates))
    start = time.perf_counter()
    rows = score(loop, trainer, acquisition, candidates)
    labelled_rows: dict[str, Tensor] = {}
    if acquisition.uses_labelled:
        labelled_rows = score(loop, trainer, acquisition, loop.pool.labelled)
    score_seconds = time.perf_counter() - start

    def question() -> dict[str, Any]:
        start = time.perf_counter()
        positions = acquisition.select(
            rows, k, labelled_rows=labelled_rows, generator=generator(loop.seed, number, "select")
        )
        chosen = check_positions(positions, k, len(candidates), acquisition)
        indices = candidates[chosen].tolist()
        return {
            "round": number,
            "indices": indices,
            "keys": [loop.datamodule.key(i) for i in indices],
            "scores": rows["score"][chosen].tolist() if "score" in rows else [],
            "seconds": {"score": score_seconds, "select": time.perf_counter() - start},
        }

    event = loop.campaign.record(trainer.strategy, "asked", question)
    call_round_hook(trainer, "on_query_end", loop)
    return list(event["indices"])


def score(
    loop: ActiveLearningLoop, trainer: pl.Trainer, acquisition: Acquisition, indices: Tensor, check: bool = False
) -> dict[str, Tensor]:
    """Return the acquisition's rows of dataset ``indices``, in that order; ``check`` refuses what cannot work."""
    if not acquisition.requires:
        return {"index": indices}
    sharded, local = loop.datamodule.pool_pass(indices, acquisition.batch_multiple)
    [rows] = score_pool(
        trainer,
        loop.model,
        loop.datamodule,
        indices,
        [acquisition],
        sharded=sharded,
        local=local,
        seed=derive_seed(loop.seed, loop.campaign.next_round if loop.campaign is not None else 0, "score"),
        check=loop.task.check if check else None,
    )
    return rows
