"""Scores of several predictions of real values, whoever makes them: passes with dropout, or members of a committee."""

from collections.abc import Callable
from typing import Any, NamedTuple

import lightning.pytorch as pl
from torch import Tensor

from lightning_al.functional.scores.real_values import model_change, prediction_variances
from lightning_al.inference.shared_forward import shared_outputs
from lightning_al.tasks.base import Task


class ValueScore(NamedTuple):
    """A score of several predictions of real values.

    Attributes:
        requires: What it needs of the model, in the words of ``Acquisition.requires``.
        of: ``of(task, model, batch, values)``, of predictions (B, K, ...), gives scores (B,).
    """

    requires: frozenset[str]
    of: Callable[[Task, pl.LightningModule, Any, Tensor], Tensor]


def _variance(task: Task, model: pl.LightningModule, batch: Any, values: Tensor) -> Tensor:
    return task.reduce(prediction_variances(values))


def _model_change(task: Task, model: pl.LightningModule, batch: Any, values: Tensor) -> Tensor:
    own, features = shared_outputs(model, task.inputs(batch), task.outputs_and_features)
    return model_change(values, own, features)


VALUE_SCORES = {
    "variance": ValueScore(frozenset({"values"}), _variance),
    "model_change": ValueScore(frozenset({"values", "features"}), _model_change),
}
