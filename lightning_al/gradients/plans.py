"""How a model goes by its layers' rules: found out by a few of its samples, and proved against the plain loop."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.gradients.comparisons import check_same
from lightning_al.gradients.errors import NoRule, UsedElsewhere
from lightning_al.gradients.example_groups import groups_at, groups_that_differ
from lightning_al.gradients.layouts import Place, RowLayout, layouts_from_shapes
from lightning_al.gradients.mixing import SIZES, operations_of, puts_together
from lightning_al.gradients.network import Network
from lightning_al.gradients.scored_model import ScoredModel, floats_in_double
from lightning_al.gradients.scorers import BatchScore, GroupScore, OneAfterAnother
from lightning_al.gradients.tape import Tape
from lightning_al.inference.calling import copies_for_model
from lightning_al.inference.entries import batch_size_of, samples_at, slice_of
from lightning_al.inference.memory import is_out_of_memory
from lightning_al.inference.module_state import attributes_kept

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
    """

    layouts: dict[Place, RowLayout]
    bytes_per_group: int
    channels_last: bool
    elsewhere: frozenset[str]
    from_two_groups: bool
    together: str


class RuleScore:
    """A score of a model by its layers' rules, for networks and layouts that are given.

    Args:
        model: The model.
        fast: The score of all groups of a recorded batch.
    """

    def __init__(self, model: ScoredModel, fast: BatchScore) -> None:
        self.model = model
        self.fast = fast
        self._networks: dict[tuple[bool, frozenset[str]], Network] = {}

    def network(self, elsewhere: frozenset[str], *, channels_last: bool = False) -> Network:
        """Return the model's network, made once for the same options."""
        key = channels_last, elsewhere
        if key not in self._networks:
            model = self.model
            self._networks[key] = Network(
                model.root, model.params, model.fixed, channels_last=channels_last, elsewhere=elsewhere
            )
        return self._networks[key]

    def __call__(
        self, network: Network, layouts: dict[Place, RowLayout], inputs: Any, group_size: int
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the scores of the groups of ``inputs``, and the tensors of the model's outputs."""
        n = batch_size_of(inputs)
        tape = Tape(network, n // group_size, n, layouts)
        try:
            return self.fast(tape, inputs), list(tape.outputs)
        finally:
            tape.release()


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

    def find(self, inputs: Any, group_size: int, budget: int) -> Plan:
        """Return the plan, proved by groups of the inputs, of which there are two at least.

        Raises:
            NoRule: If the rules do not hold for the model.
            NothingToCompare: If these samples cannot tell.
        """
        elsewhere: frozenset[str] = frozenset()
        while True:
            try:
                return self._find(self.by_rules.network(elsewhere), inputs, group_size, budget)
            except UsedElsewhere as error:
                if error.names <= elsewhere:
                    raise
                elsewhere |= error.names

    def _find(self, network: Network, inputs: Any, group_size: int, budget: int) -> Plan:
        starts = groups_that_differ(inputs, group_size)
        few, many = (groups_at(inputs, group_size, [starts[i % len(starts)] for i in range(n)]) for n in SIZES)
        together = self._together(few, many)
        layouts = self._layouts(network, inputs)
        bytes_per_group, differentiated = self._costs(network, layouts, few, many, group_size)
        samples = groups_at(inputs, group_size, starts[: max(budget // bytes_per_group, 2)])
        used = batch_size_of(samples) // group_size * bytes_per_group
        in_float64 = 2 * used + 6 * self.model.bytes <= budget
        trial = _Trial(
            fast=self.by_rules.fast,
            score=self.score,
            elsewhere=network.elsewhere,
            layouts=layouts,
            samples=samples,
            group_size=group_size,
        )
        check_same(*trial.scores(self.model, in_float64=in_float64), differentiated=differentiated)
        _say_what_goes_through_torch_func(network)
        return Plan(
            layouts,
            bytes_per_group,
            channels_last=self._goes_with_channels_last(network, layouts, samples, group_size),
            elsewhere=network.elsewhere,
            from_two_groups=batch_size_of(inputs) // group_size == 2,
            together=together,
        )

    @torch.no_grad()
    def _together(self, few: Any, many: Any) -> str:
        """Return an operation of the model's that takes all samples together, or ""."""
        model = self.model
        passes = [operations_of(partial(model.call, model.params, self.model_inputs(part))) for part in (few, many)]
        together = puts_together(*passes)
        if together:
            log.info("The model takes all samples of a batch together (%s): each batch is compared.", together)
        return together

    def _layouts(self, network: Network, inputs: Any) -> dict[Place, RowLayout]:
        """Find along which dimension tensors have their rows, by passes of two samples and of one of them again.

        A third one, of another length, would change the length that a model cuts its batch to.
        """
        sizes = (2, 3)
        shapes = []
        for size in sizes:
            tape = Tape(network, 1, size, None)
            some = samples_at(inputs, torch.arange(size) % 2)
            with torch.no_grad():
                tape.record(copies_for_model(self.model_inputs(some)))
            shapes.append(tape.shapes)
        few, many = shapes
        return layouts_from_shapes(few, many, sizes=sizes)

    def _costs(
        self, network: Network, layouts: dict[Place, RowLayout], few: Any, many: Any, group_size: int
    ) -> tuple[int, bool]:
        """Return about how many bytes a group takes, and whether the score has a gradient at all.

        Raises:
            NoRule: If the losses take something of all samples together: outputs would not show it.
        """
        passes = []
        for groups, samples in zip(SIZES, (few, many), strict=True):
            tape = Tape(network, groups, groups * group_size, layouts)
            tape.operations_of_losses = []
            self.by_rules.fast(tape, samples)
            passes.append(tape.operations_of_losses)
            costs = max(tape.bytes_used // groups, 1), tape.differentiated
            tape.release()
        together = puts_together(*passes)
        if together:
            raise NoRule(f"the loss takes all samples of a batch together ({together})")
        return costs

    def _goes_with_channels_last(
        self, network: Network, layouts: dict[Place, RowLayout], samples: Any, group_size: int
    ) -> bool:
        rules = [layer.rule for layer in network.layers.values()]
        images = any(rule.takes_images for rule in rules) and not any(rule.takes_planes for rule in rules)
        if not images or any(p.device.type != "cpu" for p in self.model.params.values()):
            return False
        try:  # a `view` of the model's may not go with it
            channels_last = self.by_rules.network(network.elsewhere, channels_last=True)
            self.by_rules(channels_last, layouts, samples, group_size)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            return False
        return True


class _Trial(NamedTuple):
    """A few groups that are scored by the rules and by the plain loop."""

    fast: BatchScore
    score: GroupScore
    elsewhere: frozenset[str]
    layouts: dict[Place, RowLayout]
    samples: Any
    group_size: int

    def scores(self, model: ScoredModel, *, in_float64: bool) -> tuple[Tensor, Tensor, float]:
        """Return both scores, in float64 where that fits the memory and the model, and how they may differ."""
        if in_float64:
            double = self._replace(samples=pytree.tree_map_only(Tensor, floats_in_double, self.samples))
            try:
                with attributes_kept(model.root):  # what models cache would be of this precision
                    return *double.both_ways(model.in_double()), 1e-7
            except NoRule:
                raise
            except Exception as error:  # a model or device that insists on its own precision
                log.debug("Not compared in float64: %s", error)
        by_rules, plain = self.both_ways(model)
        return by_rules, plain, 1e-7 if by_rules.dtype == torch.float64 else 2e-3

    def both_ways(self, model: ScoredModel) -> tuple[Tensor, Tensor]:
        """Return the scores by the rules and by the plain loop, of the groups in two orders."""
        network = Network(model.root, model.params, model.fixed, elsewhere=self.elsewhere)
        by_rules, alone = RuleScore(model, self.fast), OneAfterAnother(model, self.score)
        size, count = self.group_size, batch_size_of(self.samples)
        plain = [alone(slice_of(self.samples, i, i + size), size) for i in range(0, count, size)]
        index = torch.arange(count).roll(-size)
        turned = samples_at(self.samples, index)
        together = [by_rules(network, self.layouts, both, size)[0] for both in (self.samples, turned)]
        return torch.cat(together), torch.cat([*plain, *plain[1:], plain[0]])


def _say_what_goes_through_torch_func(network: Network) -> None:
    if network.traced:
        names = ", ".join(sorted({type(m).__name__ for m in network.traced}))
        log.info("No rule for %s: their parameters go through torch.func.", names)
    if network.elsewhere:
        names = ", ".join(sorted(network.elsewhere)[:3])
        count = len(network.elsewhere)
        log.info("%d parameter(s) used outside of layers' calls (%s): they go through torch.func.", count, names)
