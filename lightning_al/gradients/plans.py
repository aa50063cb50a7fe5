"""How a model goes by its layers' rules: found out by a few of its samples, and proved against the plain loop.

Small models are proved by a few groups in float64, before any score is given. Of large ones, where that would be felt,
the first batch is scored, and one group in eight of it, five at most, is held against the plain loop before its scores
are given; so is one of the second batch. Where samples of another shape have proved a model, one group of the first
batch of each further shape is enough.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from lightning_al.gradients.errors import NoRule, UsedElsewhere
from lightning_al.gradients.example_groups import groups_at, groups_that_differ
from lightning_al.gradients.layouts import OtherPass, Place, RowLayout
from lightning_al.gradients.mixing import SIZES, Operation, puts_together
from lightning_al.gradients.network import Network
from lightning_al.gradients.recorded_calls import bytes_of
from lightning_al.gradients.scorers import GroupScore
from lightning_al.gradients.tape import Looked, Tape
from lightning_al.gradients.trials import Look, RuleScore, Scored, Trial
from lightning_al.inference.calling import copies_for_model
from lightning_al.inference.entries import batch_size_of
from lightning_al.inference.memory import is_out_of_memory, saved_bytes

log = logging.getLogger(__name__)


class Plan(NamedTuple):
    """What was found out about a model by a few of its samples.

    Attributes:
        layouts: Where the layers' tensors have their rows.
        bytes_per_group: About what one group takes.
        channels_last: Whether images go faster, and as well, with their channels last in memory.
        elsewhere: Parameters that are used outside of their layers' calls.
        from_two_groups: Whether there were two groups only, which shows less than three.
        together: An operation that takes all samples of a batch together, or "".
        alone: Whether the plain loop costs less. It follows from shapes and the kind of device, never from a clock, so
            that scores come the same way, to the last bit, whenever they are computed again.
        least_groups: How many groups there must be at least for the rules to cost less; fewer go by the plain loop.
        unproved: What was seen of a model whose first batch is yet to be held against the plain loop.
        alike: Whether samples of another shape have proved the model.
    """

    layouts: dict[Place, RowLayout]
    bytes_per_group: int
    channels_last: bool = False
    elsewhere: frozenset[str] = frozenset()
    from_two_groups: bool = False
    together: str = ""
    alone: bool = False
    least_groups: int = 1
    unproved: Look | None = None
    alike: bool = False


class PlanFinder:
    """Finds the plan of a model for samples of one kind.

    Args:
        by_rules: The score by the rules.
        score: The same score, of one group by the plain loop.
        model_inputs: Which part of the inputs the model gets.
    """

    def __init__(self, by_rules: RuleScore, score: GroupScore, model_inputs: Callable[[Any], Any]) -> None:
        self.by_rules = by_rules
        self.model = by_rules.model
        self.score = score
        self.model_inputs = model_inputs

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
        while True:
            network = self.by_rules.network(elsewhere)
            try:
                return self._find(network, inputs, group_size, budget, alike=alike)
            except UsedElsewhere as error:
                if error.names <= elsewhere:
                    raise
                elsewhere |= network.alike(error.names)

    def prove(self, plan: Plan, look: Look, inputs: Any, group_size: int, budget: int) -> tuple[Plan, Scored]:
        """Score the first batch, of two groups at least, and hold some of them against the plain loop.

        Returns:
            The plan, which is proved, and the scores.

        Raises:
            NoRule: If they differ.
            NothingToCompare: If these samples cannot tell.
        """
        network = self.by_rules.network(plan.elsewhere, channels_last=plan.channels_last)
        try:
            scored = self.by_rules(network, plan.layouts, inputs, group_size, notes_losses=True)
        except Exception as error:  # a `view` of the model's may not go with it
            if is_out_of_memory(error) or not plan.channels_last:
                raise
            return self.prove(plan._replace(channels_last=False), look, inputs, group_size, budget)
        groups = batch_size_of(inputs) // group_size
        starts = groups_that_differ(inputs, group_size)
        operations = scored.operations_of_losses
        if groups == SIZES[0]:
            many = _groups_again(inputs, group_size, starts, SIZES[1])
            operations = self._look(network, plan.layouts, many, group_size).operations_of_losses
        _check_losses(look.operations_of_losses, operations)
        # Not the first: a model that takes something of it alone would leave it as it is. And few, since what is
        # compared should not cost more than it brings. A score of 0 tells nothing.
        telling = [start for start in starts[1:] if scored.scores[start : start + group_size].any()]
        starts = (telling or starts[1:])[: 1 if plan.alike else max(groups // 8, 1)]
        trial = self._trial(plan, groups_at(inputs, group_size, starts), group_size)
        trial.compare(scored.scores, starts, look, budget)
        _say_what_goes_through_torch_func(network)
        return plan._replace(unproved=None), scored

    def _find(self, network: Network, inputs: Any, group_size: int, budget: int, *, alike: bool) -> Plan:
        starts = groups_that_differ(inputs, group_size)
        # Two groups and one of them again: a third one, of another length, would change the length that a model cuts
        # its batch to.
        few, many = (_groups_again(inputs, group_size, [starts[0], starts[-1]], count) for count in SIZES)
        other, operations = self._pass(network, many)
        look = self._look(network, other, few, group_size)
        plan = Plan(look.layouts, bytes_per_group=look.bytes_per_group, elsewhere=network.elsewhere)
        if look.beyond_loop > 0:
            log.info("The plain loop costs less than the layers' rules for samples like these: it is taken.")
            return plan._replace(alone=True)
        together = puts_together(look.operations_of_model, operations)
        if together:  # a look has copies of what all samples share, positions say, where the first pass has the one
            together = puts_together(self._pass(network, few)[1], operations)
        if together:
            log.info("The model takes all samples of a batch together (%s): each batch is compared.", together)
        plan = plan._replace(
            channels_last=self._may_have_channels_last(network),
            from_two_groups=batch_size_of(inputs) // group_size == 2,
            together=together,
            least_groups=look.least_groups,
            alike=alike,
        )
        if alike or look.is_large(self.model) or batch_size_of(inputs) // group_size < plan.least_groups:
            return plan._replace(unproved=look)
        many = _groups_again(inputs, group_size, starts, SIZES[1])
        of_many = self._look(network, plan.layouts, many, group_size)
        _check_losses(look.operations_of_losses, of_many.operations_of_losses)
        samples = groups_at(inputs, group_size, starts[: max(budget // look.bytes_per_group, 2)])
        trial = self._trial(plan, samples, group_size)
        trial.prove(look, budget)
        _say_what_goes_through_torch_func(network)
        return plan._replace(channels_last=plan.channels_last and trial.goes_with_channels_last())

    def _trial(self, plan: Plan, samples: Any, group_size: int) -> Trial:
        return Trial(
            by_rules=self.by_rules,
            score=self.score,
            elsewhere=plan.elsewhere,
            layouts=plan.layouts,
            samples=samples,
            group_size=group_size,
        )

    def _pass(self, network: Network, samples: Any) -> tuple[OtherPass, list[Operation]]:
        """Run the model to see the shapes of layers' tensors, and what it does beside them."""
        n = batch_size_of(samples)
        tape = Tape(network, 1, n)
        tape.operations_of_model = []
        tape.record(copies_for_model(self.model_inputs(samples)))
        return OtherPass(tape.shapes, n), tape.operations_of_model

    def _look(
        self, network: Network, layouts: dict[Place, RowLayout] | OtherPass, samples: Any, group_size: int
    ) -> Look:
        """Record groups, without a backward pass, and see what their scores are going to cost."""
        n = batch_size_of(samples)
        groups = n // group_size
        tape = Tape(network, groups, n, layouts)
        tape.operations_of_model, tape.operations_of_losses, tape.stops_before_backward = [], [], True
        perturb = False
        with saved_bytes(self.model.params.values()) as saved:
            try:
                self.by_rules.fast(tape, samples)
            except Looked as looked:
                perturb = looked.perturb
            for call in tape.calls:
                saved.add(call.x)
        kept = saved.total + 3 * bytes_of(tape.leaves) + sum(call.bytes_kept(perturb=perturb) for call in tape.calls)
        formed = max((call.bytes_formed(perturb=perturb) for call in tape.calls), default=0)
        look = Look(
            layouts=tape.layouts,
            operations_of_model=tape.operations_of_model,
            operations_of_losses=tape.operations_of_losses,
            differentiated=tape.differentiated,
            bytes_per_group=max((kept + formed) // groups, 1),
            beyond_loop=tape.beyond_loop(perturb=perturb),
            once_beyond_loop=tape.once_beyond_loop(perturb=perturb),
        )
        tape.release()
        return look

    def _may_have_channels_last(self, network: Network) -> bool:
        rules = [layer.rule for layer in network.layers.values()]
        images = any(rule.takes_images for rule in rules) and not any(rule.takes_planes for rule in rules)
        return images and all(p.device.type == "cpu" for p in self.model.params.values())


def _groups_again(inputs: Any, group_size: int, starts: list[int], count: int) -> Any:
    """Return so many groups, those that begin there, again from the first where there are fewer."""
    return groups_at(inputs, group_size, [starts[i % len(starts)] for i in range(count)])


def _check_losses(few: list[Operation], many: list[Operation]) -> None:
    """Refuse losses that take something of all samples together: outputs would not show it.

    Raises:
        NoRule: With the operation.
    """
    together = puts_together(few, many)
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
