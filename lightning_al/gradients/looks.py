"""What is seen of a model in two passes of different numbers of groups: where rows are, what is done, what it costs."""

import contextlib
import math
from typing import Any, NamedTuple

from lightning_al.gradients.layouts import OtherPass, Place, RowLayout
from lightning_al.gradients.mixing import Operation
from lightning_al.gradients.network import Network
from lightning_al.gradients.recorded_calls import bytes_of
from lightning_al.gradients.rule_scores import RuleScore, Scored
from lightning_al.gradients.tape import Tape
from lightning_al.inference.entries import batch_size_of
from lightning_al.inference.memory import saved_bytes


class Costs(NamedTuple):
    """What groups cost by the rules, as far as shapes tell.

    Attributes:
        bytes_per_group: About what a group takes.
        beyond_loop: How much more, in multiply-adds, one costs than by the plain loop; below 0, how much less.
        once_beyond_loop: How much more a batch does, whatever its size.
    """

    bytes_per_group: int
    beyond_loop: float
    once_beyond_loop: float

    @property
    def alone(self) -> bool:
        """Whether the plain loop costs less, however many groups there are."""
        return self.beyond_loop > 0

    @property
    def least_groups(self) -> int:
        """How many groups there must be at least for the rules to cost no more than the plain loop."""
        return math.floor(self.once_beyond_loop / -self.beyond_loop) + 1 if self.beyond_loop < 0 else 1

    def prefers_rules(self, groups: int) -> bool:
        """Whether the rules cost no more than the plain loop for so many groups."""
        return not self.alone and groups >= self.least_groups


class FirstLook(NamedTuple):
    """What is seen of a few groups before it is known where tensors have their rows.

    Attributes:
        passed: The shapes of the layers' tensors.
        operations_of_model: Outside of the calls that rules take care of, in order.
        operations_of_losses: In order.
        differentiated: Whether the losses depend on any parameter.
        perturbs: Whether a second forward pass with other weights follows.
        groups: How many.
        costs: What they cost, but for layers that have no rule and go without ``vmap``, which is not seen as yet.
    """

    passed: OtherPass
    operations_of_model: list[Operation]
    operations_of_losses: list[Operation]
    differentiated: bool
    perturbs: bool
    groups: int
    costs: Costs


class Look(NamedTuple):
    """What is seen of other groups, in another number.

    Attributes:
        layouts: Where the layers' tensors have their rows.
        operations_of_model: Outside of the calls that rules take care of, in order.
        operations_of_losses: In order.
        costs: What they cost.
    """

    layouts: dict[Place, RowLayout]
    operations_of_model: list[Operation]
    operations_of_losses: list[Operation]
    costs: Costs


def first_look(score: RuleScore, network: Network, samples: Any, groups: int) -> FirstLook:
    """Run the samples of a few groups as far as to their losses."""
    rows = batch_size_of(samples)
    tape = _FirstPass(network, rows)
    with contextlib.closing(tape), saved_bytes(network.params.values()) as saved:
        with contextlib.suppress(_Seen):
            score.on(tape, samples)
        for call in tape.calls:
            saved.add(call.x)
        return FirstLook(
            passed=OtherPass(tape.shapes, rows),
            operations_of_model=tape.operations_of_model or [],
            operations_of_losses=tape.operations_of_losses or [],
            differentiated=tape.differentiated,
            perturbs=tape.perturbs,
            groups=groups,
            costs=_costs(tape, groups, saved.total, perturb=tape.perturbs),
        )


def look(score: RuleScore, network: Network, first: FirstLook, samples: Any, group_size: int, *, groups: int) -> Look:
    """Run a few groups, of another number than those of the first look, as far as to their losses.

    Args:
        score: The score.
        network: The network.
        first: What is known.
        samples: Those of the few groups.
        group_size: Samples in a group.
        groups: How many are going to be scored; where the plain loop costs less for so many, losses are not looked at.

    Raises:
        NoRule: If both looks together do not show where tensors have their rows.
    """
    units = batch_size_of(samples) // group_size
    return _second_pass(score, _SecondPass(network, first, units, group_size, groups=groups, goes_on=False), samples)[0]


def looked_at_and_scored(
    score: RuleScore, network: Network, first: FirstLook, inputs: Any, group_size: int
) -> tuple[Look, Scored | None]:
    """Look at groups, of another number than those of the first look, and score them unless the plain loop costs less.

    Args:
        score: The score.
        network: The network.
        first: What is known.
        inputs: The samples of the groups.
        group_size: Samples in a group.

    Raises:
        NoRule: If both looks together do not show where tensors have their rows.
    """
    groups = batch_size_of(inputs) // group_size
    return _second_pass(score, _SecondPass(network, first, groups, group_size, groups=groups, goes_on=True), inputs)


def _second_pass(score: RuleScore, tape: "_SecondPass", inputs: Any) -> tuple[Look, Scored | None]:
    scored = None
    with contextlib.closing(tape):
        with contextlib.suppress(_Seen):
            scored = score.on(tape, inputs)
        return tape.look, scored


class _Seen(Exception):
    """No more is wanted of a pass."""


class _FirstPass(Tape):
    """A pass that ends where its backward pass would begin."""

    def __init__(self, network: Network, rows: int) -> None:
        super().__init__(network, 1, rows)
        self.operations_of_model, self.operations_of_losses = [], []
        self.perturbs = False

    def before_backward(self, *, perturb: bool) -> None:
        super().before_backward(perturb=perturb)
        self.perturbs = perturb
        raise _Seen


class _SecondPass(Tape):
    """A pass that ends where the plain loop turns out to cost less, or else where its backward pass would begin.

    Args:
        network: The network.
        first: What is known.
        units: How many groups it is of.
        group_size: Samples in a group.
        groups: How many are going to be scored.
        goes_on: Whether it goes on with its backward pass.
    """

    look: Look

    def __init__(
        self, network: Network, first: FirstLook, units: int, group_size: int, *, groups: int, goes_on: bool
    ) -> None:
        super().__init__(network, units, units * group_size, first.passed)
        self._of_losses: list[Operation] = []
        self.operations_of_model, self.operations_of_losses = [], self._of_losses
        self.first = first
        self.groups = groups
        self.goes_on = goes_on

    def record(self, inputs: Any) -> Any:
        outputs = super().record(inputs)
        costs = self.first.costs
        more = self.copies_beyond_loop(perturb=self.first.perturbs)
        self.look = Look(
            layouts=dict(self.layouts),
            operations_of_model=self.operations_of_model or [],
            operations_of_losses=self._of_losses,
            costs=costs._replace(beyond_loop=costs.beyond_loop + more),
        )
        if not self.look.costs.prefers_rules(self.groups):
            raise _Seen
        return outputs

    def before_backward(self, *, perturb: bool) -> None:
        super().before_backward(perturb=perturb)
        if not self.goes_on:
            raise _Seen


def _costs(tape: Tape, groups: int, saved: int, *, perturb: bool) -> Costs:
    """Return what so many groups cost that were run as one unit, and whose forward pass saved so many bytes."""
    calls = [call.among(groups) for call in tape.calls]
    kept = saved + sum(call.bytes_kept(perturb=perturb) for call in calls)
    formed = max((call.bytes_formed(perturb=perturb) for call in calls), default=0)
    return Costs(
        bytes_per_group=max((kept + formed) // groups + 3 * bytes_of(tape.leaves), 1),
        beyond_loop=sum(call.beyond_loop(perturb=perturb) for call in calls),
        once_beyond_loop=tape.own_steps * (2 if perturb else 1),
    )
