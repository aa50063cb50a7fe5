"""What is seen of a model in two passes of different numbers of groups: where rows are, what is done, what it costs."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from lightning_al.gradients.costs import (
    cost_of_batch,
    cost_of_steps_alone,
    cost_of_unit_alone,
    gained_by_channels_last,
    prefers_channels_last,
)
from lightning_al.gradients.layouts import OtherPass, Place, RowLayout
from lightning_al.gradients.mixing import Operation
from lightning_al.gradients.network import Network
from lightning_al.gradients.recorded_calls import RecordedCall, bytes_of
from lightning_al.gradients.rule_scores import RuleScore, Scored
from lightning_al.gradients.rules.convolution import ConvolutionRule
from lightning_al.gradients.tape import Tape
from lightning_al.inference.entries import batch_size_of
from lightning_al.inference.memory import saved_bytes


class Costs(NamedTuple):
    """What groups cost by the rules, as far as shapes tell.

    Attributes:
        bytes_per_group: About what a group takes.
        beyond_loop: How much more, in multiply-adds, one costs than by the plain loop; below 0, how much less.
        once_beyond_loop: How much more a batch does, whatever its size.
        unit_alone: What one more costs the plain loop beside what its layers do.
    """

    bytes_per_group: int
    beyond_loop: float
    once_beyond_loop: float
    unit_alone: float

    @property
    def alone(self) -> bool:
        """Whether the plain loop costs less, however many groups there are."""
        return self.beyond_loop > 0

    @property
    def least_groups(self) -> int:
        """How many groups there must be at least for the rules to cost no more than the plain loop."""
        saved = self.unit_alone - self.beyond_loop
        return math.floor(self.once_beyond_loop / saved) + 1 if saved > 0 else 1

    def prefers_rules(self, groups: int) -> bool:
        """Whether the rules cost no more than the plain loop for so many groups."""
        return not self.alone and groups >= self.least_groups


class FirstLook(NamedTuple):
    """What is seen of a few groups before it is known where tensors have their rows.

    Losses are not looked at where no more is wanted than to choose, and the plain loop costs less.

    Attributes:
        passed: The shapes of the layers' tensors.
        operations_of_model: Outside of the calls that rules take care of, in order.
        operations_of_losses: In order.
        differentiated: Whether the losses depend on any parameter.
        groups: How many.
        bytes_saved: That their forward pass saved for a backward pass.
        bytes_called_on: Of what layers were called on.
        costs: What they cost, or less: what all samples share is counted as if each had a part of it, and layers that
            have no rule, and go without ``vmap``, are not.
    """

    passed: OtherPass
    operations_of_model: list[Operation]
    operations_of_losses: list[Operation]
    differentiated: bool
    groups: int
    bytes_saved: int
    bytes_called_on: int
    costs: Costs


class SecondLook(NamedTuple):
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


def first_look(score: RuleScore, network: Network, samples: Any, groups: int, *, to_choose: bool = False) -> FirstLook:
    """Run the samples of a few groups as far as to their losses.

    Args:
        score: The score.
        network: The network.
        samples: Those of the groups.
        groups: How many.
        to_choose: Whether no more is wanted where the plain loop costs less: losses are not looked at then.
    """
    rows = batch_size_of(samples)
    tape = _FirstPass(network, rows, groups, to_choose=to_choose)
    with contextlib.closing(tape), saved_bytes(network.params.values()) as saved:
        with contextlib.suppress(_Seen):
            score.on(tape, samples)
        for call in tape.calls:
            saved.add(call.x)
        costs = _costs(tape, tape.of_groups, groups, saved.total // groups, perturb=tape.perturb)
        return FirstLook(
            passed=OtherPass(tape.shapes, rows),
            operations_of_model=tape.operations_of_model or [],
            operations_of_losses=tape.operations_of_losses or [],
            differentiated=tape.differentiated,
            groups=groups,
            bytes_saved=saved.total,
            bytes_called_on=_bytes_called_on(tape.calls),
            costs=costs,
        )


def second_look(
    score: RuleScore, network: Network, first: FirstLook, samples: Any, group_size: int, *, to_score: int
) -> SecondLook:
    """Run the samples of a few groups, of another number than those of the first look, as far as to their losses.

    Args:
        score: The score.
        network: The network.
        first: What is known.
        samples: Those of the few groups.
        group_size: Samples in a group.
        to_score: How many groups are going to be scored; where the plain loop costs less for so many, losses are not
            looked at.

    Raises:
        NoRule: If both looks together do not show where tensors have their rows, among other reasons.
    """
    units = batch_size_of(samples) // group_size
    return _second_pass(score, _SecondPass(network, first, units, group_size, to_score=to_score), samples)[0]


def second_look_and_scores(
    score: RuleScore,
    network: Network,
    first: FirstLook,
    inputs: Any,
    group_size: int,
    *,
    budget: int,
    layouts: Mapping[Place, RowLayout] | None = None,
) -> tuple[SecondLook, Scored | None]:
    """Look at groups, of another number than those of the first look, and score them.

    Args:
        score: The score.
        network: The network.
        first: What is known.
        inputs: The samples of the groups.
        group_size: Samples in a group.
        budget: In bytes.
        layouts: Where the layers' tensors have their rows. Default: as both looks show it.

    Returns:
        What was seen, and the scores; no scores where the plain loop costs less, or where it turns out that groups take
        more than the budget.

    Raises:
        NoRule: If both looks together do not show where tensors have their rows, among other reasons.
    """
    units = batch_size_of(inputs) // group_size
    tape = _SecondPass(
        network, first, units, group_size, to_score=units, budget=budget, goes_back=True, layouts=layouts
    )
    return _second_pass(score, tape, inputs)


def _second_pass(score: RuleScore, tape: "_SecondPass", inputs: Any) -> tuple[SecondLook, Scored | None]:
    scored = None
    with contextlib.closing(tape):
        with contextlib.suppress(_Seen):
            scored = score.on(tape, inputs)
        return tape.look, scored


class _Seen(Exception):
    """No more is wanted of a pass."""


class _Look(Tape):
    """A pass that ends where its backward pass would begin, if it does not go back."""

    def before_backward(self) -> None:
        super().before_backward()
        if not self.goes_back:
            raise _Seen


class _FirstPass(_Look):
    """A pass that ends where its backward pass would begin.

    Args:
        network: The network.
        rows: Of the samples.
        groups: How many groups they are.
        to_choose: Whether it ends before the losses where the plain loop costs less.
    """

    def __init__(self, network: Network, rows: int, groups: int, *, to_choose: bool) -> None:
        super().__init__(network, 1, rows)
        self.goes_back = False
        self.operations_of_model, self.operations_of_losses = [], []
        self.of_groups: list[RecordedCall] = []
        self.groups = groups
        self.to_choose = to_choose

    def record(self, inputs: Any, *, perturb: bool = False) -> Any:
        outputs = super().record(inputs, perturb=perturb)
        self.of_groups = [call.among(self.groups) for call in self.calls]
        if self.to_choose and _beyond_loop(self, self.of_groups, perturb=perturb) > 0:
            raise _Seen
        return outputs


class _SecondPass(_Look):
    """A pass that ends where the plain loop turns out to cost less, or else where its backward pass would begin.

    Args:
        network: The network.
        first: What is known.
        units: How many groups it is of.
        group_size: Samples in a group.
        to_score: How many groups are going to be scored.
        budget: Bytes that the groups may take, if they are scored here.
        goes_back: Whether it goes on with its backward pass.
        layouts: Where the layers' tensors have their rows. Default: as the first look shows it beside this one.
    """

    look: SecondLook

    def __init__(
        self,
        network: Network,
        first: FirstLook,
        units: int,
        group_size: int,
        *,
        to_score: int,
        budget: int = 0,
        goes_back: bool = False,
        layouts: Mapping[Place, RowLayout] | None = None,
    ) -> None:
        super().__init__(network, units, units * group_size, first.passed if layouts is None else layouts)
        self._of_losses: list[Operation] = []
        self.operations_of_model, self.operations_of_losses = [], self._of_losses
        self.first = first
        self.to_score = to_score
        self.budget = budget
        self.goes_back = goes_back

    def record(self, inputs: Any, *, perturb: bool = False) -> Any:
        outputs = super().record(inputs, perturb=perturb)
        first, units = self.first, self.units
        # Each unit has its own of what layers make of what all samples share, where the first look had one for all.
        # Without hooks on what is saved, which keep autograd from seeing that it was written to.
        more = first.groups * _bytes_called_on(self.calls) / max(units * first.bytes_called_on, 1)
        costs = _costs(self, self.calls, units, int(first.bytes_saved / first.groups * max(more, 1.0)), perturb=perturb)
        self.look = SecondLook(
            layouts=dict(self.layouts),
            operations_of_model=self.operations_of_model or [],
            operations_of_losses=self._of_losses,
            costs=costs._replace(beyond_loop=costs.beyond_loop + self.copies_beyond_loop(perturb=perturb)),
        )
        takes_more = self.goes_back and units > 1 and units * costs.bytes_per_group > self.budget
        if takes_more or not self.look.costs.prefers_rules(self.to_score):
            raise _Seen
        return outputs


def _bytes_called_on(calls: Sequence[RecordedCall]) -> int:
    return sum(call.x.nbytes for call in calls)


def _beyond_loop(tape: Tape, calls: Sequence[RecordedCall], *, perturb: bool) -> float:
    """Return how much more one group costs than by the plain loop; below 0, how much less."""
    of_calls = sum(call.beyond_loop(perturb=perturb) for call in calls) + _gained_by_loop(calls, perturb=perturb)
    return of_calls - cost_of_steps_alone(tape.other_steps, tape.network.device, perturb=perturb)


def _gained_by_loop(calls: Sequence[RecordedCall], *, perturb: bool) -> float:
    """Return what the plain loop gains by the order in memory that it gives convolutions, if it may give it."""
    of_images = [
        (call, rule)
        for call in calls
        if isinstance(rule := call.rule, ConvolutionRule) and rule.nd == 2 and max(rule.kernel) > 1
    ]
    if not of_images or any(call.x.device.type != "cpu" or call.x.dtype != torch.float32 for call, _ in of_images):
        return 0.0
    weights = sum({id(rule.weight): rule.weight.numel() for _, rule in of_images}.values())
    pixels = max(call.x.shape[2:].numel() for call, _ in of_images)
    if not prefers_channels_last(weights, pixels, grouped=any(rule.groups > 1 for _, rule in of_images)):
        return 0.0
    work = sum(rule.weight.numel() * rule.positions(call.like_output) for call, rule in of_images)
    return gained_by_channels_last(work, of_images[0][0].x.device, perturb=perturb)


def _costs(tape: Tape, calls: Sequence[RecordedCall], groups: int, saved: int, *, perturb: bool) -> Costs:
    """Return what so many groups cost, of each of which a forward pass saves so many bytes."""
    device = tape.network.device
    kept = sum(call.bytes_kept(perturb=perturb) for call in calls)
    formed = max((call.bytes_formed(2, perturb=perturb) for call in calls), default=0)  # the fewest that go together
    return Costs(
        bytes_per_group=max(saved + kept // groups + formed // 2 + 3 * bytes_of(tape.leaves) // tape.units, 1),
        beyond_loop=_beyond_loop(tape, calls, perturb=perturb),
        once_beyond_loop=cost_of_batch([call.x for call in calls], device, steps=tape.fused_steps, perturb=perturb),
        unit_alone=cost_of_unit_alone(device, perturb=perturb),
    )
