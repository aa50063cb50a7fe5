"""Samples without a decision, such as images without boxes, placed among the others once all are scored."""

import time
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from lightning_al.acquisition.base import Acquisition
from lightning_al.acquisition.query import Rows, RowSource
from lightning_al.inference.shared_forward import sharing_of
from lightning_al.tasks.base import Task

_WITHOUT = "without decisions"


class Placing(RowSource):
    """An acquisition's rows, with a note of which samples have no decision, where it gives scores.

    Args:
        acquisition: Bound to its task.
        task: Says which ones.
    """

    def __init__(self, acquisition: Acquisition, task: Task) -> None:
        self._acquisition, self._task = acquisition, task
        self.gathers = acquisition.gathers  # type: ignore[misc]
        self.shares = False
        """Whether it worked with forward passes of the model as it is, which others may share."""
        self.seconds = 0.0
        """That it took so far."""

    @property
    def sees_samples(self) -> bool:
        """As the acquisition's."""
        return self._acquisition.sees_samples

    @property
    def batch_multiple(self) -> int:
        """As the acquisition's."""
        return self._acquisition.batch_multiple

    @property
    def differentiates(self) -> bool:
        """As the acquisition's."""
        return self._acquisition.differentiates

    @property
    def name_in_errors(self) -> str:
        """As the acquisition's."""
        return self._acquisition.name_in_errors

    def begin_pass(self, indices: Tensor) -> None:
        """Hand it on."""
        self._acquisition.begin_pass(indices)

    def begin_batch(self, indices: Tensor) -> None:
        """Hand it on."""
        self._acquisition.begin_batch(indices)

    def rows(self, model: pl.LightningModule, batch: Any) -> dict[str, Tensor]:
        """Return the acquisition's rows, and the note."""
        shared = sharing_of(model)
        looks = 0 if shared is None else shared.looks
        start = time.perf_counter()
        rows = self._acquisition.rows(model, batch)
        self.seconds += time.perf_counter() - start
        self.shares = self.shares or (shared is not None and shared.looks > looks)
        if "score" not in rows or not self.gathers:
            return rows
        without = self._task.without_decisions(model, self._task.inputs(batch), rows["score"])
        return rows if without is None else {**rows, _WITHOUT: without}


def placed(rows: Rows, task: Task, draws: torch.Generator) -> Rows:
    """Return all candidates' rows, in whose scores each sample without a decision has its place."""
    if _WITHOUT not in rows:
        return rows
    drawn = torch.rand(len(rows["score"]), generator=draws)
    scores = task.placed(rows["score"], rows[_WITHOUT], drawn)
    return {**{name: values for name, values in rows.items() if name != _WITHOUT}, "score": scores}
