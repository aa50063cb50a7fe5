"""Scores of many groups at once through ``torch.func``, once the first groups have shown that they are right."""

import logging
from collections.abc import Hashable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.utils import _pytree as pytree

from lightning_al.distributed.randomness import draws_undone
from lightning_al.gradients.comparisons import Comparisons, check_same, standing_of
from lightning_al.gradients.differentiators import Vectorized, fallbacks_unsaid, tensors_apart
from lightning_al.gradients.errors import NoRule, NothingToCompare
from lightning_al.gradients.example_groups import groups_at, groups_that_differ
from lightning_al.gradients.keys import input_key
from lightning_al.gradients.loop import PlainLoop
from lightning_al.gradients.scored_model import ScoredModel, floats_in_double
from lightning_al.gradients.scorers import GroupScore, OneAfterAnother, Scorer
from lightning_al.inference.entries import batch_size_of, slice_of
from lightning_al.inference.memory import is_out_of_memory, saved_bytes
from lightning_al.inference.module_state import attributes_kept, modules_of

log = logging.getLogger(__name__)

MAX_GROUPS = 128  # more at once brings no speed

_ACTIVATIONS: WeakKeyDictionary[nn.Module, dict[Hashable, int]] = WeakKeyDictionary()


class ByTorchFunc(Scorer):
    """Scores many groups at once through ``torch.func.vmap``.

    Args:
        model: The model.
        score: The score of one group.
        copies: How many copies of the weights it holds.
        key: Tells the model as it is, its options and the score from others.
    """

    def __init__(self, model: ScoredModel, score: GroupScore, copies: int, key: Hashable) -> None:
        super().__init__(model)
        self.score = score
        self.copies = copies
        self._alone = PlainLoop(model, score, key=key)
        self._standing = standing_of(model, ("torch.func", key))
        self._comparisons = Comparisons(
            "torch.func", model, score=score, model_inputs=lambda inputs: inputs, standing=self._standing
        )

    def groups_at_once(self, inputs: Any, group_size: int, max_bytes: int | None) -> int:
        """Return how many groups fit into the memory."""
        if self._standing.refused:
            raise NoRule(self._standing.refused)
        per_group = self.copies * self.model.bytes + self._activations(inputs, group_size)
        return int(min(max(self.model.budget(max_bytes) // per_group, 1), max(MAX_GROUPS // group_size, 1)))

    def _activations(self, inputs: Any, group_size: int) -> int:
        """Return about how many bytes one group keeps for its gradient beside the weights; looked at once a model."""
        known = _ACTIVATIONS.setdefault(self.model.root.model, {})
        key = group_size, tuple(map(input_key, pytree.tree_leaves(inputs)))
        if key not in known:
            with draws_undone(), saved_bytes(self.model.params.values()) as saved:
                OneAfterAnother(self.model, self.score)(slice_of(inputs, 0, group_size), group_size)
            known[key] = saved.total
        return known[key]

    def __call__(self, inputs: Any, group_size: int) -> Tensor:
        """Score the groups of ``inputs``."""
        if batch_size_of(inputs) == group_size:  # nothing to gain, and large weights need not be copied
            return self._alone(inputs, group_size)
        kind = group_size, tuple(map(input_key, pytree.tree_leaves(inputs)))
        if kind in self._standing.failed:
            raise NoRule(self._standing.failed[kind])
        try:
            self._prove(inputs, group_size)
            scores = self._vectorized(self.model, inputs, group_size)
        except Exception as error:  # tracing costs as much as scoring: it is not tried with every batch
            if not is_out_of_memory(error):
                self._standing.failed[kind] = str(error) or type(error).__name__
            raise
        self._comparisons.check(scores, inputs, group_size)
        return scores

    def _vectorized(self, model: ScoredModel, inputs: Any, group_size: int) -> Tensor:
        tensors, rebuild = tensors_apart(slice_of(inputs, 0, batch_size_of(inputs), (-1, group_size)))

        # vmap takes tensors only; what else is in the inputs (None, flags) is the same for all.
        def one(*group: Tensor) -> Tensor:
            return self.score(Vectorized(), model.call, model.params, rebuild(group))

        with fallbacks_unsaid():
            scores: Tensor = vmap(one)(*tensors)
        return scores.flatten(0, 1) if scores.ndim > 1 else scores  # (groups, samples, ...)

    def _prove(self, inputs: Any, group_size: int) -> None:
        """Compare the first groups of a kind with the plain loop.

        Raises:
            NoRule: If they differ.
        """
        kind = group_size, tuple(map(input_key, pytree.tree_leaves(inputs)))
        if kind in self._standing.proved:
            return
        model = self.model
        fit = model.budget(None) // (2 * self.copies * model.bytes)  # in float64
        starts = groups_that_differ(inputs, group_size)[: max(fit, 2)]
        samples = groups_at(inputs, group_size, starts)
        try:
            check_same(*self._both_ways(samples, group_size, in_float64=fit >= 2), differentiated=False)
        except NothingToCompare:  # other samples may tell
            return
        except NoRule as error:
            self._standing.refused = f"by it {error}"
            raise NoRule(self._standing.refused) from None
        self._standing.proved.add(kind)

    def _both_ways(self, samples: Any, group_size: int, *, in_float64: bool) -> tuple[Tensor, Tensor, float]:
        """Return scores through ``torch.func`` and by the plain loop, and how they may differ."""
        model = self.model
        if in_float64:
            try:
                with attributes_kept(modules_of(model.root)):
                    double = pytree.tree_map_only(Tensor, floats_in_double, samples)
                    return *self._scores_of(model.in_double(), double, group_size), 1e-7
            except Exception as error:  # a model or device that insists on its own precision
                if is_out_of_memory(error):
                    raise
                log.debug("Not compared in float64: %s", error)
        vectorized, plain = self._scores_of(model, samples, group_size)
        return vectorized, plain, 1e-7 if plain.dtype == torch.float64 else 2e-3

    def _scores_of(self, model: ScoredModel, samples: Any, group_size: int) -> tuple[Tensor, Tensor]:
        vectorized = self._vectorized(model, samples, group_size)  # first: what fails costs no loop beside it
        alone, count = OneAfterAnother(model, self.score), batch_size_of(samples)
        plain = [alone(slice_of(samples, i, i + group_size), group_size) for i in range(0, count, group_size)]
        return vectorized.detach().flatten(), torch.cat(plain).detach().flatten()

    def instead(self, error: Exception) -> str:
        """Say what is done where ``torch.func`` fails."""
        return f"torch.func cannot vectorize this model ({error}); scoring one group at a time."
