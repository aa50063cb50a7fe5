"""One round of learning: fit on what is labelled, evaluate, and put weights and metrics on disk."""

import contextlib
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import ModelPruning, WeightAveraging
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.events import Event
from lightning_al.campaign.results import LABELS, PIXELS
from lightning_al.campaign.states import INITIAL_WEIGHTS, KEPT, RESUME, state_file
from lightning_al.data.for_trainer import ForTrainer
from lightning_al.distributed.files import file_of_first
from lightning_al.fitting.beside_weights import put_changes
from lightning_al.fitting.repeated import RepeatedFit
from lightning_al.fitting.round_callback import FLAGS, MARK
from lightning_al.inference.bars import naming
from lightning_al.inference.mode import own_train_undone
from lightning_al.inference.module_state import flags_kept, modules_of
from lightning_al.inference.replaced import replaced
from lightning_al.loop.predict import files_of_predictions
from lightning_al.loop.project import STEPS, Project
from lightning_al.loop.session import Session
from lightning_al.loop.settings import Settings
from lightning_al.stages import stage as stage_of
from lightning_al.storage.checkpoints import beside_weights
from lightning_al.storage.weights import plain_name, put_weights, whole
from lightning_al.words import WITHOUT_METRICS

log = logging.getLogger(__name__)


def begin_round(session: Session) -> None:
    """Let Trainer and module be as before the first fit, unless the round is fitted; hooks of the round come after."""
    if not session.is_trained:
        session.fits.begin()


def fit_round(session: Session) -> None:
    """Fit on what is labelled and evaluate, unless that is done; then weights and metrics are on disk."""
    if session.is_trained:
        return
    campaign, fit = session.campaign, session.campaign.next_fit
    session.project.data.check_training(len(session.pool.labelled))
    campaign.ranks.first(campaign.check_writable)
    fit_seconds = _fit(session, fit)
    metrics, evaluate_seconds = _evaluate(session)
    _save_weights(session, fit)  # first: the event says that they are there
    campaign.record(
        "fitted",
        lambda: {
            **fit,
            "labelled": len(session.labelled),
            "spent": session.pool.spent,
            "counts": PIXELS if session.settings.asks_for_regions else LABELS,
            "metrics": metrics,
            "seconds": {"fit": fit_seconds, "evaluate": evaluate_seconds},
            "steps": session.fits.steps,
        },
    )
    _remove_old(campaign)
    session.note_fitted()


def _remove_old(campaign: Campaign) -> None:
    """Remove what neither the next round nor a question that is open needs."""
    campaign.states.remove_old(campaign.fits, campaign.next_fit, needed=files_of_predictions(campaign))


def _fit(session: Session, fit: Event) -> float:
    """Train, going on with a fit of these labels that was killed; return the seconds it took."""
    fits, number, digest = session.fits, fit["round"], fit["digest"]
    checkpoint, mark = fits.round_folder(number) / RESUME, {"round": number, "labels": digest}
    resume_from = session.campaign.ranks.first(lambda: _usable(checkpoint, mark))
    with contextlib.ExitStack() as stack:
        if resume_from is not None:
            resume_from = stack.enter_context(file_of_first(session.project.trainer.strategy, resume_from))
        with stage_of("fitting"):
            seconds = fits.fit(number, checkpoint=checkpoint, mark=mark, resume_from=resume_from)
    if session.settings.weights == "best":
        fits.load_best()
    return seconds


def _evaluate(session: Session) -> tuple[dict[str, float], float]:
    """Return the metrics of the model as it is, if any are asked for, and the seconds it took.

    Callbacks that would change its weights for it, or in it, take no part.
    """
    project, trainer, stage = session.project, session.project.trainer, session.settings.evaluate
    if stage is None:
        return {}, 0.0
    evaluate = getattr(trainer, stage)
    # Averages of the last weights would stand in for the best ones; the last ones are averages already.
    changing = (ModelPruning, WeightAveraging) if session.settings.weights == "best" else (ModelPruning,)
    callbacks = [callback for callback in trainer.callbacks if not isinstance(callback, changing)]
    start = time.perf_counter()
    # Callbacks that freeze layers do so for each stage, and samples are scored next.
    with (
        replaced(trainer, "callbacks", [*callbacks, *naming(trainer)]),
        own_train_undone(project.model),
        flags_kept(modules_of(project.model)),
        stage_of("evaluating"),
    ):
        results = evaluate(project.model, datamodule=ForTrainer(project.data), verbose=False)
    seconds = time.perf_counter() - start
    logged = trainer.callback_metrics  # the same, as the tensors that they were
    metrics = {name: _plain(value, logged.get(name)) for result in results for name, value in result.items()}
    if not metrics:
        rank_zero_warn(
            f'`evaluate="{stage}"` evaluated {type(project.model).__name__}, which logged nothing there, so the round '
            f"has no metrics and no curve can be drawn. Log some, with `self.log(name, value)` in `{STEPS[stage]}`; if "
            f"none are wanted, {WITHOUT_METRICS}."
        )
    return metrics, seconds


