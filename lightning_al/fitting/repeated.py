"""Repeated fits of one Trainer: every round starts afresh, and a killed round goes on where it was."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint, ModelSummary
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lightning_al import _compat
from lightning_al.data.datamodule import ActiveDataModule
from lightning_al.data.for_trainer import ForTrainer
from lightning_al.distributed.files import file_of_first
from lightning_al.distributed.randomness import draws_undone, seed_global
from lightning_al.fitting.beside_weights import BesideWeights, as_in, put_changes
from lightning_al.fitting.callbacks import RenewedCallbacks
from lightning_al.fitting.optimizers import OptimizerGuard
from lightning_al.fitting.reset import Reset, redraw_parameters
from lightning_al.fitting.round_callback import RoundCallback
from lightning_al.fitting.scaler import RenewedScaler
from lightning_al.inference.bars import naming
from lightning_al.inference.module_state import flags_of, set_flags
from lightning_al.inference.replaced import kept, replaced
from lightning_al.storage.optimizers import OptimizerState, gathered_by
from lightning_al.storage.weights import load_checkpoint, load_weights, names_of_others_known, plain_name, whole_copy


class RepeatedFit:
    """One Trainer, fitted again and again as if it were new.

    Epochs, steps, optimizers, schedulers, early stopping, checkpoints and other callbacks start afresh, and so does
    what the module holds beside its weights; the loggers' step goes on growing.

    Args:
        trainer: The user's Trainer.
        model: The user's module, with the weights that round 0 starts from.
        datamodule: What is fitted on.
        reset: What each later round starts from.
        seed: All draws follow from it, the round, and the rank.
        dirpath: A folder, for checkpoints.

    Attributes:
        initial: The weights that round 0 starts from.
        flags: Which parameters were trained, and which modules were in training mode, before the first fit.
        optimizer_states: What the optimizers of the last fit gathered, if ``reset="continue"``: for each optimizer, by
            the names of the parameters.
        steps_before: Optimizer steps of the fits before the present one.
    """

    checkpoint_every_seconds = 60.0
    """The least time between two checkpoints inside a round."""

    def __init__(
        self,
        trainer: pl.Trainer,
        model: pl.LightningModule,
        datamodule: ActiveDataModule,
        *,
        reset: Reset,
        seed: int,
        dirpath: Path,
    ) -> None:
        self.trainer = trainer
        self.model = model
        self.datamodule = datamodule
        self.go_by(reset=reset, seed=seed, dirpath=dirpath)
        self.initial = whole_copy(model.state_dict())
        self.flags = flags_of(model)
        self.optimizer_states: list[OptimizerState] | None = None
        self.steps_before = 0
        self._beside: BesideWeights | None = None  # before the last fit; what it became in it
        self._beside_after: dict[str, Any] | None = None
        self._resumed = False
        self._told = False
        self._checkpoints: list[Checkpoint] = []
        self._optimizers = OptimizerGuard(model)
        parts = [*model.parameters(), *model.buffers(), *model.modules()]
        self._callbacks = RenewedCallbacks(trainer, [datamodule, datamodule.datamodule, *trainer.loggers, *parts])
        self._scaler = RenewedScaler(trainer)

    def go_by(self, *, reset: Reset, seed: int, dirpath: Path) -> None:
        """Take what may be another in each launch; arguments as of the class."""
        self.reset = reset
        self.seed = seed
        self.dirpath = dirpath

    def round_folder(self, round_number: int) -> Path:
        """Return the folder of a round's checkpoints."""
        return self.dirpath / f"round_{round_number}"

    def fit(
        self, round_number: int, *, checkpoint: Path, mark: dict[str, Any], resume_from: Path | None = None
    ) -> float:
        """Train one round, after :meth:`begin`, and return its seconds.

        Args:
            round_number: Which round; 0 starts from the initial weights.
            checkpoint: Where the round saves from what it goes on after a kill.
            mark: What that file says of the round, to be told from others.
            resume_from: A checkpoint inside this round to go on from.

        Raises:
            RuntimeError: If nothing was trained, or the optimizer is of an earlier round.
        """
        if resume_from is None:
            self._reset_weights(round_number)
        self._beside, self._beside_after = BesideWeights(self.model), None
        self.reset_trainer(self.round_folder(round_number), scaler=self.reset != "continue")
        round_callback = RoundCallback(
            seed=self.seed,
            key=(round_number,),
            path=checkpoint,
            mark=mark,
            seconds_between_saves=self.checkpoint_every_seconds,
            optimizer_states=self.optimizer_states if self.reset == "continue" else None,
            beside=self._beside,
        )
        silenced = ModelSummary if round_number > 0 else ()
        callbacks = [c for c in self.trainer.callbacks if not isinstance(c, silenced)]
        seconds = self.train(round_callback, callbacks, resume_from=resume_from)
        keeps = self.reset == "continue"
        self.optimizer_states = (
            [gathered_by(optimizer, self.model) for optimizer in self.trainer.optimizers] if keeps else None
        )
        return seconds

    def begin(self) -> None:
        """Let Trainer and module be as before the first fit, except for weights and for what was set since the last."""
        set_flags(self.model, self.flags)  # a project may thaw layers as its epochs go by
        self._renew_counters()
        if self._beside is not None:
            self._beside.put_back(self._beside_after)
            self._beside = None

    def end(self) -> dict[str, Any]:
        """Take note that a round's fit and its evaluation are over; return what they changed beside the weights.

        What anybody sets on the module from now on stays so in the next fit.
        """
        if self._beside is None:
            return {}
        self._tell_what_goes_on(self._beside.changed_objects())
        self._beside_after = self._beside.present()
        return self._beside.changes()

    def _tell_what_goes_on(self, names: list[str]) -> None:
        if names and not self._told:
            self._told = True
            shown = ", ".join(names[:5]) + ", ..." * (len(names) > 5)
            rank_zero_info(
                f"A fit changed what is in {shown} of {type(self.model).__name__}. Lists, dicts and other objects are "
                "left alone and go on so in the next round: make those that are no records anew in `on_fit_start`."
            )

    def go_on_after(self, changes: dict[str, Any], *, frozen: Sequence[str] | None, steps: dict[str, int]) -> None:
        """Give module and Trainer back what the last fit left of them, beside the weights.

        Args:
            changes: What :meth:`end` returned.
            frozen: The parameters that were frozen then; None: not known.
            steps: As :attr:`steps` were. The step that loggers use does not go back in a Trainer that was used since.
        """
        if self._beside is not None:
            self._beside.put_back(self._beside_after)
        self._beside = BesideWeights(self.model)
        put_changes(self.model, changes)
        self._beside_after = self._beside.present()
        for name, parameter in self.model.named_parameters():
            if frozen is not None and parameter.requires_grad == (plain_name(name) in frozen):
                parameter.requires_grad_(plain_name(name) not in frozen)
        in_round = steps.get("round", 0)  # which ledgers of before do not say
        self.steps_before = steps["optimizer"] - in_round
        logged, automatic = max(steps["logged"], _compat.logged_step(self.trainer)), self.model.automatic_optimization
        _compat.restore_steps(self.trainer, logged=logged, optimizer=in_round, automatic=automatic)

    @property
    def steps(self) -> dict[str, int]:
        """Optimizer steps of all fits and of the present one, and the step that loggers use."""
        present = self.trainer.global_step
        return {
            "optimizer": self.steps_before + present,
            "round": present,
            "logged": _compat.logged_step(self.trainer),
        }

    def train(
        self,
        round_callback: RoundCallback,
        callbacks: Sequence[Callback],
        *,
        resume_from: Path | None = None,
    ) -> float:
        """Train from the weights that the model has and return the seconds it took.

        Args:
            round_callback: This fit's own. Its key decides, with the seed, the order of the samples and all draws.
            callbacks: The user's that take part.
            resume_from: A checkpoint to go on from.

        Raises:
            RuntimeError: If nothing was trained, or the optimizer is of an earlier fit.
        """
        trainer, key = self.trainer, round_callback.key
        self.datamodule.begin_fit(key)
        self._resumed = resume_from is not None
        with replaced(trainer, "callbacks", [*callbacks, *naming(trainer), round_callback]):
            seed_global(self.seed, *key, "fit", trainer.global_rank)
            start = time.perf_counter()
            try:
                with (
                    _compat.same_options(trainer),
                    self._optimizers.watching(),
                    names_of_others_known(self.model),
                ):
                    ckpt_path = None if resume_from is None else str(resume_from)
                    trainer.fit(
                        self.model, datamodule=ForTrainer(self.datamodule), ckpt_path=ckpt_path, weights_only=True
                    )
            finally:
                self._checkpoints = list(trainer.checkpoint_callbacks)  # also those of `configure_callbacks`
        seconds = time.perf_counter() - start
        if resume_from is None and trainer.global_step == 0:
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
                with file_of_first(self.trainer.strategy, Path(callback.best_model_path)) as file:
                    load_checkpoint(self.model, file, trusted=not self._resumed)
                return
        raise RuntimeError(
            '`weights="best"`, but no `ModelCheckpoint` saved a best checkpoint in this round. Does it `monitor=` a '
            "metric that is logged in every round?"
        )

    def reset_trainer(self, folder: Path, *, scaler: bool) -> None:
        """Put the Trainer back to before its first fit, checkpoints below ``folder`` or one of its name.

        ``scaler``: the fp16 loss scaler too.
        """
        self._renew_counters()
        self._callbacks.renew(folder)
        if scaler:
            self._scaler.renew()

    def release(self) -> None:
        """Leave the Trainer to others: checkpoint callbacks have the folder again that the user gave them."""
        self._callbacks.release()
        self._scaler.release()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Undo what fits inside do to the Trainer, its callbacks and counters, and log nothing of them.

        Callbacks that are left alone between rounds are so here too.
        """
        trainer = self.trainer
        scaler_state = self.scaler_state
        with (
            kept(trainer, "loggers", "should_stop", "optimizers"),
            kept(trainer.strategy, "lr_scheduler_configs"),
            kept(self, "optimizer_states", "steps_before", "_checkpoints"),
            kept(self._optimizers, "last"),
            kept(self.datamodule, "fit_key"),
            self._callbacks.kept(),
            _compat.same_progress(trainer),
            as_in(self.model, self._beside),
        ):
            # The loggers of `fast_dev_run`, which take whatever a module does with its logger.
            trainer.loggers = [DummyLogger() for _ in trainer.loggers]
            try:
                yield
            finally:
                self._scaler.load(scaler_state)

    @property
    def scaler_state(self) -> dict[str, Any] | None:
        """The state of the fp16 loss scaler, if there is one; ``reset="continue"`` goes on with it."""
        return self._scaler.state

    def restore(
        self,
        *,
        initial: dict[str, Any],
        optimizer_states: list[OptimizerState] | None = None,
        scaler_state: dict[str, Any] | None = None,
    ) -> None:
        """Begin, or go on as after a fit of an earlier launch; the model has its weights already.

        Args:
            initial: The weights that round 0 started from, or will.
            optimizer_states: What the optimizers had gathered after that fit; None: there was none.
            scaler_state: That of the fp16 loss scaler then; None: as before the first fit.
        """
        self.initial = initial
        self.optimizer_states = optimizer_states
        self.steps_before = -self.trainer.global_step  # what was trained before is no step of these fits
        if self.reset == "continue":
            self._scaler.renew()
            self._scaler.load(scaler_state)

    def _renew_counters(self) -> None:
        self.steps_before += self.trainer.global_step
        _compat.renew_counters(self.trainer)

    def _reset_weights(self, round_number: int) -> None:
        # Fresh weights need it too: what is not drawn (frozen layers, thawed since, and buffers) is as it was at first.
        if self.reset in ("initial", "fresh") or round_number == 0:
            load_weights(self.model, self.initial)
        if round_number > 0 and (self.reset == "fresh" or callable(self.reset)):
            with draws_undone():
                key = self.seed, round_number, "reset"
                seed_global(*key)
                self.reset(self.model) if callable(self.reset) else redraw_parameters(self.model, *key)
