"""The plain loop as a way to score: in the memory order that convolutions are faster with."""

import contextlib
import functools
import logging
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_al.distributed.randomness import Draws, draws_undone
from lightning_al.gradients.costs import MEETING, prefers_channels_last
from lightning_al.gradients.differentiators import OneByOne, Params
from lightning_al.gradients.errors import NothingToCompare
from lightning_al.gradients.norms import global_norm
from lightning_al.gradients.rules.base import find_rule
from lightning_al.gradients.rules.convolution import ConvolutionRule
from lightning_al.gradients.rules.depthwise import faster, has_slow_gradient
from lightning_al.gradients.scored_model import ScoredModel
from lightning_al.gradients.scorers import GroupScore, OneAfterAnother
from lightning_al.inference.entries import slice_of
from lightning_al.inference.memory import is_out_of_memory
from lightning_al.inference.module_state import attributes_kept, modules_of, tensors_kept

log = logging.getLogger(__name__)

_HOLDS: WeakKeyDictionary[nn.Module, dict[Hashable, bool]] = WeakKeyDictionary()
"""Of each model that was looked at, whether a faster way holds, by the way and what that depends on."""

_CLOSE = 1e-4
"""Of its norm, by how much a gradient may differ where its convolutions go a faster way, which is rounding."""


class _Way(NamedTuple):
    """How convolutions are done.

    Attributes:
        channels_last: Names of weights that have their channels last in memory.
        depthwise: Layers whose gradients are ours.
    """

    channels_last: frozenset[str] = frozenset()
    depthwise: tuple[nn.Module, ...] = ()

    @property
    def kind(self) -> tuple[bool, bool]:
        """What is unlike the plain way."""
        return bool(self.channels_last), bool(self.depthwise)


class PlainLoop(OneAfterAnother):
    """Scores one group after another, with convolutions as they are faster.

    Depthwise convolutions of large kernels form their weights' gradients by
    :mod:`~lightning_al.gradients.rules.depthwise`, in the place of torch's kernel. And weights lie in the memory order
    that their convolutions are faster with: what a convolution gives has its channels last in memory where its weights
    have, so that is all there is to do.

    One group, once for a model, shows who is left as it is: a model whose gradient is another one, one that goes by
    the order in memory itself (it asks for a ``view`` that there is not, calls ``as_strided``, or kernels from outside
    of torch that are registered with it), one that draws random numbers, which come in that order, and one in which
    tensors of both orders meet so often that it would not be faster. Kernels that torch does not know of go unseen.

    Args:
        model: The model.
        score: The score of one group.
        key: Tells the model as it is, its options and the score from others.
    """

    def __init__(self, model: ScoredModel, score: GroupScore, *, key: Hashable) -> None:
        super().__init__(model, score)
        self._key = key

    def __call__(self, inputs: Any, group_size: int) -> Tensor:
        """Score the groups of ``inputs``."""
        holds = _HOLDS.setdefault(self.model.root.model, {})
        leaves, spec = pytree.tree_flatten(inputs)
        kind = self._key, group_size, tuple(map(_kind, leaves)), str(spec)  # of any size: each look costs a group
        ways = [way for way in _faster_ways(self.model, leaves) if holds.get((kind, way.kind), True)]
        if not ways:
            return super().__call__(inputs, group_size)
        group = slice_of(inputs, 0, group_size)
        plain = functools.cache(lambda: self._first_gradient(_Way(), group, group_size))
        draws, failed = Draws(), []
        for way in ways:
            key = kind, way.kind
            try:
                if key not in holds:
                    self._look_at(way, group, group_size, plain)
                with self._going(way) as model:
                    scores = self._with_weights_of(model, inputs, group_size, OneByOne())
                holds[key] = True
                break
            except Exception as error:  # later ones as well: a model may do something else with other samples
                if is_out_of_memory(error):
                    raise
                draws.put_back()
                log.debug("Images do not go through this model in a faster way: %s", error)
                if not isinstance(error, NothingToCompare):
                    failed.append(key)
        else:
            scores = super().__call__(inputs, group_size)  # if a fault was the model's own, it comes again
        holds.update(dict.fromkeys(failed, False))
        return scores

    @contextlib.contextmanager
    def _going(self, way: _Way) -> Iterator[ScoredModel]:
        """Inside, the model that this gives goes that way."""
        model = self.model.with_channels_last(way.channels_last) if way.channels_last else self.model
        with faster(way.depthwise):
            yield model

    def _look_at(self, way: _Way, group: Any, group_size: int, plain: Callable[[], Params]) -> None:
        """Refuse a way that does not hold, by the first gradient of one group.

        It is not used: autograd takes other branches while operations are looked at, which may change the last bit.

        Args:
            way: How to go.
            group: The samples.
            group_size: Samples in a group.
            plain: Gives the gradient by the plain way.

        Raises:
            RuntimeError: With the reason, or an error of the model's.
            NothingToCompare: If another group has to tell, since this one's gradient is 0 or no number.
        """
        orders = _Orders()
        with orders if way.channels_last else contextlib.nullcontext():
            got = self._first_gradient(way, group, group_size)
        if orders.meeting > MEETING * orders.worked_on:
            raise RuntimeError(f"tensors of both orders meet: {orders.meeting} of {orders.worked_on} numbers")
        # torch's backward pass of a normalisation is wrong where what comes back lies in another order (2.14).
        want = plain()
        norm = float(global_norm(list(want.values()))) if want else 0.0
        if not 0 < norm < math.inf:
            raise NothingToCompare(f"a gradient of norm {norm}")
        off = float(global_norm([got[name] - gradient for name, gradient in want.items()]))
        if not off <= _CLOSE * norm:
            raise RuntimeError(f"the gradient is another one, by {off / norm:.1e} of it")

    def _first_gradient(self, way: _Way, group: Any, group_size: int) -> Params:
        """Return the first gradient of a group's score, none where it has none, and leave nothing else behind."""
        modules = modules_of(self.model.root)
        try:
            with draws_undone(), tensors_kept(modules), attributes_kept(modules), self._going(way) as model:
                self._with_weights_of(model, group, group_size, _FirstGradient())
        except _Seen as seen:
            return {name: g.to_dense() for name, g in seen.gradient.items()}
        return {}