def _plain(value: float, logged: Tensor | None) -> float:
    """Return a metric of float32 as the shortest number that is it in float32: 0.6, and not 0.6000000238418579."""
    if logged is None or logged.dtype != torch.float32:
        return float(value)
    return float(str(np.float32(value)))


def _save_weights(session: Session, fit: Event) -> None:
    fits, states = session.fits, session.campaign.states
    model = {
        **beside_weights(session.project.model),
        "state_dict": whole(session.project.model.state_dict()),
        "beside": fits.end(),
        "frozen": [plain_name(name) for name, p in session.project.model.named_parameters() if not p.requires_grad],
    }
    optimizers = {"optimizer_states": fits.optimizer_states, "scaler_state": fits.scaler_state}

    def save() -> None:
        if session.settings.keep_weights:
            states.save(state_file(KEPT, fit), model)
        states.save(state_file("weights", fit), {**model, **optimizers})

    session.campaign.ranks.first(save)


def _usable(checkpoint: Path, mark: dict[str, Any]) -> Path | None:
    """Return the checkpoint of a killed round if it is of these labels and loads without running code."""
    if not checkpoint.is_file():
        return None
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        if state.get(MARK) != mark or FLAGS not in state:
            return None  # labels came since, or it lacks what it goes on from: the round starts over
    except Exception as error:
        log.warning("%s cannot be used (%s); round %d starts over.", checkpoint, error, mark["round"])
        return None
    return checkpoint


def begin_fits(
    project: Project, settings: Settings, campaign: Campaign, *, earlier: RepeatedFit | None = None
) -> RepeatedFit:
    """Prepare the repeated fits.

    Args:
        project: Its model, datamodule and Trainer.
        settings: The loop's.
        campaign: The open campaign.
        earlier: Those of an earlier launch; kept if they are of the same Trainer and model.
    """
    trainer, model = project.trainer, project.model
    if earlier is not None and earlier.trainer is trainer and earlier.model is model:
        earlier.go_by(reset=settings.reset, seed=settings.seed, dirpath=campaign.dirpath)
        return earlier
    return RepeatedFit(trainer, model, project.data, reset=settings.reset, seed=settings.seed, dirpath=campaign.dirpath)


def restore_weights(campaign: Campaign, fits: RepeatedFit) -> bool:
    """Give the model the weights that the campaign's next round starts from.

    Returns:
        Whether they are those of its last fit.

    Raises:
        FileNotFoundError: If the weights are gone that the next round must start from.
    """
    states = campaign.states
    campaign.ranks.first(lambda: _remove_old(campaign))
    initial = states.shared(INITIAL_WEIGHTS)
    if initial is None:
        raise FileNotFoundError(f"{campaign.dirpath / INITIAL_WEIGHTS} is missing. Restore it from a copy.")
    put_weights(fits.model, initial["state_dict"], campaign.dirpath / INITIAL_WEIGHTS)
    put_changes(fits.model, initial.get("buffers", {}))  # ledgers of before have none
    fits.restore(initial=initial["state_dict"])
    if campaign.last_fit is None:
        return False
    name = state_file("weights", campaign.last_fit)
    last = states.shared(name)
    if last is None:
        if fits.reset in ("warm", "continue"):
            raise FileNotFoundError(
                f"{campaign.dirpath / name} is missing, and `reset={fits.reset!r}` goes on from these weights."
            )
        return False
    put_weights(fits.model, last["state_dict"], campaign.dirpath / name)
    fits.restore(
        initial=initial["state_dict"],
        optimizer_states=last.get("optimizer_states"),
        scaler_state=last.get("scaler_state"),
    )
    fits.go_on_after(last.get("beside", {}), frozen=last.get("frozen"), steps=campaign.last_fit["steps"])
    return True
