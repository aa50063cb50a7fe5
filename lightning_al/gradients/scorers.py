"""The ways to score groups of samples: their base, and the plain loop that all others are held against."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lightning_al.gradients.differentiators import Differentiator, OneByOne, Params
from lightning_al.gradients.scored_model import ScoredModel
from lightning_al.gradients.tables import by_gradients_of_rows
from lightning_al.gradients.tape import Tape
from lightning_al.inference.calling import Around, call_with
from lightning_al.inference.entries import batch_size_of, slice_of

ModelFunction = Callable[[Params, Any], Any]
"""The model as a function of its trainable weights: ``call(params, inputs) -> outputs``."""
GroupScore = Callable[[Differentiator, ModelFunction, Params, Any], Tensor]
"""``score(differentiator, call, params, group)``: the scores of one group, (b,)."""
BatchScore = Callable[[Tape, Any], Tensor]
"""``score(tape, inputs)``: the scores of all groups of a batch, (b,)."""


class Scorer(ABC):
    """A way to score groups."""

    def __init__(self, model: ScoredModel) -> None:
        self.model = model

    @abstractmethod
    def groups_at_once(self, inputs: Any, group_size: int, max_bytes: int | None) -> int:
        """Return how many groups fit the byte budget."""

    @abstractmethod
    def __call__(self, inputs: Any, group_size: int) -> Tensor:
        """Return the scores of groups of one size, (b,)."""

    def instead(self, error: Exception) -> str:
        """Say what is done where this fails."""
        return ""


class OneAfterAnother(Scorer):
    """Scores one group after another: the plain loop that all other ways are held against."""

    def __init__(self, model: ScoredModel, score: GroupScore) -> None:
        super().__init__(model)
        self.score = score

    def groups_at_once(self, inputs: Any, group_size: int, max_bytes: int | None) -> int:
        """Return all of them: no more than one takes memory at a time."""
        return max(batch_size_of(inputs) // group_size, 1)

    def __call__(self, inputs: Any, group_size: int) -> Tensor:
        """Score the groups of ``inputs``."""
        return self._with_weights_of(self.model, inputs, group_size, OneByOne())

    def _with_weights_of(
        self, model: ScoredModel, inputs: Any, group_size: int, differentiator: Differentiator
    ) -> Tensor:
        """Score the groups with a model's weights: those of its own, or the same in another order in memory."""
        stops = range(group_size, batch_size_of(inputs) + 1, group_size)

        def score() -> Tensor:
            groups = (slice_of(inputs, stop - group_size, stop) for stop in stops)
            scores = [self.score(differentiator, model.call, model.params, group) for group in groups]
            return scores[0] if len(scores) == 1 else torch.cat([each if each.ndim else each[None] for each in scores])

        # Checkpointed blocks run again in the backward pass, when the weights of the call are no longer in place.
        weights = {name: p.detach().requires_grad_() for name, p in model.params.items()}
        tensors = {**model.fixed, **weights}

        def run() -> Tensor:
            scores: Tensor = call_with(Around(model.root), tensors, score, places=model.places)
            return scores

        return by_gradients_of_rows(model.root.model, inputs, group_size, run)