class _Seen(Exception):
    """No more is wanted of a group than its first gradient."""

    def __init__(self, gradient: Params) -> None:
        super().__init__()
        self.gradient = gradient


class _FirstGradient(OneByOne):
    """Ends once there is a gradient."""

    def _autograd(self, value: Tensor, leaves: Params, retain_graph: bool = False) -> Params:
        raise _Seen(super()._autograd(value, leaves, retain_graph))


def _kind(leaf: Any) -> tuple[Any, ...]:
    return (leaf.ndim, leaf.dtype) if isinstance(leaf, Tensor) else (type(leaf),)


def _faster_ways(model: ScoredModel, inputs: Sequence[Any]) -> list[_Way]:
    """Return the ways that are faster than the plain one, the fastest first."""
    images = [t for t in inputs if isinstance(t, Tensor) and t.is_floating_point() and t.ndim > 2]
    if not images or any(t.device.type != "cpu" for t in images):
        return []
    layers = [m for m in modules_of(model.root) if isinstance(m, nn.modules.conv._ConvNd)]
    slow = tuple(m for m in layers if m.groups > 1 and find_rule(m) is ConvolutionRule and has_slow_gradient(m))
    last = _faster_with_channels_last(model, layers, images)
    ways = (_Way(last, slow), _Way(depthwise=slow), _Way(last))
    return [way for way in dict.fromkeys(ways) if any(way)]


def _faster_with_channels_last(
    model: ScoredModel, convolutions: Sequence[nn.modules.conv._ConvNd], images: list[Tensor]
) -> frozenset[str]:
    """Return the names of the weights that the loop is faster with if they have their channels last."""
    layers = [m for m in convolutions if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    names = {id(place.holder[place.attribute]): place.name for place in model.places}
    own = [w for m in layers if (w := m._parameters.get("weight")) is not None and id(w) in names]
    weights = [w for w in own if w.shape[2:].numel() > 1]
    if not weights or any(t.dtype != torch.float32 or t.device.type != "cpu" for t in weights + images):
        return frozenset()
    preferred = prefers_channels_last(
        sum(w.numel() for w in weights),
        max(t.shape[-2] * t.shape[-1] for t in images),
        grouped=any(m.groups > 1 for m in layers),
    )
    return frozenset(names[id(w)] for w in weights) if preferred else frozenset()


_AS_STRIDED, _AS_STRIDED_ = torch.ops.aten.as_strided, torch.ops.aten.as_strided_


class _Orders(TorchDispatchMode):
    """Refuses operations whose result may depend on the order of numbers in memory, and counts where orders meet.

    Attributes:
        worked_on: Numbers of the largest map that each operation took or gave by itself, in sum.
        meeting: Those of operations that took maps of several orders: number by number, not in vectors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.worked_on = self.meeting = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        packet = func.overloadpacket
        if func.namespace not in ("aten", "torchvision") or torch.Tag.nondeterministic_seeded in func.tags:
            raise RuntimeError(f"`{func}` may go by the order in memory")
        # Not in backward passes, where torch itself does so for views that were written to; nor of what it has pooled.
        forward = torch._C._current_graph_task_id() == -1
        if forward and (packet is _AS_STRIDED or (packet is _AS_STRIDED_ and args[0].shape[2:] != (1, 1))):
            raise RuntimeError(f"`{func}` goes by the order in memory")
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            taken = _maps(args)
            largest = max((t.numel() for t in [*taken, *_maps([result])]), default=0)
            self.worked_on += largest
            # Convolutions bring what they take into the order of their weights themselves.
            if not func.__name__.startswith("convolution"):
                orders = {_order(t) for t in taken if 2 * t.numel() > largest} - {""}
                self.meeting += largest * (len(orders) > 1)
        return result


def _maps(tensors: Sequence[Any]) -> list[Tensor]:
    return [t for t in tensors if isinstance(t, Tensor) and t.ndim == 4]


def _order(maps: Tensor) -> str:
    """Return the order in memory: of channels last or first, another one; "" where the first two are the same."""
    last, first = maps.is_contiguous(memory_format=torch.channels_last), maps.is_contiguous()
    if last and first:
        return ""
    return "last" if last else "first" if first else "other"
