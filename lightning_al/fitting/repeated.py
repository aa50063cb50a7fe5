"""Repeated fits of one Trainer: every round starts afresh, and a killed round goes on where it was."""

import contextlib
import copy
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint, ModelSummary
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch.optim import Optimizer

from lightning_al import _compat
from lightning_al.campaign.states import RESUME
from lightning_al.distributed.randomness import seed_global
from lightning_al.fitting.hooks import MARK, keeps_its_state
from lightning_al.fitting.optimizers import optimizers_in
from lightning_al.fitting.reset import Reset, redraw_parameters
from lightning_al.inference.module_state import flags_of, set_flags
from lightning_al.storage.files import publish, written_or_told
from lightning_al.storage.weights import load_checkpoint, load_momentum, load_weights, whole_copy


class _RoundCallback(Checkpoint):
    """Seeds each epoch, guards the optimizers, and saves a checkpoint from which a killed round goes on.

    A ``Checkpoint``, so that it runs after callbacks that may end the fit.
    """

    def __init__(self, fits: "RepeatedFit") -> None:
        self.fits = fits
        self.key: tuple[int | str, ...] = (0,)
        self.path: Path | None = None
        self.mark: dict[str, Any] = {}
        self.optimizer_states: list[dict[str, Any]] | None = None
        self.last_save = 0.0
        self.lossless: bool | None = None  # whether no batch of this fit gave a loss, once there was one

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for optimizer, state in zip(trainer.optimizers, self.optimizer_states or [], strict=False):
            load_momentum(optimizer, state)  # the schedule, hence the learning rate, starts afresh
        self.last_save = time.monotonic()
        self.lossless = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        seed_global(self.fits.seed, *self.key, "epoch", trainer.current_epoch, trainer.global_rank)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.lossless = self.lossless is not False and pl_module.automatic_optimization and not outputs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.lossless:
            raise RuntimeError(
                f"`training_step` of {type(pl_module).__name__} returned None for every batch of the epoch, so nothing "
                "trained. Return the loss."
            )
        due = time.monotonic() - self.last_save >= self.fits.checkpoint_every_seconds
        if self.path is None or not trainer.strategy.broadcast(due, 0) or trainer.should_stop:
            return
        if any(c.reduce_on_plateau for c in trainer.lr_scheduler_configs):
            return  # Lightning steps these after this hook: a resumed round would miss one step
        if trainer.max_steps != -1:
            return  # Lightning then counts the epochs of a resumed fit otherwise, and the order follows from them
        if _compat.saves_folders(trainer):
            return  # which cannot appear whole or not at all; the round starts over instead
        loader = trainer.train_dataloader
        if getattr(loader, "persistent_workers", False):
            return  # their random state cannot be restored; the round starts over instead, exactly
        beside = self.path.with_name(self.path.name + ".tmp")
        with written_or_told(self.path, beside):
            if trainer.is_global_zero:
                beside.parent.mkdir(parents=True, exist_ok=True)
            trainer.save_checkpoint(beside, weights_only=False)
            if trainer.is_global_zero:
                with beside.open("rb+") as file:
                    os.fsync(file.fileno())
                publish(beside, self.path)
        trainer.strategy.barrier("round checkpoint")
        self.last_save = time.monotonic()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[MARK] = self.mark


