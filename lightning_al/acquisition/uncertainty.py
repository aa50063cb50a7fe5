"""Uncertainty sampling: the scores of one forward pass."""

from collections.abc import Callable
from functools import partial
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from lightning_al.acquisition.base import Acquisition
from lightning_al.functional.scores.regions import labels_and_entropies
from lightning_al.functional.scores.uncertainty import entropies, least_confidences, margins
from lightning_al.inference.shared_forward import shared_outputs
from lightning_al.tasks.base import Task


def _scores(task: Task, model: pl.LightningModule, batch: Any, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Score in full precision even under autocast: rounded to bfloat16's 8 bits, logits would tie by the hundred."""
    scores: Tensor = shared_outputs(model, task.inputs(batch), partial(task.score, score=score))
    return scores


def _maps(task: Task, model: pl.LightningModule, batch: Any, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Score each position, in full precision even under autocast."""
    maps: Tensor = shared_outputs(model, task.inputs(batch), lambda model, inputs: score(task.logits(model, inputs)))
    return maps


class Entropy(Acquisition):
    r"""Largest predictive entropy :math:`-\sum_c p_c \log p_c`; see :func:`lightning_al.functional.entropy`.

    Args:
        selection: ``"top"``, ``"badge"`` or ``"kmeans++"`` (SAAL's Table 6 runs both).
    """

    def __init__(self, selection: str = "top") -> None:
        super().__init__(selection=selection)

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return the entropy of each sample in nats, (B,)."""
        return _scores(self.task, model, batch, entropies)

    def pixel_scores(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return the entropy of each pixel in nats, (B, H, W)."""
        return _maps(self.task, model, batch, lambda logits: labels_and_entropies(logits)[1])


class LeastConfidence(Acquisition):
    r"""Smallest top probability, :math:`1 - \max_c p_c`; see :func:`lightning_al.functional.least_confidence`.

    Args:
        selection: ``"top"``, ``"kmeans++"`` or ``"badge"``.
    """

    def __init__(self, selection: str = "top") -> None:
        super().__init__(selection=selection)

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return one minus the largest probability of each sample, (B,)."""
        return _scores(self.task, model, batch, least_confidences)

    def pixel_scores(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return one minus the largest probability of each pixel, (B, H, W)."""
        return _maps(self.task, model, batch, least_confidences)


class Margin(Acquisition):
    r"""Smallest gap of the two largest probabilities; see :func:`lightning_al.functional.margin`.

    Args:
        selection: ``"top"`` or ``"kmeans++"``.
    """

    never_negative = False

    def __init__(self, selection: str = "top") -> None:
        super().__init__(selection=selection)

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return minus the margin of each sample, (B,)."""
        return _scores(self.task, model, batch, margins)

    def pixel_scores(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return minus the margin of each pixel, (B, H, W)."""
        return _maps(self.task, model, batch, margins)
