"""Scores of many samples at once by the layers' rules, proved against single samples before they are used."""

import logging
import math
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al.gradients.identity import look_of, name_of, traits_of
from lightning_al.gradients.layouts import Layout, Place
from lightning_al.gradients.network import Network
from lightning_al.gradients.scorers import (
    BatchScore,
    GroupScore,
    OneAfterAnother,
    ScoredModel,
    Scorer,
    in_double,
    slice_of,
)
from lightning_al.gradients.stand_ins import NoRule, UsedElsewhere
from lightning_al.gradients.tape import Tape
from lightning_al.inference.memory import is_out_of_memory
from lightning_al.inference.module_state import attributes_kept
from lightning_al.inference.outputs import batch_size_of

log = logging.getLogger(__name__)

ROUNDING = 1e-12  # scores below may be made of rounding errors only, and say nothing
COMPARED = 6  # groups at most that are scored by the plain loop, too, before others go without

PLANS: WeakKeyDictionary[nn.Module, dict[Hashable, "_Plan | str"]] = WeakKeyDictionary()


def find_layouts(network: Network, small: Any, large: Any, sizes: tuple[int, int]) -> dict[Place, Layout]:
    """Find along which dimension the layers' tensors have their rows, by two runs with different numbers of samples."""
    shapes = []
    with torch.no_grad():
        for inputs, size in ((small, sizes[0]), (large, sizes[1])):
            tape = Tape(network, 1, size, None)
            tape.record(inputs)
            shapes.append(tape.shapes)
    few, many = shapes
    if few.keys() != many.keys():
        raise NoRule("the number of layer calls depends on the number of samples")
    found = {}
    for place, a in few.items():
        b = many[place]
        differ = [d for d, (m, n) in enumerate(zip(a, b, strict=True)) if m != n] if len(a) == len(b) else [-2, -2]
        if len(differ) > 1:
            raise NoRule(f"a layer's input has more than one dimension that grows with the batch: {a}, {b}")
        if differ and (a[differ[0]] * sizes[1] != b[differ[0]] * sizes[0]):
            raise NoRule(f"a layer's input does not grow with the batch: {a}, {b}")
        found[place] = Layout(differ[0], a[differ[0]] // sizes[0]) if differ else Layout(-1, 0)
    return found


class _Plan(NamedTuple):
    """What was found out about a model by a few of its samples."""

    layouts: dict[Place, Layout]
    bytes_per_group: int
    channels_last: bool
    elsewhere: frozenset[str]
    alone: bool
    """Whether there were two groups only, which shows less than three."""


class NothingToCompare(Exception):
    """The first samples cannot show whether the rules hold."""


class ByRules(Scorer):
    """All groups of a batch in two passes, once the first groups have shown that this equals the plain loop."""

    def __init__(
        self,
        model: ScoredModel,
        score: GroupScore,
        fast: BatchScore,
        kind: tuple[Any, ...],
        model_inputs: Callable[[Any], Any],
    ) -> None:
        super().__init__(model)
        self._networks: dict[tuple[bool, frozenset[str]], Network] = {}
        self.score = score
        self.fast = fast
        self.model_inputs = model_inputs
        # What a plan depends on beside the inputs; asked for with every chunk, so found once.
        self._identity = (
            tuple(map(name_of, kind)),
            tuple(map(traits_of, model.root.modules())),
            tuple(model.params),
            name_of(getattr(model.root, "_call", None)),
        )

    def groups_at_once(self, inputs: Any, group_size: int, max_bytes: int | None) -> int:
        """Return how many groups fit into the memory."""
        budget = self.model.budget(max_bytes)
        plan = self._plan(inputs, group_size, budget)
        if isinstance(plan, str):
            raise NoRule(plan)
        return max(budget // plan.bytes_per_group, 1) if isinstance(plan, _Plan) else 1

    def __call__(self, inputs: Any, group_size: int) -> Tensor:
        """Score the groups of ``inputs``."""
        plan = self._plan(inputs, group_size, self.model.budget(None))
        if isinstance(plan, str):
            raise NoRule(plan)
        if plan is None:
            return OneAfterAnother(self.model, self.score)(inputs, group_size)
        network = self._network(plan.elsewhere, channels_last=plan.channels_last)
        return self._by_rules(network, plan.layouts, inputs, group_size)

    def _network(self, elsewhere: frozenset[str], *, channels_last: bool = False) -> Network:
        key = channels_last, elsewhere
        if key not in self._networks:
            model = self.model
            self._networks[key] = Network(
                model.root, model.params, model.fixed, channels_last=channels_last, elsewhere=elsewhere
            )
        return self._networks[key]

    def _goes_with_channels_last(
        self, network: Network, layouts: dict[Place, Layout], samples: Any, group_size: int
    ) -> bool:
        images = any(layer.rule.takes_images for layer in network.layers.values())
        if not images or any(p.device.type != "cpu" for p in self.model.params.values()):
            return False
        try:  # a `view` of the model's may not go with it
            channels_last = self._network(network.elsewhere, channels_last=True)
            self._by_rules(channels_last, layouts, samples, group_size)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            return False
        return True

    def instead(self, error: Exception) -> str:
        """Say what is done where there is no rule."""
        return f"No layer-wise gradients for this model ({error}); its weights go through torch.func."

    def _plan(self, inputs: Any, group_size: int, budget: int) -> _Plan | str | None:
        """Return how to go about samples like these, the reason why it cannot be done, or None for a single group.

        One group cannot show that groups do not mix, and has nothing to gain either.
        """
        leaves, spec = pytree.tree_flatten(inputs)
        key = (self._identity, group_size, tuple(map(look_of, leaves)), str(spec))
        plans = PLANS.setdefault(self.model.root.model, {})  # type: ignore[arg-type]
        known = plans.get(key)
        groups = batch_size_of(inputs) // group_size
        if known is None or (isinstance(known, _Plan) and known.alone and groups > 2):
            if groups < 2:
                return None
            try:
                plans[key] = self._find_plan(inputs, group_size, budget)
            except NothingToCompare as error:  # other samples of the same kind may tell
                return str(error)
            except Exception as error:  # if the fault is the model's own, the plain loop raises it again
                if is_out_of_memory(error):
                    raise
                plans[key] = str(error) or type(error).__name__
        return plans[key]

    def _find_plan(self, inputs: Any, group_size: int, budget: int) -> _Plan:
        elsewhere: frozenset[str] = frozenset()
        while True:
            try:
                return self._plan_for(self._network(elsewhere), inputs, group_size, budget)
            except UsedElsewhere as error:
                if error.names <= elsewhere:
                    raise
                elsewhere |= error.names

    def _plan_for(self, network: Network, inputs: Any, group_size: int, budget: int) -> _Plan:
        def first(count: int) -> Any:
            index = torch.arange(count) % batch_size_of(inputs)
            return pytree.tree_map_only(Tensor, lambda t: t[index.to(t.device)].clone(), inputs)

        two, three = (self.model_inputs(first(count)) for count in (2, 3))
        layouts = find_layouts(network, two, three, sizes=(2, 3))
        starts = _groups_that_differ(inputs, group_size)
        samples = _groups_at(inputs, group_size, starts[:2])
        tape = Tape(network, 2, 2 * group_size, layouts)
        self.fast(tape, samples)
        bytes_per_group, differentiated = max(tape.bytes_used // 2, 1), tape.differentiated
        tape.release()
        samples = _groups_at(inputs, group_size, starts[: max(budget // bytes_per_group, 2)])
        used = batch_size_of(samples) // group_size * bytes_per_group
        found, wanted, tolerance = self._both_ways(network.elsewhere, layouts, samples, group_size, used, budget)
        largest = float(wanted.abs().max())
        if not math.isfinite(largest) or (largest == 0 and differentiated):
            raise NothingToCompare(f"the first samples score {wanted.tolist()[:2]}")
        if not torch.allclose(found, wanted, rtol=tolerance, atol=tolerance * largest):
            kind = NoRule if largest > ROUNDING else NothingToCompare
            raise kind(f"they would be {found.tolist()[:2]} where the plain loop gives {wanted.tolist()[:2]}")
        if network.traced:
            names = ", ".join(sorted({type(m).__name__ for m in network.traced}))
            log.info("No rule for %s: their parameters go through torch.func.", names)
        if network.elsewhere:
            names = ", ".join(sorted(network.elsewhere)[:3])
            count = len(network.elsewhere)
            log.info("%d parameter(s) used outside of layers' calls (%s): they go through torch.func.", count, names)
        channels_last = self._goes_with_channels_last(network, layouts, samples, group_size)
        alone = batch_size_of(inputs) // group_size == 2
        return _Plan(layouts, bytes_per_group, channels_last, network.elsewhere, alone)

    def _both_ways(
        self,
        elsewhere: frozenset[str],
        layouts: dict[Place, Layout],
        samples: Any,
        group_size: int,
        bytes_used: int,
        budget: int,
    ) -> tuple[Tensor, Tensor, float]:
        """Return scores of a few groups by the rules and by the plain loop, in either order, and how they may differ.

        In float64, where that fits the budget: what was used in float32 twice over, and three copies of the weights.
        """
        if 2 * bytes_used + 6 * self.model.bytes <= budget:
            double = pytree.tree_map_only(Tensor, in_double, samples)
            try:
                with attributes_kept(self.model.root):  # what models cache would be of this precision
                    return *self._compared(self.model.in_double(), elsewhere, layouts, double, group_size), 1e-7
            except NoRule:
                raise
            except Exception as error:  # a model or device that insists on its own precision
                log.debug("Not compared in float64: %s", error)
        found, wanted = self._compared(self.model, elsewhere, layouts, samples, group_size)
        return found, wanted, 1e-7 if found.dtype == torch.float64 else 2e-3

    def _compared(
        self,
        model: ScoredModel,
        elsewhere: frozenset[str],
        layouts: dict[Place, Layout],
        samples: Any,
        group_size: int,
    ) -> tuple[Tensor, Tensor]:
        network = Network(model.root, model.params, model.fixed, elsewhere=elsewhere)
        alone = OneAfterAnother(model, self.score)
        starts = range(0, batch_size_of(samples), group_size)
        plain = [alone(slice_of(samples, i, i + group_size), group_size) for i in starts]
        index = torch.arange(batch_size_of(samples)).roll(-group_size)
        turned = pytree.tree_map_only(Tensor, lambda t: t[index.to(t.device)], samples)
        found = [self._by_rules(network, layouts, both, group_size) for both in (samples, turned)]
        return torch.cat(found), torch.cat([*plain, *plain[1:], plain[0]])

    def _by_rules(self, network: Network, layouts: dict[Place, Layout], inputs: Any, group_size: int) -> Tensor:
        n = batch_size_of(inputs)
        tape = Tape(network, n // group_size, n, layouts)
        try:
            return self.fast(tape, inputs)
        finally:
            tape.release()


def _groups_that_differ(inputs: Any, group_size: int) -> list[int]:
    """Return where groups begin that are least alike: the first, the next that is not the same, and a few others.

    Samples that share something, such as a length or a largest value, cannot show that a model takes it from all of its
    batch. Hence also, for every tensor, the group farthest from the first, and the one whose number of zeros is.
    """
    starts = range(0, batch_size_of(inputs) // group_size * group_size, group_size)
    differ: set[int] = set()
    farthest: list[int] = []
    for leaf in pytree.tree_leaves(inputs):
        if isinstance(leaf, Tensor):
            first = leaf[:group_size]
            others = [leaf[i : i + group_size] for i in starts]
            differ.update(i for i, other in zip(starts, others, strict=True) if i and not torch.equal(first, other))
            for measure in (_distance, _more_zeros):
                measured = torch.stack([measure(first, other) for other in others])
                farthest += [starts[int(measured.argmax())]] if bool(measured.amax() > 0) else []
    following = sorted(differ) or [starts[1]]
    return list(dict.fromkeys([0, following[0], *farthest, *following[1:2]]))[:COMPARED]


def _distance(a: Tensor, b: Tensor) -> Tensor:
    if a.is_complex():
        a, b = torch.view_as_real(a.resolve_conj()), torch.view_as_real(b.resolve_conj())
    return (a.double() - b.double()).abs().nan_to_num().sum()


def _more_zeros(a: Tensor, b: Tensor) -> Tensor:
    return (a.count_nonzero() - b.count_nonzero()).abs()


def _groups_at(inputs: Any, group_size: int, starts: list[int]) -> Any:
    """Return copies of the groups that begin there, one after another."""
    index = torch.cat([torch.arange(start, start + group_size) for start in starts])
    return pytree.tree_map_only(Tensor, lambda t: t[index.to(t.device)].clone(), inputs)