class RepeatedFit:
    """Fits one Trainer again and again, each time as if it were new.

    Epochs, optimizers, schedulers, early stopping, checkpoints and other callbacks start afresh; ``global_step`` and
    the loggers' step go on growing. Callbacks are restored *in place* from a copy taken before the first round, so
    that the user's references to them stay valid. Callbacks that know of the rounds (they define ``on_round_start`` or
    its like and no ``state_dict``) are left alone.

    Args:
        trainer: The user's Trainer.
        model: The user's module, with the weights that round 0 starts from.
        datamodule: What is fitted on.
        reset: What each later round starts from.
        seed: The campaign's seed.
        dirpath: The campaign's folder, for checkpoints.
    """

    checkpoint_every_seconds = 60.0
    """The least time between two checkpoints inside a round."""

    def __init__(
        self,
        trainer: pl.Trainer,
        model: pl.LightningModule,
        datamodule: pl.LightningDataModule,
        *,
        reset: Reset,
        seed: int,
        dirpath: Path,
    ) -> None:
        self.trainer = trainer
        self.model = model
        self.datamodule = datamodule
        self.reset = reset
        self.seed = seed
        self.dirpath = dirpath
        self.initial = whole_copy(model.state_dict())
        self.flags = flags_of(model)
        self.optimizer_states: list[dict[str, Any]] | None = None
        self._optimizers: list[Optimizer] = []
        self._resumed = False
        self._checkpoints: list[Checkpoint] = []
        self._callback = _RoundCallback(self)
        self._scaler = getattr(trainer.precision_plugin, "scaler", None)
        self._scaler_state = copy.deepcopy(self._scaler.state_dict()) if self._scaler is not None else None
        # What callbacks may point at must stay itself, not become a copy.
        shared: list[Any] = [trainer, model, datamodule, getattr(datamodule, "datamodule", None), *trainer.callbacks]
        shared += [*trainer.loggers, *model.parameters(), *model.buffers(), *model.modules()]
        self._shared = {id(thing): thing for thing in shared if thing is not None}
        self._pristine: list[tuple[Callback, dict[str, Any]]] = []
        for callback in trainer.callbacks:
            if keeps_its_state(callback):
                continue
            try:
                self._pristine.append((callback, copy.deepcopy(callback.__dict__, dict(self._shared))))
            except (TypeError, UnpicklingError, AttributeError, RuntimeError) as error:
                rank_zero_warn(
                    f"{type(callback).__name__} cannot be copied ({error}), so its state is carried from round to "
                    "round. Give it an `on_round_start(trainer, pl_module, loop)` that resets it."
                )

    def round_folder(self, round_number: int) -> Path:
        """Return the folder of a round's checkpoints."""
        return self.dirpath / f"round_{round_number}"

    def round_checkpoint(self, round_number: int) -> Path:
        """Return the file from which a killed round goes on."""
        return self.round_folder(round_number) / RESUME

    def mark(self, round_number: int, digest: str) -> dict[str, Any]:
        """Return what tells a round's own checkpoint from others: its number and a hash of its labels."""
        return {"round": round_number, "labels": digest}

    def fit(self, round_number: int, *, digest: str, resume_from: Path | None = None) -> float:
        """Train one round and return its seconds.

        Args:
            round_number: Which round; 0 starts from the initial weights.
            digest: A hash of the labels that are trained on.
            resume_from: A checkpoint inside this round to go on from.

        Raises:
            RuntimeError: If nothing was trained, or the optimizer is of an earlier round.
        """
        set_flags(self.model, self.flags)  # a project may thaw layers as its epochs go by
        if resume_from is None:
            self._reset_weights(round_number)
        self.reset_trainer(self.round_folder(round_number), scaler=self.reset != "continue")
        self._callback.mark = self.mark(round_number, digest)
        self._callback.path = self.round_checkpoint(round_number)
        keep = self.reset == "continue" and resume_from is None
        self._callback.optimizer_states = self.optimizer_states if keep else None
        silenced = ModelSummary if round_number > 0 else ()
        callbacks = [c for c in self.trainer.callbacks if not isinstance(c, silenced)]
        seconds = self.train((round_number,), callbacks, quiet=round_number > 0, resume_from=resume_from)
        if self.reset == "continue":
            self.optimizer_states = [whole_copy(o.state_dict()) for o in self.trainer.optimizers]
        return seconds

    def train(
        self,
        key: tuple[int | str, ...],
        callbacks: list[Callback],
        *,
        quiet: bool = False,
        resume_from: Path | None = None,
    ) -> float:
        """Train from the weights that the model has and return the seconds it took.

        Args:
            key: With the campaign's seed it decides the order of the samples and all other draws.
            callbacks: The user's that take part.
            quiet: Leave out what Lightning says at every fit.
            resume_from: A checkpoint to go on from.

        Raises:
            RuntimeError: If nothing was trained, or the optimizer is of an earlier fit.
        """
        trainer = self.trainer
        self.datamodule.fit_key = key  # type: ignore[attr-defined]
        self._callback.key = key
        self._resumed = resume_from is not None
        before = _compat.steps(trainer)["optimizer"]
        given = trainer.callbacks
        trainer.callbacks = [*callbacks, self._callback]
        seed_global(self.seed, *key, "fit", trainer.global_rank)
        start = time.perf_counter()
        try:
            with (
                _compat.quiet_repetitions(quiet),
                _compat.same_schedule(trainer),
                _compat.step_limits_from_here(trainer) as raise_limits,
                self._guarded_optimizers(raise_limits),
            ):
                ckpt_path = None if resume_from is None else str(resume_from)
                trainer.fit(self.model, datamodule=self.datamodule, ckpt_path=ckpt_path, weights_only=True)
        finally:
            self._checkpoints = list(trainer.checkpoint_callbacks)  # also those of `configure_callbacks`
            trainer.callbacks = given
        seconds = time.perf_counter() - start
        if resume_from is None and _compat.steps(trainer)["optimizer"] == before:
            raise RuntimeError(
                f"Round {key[0]} trained 0 optimizer steps on {len(self.datamodule.pool.labelled)} labelled "
                "samples. Check `max_epochs`, `max_steps`, `max_time`, `limit_train_batches`, `drop_last`, and in "
                "manual optimization that `training_step` calls `optimizer.step()`."
            )
        return seconds

    def load_best(self) -> None:
        """Give the model the best weights of the last fit.

        Raises:
            RuntimeError: If no ``ModelCheckpoint`` saved any.
        """
        for callback in self._checkpoints:
            if isinstance(callback, ModelCheckpoint) and callback.monitor is not None and callback.best_model_path:
                # A resumed fit may have been told of any folder by its own checkpoint.
                load_checkpoint(self.model, Path(callback.best_model_path), trusted=not self._resumed)
                return
        raise RuntimeError(
            '`weights="best"`, but no `ModelCheckpoint` saved a best checkpoint in this round. Does it `monitor=` a '
            "metric that is logged in every round?"
        )

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Inside, fits are no rounds: what they do to the Trainer, its callbacks and counters is undone, not logged.

        Callbacks that are left alone between rounds are so here too.
        """
        trainer, strategy = self.trainer, self.trainer.strategy
        # Shallow is enough: `reset_trainer` puts other objects in their place.
        reset = [*(callback for callback, _ in self._pristine), *trainer.checkpoint_callbacks]
        callbacks = [(callback, dict(vars(callback))) for callback in reset]
        own = (self.optimizer_states, self._optimizers, self._checkpoints, self.datamodule.fit_key)  # type: ignore[attr-defined]
        scaler = copy.deepcopy(self.scaler_state)
        optimizers, schedulers = trainer.optimizers, strategy.lr_scheduler_configs
        loggers, should_stop = trainer.loggers, trainer.should_stop
        # The loggers of `fast_dev_run`, which take whatever a module does with its logger.
        trainer.loggers = [DummyLogger() for _ in loggers]
        self._callback.path = self._callback.optimizer_states = None
        try:
            with _compat.same_progress(trainer):
                yield
        finally:
            trainer.loggers, trainer.should_stop = loggers, should_stop
            trainer.optimizers, strategy.lr_scheduler_configs = optimizers, schedulers
            self.optimizer_states, self._optimizers, self._checkpoints, self.datamodule.fit_key = own  # type: ignore[attr-defined]
            if self._scaler is not None and scaler is not None:
                self._scaler.load_state_dict(scaler)
            for callback, state in callbacks:
                callback.__dict__.clear()
                callback.__dict__.update(state)

    def release(self) -> None:
        """Give checkpoint callbacks the folder back that the user gave them, for other runs of the Trainer."""
        for callback, state in self._pristine:
            if isinstance(callback, ModelCheckpoint):
                callback.dirpath = state.get("dirpath")

    def _reset_weights(self, round_number: int) -> None:
        if self.reset == "initial" or round_number == 0:
            load_weights(self.model, self.initial)
        elif self.reset == "fresh" or callable(self.reset):
            with torch.random.fork_rng():
                seed_global(self.seed, round_number, "reset")
                self.reset(self.model) if callable(self.reset) else redraw_parameters(self.model)

    def reset_trainer(self, folder: Path, *, scaler: bool) -> None:
        """Put the Trainer back to before its first fit, checkpoints below ``folder`` or one of its name.

        ``scaler``: the fp16 loss scaler too.
        """
        _compat.reset_epochs(self.trainer)
        for callback, state in self._pristine:
            callback.__dict__.clear()
            callback.__dict__.update(copy.deepcopy(state, dict(self._shared)))
        for callback in self.trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint):
                given = next((state.get("dirpath") for c, state in self._pristine if c is callback), None)
                callback.dirpath = str(folder / "checkpoints" if given is None else Path(given) / folder.name)
        if scaler and self._scaler is not None and self._scaler_state is not None:
            self._scaler.load_state_dict(self._scaler_state)

    @property
    def scaler_state(self) -> dict[str, Any] | None:
        """The state of the fp16 loss scaler, if there is one; ``reset="continue"`` goes on with it."""
        return None if self._scaler is None else self._scaler.state_dict()

    @scaler_state.setter
    def scaler_state(self, state: dict[str, Any] | None) -> None:
        if self._scaler is not None and state is not None and self.reset == "continue":
            self._scaler.load_state_dict(state)

    def _guarded_optimizers(self, raise_limits: Callable[[], None]) -> "_GuardedOptimizers":
        return _GuardedOptimizers(self, raise_limits)

    def check_optimizers(self, optimizers: list[Optimizer]) -> None:
        """Refuse optimizers that are not this round's own.

        Raises:
            RuntimeError: If one was used in an earlier round, is kept on the model, or trains other parameters.
        """
        ours = {id(p) for p in self.model.parameters()}
        kept = {id(value) for value in vars(self.model).values() if isinstance(value, Optimizer)}
        fix = (
            "Build the optimizer inside `configure_optimizers`, or let the module take an `OptimizerCallable`; on the "
            "command line run `lightning-al run`, which builds it afresh each round."
        )
        for optimizer in optimizers:
            if any(optimizer is old for old in self._optimizers) or id(optimizer) in kept:
                raise RuntimeError(
                    f"`configure_optimizers` returned the same {type(optimizer).__name__} object again: learning rate "
                    f"and momentum would run on from round to round. {fix}"
                )
            params = [p for group in optimizer.param_groups for p in group["params"]]
            if params and not any(id(p) in ours for p in params):
                raise RuntimeError(
                    f"`configure_optimizers` returned a {type(optimizer).__name__} that holds none of the model's "
                    f"parameters, so nothing would train. {fix}"
                )
        self._optimizers = optimizers


class _GuardedOptimizers:
    """While a fit runs, look at what the model's ``configure_optimizers`` returns."""

    def __init__(self, fits: RepeatedFit, raise_limits: Callable[[], None]) -> None:
        self.fits = fits
        self.raise_limits = raise_limits

    def __enter__(self) -> None:
        model = self.fits.model
        self.own = model.__dict__.get("configure_optimizers")
        if not _compat.is_overridden("configure_optimizers", model):
            self.raise_limits()
            return
        original = model.configure_optimizers

        def configure_optimizers() -> Any:
            configured = original()
            if configured is None and model.automatic_optimization:
                raise RuntimeError(
                    f"`configure_optimizers` of {type(model).__name__} returned None, so nothing would train. Return "
                    "an optimizer."
                )
            self.fits.check_optimizers(optimizers_in(configured))
            self.raise_limits()
            return configured

        model.configure_optimizers = configure_optimizers  # type: ignore[method-assign]

    def __exit__(self, *exc: object) -> None:
        model = self.fits.model
        model.__dict__.pop("configure_optimizers", None)
        if self.own is not None:
            model.configure_optimizers = self.own
