"""Per-sample scores: of many samples at once by the layers' rules, else by ``torch.func``, else one after another.

All three are exact. The layers' rules need a rule for what the model is made of; ``torch.func`` holds a copy of the
weights per sample; the plain loop takes anything.
"""

import functools
import logging
import math
import operator
import types
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, SupportsIndex
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.utils import _pytree as pytree

from lightning_al.gradients.differentiators import Differentiator, OneByOne, Params, Vectorized, tensors_apart
from lightning_al.gradients.engine import Layout, Place, Tape, find_layouts
from lightning_al.gradients.loose import NoRule, UsedElsewhere
from lightning_al.gradients.memory import default_max_bytes, is_out_of_memory, saved_bytes
from lightning_al.gradients.network import Network
from lightning_al.gradients.precision import at_least_float32
from lightning_al.gradients.scoring_mode import (
    Around,
    Forward,
    ForwardOf,
    attributes_kept,
    batch_size_of,
    call_with,
    check_whole,
    copy_for_model,
    is_half,
    plain_layers,
    scoring_mode,
    unwrapped,
)

log = logging.getLogger(__name__)

Call = Callable[[Params, Any], Any]
"""The model as a function of its trainable weights: ``call(params, inputs) -> outputs``."""
GroupScore = Callable[[Differentiator, Call, Params, Any], Tensor]
"""``score(differentiator, call, params, group)``: the scores of one group, (b,)."""
BatchScore = Callable[[Tape, Any], Tensor]
"""``score(tape, inputs)``: the scores of all groups of a batch, (b,)."""

_PLAIN = (bool, int, float, str, torch.dtype)

MAX_GROUPS = 128  # more at once brings no speed
ROUNDING = 1e-12  # scores below may be made of rounding errors only, and say nothing
COMPARED = 6  # groups at most that are scored by the plain loop, too, before others go without


class _Model(NamedTuple):
    """A model prepared for scoring, its weights detached and raised to float32."""

    root: nn.Module
    params: Params
    fixed: dict[str, Tensor]

    def in_double(self) -> "_Model":
        """The same in float64, to check by."""
        named = [*self.root.named_parameters(), *self.root.named_buffers()]
        values = {**dict(named), **self.params, **self.fixed}
        double = {name: _in_double(t.detach()) for name, t in values.items()}
        return _Model(self.root, {name: double.pop(name) for name in self.params}, double)

    @property
    def bytes(self) -> int:
        """Of the weights."""
        return sum(p.numel() * p.element_size() for p in self.params.values())

    def budget(self, max_bytes: int | None) -> int:
        """Return the byte budget, the default one if none is given."""
        return default_max_bytes(next(iter(self.params.values())).device) if max_bytes is None else max_bytes

    def call(self, weights: Params, group: Any) -> Any:
        group = pytree.tree_map_only(Tensor, copy_for_model, group)
        return call_with(self.root, {**weights, **self.fixed}, group)


def _prepare(model: nn.Module, forward: Forward | None) -> _Model:
    check_whole(model)
    root = ForwardOf(unwrapped(model), forward)
    if any(map(nn.parameter.is_lazy, (*root.parameters(), *root.buffers()))):
        raise ValueError(
            "The model has lazy layers that have seen no input yet, so that their weights have no shape. Run one batch "
            "through it before it is scored."
        )
    with torch.inference_mode(False):  # float32 copies of half-precision weights must not be inference tensors
        named, buffers = list(root.named_parameters()), list(root.named_buffers())
        params = {name: at_least_float32(p.detach()) for name, p in named if p.requires_grad}
        others = [*((name, p) for name, p in named if not p.requires_grad), *buffers]
        fixed = {name: at_least_float32(t) for name, t in others} if is_half(root) else {}
    if not params:
        raise ValueError(
            "The model has no trainable parameter (`requires_grad=True`), so there is no gradient to score by. "
            "Unfreeze some, or use an acquisition that needs logits only."
        )
    return _Model(root, params, fixed)


class _Scorer(ABC):
    """A way to score groups."""

    def __init__(self, model: _Model) -> None:
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


