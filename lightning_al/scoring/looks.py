"""Samples that were picked, looked at: their classes by the model, and how far they are from others by its features."""

import math
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from lightning_al.acquisition.query import RowSource
from lightning_al.inference.shared_forward import shared_outputs
from lightning_al.scoring.pool_pass import rows_of
from lightning_al.scoring.subject import Subject
from lightning_al.tasks.base import Task

_BLOCK = 2**24  # distances at a time


class Look(RowSource):
    """The features of samples, and the classes that the model gives them, where there is one for each.

    Args:
        task: What a batch means.
    """

    def __init__(self, task: Task) -> None:
        self.task = task

    def rows(self, model: pl.LightningModule, batch: Any) -> dict[str, Tensor]:
        """Return ``"features"`` (B, d), and ``"class"`` (B,) where samples are of one class each."""
        outputs, features = shared_outputs(model, self.task.inputs(batch), self.task.outputs_and_features)
        rows = {"features": features.flatten(1).float() if features.dtype != torch.float64 else features.flatten(1)}
        predicted = self.task.pseudo_targets(outputs) if self.task.annotation_kind == "class" else None
        if isinstance(predicted, Tensor) and predicted.ndim == 1:
            rows["class"] = predicted.long()
        return rows


def looked_at(subject: Subject, indices: Tensor, *, seed: int) -> dict[str, Tensor]:
    """Return what :class:`Look` says of samples, on the first rank; nothing of models that it cannot say it of.

    Args:
        subject: What is scored.
        indices: Distinct dataset indices, the same on every rank.
        seed: Of what draws in the pass.
    """
    if "features" not in subject.task.gives or len(indices) == 0:
        return {}
    try:
        return rows_of(subject, Look(subject.task), indices, seed=seed)
    except (
        ValueError,
        TypeError,
    ):  # no layer has features, say; numbers to look at are all that needs them
        return {}


def mean_nearest(points: Tensor, others: Tensor | None = None) -> float:
    """Return the mean distance of points to the nearest of others, or to the nearest other one of themselves.

    Args:
        points: (N, d).
        others: (M, d); None: the points.

    Returns:
        NaN where there is nothing to be near to.

    Example:
        >>> mean_nearest(torch.tensor([[0.0], [1.0], [4.0]]))
        1.6666666666666667
        >>> mean_nearest(torch.tensor([[0.0], [1.0]]), torch.tensor([[3.0]]))
        2.5
    """
    to = points if others is None else others
    if len(points) == 0 or len(to) < (2 if others is None else 1):
        return math.nan
    total = 0.0
    step = max(_BLOCK // len(to), 1)
    for start in range(0, len(points), step):
        distances = torch.cdist(points[start : start + step].double(), to.double())
        if others is None:
            distances[torch.arange(len(distances)), torch.arange(len(distances)) + start] = torch.inf
        total += float(distances.amin(1).sum())
    return total / len(points)
