"""Further fits of a round, the members of a committee: the same project trained again, and no trace left of it."""

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint, ModelSummary
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from lightning_al.acquisition.base import Acquisition
from lightning_al.distributed.randomness import draws_undone, seed_global
from lightning_al.fitting.repeated import RepeatedFit
from lightning_al.fitting.reset import not_redrawn, redraw_parameters
from lightning_al.fitting.round_callback import RoundCallback
from lightning_al.inference.calling import tensors_of
from lightning_al.inference.module_state import flags_kept, gradients_kept, modules_of, set_flags, weights_kept
from lightning_al.inference.replaced import replaced
from lightning_al.stages import stage
from lightning_al.storage.weights import load_weights


def refit(fits: RepeatedFit, round_number: int, member: int, *, weights: str, redraw: bool) -> dict[str, Tensor]:
    """Fit the user's model once more on what is labelled, and return its parameters and buffers.

    It goes through the user's Trainer, with callbacks, loaders and optimizers as in a round, but logs nothing and keeps
    no checkpoint. Afterwards model, Trainer and callbacks are as they were before. Runs on every rank.

    Args:
        fits: The rounds' own fits.
        round_number: Which round.
        member: Which of its further fits, from 1. The order of the samples and all other draws follow from both.
        weights: Which weights of the fit: ``"last"``, or ``"best"`` of its ``ModelCheckpoint``.
        redraw: Begin with other random weights: ``reset_parameters`` of the layers, or the campaign's ``reset`` if that
            is a function. The same in every round, unless ``reset="fresh"``. If False, begin with the campaign's
            initial weights.
    """
    trainer, model = fits.trainer, fits.model
    folder = fits.round_folder(round_number) / f"member_{member}"
    choose = partial(_taking_part, folder=folder if weights == "best" else None)
    with draws_undone(), weights_kept(model), flags_kept(modules_of(model)), gradients_kept(model), fits.aside():
        for parameter in model.parameters():
            parameter.grad = None
        _set_first_weights(fits, round_number, member, redraw)
        fits.reset_trainer(folder, scaler=True)
        configured = model.configure_callbacks
        with replaced(model, "configure_callbacks", lambda: choose(configured())):
            round_callback = RoundCallback(seed=fits.seed, key=(round_number, "member", member))
            with stage(f"member {member}"):
                fits.train(round_callback, choose(trainer.callbacks))
        if weights == "best":
            fits.load_best()
            trainer.strategy.barrier("best of a member")  # others may be reading it, in pieces
            if trainer.is_global_zero:
                shutil.rmtree(folder)
        return tensors_of(model)


def _set_first_weights(fits: RepeatedFit, round_number: int, member: int, redraw: bool) -> None:
    model, reset = fits.model, fits.reset
    set_flags(model, fits.flags)
    load_weights(model, fits.initial)
    if not redraw:
        return
    if callable(reset):
        seed_global(fits.seed, round_number, "member", member, "reset")
        reset(model)
        return
    missing = not_redrawn(model)
    if missing and member == 1:
        trained = sum(p.requires_grad for p in model.parameters())
        rank_zero_warn(
            f"{len(missing)} of {trained} trained parameters begin with the same values in every member of the "
            "committee, since no `reset_parameters()` of a module that holds them draws them: "
            f"{', '.join(missing[:10])}. The order of the samples, and dropout, differ. Add a `reset_parameters()`, or "
            "pass the loop a function of the model as `reset=`."
        )
    key = fits.seed, *((round_number,) if reset == "fresh" else ()), "member", member, "reset"
    seed_global(*key)
    redraw_parameters(model, *key)


def _taking_part(callbacks: Callback | Sequence[Callback], folder: Path | None) -> list[Callback]:
    """Return the callbacks that take part in a further fit.

    Of those that save checkpoints only the ones that find the best do, and save in ``folder``; without one, none does.
    """
    taking_part = []
    for callback in callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]:
        if isinstance(callback, Checkpoint):
            if folder is None or not isinstance(callback, ModelCheckpoint) or callback.monitor is None:
                continue
            callback.dirpath = str(folder)
        elif isinstance(callback, (Acquisition, ModelSummary)):
            continue
        taking_part.append(callback)
    return taking_part
