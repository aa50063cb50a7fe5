"""How a model goes by its layers' rules: found out by a few of its samples, and proved against the plain loop.

Two passes of different numbers of groups show where tensors have their rows, and what takes samples together. The
first is of a few groups. Of small models the second is, too, and a few groups are then proved in float64, before any
score is given. Of large ones, where that would be felt, the second is the one that scores the first batch, and one
group in sixteen of it, five at most, is held against the plain loop before its scores are given; so is one of the
second batch. Where both passes differ by more than the number of groups, as where a batch is cut to its longest sample,
two more decide, of the same groups. Where samples of another shape have proved a model, one group of the first batch of
each further shape is enough.
"""

import logging
from typing import Any, NamedTuple

from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.gradients.errors import NoRule, NothingToCompare, UsedElsewhere
from lightning_al.gradients.example_groups import ExampleGroups
from lightning_al.gradients.layouts import Place, RowLayout
from lightning_al.gradients.looks import (
    Costs,
    FirstLook,
    SecondLook,
    first_look,
    second_look,
    second_look_and_scores,
)
from lightning_al.gradients.mixing import puts_together
from lightning_al.gradients.network import Network
from lightning_al.gradients.rule_scores import RuleScore, Scored
from lightning_al.gradients.scorers import GroupScore
from lightning_al.gradients.trials import Trial
from lightning_al.inference.memory import is_out_of_memory

log = logging.getLogger(__name__)

_LARGE = 2**22  # bytes of weights and of what a group keeps, from which a comparison in float64 would be felt
_FEW = 2  # groups of the first pass, but where there are no more


class Plan(NamedTuple):
    """What was found out about a model by a few of its samples.

    Attributes:
        layouts: Where the layers' tensors have their rows.
        bytes_per_group: About what one group takes.
        channels_last: Whether images go faster, and as well, with their channels last in memory.
        elsewhere: Parameters that are used outside of their layers' calls.
        again_from: From how many groups on it is found anew, since there were too few to show all; 0: never.
        together: An operation that takes all samples of a batch together, or "".
        alone: Whether the plain loop costs less. It follows from shapes and the kind of device, never from a clock, so
            that scores come the same way, to the last bit, whenever they are computed again.
        least_groups: How many groups there must be at least for the rules to cost less; fewer go by the plain loop.
        unproved: What the first pass showed of a model whose first batch is yet to be held against the plain loop.
        alike: Whether samples of another shape have proved the model.
    """

    layouts: dict[Place, RowLayout]
    bytes_per_group: int
    channels_last: bool = False
    elsewhere: frozenset[str] = frozenset()
    again_from: int = 0
    together: str = ""
    alone: bool = False
    least_groups: int = 1
    unproved: FirstLook | None = None
    alike: bool = False

    def prefers_loop(self, groups: int) -> bool:
        """Whether the plain loop costs less for so many groups."""
        return self.alone or groups < self.least_groups


