"""The Trainer that models are looked at with where the user brings none."""

import lightning.pytorch as pl

from lightning_al._compat import quiet_infos


def quiet_trainer(accelerator: str = "auto", *, progress: bool = False) -> pl.Trainer:
    """Return a Trainer on one device that writes and prints nothing, but for a progress bar if it is to have one."""
    with quiet_infos():
        return pl.Trainer(
            accelerator=accelerator,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=progress,
        )