class _OneAfterAnother(_Scorer):
    def __init__(self, model: _Model, score: GroupScore) -> None:
        super().__init__(model)
        self.score = score

    def groups_at_once(self, inputs: Any, group_size: int, max_bytes: int | None) -> int:
        return 1

    def __call__(self, inputs: Any, group_size: int) -> Tensor:
        model = self.model

        def score() -> Tensor:
            return self.score(OneByOne(), model.call, model.params, inputs)

        # Checkpointed blocks run again in the backward pass, when the weights of the call are no longer in place.
        weights = {name: p.detach().requires_grad_() for name, p in model.params.items()}
        tensors = {f"model.{name}": t for name, t in {**model.fixed, **weights}.items()}
        scores: Tensor = call_with(Around(model.root), tensors, score)
        return scores


class _ByTorchFunc(_Scorer):
    def __init__(self, model: _Model, score: GroupScore, copies: int) -> None:
        super().__init__(model)
        self.score = score
        self.copies = copies

    def groups_at_once(self, inputs: Any, group_size: int, max_bytes: int | None) -> int:
        per_group = self.copies * self.model.bytes + self._activations(inputs, group_size)
        return int(min(max(self.model.budget(max_bytes) // per_group, 1), max(MAX_GROUPS // group_size, 1)))

    def _activations(self, inputs: Any, group_size: int) -> int:
        """Return about how many bytes one group keeps for its gradient beside the weights; looked at once a model."""
        known = _ACTIVATIONS.setdefault(self.model.root.model, {})  # type: ignore[arg-type]
        key = group_size, tuple(map(_look_of, pytree.tree_leaves(inputs)))
        if key not in known:
            with torch.random.fork_rng(), saved_bytes(self.model.params.values()) as saved:
                _OneAfterAnother(self.model, self.score)(_slice(inputs, 0, group_size), group_size)
            known[key] = saved.total
        return known[key]

    def __call__(self, inputs: Any, group_size: int) -> Tensor:
        if batch_size_of(inputs) == group_size:  # nothing to gain, and large weights need not be copied
            return _OneAfterAnother(self.model, self.score)(inputs, group_size)
        tensors, rebuild = tensors_apart(_slice(inputs, 0, batch_size_of(inputs), (-1, group_size)))

        # vmap takes tensors only; what else is in the inputs (None, flags) is the same for all.
        def one(*group: Tensor) -> Tensor:
            return self.score(Vectorized(), self.model.call, self.model.params, rebuild(group))

        return vmap(one)(*tensors)

    def instead(self, error: Exception) -> str:
        return f"torch.func cannot vectorize this model ({error}); scoring one group at a time."


def _in_double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


class _Plan(NamedTuple):
    """What was found out about a model by a few of its samples."""

    layouts: dict[Place, Layout]
    bytes_per_group: int
    channels_last: bool
    elsewhere: frozenset[str]
    alone: bool
    """Whether there were two groups only, which shows less than three."""


_ACTIVATIONS: WeakKeyDictionary[nn.Module, dict[Hashable, int]] = WeakKeyDictionary()
_PLANS: WeakKeyDictionary[nn.Module, dict[Hashable, _Plan | str]] = WeakKeyDictionary()


class _NothingToCompare(Exception):
    """The first samples cannot show whether the rules hold."""


class _ByRules(_Scorer):
    """All groups of a batch in two passes, once the first groups have shown that this equals the plain loop."""

    def __init__(
        self,
        model: _Model,
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
            tuple(map(_name_of, kind)),
            tuple(map(_traits_of, model.root.modules())),
            tuple(model.params),
            _name_of(getattr(model.root, "_call", None)),
        )

    def groups_at_once(self, inputs: Any, group_size: int, max_bytes: int | None) -> int:
        budget = self.model.budget(max_bytes)
        plan = self._plan(inputs, group_size, budget)
        if isinstance(plan, str):
            raise NoRule(plan)
        return max(budget // plan.bytes_per_group, 1) if isinstance(plan, _Plan) else 1

    def __call__(self, inputs: Any, group_size: int) -> Tensor:
        plan = self._plan(inputs, group_size, self.model.budget(None))
        if isinstance(plan, str):
            raise NoRule(plan)
        if plan is None:
            return _OneAfterAnother(self.model, self.score)(inputs, group_size)
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
        return f"No layer-wise gradients for this model ({error}); its weights go through torch.func."

    def _plan(self, inputs: Any, group_size: int, budget: int) -> _Plan | str | None:
        """Return how to go about samples like these, the reason why it cannot be done, or None for a single group.

        One group cannot show that groups do not mix, and has nothing to gain either.
        """
        leaves, spec = pytree.tree_flatten(inputs)
        key = (self._identity, group_size, tuple(map(_look_of, leaves)), str(spec))
        plans = _PLANS.setdefault(self.model.root.model, {})  # type: ignore[arg-type]
        known = plans.get(key)
        groups = batch_size_of(inputs) // group_size
        if known is None or (isinstance(known, _Plan) and known.alone and groups > 2):
            if groups < 2:
                return None
            try:
                plans[key] = self._find_plan(inputs, group_size, budget)
            except _NothingToCompare as error:  # other samples of the same kind may tell
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
            raise _NothingToCompare(f"the first samples score {wanted.tolist()[:2]}")
        if not torch.allclose(found, wanted, rtol=tolerance, atol=tolerance * largest):
            kind = NoRule if largest > ROUNDING else _NothingToCompare
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
            double = pytree.tree_map_only(Tensor, _in_double, samples)
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
        model: _Model,
        elsewhere: frozenset[str],
        layouts: dict[Place, Layout],
        samples: Any,
        group_size: int,
    ) -> tuple[Tensor, Tensor]:
        network = Network(model.root, model.params, model.fixed, elsewhere=elsewhere)
        alone = _OneAfterAnother(model, self.score)
        starts = range(0, batch_size_of(samples), group_size)
        plain = [alone(_slice(samples, i, i + group_size), group_size) for i in starts]
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


def _name_of(option: Any) -> Hashable:
    """Tell functions apart by their code and what is bound to it: the same lambda may be made anew for every batch."""
    if not callable(option):
        return (type(option), option) if isinstance(option, Hashable) else (type(option), id(option))
    if isinstance(option, functools.partial):
        bound = (*option.args, *(value for _, value in sorted(option.keywords.items())))
        return "partial", _name_of(option.func), tuple(option.keywords), tuple(map(_traits_of, bound))
    code = getattr(option, "__code__", None)
    if code is None:
        return _traits_of(option)
    cells = [c.cell_contents for c in getattr(option, "__closure__", None) or () if c != types.CellType()]
    bound = (*cells, *(getattr(option, "__defaults__", None) or ()), getattr(option, "__self__", None))
    return option.__module__, option.__qualname__, code, tuple(map(_traits_of, bound))


def _traits_of(thing: Any) -> Hashable:
    """What a thing is, and its plain settings: what may decide how a model computes."""
    if thing is None or isinstance(thing, _PLAIN):
        return type(thing), thing
    code = getattr(thing, "__code__", None)
    found = vars(thing).items() if hasattr(thing, "__dict__") else ()
    settings: list[Hashable] = [(k, v) for k, v in found if k != "training" and (v is None or isinstance(v, _PLAIN))]
    settings += [(k, v.__code__) for k, v in found if hasattr(v, "__code__")]
    settings += [(k, *map(_code_of, v.values())) for k, v in found if k in ("_forward_hooks", "_forward_pre_hooks")]
    return type(thing), code, tuple(settings)


def _code_of(function: Any) -> Any:
    return getattr(function, "__code__", type(function))


def _look_of(leaf: Any) -> Hashable:
    """What of an input decides how a model goes about it: names of files, for one, do not."""
    if isinstance(leaf, Tensor):
        return leaf.shape[1:], leaf.dtype, leaf.device
    return repr(leaf) if leaf is None or isinstance(leaf, (bool, int, float)) else str(type(leaf))


def score_groups(
    model: nn.Module,
    score: GroupScore,
    inputs: Any,
    *,
    fast: BatchScore | None = None,
    kind: tuple[Any, ...] = (),
    model_inputs: Callable[[Any], Any] = lambda inputs: inputs,
    forward: Forward | None = None,
    group_size: int = 1,
    copies: int = 2,
    max_bytes: int | None = None,
) -> Tensor:
    """Apply ``score`` to consecutive groups of samples, each as if it were alone.

    Args:
        model: Any module; scored in ``eval()`` whatever mode it came in, and left as it was.
        score: ``score(differentiator, call, params, group)`` gives one number per sample of the group, (b,).
        inputs: Any pytree; every tensor has the batch as its first dimension.
        fast: The same score of many groups at once, by the layers' rules. Compared with ``score`` on the first samples
            of a model; where it differs or has no rule, ``score`` is used.
        kind: Options that distinguish this ``fast`` from others of the same model.
        model_inputs: Which part of ``inputs`` the model gets.
        forward: ``forward(model, inputs) -> outputs``. Default: ``model(inputs)``.
        group_size: Samples in a group. The last group may be smaller.
        copies: How many copies of the weights ``score`` holds per group, for the byte budget.
        max_bytes: Bound on the bytes of tensors held at once beside the model, as far as can be counted; one group is
            scored whatever it takes. Default: see :func:`default_max_bytes`.

    Returns:
        The scores in order, (B,), detached, in the weights' precision, at least float32.

    Raises:
        TypeError: If weights are sharded over processes.
        ValueError: If the model has no trainable parameter, or the inputs have no common batch dimension.
    """
    n = batch_size_of(inputs)
    if not isinstance(group_size, SupportsIndex) or operator.index(group_size) < 1:
        raise ValueError(f"`group_size` must be at least 1, got {group_size!r}. Only whole numbers are allowed.")
    if max_bytes is not None and not (isinstance(max_bytes, (int, float)) and max_bytes >= 1):
        raise ValueError(f"`max_bytes` must be at least 1, got {max_bytes!r}.")
    prepared = _prepare(model, forward)
    with scoring_mode(model), plain_layers():
        inputs = pytree.tree_map_only(Tensor, copy_for_model, inputs)
        scorers: list[_Scorer] = [_ByTorchFunc(prepared, score, copies), _OneAfterAnother(prepared, score)]
        if fast is not None:
            scorers.insert(0, _ByRules(prepared, score, fast, kind, model_inputs))
        whole = n // group_size * group_size
        scores: list[Tensor] = []
        for stop in (whole, n):  # the last group, if smaller, by itself
            start = sum(map(len, scores))
            if start < stop:
                scores += _score_in_chunks(scorers, inputs, start, stop, min(group_size, stop - start), max_bytes)
    return torch.cat(scores) if scores else torch.empty(0)


def _score_in_chunks(
    scorers: list["_Scorer"], inputs: Any, start: int, stop: int, group_size: int, max_bytes: int | None
) -> list[Tensor]:
    """Score samples ``start`` to ``stop`` by the first scorer that can, in chunks that it has the memory for."""
    scores = []
    limit = stop - start
    while start < stop:
        scorer = scorers[0]
        end = start + group_size
        try:
            groups = max(min(scorer.groups_at_once(inputs, group_size, max_bytes), limit // group_size), 1)
            end = min(start + groups * group_size, stop)
            part = scorer(_slice(inputs, start, end), group_size)
        except Exception as error:
            if is_out_of_memory(error) and end - start > group_size:
                limit = (end - start) // 2
                log.info("Out of memory with %d samples at once; going on with %d.", end - start, limit)
            elif len(scorers) == 1:
                raise
            else:
                log.info(scorer.instead(error))
                scorers.pop(0)
            continue
        scores.append(one_per_sample(part, end - start).detach().flatten())
        start = end
    return scores


def one_per_sample(values: Tensor, samples: int) -> Tensor:
    """Return ``values`` if they are one for each sample.

    Raises:
        TypeError: If they are no tensor of floating-point numbers.
        ValueError: If they are not as many as samples.
    """
    if not isinstance(values, Tensor) or not values.is_floating_point():
        got = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"The loss must give a floating-point tensor, one number per sample, got {got}.")
    if values.numel() != samples:
        raise ValueError(
            f"The loss must give one number per sample, ({samples},) here, got {values.numel()} numbers. "
            "Average over pixels, boxes or time steps first."
        )
    return values


def _slice(inputs: Any, start: int, stop: int, shape: tuple[int, ...] = (-1,)) -> Any:
    """Samples ``start`` to ``stop`` of every tensor, their dimension unflattened to ``shape``."""
    return pytree.tree_map_only(Tensor, lambda t: t[start:stop].unflatten(0, shape), inputs)
