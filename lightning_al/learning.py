"""One round of learning: fit on what is labelled, evaluate, and put weights and metrics on disk."""

import logging
import time
from pathlib import Path
from typing import Any

import torch

from lightning_al import _compat
from lightning_al.campaign import state_file
from lightning_al.fitting import MARK
from lightning_al.session import Session
from lightning_al.weights import whole

log = logging.getLogger(__name__)


def fit_round(session: Session) -> None:
    """Fit on what is labelled and evaluate, unless that is done; then weights and metrics are on disk."""
    if session.is_fitted and session.fitted_now:
        return
    project, campaign, settings, fits = session.project, session.campaign, session.settings, session.fits
    trainer, model = project.trainer, project.model
    number, digest = campaign.next_round, campaign.label_digest
    project.data.check_training(len(session.pool.labelled))
    started = fits.round_checkpoint(number)
    mark = fits.mark(number, digest)
    campaign.ranks.first(campaign.check_writable)
    resume_from = None
    if not session.fitted_now:  # a killed fit of this round may be gone on with
        resume_from = campaign.ranks.first(lambda: _usable(started, mark))
    fit_seconds = fits.fit(number, digest=digest, resume_from=None if resume_from is None else Path(resume_from))
    if settings.weights == "best":
        fits.load_best()
    start = time.perf_counter()
    evaluate = getattr(trainer, settings.evaluate)
    results = evaluate(model, datamodule=project.data, verbose=False)
    metrics = {name: float(value) for result in results for name, value in result.items()}
    seconds = {"fit": fit_seconds, "evaluate": time.perf_counter() - start}
    # Weights first: the event says that they are there.
    state = {"state_dict": whole(model.state_dict()), "optimizer_states": fits.optimizer_states}
    state["scaler_state"] = fits.scaler_state
    fit = {"round": number, "digest": digest}
    campaign.ranks.first(lambda: campaign.save_state(state_file("weights", fit), state))
    campaign.record(
        "fitted",
        lambda: {
            **fit,
            "labelled": len(session.pool.labelled),
            "spent": session.pool.spent,
            "metrics": metrics,
            "seconds": seconds,
            "steps": _compat.steps(trainer),
        },
    )
    campaign.remove_old_states()
    session.fitted_now = True


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