class PlanFinder:
    """Finds the plan of a model for samples of one kind.

    Args:
        by_rules: The score by the rules.
        score: The same score, of one group by the plain loop.
    """

    def __init__(self, by_rules: RuleScore, score: GroupScore) -> None:
        self.by_rules = by_rules
        self.model = by_rules.model
        self.score = score
        self._examples: tuple[Any, ExampleGroups] | None = None

    def _examples_of(self, inputs: Any, group_size: int) -> ExampleGroups:
        """Return the groups to try of a batch, chosen once for the same memory."""
        tensors = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
        memory = group_size, [(t.data_ptr(), t.shape, t.stride()) for t in tensors]
        if self._examples is None or self._examples[0] != memory:
            self._examples = memory, ExampleGroups.of(inputs, group_size)
        return self._examples[1]

    def find(self, inputs: Any, group_size: int, budget: int, *, alike: bool = False) -> Plan:
        """Return the plan for groups like those of the inputs, of which there are two at least.

        Args:
            inputs: Some samples.
            group_size: Samples in a group.
            budget: In bytes.
            alike: Whether samples of another shape have proved the model.

        Raises:
            NoRule: If the rules do not hold for the model.
            NothingToCompare: If these samples cannot tell.
        """
        elsewhere: frozenset[str] = frozenset()
        channels_last = True
        while True:
            network = self.by_rules.network(elsewhere)
            if channels_last and self._may_have_channels_last(network):
                network = network.with_channels_last()
            try:
                return self._find(network, inputs, group_size, budget, alike=alike)
            except UsedElsewhere as error:
                if error.names <= elsewhere:
                    raise
                elsewhere |= network.alike(error.names)
            except (NoRule, NothingToCompare):
                raise
            except Exception as error:  # a `view` of the model's may not go with it
                if is_out_of_memory(error) or not network.channels_last:
                    raise
                channels_last = False

    def prove(
        self, plan: Plan, first: FirstLook, inputs: Any, group_size: int, budget: int
    ) -> tuple[Plan, Scored | None]:
        """Score the first batch, of two groups at least, and hold some of them against the plain loop.

        Args:
            plan: What is known.
            first: What its first pass showed.
            inputs: The batch.
            group_size: Samples in a group.
            budget: In bytes.

        Returns:
            The plan, and the scores, which prove it; no scores where the plain loop costs less, or groups turn out to
            take more than the budget.

        Raises:
            NoRule: If they differ.
            NothingToCompare: If these samples cannot tell.
        """
        tried = self._tried(plan, first, inputs, group_size, budget)
        if not isinstance(tried, Exception):
            return tried
        if not plan.channels_last or isinstance(tried, (NoRule, NothingToCompare)):
            raise tried
        # A `view` of the model's may not go with it.
        first = self._first_look(self.by_rules.network(plan.elsewhere), self._examples_of(inputs, group_size))
        return self._proved(plan._replace(channels_last=False), first, inputs, group_size, budget)

    def _tried(
        self, plan: Plan, first: FirstLook, inputs: Any, group_size: int, budget: int
    ) -> tuple[Plan, Scored | None] | Exception:
        """Return what :meth:`_proved` does, or in its place an error, without what its frames hold."""
        try:
            return self._proved(plan, first, inputs, group_size, budget)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            return error.with_traceback(None)

    def _proved(
        self, plan: Plan, first: FirstLook, inputs: Any, group_size: int, budget: int
    ) -> tuple[Plan, Scored | None]:
        network = self.by_rules.network(plan.elsewhere, channels_last=plan.channels_last)
        examples = self._examples_of(inputs, group_size)
        groups = examples.in_batch
        if first.groups == groups:
            first = self._first_look(network, examples)
        second, scored = self._scored_at_once(network, first, inputs, group_size, budget)
        together = ""
        if second is None or (scored is not None and _differ(first, second)):
            # A model may cut a batch to its longest sample, which is the same where both looks are at the same groups.
            # And a second look has copies of what all samples share, positions say, where a first has the one.
            first = self._first_look(network, examples)
            layouts = self._second_look(network, first, examples).layouts
            if second is None or second.layouts != layouts:
                second, scored = second_look_and_scores(
                    self.by_rules, network, first, inputs, group_size, budget=budget, layouts=layouts
                )
            if scored is not None:
                _check_losses(first, second)
                together = self._together(network, first, examples, first.groups + 1 if plan.alike else groups)
        plan = _with_costs(plan, second.costs)
        if scored is None:
            return plan, None
        plan = plan._replace(layouts=second.layouts, together=together)
        # Not the first: a model that takes something of it alone would leave it as it is. And few, since what is
        # compared should not cost more than it brings. A score of 0 tells nothing.
        others = examples.starts[1:]
        telling = [start for start in others if scored.scores[start : start + group_size].any()]
        starts = (telling or others)[: 1 if plan.alike else max(groups // 16, 1)]
        self._trial(plan, first, examples, starts).compare(scored.scores, starts, budget)
        _say_what_goes_through_torch_func(network)
        return plan._replace(unproved=None), scored

    def _scored_at_once(
        self, network: Network, first: FirstLook, inputs: Any, group_size: int, budget: int
    ) -> tuple[SecondLook | None, Scored | None]:
        """Score a batch that is the second look as well; nothing where rules do not hold by what both looks show."""
        try:
            return second_look_and_scores(self.by_rules, network, first, inputs, group_size, budget=budget)
        except NoRule:
            return None, None

    def _find(self, network: Network, inputs: Any, group_size: int, budget: int, *, alike: bool) -> Plan:
        examples = self._examples_of(inputs, group_size)
        groups = examples.in_batch
        first = self._first_look(network, examples, to_choose=True)
        plan = Plan(
            layouts={},
            bytes_per_group=0,
            channels_last=network.channels_last,
            elsewhere=network.elsewhere,
            again_from=3 if groups == 2 else 0,  # two show less than three
            unproved=first,
            alike=alike,
        )
        plan = _with_costs(plan, first.costs)
        is_large = plan.bytes_per_group + self.model.bytes > _LARGE
        if alike or is_large:
            return plan
        if not first.costs.prefers_rules(groups):
            return _until_there_are_enough(plan)
        second = self._second_look(network, first, examples)
        plan = _with_costs(plan, second.costs)
        if not second.costs.prefers_rules(groups):
            return _until_there_are_enough(plan)
        _check_losses(first, second)
        together = ""
        if _differ(first, second):
            together = self._together(network, first, examples, first.groups + 1)
        plan = plan._replace(layouts=second.layouts, together=together)
        trial = self._trial(plan, first, examples, examples.starts[: max(budget // plan.bytes_per_group, 2)])
        trial.prove(plan.bytes_per_group, budget)
        _say_what_goes_through_torch_func(network)
        channels_last = plan.channels_last and trial.goes_with_channels_last()
        return plan._replace(channels_last=channels_last, unproved=None)

    def _trial(self, plan: Plan, first: FirstLook, examples: ExampleGroups, starts: list[int]) -> Trial:
        return Trial(
            by_rules=self.by_rules,
            score=self.score,
            elsewhere=plan.elsewhere,
            layouts=plan.layouts,
            differentiated=first.differentiated,
            samples=examples.at(starts),
            group_size=examples.group_size,
        )

    def _first_look(self, network: Network, examples: ExampleGroups, *, to_choose: bool = False) -> FirstLook:
        """Look at a few groups, not as many as the batch has."""
        count = _FEW if examples.in_batch != _FEW else _FEW + 1
        return first_look(self.by_rules, network, examples.two_again(count), count, to_choose=to_choose)

    def _second_look(self, network: Network, first: FirstLook, examples: ExampleGroups) -> SecondLook:
        """Look at the groups of a first look and one more."""
        samples = examples.two_again(first.groups + 1)
        return second_look(self.by_rules, network, first, samples, examples.group_size, to_score=examples.in_batch)

    def _together(self, network: Network, first: FirstLook, examples: ExampleGroups, groups: int) -> str:
        """Return the name of an operation by which the model takes so many groups together, or "".

        Raises:
            NoRule: If samples are put in order.
        """
        look = first_look(self.by_rules, network, examples.two_again(groups), groups)
        together = puts_together(first.operations_of_model, look.operations_of_model)
        if together:
            log.info("The model takes all samples of a batch together (%s): each batch is compared.", together)
        return together

    def _may_have_channels_last(self, network: Network) -> bool:
        rules = [layer.rule for layer in network.layers.values()]
        images = any(rule.takes_images for rule in rules) and not any(rule.takes_planes for rule in rules)
        return images and all(p.device.type == "cpu" for p in self.model.params.values())


def _with_costs(plan: Plan, costs: Costs) -> Plan:
    """Return the plan with what is known of costs."""
    if costs.alone:
        log.info("The plain loop costs less than the layers' rules for samples like these: it is taken.")
    return plan._replace(bytes_per_group=costs.bytes_per_group, alone=costs.alone, least_groups=costs.least_groups)


def _until_there_are_enough(plan: Plan) -> Plan:
    """Return the plan for fewer groups than the rules are worth it for: more are a first batch, which proves them."""
    return plan if plan.alone else plan._replace(again_from=max(plan.again_from, plan.least_groups))


def _differ(first: FirstLook, second: SecondLook) -> bool:
    """Whether two looks differ by more than the number of samples."""
    try:
        return bool(
            puts_together(first.operations_of_model, second.operations_of_model)
            or puts_together(first.operations_of_losses, second.operations_of_losses)
        )
    except NoRule:
        return True


def _check_losses(first: FirstLook, second: SecondLook) -> None:
    """Refuse losses that take something of all samples together: outputs would not show it.

    Raises:
        NoRule: With the operation.
    """
    together = puts_together(first.operations_of_losses, second.operations_of_losses)
    if together:
        raise NoRule(f"the loss takes all samples of a batch together ({together})")


def _say_what_goes_through_torch_func(network: Network) -> None:
    if network.traced:
        names = ", ".join(sorted({type(m).__name__ for m in network.traced}))
        log.info("No rule for %s: their parameters go through torch.func.", names)
    if network.elsewhere:
        names = ", ".join(sorted(network.elsewhere)[:3])
        count = len(network.elsewhere)
        log.info("%d parameter(s) used outside of layers' calls (%s): they go through torch.func.", count, names)
