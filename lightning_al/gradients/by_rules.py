"""Scores of many groups at once by the layers' rules, with the plan that was found for the model."""

from collections.abc import Callable, Hashable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al.gradients.comparisons import Comparisons, standing_of
from lightning_al.gradients.errors import NoRule, NothingToCompare
from lightning_al.gradients.keys import input_key
from lightning_al.gradients.looks import FirstLook
from lightning_al.gradients.loop import PlainLoop
from lightning_al.gradients.plans import Plan, PlanFinder
from lightning_al.gradients.rule_scores import RuleScore, Scored
from lightning_al.gradients.scored_model import ScoredModel
from lightning_al.gradients.scorers import BatchScore, GroupScore, Scorer
from lightning_al.inference.entries import batch_size_of, slice_of
from lightning_al.inference.memory import is_out_of_memory

Key = tuple[Hashable, ...]
_PLANS: WeakKeyDictionary[nn.Module, dict[Key, Plan | str]] = WeakKeyDictionary()
"""Of each model, its plans or why there is none, by what they depend on."""


class ByRules(Scorer):
    """Scores all groups of a batch in two passes, once the first groups have shown that this equals the plain loop.

    Args:
        model: The model.
        score: The score of one group.
        fast: The same score of all groups of a recorded batch.
        key: Tells the model as it is, its options and the score from others.
        model_inputs: Which part of the inputs the model gets.
    """

    def __init__(
        self,
        model: ScoredModel,
        score: GroupScore,
        fast: BatchScore,
        *,
        key: Hashable,
        model_inputs: Callable[[Any], Any],
    ) -> None:
        super().__init__(model)
        self._alone = PlainLoop(model, score, key=key)
        self._by_rules = RuleScore(model, fast)
        self._finder = PlanFinder(self._by_rules, score)
        self._budget = 0  # bytes, as of the last question how many groups fit
        self._key = key  # what a plan depends on beside the inputs
        self._standing = standing_of(model, ("rules", key))
        self._comparisons = Comparisons(
            "its layers' rules", model, score=score, model_inputs=model_inputs, standing=self._standing
        )

    def groups_at_once(self, inputs: Any, group_size: int, max_bytes: int | None) -> int:
        """Return how many groups fit into the memory."""
        if self._standing.refused:
            raise NoRule(self._standing.refused)
        self._budget = self.model.budget(max_bytes)
        plan = self._plan(inputs, group_size)
        if plan is None or plan.alone:
            return self._alone.groups_at_once(inputs, group_size, max_bytes)
        return max(self._budget // plan.bytes_per_group, 1)

    def __call__(self, inputs: Any, group_size: int) -> Tensor:
        """Score the groups of ``inputs``."""
        plan = self._plan(inputs, group_size)
        groups = batch_size_of(inputs) // group_size
        if plan is None or plan.prefers_loop(groups) or (plan.unproved is not None and groups == 1):
            return self._alone(inputs, group_size)
        if plan.unproved is not None:
            return self._of_first_batch(plan, plan.unproved, inputs, group_size)
        network = self._by_rules.network(plan.elsewhere, channels_last=plan.channels_last)
        return self._compared(plan, self._by_rules(network, plan.layouts, inputs, group_size), inputs, group_size)

    def _of_first_batch(self, plan: Plan, first: FirstLook, inputs: Any, group_size: int) -> Tensor:
        """Score the first batch of a large model by the rules, which is what proves the plan.

        Raises:
            NoRule: If it does not.
        """
        plans, key = self._place_of(inputs, group_size)
        n = batch_size_of(inputs)
        if not self._standing.given:
            self._standing.compare_next(n // group_size)
        try:
            plan, scored = self._finder.prove(plan, first, inputs, group_size, self._budget)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            if plan.alike and isinstance(error, (NoRule, NothingToCompare)):  # which rounding of one group may show
                self._found(inputs, group_size, alike=False)
                return self(inputs, group_size)
            if isinstance(error, NothingToCompare):  # other samples of the same kind may tell
                raise NoRule(str(error)) from error
            plans[key] = str(error) or type(error).__name__
            raise
        plans[key] = plan
        if scored is not None:
            return self._compared(plan, scored, inputs, group_size)
        if plan.prefers_loop(n // group_size):
            return self._alone(inputs, group_size)
        size = max(self._budget // plan.bytes_per_group, 1) * group_size  # it takes more than was thought
        return torch.cat([self(slice_of(inputs, i, min(i + size, n)), group_size) for i in range(0, n, size)])

    def _compared(self, plan: Plan, scored: Scored, inputs: Any, group_size: int) -> Tensor:
        """Return the scores of a batch, some of which are held against the plain loop now and then."""
        scores, outputs = scored
        if scores.ndim and len(scores) == batch_size_of(inputs):
            self._comparisons.check(scores, inputs, group_size, outputs if plan.together else None)
        return scores

    def instead(self, error: Exception) -> str:
        """Say what is done where there is no rule."""
        return f"No layer-wise gradients for this model ({error}); its weights go through torch.func."

    def _plan(self, inputs: Any, group_size: int) -> Plan | None:
        """Return how to go about samples like these, or None for a single group.

        One group cannot show that groups do not mix, and has nothing to gain either.

        Raises:
            NoRule: If it cannot be done, with the reason.
        """
        plans, key = self._place_of(inputs, group_size)
        plan = plans.get(key)
        groups = batch_size_of(inputs) // group_size
        if plan is None or (isinstance(plan, Plan) and 0 < plan.again_from <= groups):
            if groups < 2:
                return None
            others = (other for known, other in plans.items() if known[:2] == key[:2] and known != key)
            return self._found(inputs, group_size, alike=any(map(_is_proved, others)))
        if isinstance(plan, str):
            raise NoRule(plan)
        return plan

    def _found(self, inputs: Any, group_size: int, *, alike: bool) -> Plan:
        """Find the plan for samples like these, and keep it, or why there is none.

        Raises:
            NoRule: If it cannot be done, with the reason.
        """
        plans, key = self._place_of(inputs, group_size)
        try:
            plans[key] = plan = self._finder.find(inputs, group_size, self._budget, alike=alike)
        except NothingToCompare as error:  # other samples of the same kind may tell
            raise NoRule(str(error)) from error
        except Exception as error:  # if the fault is the model's own, the plain loop raises it again
            if is_out_of_memory(error):
                raise
            plans[key] = reason = str(error) or type(error).__name__
            raise NoRule(reason) from error
        return plan

    def _place_of(self, inputs: Any, group_size: int) -> tuple[dict[Key, Plan | str], Key]:
        """Return where plans are kept, and under which key the one for samples like these."""
        leaves, spec = pytree.tree_flatten(inputs)
        key = (self._key, group_size, tuple(map(input_key, leaves)), str(spec))
        return _PLANS.setdefault(self.model.root.model, {}), key


def _is_proved(plan: Plan | str) -> bool:
    return isinstance(plan, Plan) and not plan.alone and plan.unproved is None
