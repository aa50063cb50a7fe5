"""One round of learning: fit on what is labelled, evaluate, and put weights and metrics on disk."""

import logging
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from lightning_al import _compat
from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.states import INITIAL_WEIGHTS, RESUME, state_file
from lightning_al.checks import first_line
from lightning_al.fitting.repeated import RepeatedFit
from lightning_al.fitting.round_callback import MARK
from lightning_al.loop.project import Project
from lightning_al.loop.session import Session
from lightning_al.loop.settings import Settings
from lightning_al.storage.weights import load_weights, whole, whole_copy

log = logging.getLogger(__name__)


def fit_round(session: Session) -> None:
    """Fit on what is labelled and evaluate, unless that is done; then weights and metrics are on disk."""
    if session.is_fitted and session.fitted_now:
        return
    project, campaign, settings, fits = session.project, session.campaign, session.settings, session.fits
    trainer, model = project.trainer, project.model
    number, digest = campaign.next_round, campaign.label_digest
    project.data.check_training(len(session.pool.labelled))
    started = fits.round_folder(number) / RESUME
    mark = {"round": number, "labels": digest}
    campaign.ranks.first(campaign.check_writable)
    resume_from: Path | None = None
    if not session.fitted_now:  # a killed fit of this round may be gone on with
        resume_from = campaign.ranks.first(lambda: _usable(started, mark))
    fit_seconds = fits.fit(number, checkpoint=started, mark=mark, resume_from=resume_from)
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


def _usable(checkpoint: Path, mark: dict[str, Any]) -> Path | None:
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
    return checkpoint


def begin_fits(
    project: Project, settings: Settings, campaign: Campaign, fits: RepeatedFit | None
) -> tuple[RepeatedFit, bool]:
    """Prepare the repeated fits, and give a resumed campaign the weights and counters it had.

    Args:
        project: Its model, datamodule and Trainer.
        settings: The loop's.
        campaign: The open campaign.
        fits: Those of an earlier call, if any; kept if they are of the same Trainer and model.

    Returns:
        The fits, and whether the model has the weights of the campaign's last fit.

    Raises:
        FileNotFoundError: If the weights are gone that the next round must start from.
    """
    trainer, model, data = project.trainer, project.model, project.data
    if fits is None or fits.trainer is not trainer or fits.model is not model:
        fits = RepeatedFit(trainer, model, data, reset=settings.reset, seed=settings.seed, dirpath=campaign.dirpath)
        counters = (campaign.last_fit or {}).get("steps")
        if counters is not None and _compat.steps(trainer)["optimizer"] == 0:
            _compat.restore_steps(trainer, counters, automatic=model.automatic_optimization)

    campaign.ranks.first(campaign.remove_old_states)
    initial = campaign.shared_state(INITIAL_WEIGHTS)
    if initial is None:
        raise FileNotFoundError(f"{campaign.dirpath / INITIAL_WEIGHTS} is missing. Restore it from a copy.")
    put_weights(model, initial, campaign.dirpath / INITIAL_WEIGHTS)
    fits.initial = initial["state_dict"]
    if campaign.last_fit is None:
        return fits, False
    name = state_file("weights", campaign.last_fit)
    last = campaign.shared_state(name)
    if last is None:
        if settings.reset in ("warm", "continue"):
            raise FileNotFoundError(
                f"{campaign.dirpath / name} is missing, and `reset={settings.reset!r}` goes on from these weights."
            )
        return fits, False
    put_weights(model, last, campaign.dirpath / name)
    fits.optimizer_states = last.get("optimizer_states")
    fits.scaler_state = last.get("scaler_state")
    return fits, True


def put_weights(model: pl.LightningModule, state: dict[str, Any], file: Path) -> None:
    """Load weights of the campaign, or say that they are another model's and leave the model as it was."""
    before = whole_copy(model.state_dict())
    try:
        load_weights(model, state["state_dict"])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        load_weights(model, before)  # some of it may have been loaded
        raise ValueError(
            f"{file} holds the weights of another model than this {type(model).__name__}. Go on with the model that "
            f"the campaign began with, or begin another in another `dirpath`. ({first_line(error)})"
        ) from None
