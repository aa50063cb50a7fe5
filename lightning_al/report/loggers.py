"""Numbers and pictures of rounds, each logger's own way."""

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from lightning_al.storage.files import atomic_write


@dataclass(frozen=True)
class Picture:
    """A picture of a round.

    Args:
        name: Under which loggers have all of its kind, as ``al/picks``.
        image: Of PIL.
        step: How much was labelled: where it stands among the others.
        file: Where it goes in the folder of a logger that takes no pictures.
    """

    name: str
    image: Any
    step: int
    file: str


def picture_of_figure(figure: Any) -> Any:
    """Return a figure of matplotlib's as an image of PIL."""
    from PIL import Image

    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    return Image.open(file).convert("RGB")


def log_numbers(logger: Logger, row: Mapping[str, float], step: int) -> None:
    """Put a row into a logger.

    Args:
        logger: Of the Trainer.
        row: Numbers by name, which all begin with ``al/``.
        step: How much was labelled.
    """
    if isinstance(logger, WandbLogger):
        # Its step would be that of the fit, which what others log without one would go on from.
        logger.experiment.define_metric("al/*", step_metric="al/labelled", step_sync=False)
        logger.log_metrics(dict(row))
    else:
        logger.log_metrics(dict(row), step=step)


def log_picture(logger: Logger, picture: Picture) -> None:
    """Put a picture into a logger, or as a PNG file into the folder of one that takes none."""
    way: Callable[[Any, Picture], None] = next(
        (way for kind, way in _WAYS.items() if isinstance(logger, kind)), _into_folder
    )
    way(logger, picture)


def _into_tensorboard(logger: TensorBoardLogger, picture: Picture) -> None:
    logger.experiment.add_image(picture.name, np.asarray(picture.image), picture.step, dataformats="HWC")


def _into_wandb(logger: WandbLogger, picture: Picture) -> None:
    import wandb

    log_numbers(logger, {picture.name: wandb.Image(picture.image), "al/labelled": picture.step}, picture.step)


def _into_mlflow(logger: MLFlowLogger, picture: Picture) -> None:
    logger.experiment.log_image(logger.run_id, picture.image, key=picture.name, step=picture.step)


def _into_folder(logger: Logger, picture: Picture) -> None:
    folder = getattr(logger, "log_dir", None) or logger.save_dir
    if folder is not None:
        with atomic_write(Path(folder) / picture.file) as file:
            picture.image.save(file, format="PNG")


_WAYS: dict[type, Callable[[Any, Picture], None]] = {
    TensorBoardLogger: _into_tensorboard,
    WandbLogger: _into_wandb,
    MLFlowLogger: _into_mlflow,
}
