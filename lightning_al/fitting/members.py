"""Further fits of a round, beside its own: the same project trained again, and no trace left of it."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint, ModelSummary
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from lightning_al.acquisition.base import Acquisition
from lightning_al.distributed.randomness import seed_global
from lightning_al.fitting.repeated import RepeatedFit
from lightning_al.fitting.reset import not_redrawn, redraw_parameters
from lightning_al.inference.calling import tensors_of
from lightning_al.inference.module_state import set_flags
from lightning_al.storage.weights import load_weights, whole_copy


def refit(fits: RepeatedFit, round_number: int, member: int, *, weights: str, redraw: bool) -> dict[str, Tensor]:
    """Fit the user's model once more on what is labelled, and return its parameters and buffers.

    It goes through the user's Trainer, with callbacks, loaders and optimizers as in a round, but logs nothing and keeps
    no checkpoint. Afterwards model, Trainer and callbacks are as they were before. Runs on every rank.

    Args:
        fits: Those of the campaign.
        round_number: Which round.
        member: Which of its further fits, from 1. The order of the samples and all other draws follow from both.
        weights: Which weights of the fit: ``"last"``, or ``"best"`` of its ``ModelCheckpoint``.
        redraw: Begin with other random weights: ``reset_parameters`` of the layers, or the campaign's ``reset`` if that
            is a function. The same in every round, unless ``reset="fresh"``. If False, begin with the campaign's
            initial weights.
    """
    scratch = fits.round_folder(round_number) / f"member_{member}"
    trainer, model = fits.trainer, fits.model
    with isolate_rng(), _as_it_was(model), fits.aside():
        _begin(fits, round_number, member, redraw)
        fits.reset_trainer(scratch, scaler=True)
        with _checkpoints_in(scratch, model, keep=weights == "best") as take_part:
            callbacks = take_part(trainer.callbacks)
            fits.train((round_number, "member", member), callbacks, quiet=True)
        if weights == "best":
            fits.load_best()
            trainer.strategy.barrier("best of a member")  # others may be reading it
            if trainer.is_global_zero:
                shutil.rmtree(scratch)
        return tensors_of(model)


def _begin(fits: RepeatedFit, round_number: int, member: int, redraw: bool) -> None:
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
    seed_global(fits.seed, *((round_number,) if reset == "fresh" else ()), "member", member, "reset")
    redraw_parameters(model)


@contextlib.contextmanager
def _checkpoints_in(scratch: Path, model: pl.LightningModule, *, keep: bool) -> Iterator[Any]:
    """Leave checkpoint callbacks out, also those of the model's ``configure_callbacks``; or have them save elsewhere.

    Yields a function that picks the callbacks that take part.
    """

    def take_part(callbacks: Any) -> list[Callback]:
        found = []
        for callback in callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]:
            if isinstance(callback, Checkpoint):
                if not keep or not isinstance(callback, ModelCheckpoint) or callback.monitor is None:
                    continue
                callback.dirpath = str(scratch)
            elif isinstance(callback, (Acquisition, ModelSummary)):
                continue
            found.append(callback)
        return found

    shadowed = model.__dict__.get("configure_callbacks")
    original = model.configure_callbacks
    model.configure_callbacks = lambda: take_part(original())  # type: ignore[method-assign]
    try:
        yield take_part
    finally:
        del model.configure_callbacks
        if shadowed is not None:
            model.configure_callbacks = shadowed


@contextlib.contextmanager
def _as_it_was(model: pl.LightningModule) -> Iterator[None]:
    """Give the model its weights, buffers, gradients and flags back at the end."""
    state = whole_copy(model.state_dict())
    buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}  # also those not in the state
    flags = [(module, module.training) for module in model.modules()]
    parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    for p in model.parameters():
        p.grad = None
    try:
        yield
    finally:
        load_weights(model, state)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in buffers and buffer.shape == buffers[name].shape:
                    buffer.copy_(buffers[name])
        for module, training in flags:
            module.training = training
        for p, requires_grad, grad in parameters:
            p.requires_grad_(requires_grad)
            p.grad = grad
