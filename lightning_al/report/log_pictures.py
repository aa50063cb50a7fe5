"""The callback that puts pictures of each round into the Trainer's loggers."""

import math
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from lightning_al.campaign.results import RoundResult
from lightning_al.checks import check_count
from lightning_al.drawing.canvas import new_figure
from lightning_al.report.grid import Tile, grid
from lightning_al.report.loggers import Picture, log_picture, picture_of_figure
from lightning_al.report.page.samples import PoolSamples
from lightning_al.report.tables import thinned
from lightning_al.tasks.annotations import annotation_of
from lightning_al.words import first_line


class LogPictures(Callback):
    """Puts the picks of each round, and the learning curve, into the Trainer's loggers as pictures.

    Add it to ``Trainer(callbacks=[SAAL(), LogPictures()])``. The numbers of each round are in all loggers without it.
    Pictures are something to ask for: they are samples of yours, and some loggers send them elsewhere.

    TensorBoard, Weights & Biases and MLflow get them as ``al/picks`` and ``al/curve``, with what was labelled as step;
    for loggers that take no pictures, such as ``CSVLogger``, they are PNG files in the ``al/`` folder of their log
    folder. Boxes and masks are drawn into images, as far as labels are known when the question was asked: in simulated
    campaigns. Each finished round comes once, also where a campaign is ended and resumed. If a picture cannot be drawn
    or sent, a warning says why, and the campaign goes on.

    Args:
        samples: How many picks of a round are shown, evenly spread, in the order that they were picked.

    Raises:
        ValueError: If ``samples`` is less than 1.
        ImportError: If matplotlib is missing.

    Example:
        >>> from lightning_al.acquisition import Entropy
        >>> trainer = pl.Trainer(callbacks=[Entropy(), LogPictures(samples=8)], logger=False)
    """

    def __init__(self, samples: int = 16) -> None:
        check_count("samples", samples)
        new_figure()  # early, and not in the first round
        self.samples = samples

    def on_round_reported(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loop: Any, result: RoundResult
    ) -> None:
        """Draw a round that was finished, and hand the pictures to all loggers."""
        if not trainer.is_global_zero or not trainer.loggers:
            return
        for draw in (self._picks, self._curve):
            try:
                picture = draw(loop, result)
            except Exception as error:  # the user's data, of any kind: labels are more than their picture
                rank_zero_warn(f"No picture of round {result.round}: {first_line(error)}")
                continue
            if picture is not None:
                _hand_out(picture, trainer.loggers)

    def _picks(self, loop: Any, result: RoundResult) -> Picture | None:
        if not result.picked:
            return None
        places = thinned(list(range(len(result.picked))), self.samples)
        samples, campaign = PoolSamples(loop.datamodule, loop.task, loop.oracle.truth), loop.campaign
        classes = campaign.annotations.get("classes")
        tiles = []
        for place in places:
            unit = result.picked[place]
            annotation: Any = None
            if unit in campaign.labels:
                annotation = annotation_of(campaign.labels[unit], classes)
            elif loop.oracle.simulated:
                annotation = samples.own_label(unit, classes)
            part = campaign.regions.open_part(unit)
            tiles.append(
                Tile(
                    name=campaign.keys.get(unit) or f"index {unit}",
                    look=samples.look(unit),
                    annotation=annotation,
                    score=result.scores[place] if place < len(result.scores) else math.nan,
                    region=None if part is None else part.kept,
                )
            )
        few = f", {len(tiles)} of {len(result.picked)}" if len(tiles) < len(result.picked) else ""
        title = f"Round {result.round}: picked with {result.amount:,.0f} {result.counts}{few}"
        image = picture_of_figure(grid(tiles, classes, title))
        return Picture("al/picks", image, int(result.amount), f"al/picks/round_{result.round}.png")

    def _curve(self, loop: Any, result: RoundResult) -> Picture | None:
        history = loop.history[: result.round + 1]
        if not any(each.metrics for each in history):
            return None
        figure = new_figure(figsize=(6, 4))
        history.plot(ax=figure.add_subplot())
        return Picture("al/curve", picture_of_figure(figure), int(result.amount), "al/curve.png")


def _hand_out(picture: Picture, loggers: Sequence[Logger]) -> None:
    for logger in loggers:
        try:
            log_picture(logger, picture)
        except Exception as error:  # a full disk, a server that is away
            rank_zero_warn(f"{type(logger).__name__} did not take `{picture.name}`: {first_line(error)}")
