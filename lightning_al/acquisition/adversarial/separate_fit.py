"""Fits beside the user's: a module of one's own, on the user's device, that leaves nothing behind."""

from collections.abc import Iterable
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import SingleDeviceStrategy

from lightning_al import _compat
from lightning_al.distributed.randomness import draws_undone, seed_global
from lightning_al.inference.bars import naming

PRECISIONS = ("64-true", "32-true", "16-mixed", "bf16-mixed")


def fit_separately(
    trainer: pl.Trainer, module: pl.LightningModule, batches: Iterable[Any], *, steps: int | None, seed: int
) -> None:
    """Fit ``module`` for one endless epoch with a Trainer of its own, in this process alone.

    The Trainer works on this process's device and in the precision of the user's, shows its progress in that one's bar,
    and logs and saves nothing. Where the user's weights are in half precision, this module keeps float32
    weights and uses mixed precision; other precisions of weights are not taken over. The random state is left as it
    was.

    Args:
        trainer: The user's.
        module: What is fitted. May end the fit by ``self.trainer.should_stop``.
        batches: What it is trained on, in order.
        steps: The number of batches; None: until the module ends the fit.
        seed: Of what is drawn from the global generators.
    """
    precision = str(trainer.precision)
    if precision in ("16-true", "bf16-true"):
        precision = precision.replace("true", "mixed")
    bars = [callback for callback in trainer.callbacks if isinstance(callback, ProgressBar)]
    with draws_undone(), _compat.quiet_infos():
        seed_global(seed)
        apart = pl.Trainer(
            accelerator=trainer.accelerator.name(),
            strategy=SingleDeviceStrategy(device=trainer.strategy.root_device),
            devices=1,
            # The user's processes are not this Trainer's, whoever launched them.
            plugins=[LightningEnvironment()],
            precision=precision if precision in PRECISIONS else "32-true",  # type: ignore[arg-type]
            max_epochs=1,
            limit_train_batches=1.0 if steps is None else steps,
            log_every_n_steps=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=bool(bars),
            callbacks=[*bars, *naming(trainer)],
            default_root_dir=trainer.default_root_dir,
        )
        apart.fit(module, train_dataloaders=batches)
    module.cpu()
