"""The callback that takes part in every fit: it seeds the epochs, and saves from where a killed fit goes on."""

import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import BatchSizeFinder, Checkpoint, LearningRateFinder, ModelPruning
from torch.utils.data import DataLoader

from lightning_al import _compat
from lightning_al.distributed.randomness import seed_global
from lightning_al.fitting.beside_weights import BesideWeights, put_changes
from lightning_al.inference.module_state import Flags, flags_of, set_flags
from lightning_al.storage.checkpoints import save_checkpoint
from lightning_al.storage.optimizers import OptimizerState, give_gathered

MARK = "lightning_al_round"
"""Under this name a checkpoint says of which round it is."""

BESIDE = "lightning_al_beside_weights"
"""Under this name a checkpoint has what the fit changed beside the weights."""

FLAGS = "lightning_al_flags"
"""Under this name a checkpoint says which parameters were trained, and which modules were in training mode."""


class RoundCallback(_compat.NoStepHooks, Checkpoint):
    """Seeds each epoch of one fit, and saves a checkpoint from which the fit goes on after a kill.

    A ``Checkpoint``, so that it runs after callbacks that may end the fit. A fit in which no batch gives a loss ends
    with an error.

    Args:
        seed: The campaign's seed.
        key: Which fit: with the seed it decides all draws of each epoch.
        path: Where the checkpoint is saved; None: nowhere.
        mark: What the checkpoint says of the round.
        seconds_between_saves: The least time from one checkpoint to the next.
        optimizer_states: What optimizers gathered in the fit before, if this one goes on with it.
        beside: What the module held beside its weights before the fit.
    """

    def __init__(
        self,
        *,
        seed: int,
        key: tuple[int | str, ...],
        path: Path | None = None,
        mark: dict[str, Any] | None = None,
        seconds_between_saves: float = 0.0,
        optimizer_states: list[OptimizerState] | None = None,
        beside: BesideWeights | None = None,
    ) -> None:
        self.seed = seed
        self.key = key
        self.path = path
        self.mark = mark or {}
        self.seconds_between_saves = seconds_between_saves
        self.optimizer_states = optimizer_states or []
        self.beside = beside
        self.began = False
        self.last_save = 0.0
        self.lossless: bool | None = None  # whether no batch gave a loss, once there was a batch

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the optimizers what those before gathered; the schedule, hence the learning rate, starts afresh."""
        self._give_gathered(trainer, pl_module)
        self.began = True
        self.last_save = time.monotonic()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seed the global generators, and give parameters that were thawed just now what was gathered for them."""
        self._give_gathered(trainer, pl_module)
        seed_global(self.seed, *self.key, "epoch", trainer.current_epoch, trainer.global_rank)

    def _give_gathered(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for optimizer, state in zip(trainer.optimizers, self.optimizer_states, strict=False):
            give_gathered(optimizer, state, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note whether there was a loss."""
        self.lossless = self.lossless is not False and pl_module.automatic_optimization and not outputs

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save a checkpoint if it is time to.

        Raises:
            RuntimeError: If no batch of the fit gave a loss.
        """
        if self.lossless:
            raise RuntimeError(
                f"`training_step` of {type(pl_module).__name__} returned None for every batch of the epoch, so nothing "
                "trained. Return the loss."
            )
        due = time.monotonic() - self.last_save >= self.seconds_between_saves
        if self.path is None or not trainer.strategy.broadcast(due, 0) or not _goes_on_exactly(trainer):
            return
        save_checkpoint(trainer, self.path)
        self.last_save = time.monotonic()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write into the checkpoint of which round it is, and what is not among the weights."""
        checkpoint[MARK] = self.mark
        changes = self.beside.changes() if self.beside is not None else {}
        if changes:
            checkpoint[BESIDE] = changes
        checkpoint[FLAGS] = flags_of(pl_module)._asdict()

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with what the fit had changed beside the weights; searches inside the fit load checkpoints too."""
        if not self.began:
            # Counting the steps in `configure_optimizers` makes the loader, whose workers fetch, before Lightning knows
            # the epoch.
            trainer.fit_loop.epoch_progress.load_state_dict(checkpoint["loops"]["fit_loop"]["epoch_progress"])
            put_changes(pl_module, checkpoint.get(BESIDE, {}))
            set_flags(pl_module, Flags(**checkpoint[FLAGS]))  # layers may have been thawed, and are frozen in `setup`


def _goes_on_exactly(trainer: pl.Trainer) -> bool:
    """Whether a fit resumed from a checkpoint of now would be the same; where not, a killed round starts over."""
    if trainer.should_stop:
        return False
    if any(config.reduce_on_plateau for config in trainer.lr_scheduler_configs):
        return False  # Lightning steps these after `on_train_epoch_end`: a resumed round would miss one step
    if trainer.max_steps != -1:
        return False  # Lightning then counts the epochs of a resumed fit otherwise, and the order follows from them
    # Checkpoints do not say what is pruned, and a search would begin again.
    if any(isinstance(c, (ModelPruning, LearningRateFinder, BatchSizeFinder)) for c in trainer.callbacks):
        return False
    if _compat.saves_folders(trainer):
        return False  # which cannot appear whole or not at all
    # The random state of persistent workers cannot be restored, nor the order of loaders beside the pool's.
    loader = trainer.train_dataloader
    return isinstance(loader, DataLoader) and not loader.persistent_workers
