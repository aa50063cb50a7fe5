"""The plain loop as a way to score: in the memory order that convolutions are faster with."""

import logging
from collections.abc import Hashable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_al.distributed.randomness import Draws
from lightning_al.gradients.costs import MEETING, prefers_channels_last
from lightning_al.gradients.keys import input_key
from lightning_al.gradients.scored_model import ScoredModel
from lightning_al.gradients.scorers import GroupScore, OneAfterAnother
from lightning_al.inference.entries import batch_size_of, has_entries, slice_of
from lightning_al.inference.memory import is_out_of_memory
from lightning_al.inference.module_state import modules_of

log = logging.getLogger(__name__)

_CHANNELS_LAST: WeakKeyDictionary[nn.Module, dict[Hashable, frozenset[str]]] = WeakKeyDictionary()
"""Of each model that was scored, which weights have their channels last, by what that depends on."""


class PlainLoop(OneAfterAnother):
    """Scores one group after another, with convolutions' weights in the memory order that they are faster with.

    What a convolution gives has its channels last in memory where its weights have: so that is all there is to do. The
    first group shows who is left as it is: a model that goes by the order in memory itself (it asks for a ``view`` that
    there is not, calls ``as_strided``, or kernels from outside of torch), and one in which tensors of both orders meet
    so often that it would not be faster.

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
        if has_entries(inputs):  # of many sizes, each of which would have to be looked at
            return super().__call__(inputs, group_size)
        known = _CHANNELS_LAST.setdefault(self.model.root.model, {})
        leaves = pytree.tree_leaves(inputs)
        key = self._key, group_size, tuple(map(input_key, leaves))
        if key in known:
            model = self.model.with_channels_last(known[key])
            return self._under(model, inputs, group_size, looked_through=True)
        names = _faster_with_channels_last(self.model, leaves)
        if names:
            draws = Draws()
            try:
                scores = self._looked_at(self.model.with_channels_last(names), inputs, group_size)
            except Exception as error:  # if the fault is the model's own, it comes again
                if is_out_of_memory(error):
                    raise
                log.debug("Images do not go through this model with their channels last: %s", error)
                draws.put_back()
            else:
                known[key] = names
                return scores
        scores = super().__call__(inputs, group_size)
        known[key] = frozenset()
        return scores

    def _looked_at(self, model: ScoredModel, inputs: Any, group_size: int) -> Tensor:
        """Score the groups, the first one without operations that go by the order in memory."""
        with _Orders() as orders:
            first = self._under(model, slice_of(inputs, 0, group_size), group_size)
        if orders.meeting > MEETING * orders.worked_on:
            raise RuntimeError(f"tensors of both orders meet: {orders.meeting} of {orders.worked_on} numbers")
        n = batch_size_of(inputs)
        if n == group_size:
            return first
        others = self._under(model, slice_of(inputs, group_size, n), group_size, looked_through=True)
        return torch.cat([first if first.ndim else first[None], others if others.ndim else others[None]])


def _faster_with_channels_last(model: ScoredModel, inputs: Sequence[Any]) -> frozenset[str]:
    """Return the names of the weights that the loop is faster with if they have their channels last."""
    modules = modules_of(model.root)
    layers = [m for m in modules if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d)) and max(m.kernel_size) > 1]
    names = {id(place.holder[place.attribute]): place.name for place in model.places}
    weights = [w for m in layers if (w := m._parameters.get("weight")) is not None and id(w) in names]
    images = [t for t in inputs if isinstance(t, Tensor) and t.is_floating_point() and t.ndim > 2]
    if not weights or not images or any(t.dtype != torch.float32 or t.device.type != "cpu" for t in weights + images):
        return frozenset()
    preferred = prefers_channels_last(
        sum(w.numel() for w in weights),
        max(t.shape[-2] * t.shape[-1] for t in images),
        grouped=any(m.groups > 1 for m in layers),
    )
    return frozenset(names[id(w)] for w in weights) if preferred else frozenset()


_AS_STRIDED = torch.ops.aten.as_strided


class _Orders(TorchDispatchMode):
    """Refuses operations whose result may depend on the order of numbers in memory, and counts where orders meet.

    Attributes:
        worked_on: Numbers of images and maps that operations took or gave.
        meeting: Those of operations that took maps of several orders: number by number, not in vectors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.worked_on = self.meeting = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        # In a forward pass: the backward pass of what torch's own pooling does with `as_strided_` calls it, too.
        forward = torch._C._current_graph_task_id() == -1
        if func.namespace not in ("aten", "torchvision") or (forward and func.overloadpacket is _AS_STRIDED):
            raise RuntimeError(f"`{func}` may go by the order in memory")
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
