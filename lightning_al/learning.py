"""One round of learning: fit on what is labelled, evaluate, and put weights and metrics on disk."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import torch

from lightning_al import _compat
from lightning_al.campaign import state_file
from lightning_al.distributed import on_rank_zero
from lightning_al.fitting import MARK, RepeatedFit
from lightning_al.weights import whole

if TYPE_CHECKING:
    from lightning_al.loop import ActiveLearningLoop

log = logging.getLogger(__name__)


def fit_round(loop: ActiveLearningLoop, trainer: pl.Trainer, fits: RepeatedFit, number: int, *, resume: bool) -> None:
    """Fit on what is labelled and evaluate; then weights and metrics are on disk.

    Args:
        loop: Its model, datamodule, campaign and options.
        trainer: The user's Trainer.
        fits: Those of this Trainer and model.
        number: Which round.
        resume: Whether a killed fit of this round may be gone on with.
    """
    assert loop.campaign is not None
    campaign = loop.campaign
    loop.datamodule.check_training(len(loop.pool.labelled))
    started = fits.round_checkpoint(number)
    digest = campaign.label_digest
    mark = fits.mark(number, digest)
    on_rank_zero(trainer.strategy, campaign.check_writable)
    resume_from = on_rank_zero(trainer.strategy, lambda: _usable(started, mark)) if resume else None
    fit_seconds = fits.fit(number, digest=digest, resume_from=None if resume_from is None else Path(resume_from))
    if loop.weights == "best":
        fits.load_best()
    start = time.perf_counter()
    evaluate = getattr(trainer, loop.evaluate)
    results = evaluate(loop.model, datamodule=loop.datamodule, verbose=False)
    metrics = {name: float(value) for result in results for name, value in result.items()}
    seconds = {"fit": fit_seconds, "evaluate": time.perf_counter() - start}
    # Weights first: the event says that they are there.
    state = {"state_dict": whole(loop.model.state_dict()), "optimizer_states": fits.optimizer_states}
    state["scaler_state"] = fits.scaler_state
    fit = {"round": number, "digest": digest}
    on_rank_zero(trainer.strategy, lambda: campaign.save_state(state_file("weights", fit), state))
    campaign.record(
        trainer.strategy,
        "fitted",
        lambda: {
            **fit,
            "labelled": len(loop.pool.labelled),
            "spent": loop.pool.spent,
            "metrics": metrics,
            "seconds": seconds,
            "steps": _compat.steps(trainer),
        },
    )
    campaign.remove_old_states()


def _usable(checkpoint: Path, mark: dict[str, Any]) -> str | None:
    """Return the checkpoint of a killed round if it is of these labels and loads without running code."""
    if not checkpoint.is_file():
        return None
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        if state.get(MARK) != mark:
            return None  # labels came since, so the round starts over
    except Exception as error:
        log.warning("%s cannot be used (%s); round %d starts over.", checkpoint, error, mark["round"])
        return None
    return str(checkpoint)
