"""A few groups that are scored by the rules and by the plain loop, to prove that they agree."""

import logging
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.gradients.comparisons import check_same
from lightning_al.gradients.errors import NoRule
from lightning_al.gradients.layouts import Place, RowLayout
from lightning_al.gradients.network import Network
from lightning_al.gradients.rule_scores import RuleScore
from lightning_al.gradients.scored_model import ScoredModel, floats_in_double
from lightning_al.gradients.scorers import GroupScore, OneAfterAnother
from lightning_al.inference.entries import batch_size_of, samples_at, slice_of
from lightning_al.inference.memory import is_out_of_memory
from lightning_al.inference.module_state import attributes_kept, modules_of

log = logging.getLogger(__name__)

_CLOSE = 1e-4  # what rounding leaves alike in float32, as where later batches are compared
_ROUGH = 2e-3  # the same where float64 cannot tell


class Trial(NamedTuple):
    """A few groups that are scored by the rules and by the plain loop.

    Attributes:
        by_rules: The score by the rules.
        score: The same of one group by the plain loop.
        elsewhere: Parameters that are used outside of their layers' calls.
        layouts: Where the layers' tensors have their rows.
        differentiated: Whether the score has a gradient, so that zeros say nothing.
        samples: Those of the groups.
        group_size: Samples in a group.
    """

    by_rules: RuleScore
    score: GroupScore
    elsewhere: frozenset[str]
    layouts: dict[Place, RowLayout]
    differentiated: bool
    samples: Any
    group_size: int

    def prove(self, bytes_per_group: int, budget: int) -> None:
        """Compare both, in float64 where that fits the memory and the model.

        Args:
            bytes_per_group: About what a group takes.
            budget: In bytes.

        Raises:
            NoRule: If they differ.
            NothingToCompare: If these samples cannot tell.
        """
        model = self.by_rules.model
        used = batch_size_of(self.samples) // self.group_size * bytes_per_group
        in_float64 = 2 * used + 6 * model.bytes <= budget
        check_same(*self._scores(model, in_float64=in_float64), differentiated=self.differentiated)

    def compare(self, scores: Tensor, starts: list[int], budget: int) -> None:
        """Compare a batch's scores with the plain loop in the model's own precision, and in float64 if in doubt.

        Args:
            scores: Of all samples of the batch.
            starts: Where the groups begin in it.
            budget: In bytes.

        Raises:
            NoRule: If they differ.
            NothingToCompare: If these samples cannot tell.
        """
        size = self.group_size
        plain = OneAfterAnother(self.by_rules.model, self.score)(self.samples, size)
        if scores.shape[1:] != plain.shape[1:] or len(plain) != size * len(starts):
            raise NoRule(f"scores of shape {tuple(scores.shape)} where the plain loop gives {tuple(plain.shape)}")
        some = torch.cat([scores[start : start + size] for start in starts])
        tolerance = 1e-7 if plain.dtype == torch.float64 else _CLOSE
        try:
            check_same(some, plain, tolerance, differentiated=self.differentiated)
        except NoRule:
            if plain.dtype == torch.float64 or not self._is_rounding(some - plain, plain, budget):
                raise

    def _is_rounding(self, difference: Tensor, plain: Tensor, budget: int) -> bool:
        """Whether scores differ by no more than rounding does, as far as float64 shows that."""
        model, rounding = self.by_rules.model, _ROUGH * plain.abs()
        if 6 * model.bytes <= budget:
            samples = pytree.tree_map_only(Tensor, floats_in_double, self.samples)
            try:
                with attributes_kept(modules_of(model.root)):  # what models cache would be of this precision
                    exact = OneAfterAnother(model.in_double(), self.score)(samples, self.group_size)
                rounding = 10 * (plain - exact).abs().amax()
            except Exception as error:  # a model or device that insists on its own precision
                log.debug("Not compared in float64: %s", error)
        return bool((difference.abs() <= rounding).all())

    def goes_with_channels_last(self) -> bool:
        """Whether the model takes images with their channels last in memory."""
        try:  # a `view` of the model's may not go with it
            self.by_rules(
                self.by_rules.network(self.elsewhere, channels_last=True), self.layouts, self.samples, self.group_size
            )
        except Exception as error:
            if is_out_of_memory(error):
                raise
            return False
        return True

    def _scores(self, model: ScoredModel, *, in_float64: bool) -> tuple[Tensor, Tensor, float]:
        """Return both scores, in float64 where that fits the memory and the model, and how they may differ."""
        if in_float64:
            double = self._replace(samples=pytree.tree_map_only(Tensor, floats_in_double, self.samples))
            try:
                with attributes_kept(modules_of(model.root)):  # what models cache would be of this precision
                    return *double._both_ways(model.in_double()), 1e-7
            except NoRule:
                raise
            except Exception as error:  # a model or device that insists on its own precision
                log.debug("Not compared in float64: %s", error)
        by_rules, plain = self._both_ways(model)
        return by_rules, plain, 1e-7 if by_rules.dtype == torch.float64 else _ROUGH

    def _both_ways(self, model: ScoredModel) -> tuple[Tensor, Tensor]:
        """Return the scores by the rules and by the plain loop, of the groups in two orders."""
        network = Network(model.root, model.params, model.fixed, elsewhere=self.elsewhere)
        by_rules, alone = RuleScore(model, self.by_rules.fast), OneAfterAnother(model, self.score)
        size, count = self.group_size, batch_size_of(self.samples)
        plain = [alone(slice_of(self.samples, i, i + size), size) for i in range(0, count, size)]
        index = torch.arange(count).roll(-size)
        turned = samples_at(self.samples, index)
        together = [by_rules(network, self.layouts, both, size).scores for both in (self.samples, turned)]
        return torch.cat(together), torch.cat([*plain, *plain[1:], plain[0]])
