"""What stands in the Trainer for the user's datamodule: all theirs, but for the loaders of training and scoring."""

from typing import Any

import lightning.pytorch as pl

from lightning_al import _compat
from lightning_al.data.scored_data import ScoredData

_OF_THE_LOOP = {"prepare_data", "setup", "teardown", "train_dataloader", "predict_dataloader"}


class ForTrainer(pl.LightningDataModule):
    """The user's datamodule, as their module and callbacks see it at ``trainer.datamodule``.

    Only the hooks that prepare the data and the loaders that are trained and scored on are the loop's. Every other
    attribute is read from the user's and written to it, its class among them: what a tuner or a curriculum sets there
    reaches their datamodule, and ``isinstance(trainer.datamodule, TheirDataModule)`` holds.

    Args:
        data: The loop's, around the user's.

    Example:
        >>> from lightning_al.data.datamodule import ActiveDataModule
        >>> from lightning_al.tasks import ClassificationTask
        >>> class Data(pl.LightningDataModule):
        ...     batch_size = 4
        >>> users = Data()
        >>> seen = ForTrainer(ActiveDataModule(users, task=ClassificationTask()))
        >>> seen.batch_size = 8
        >>> isinstance(seen, Data), users.batch_size
        (True, 8)
    """

    def __init__(self, data: ScoredData) -> None:  # not the base's: it would set attributes of the user's
        object.__setattr__(self, "_data", data)

    def __getattribute__(self, name: str) -> Any:
        data: ScoredData = object.__getattribute__(self, "_data")
        if name == "__reduce_ex__":  # a copy, in another process, is one of this too
            return lambda protocol: (ForTrainer, (data,))
        return getattr(data if name in _OF_THE_LOOP else data.datamodule, name)

    def __setattr__(self, name: str, value: Any) -> None:
        data: ScoredData = object.__getattribute__(self, "_data")
        setattr(data.datamodule, name, value)

    def __delattr__(self, name: str) -> None:
        data: ScoredData = object.__getattribute__(self, "_data")
        delattr(data.datamodule, name)


def set_model_up(trainer: pl.Trainer, model: pl.LightningModule, data: ScoredData, stage: str) -> None:
    """Set a model up as at the start of a stage of its Trainer, whose data are set up: its layers may depend on them.

    Args:
        trainer: Is told of the data.
        model: The Trainer's.
        data: The loop's, begun.
        stage: ``"fit"`` or ``"predict"``.
    """
    _compat.attach(trainer, ForTrainer(data))
    model.setup(stage)
    _compat.configure_model(trainer)
