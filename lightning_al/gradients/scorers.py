"""The ways to score groups of samples that need no rules: one after another, or by ``torch.func``."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.utils import _pytree as pytree

from lightning_al.gradients.differentiators import Differentiator, OneByOne, Params, Vectorized, tensors_apart
from lightning_al.gradients.identity import look_of
from lightning_al.gradients.tape import Tape
from lightning_al.inference.calling import (
    Around,
    Forward,
    ForwardOf,
    call_with,
    check_whole,
    copy_for_model,
    unwrapped,
)
from lightning_al.inference.memory import default_max_bytes, saved_bytes
from lightning_al.inference.outputs import batch_size_of
from lightning_al.inference.precision import at_least_float32, is_half

Call = Callable[[Params, Any], Any]
"""The model as a function of its trainable weights: ``call(params, inputs) -> outputs``."""
GroupScore = Callable[[Differentiator, Call, Params, Any], Tensor]
"""``score(differentiator, call, params, group)``: the scores of one group, (b,)."""
BatchScore = Callable[[Tape, Any], Tensor]
"""``score(tape, inputs)``: the scores of all groups of a batch, (b,)."""

MAX_GROUPS = 128  # more at once brings no speed

_ACTIVATIONS: WeakKeyDictionary[nn.Module, dict[Hashable, int]] = WeakKeyDictionary()


class ScoredModel(NamedTuple):
    """A model prepared for scoring, its weights detached and raised to float32."""

    root: nn.Module
    params: Params
    fixed: dict[str, Tensor]

    def in_double(self) -> "ScoredModel":
        """The same in float64, to check by."""
        named = [*self.root.named_parameters(), *self.root.named_buffers()]
        values = {**dict(named), **self.params, **self.fixed}
        double = {name: in_double(t.detach()) for name, t in values.items()}
        return ScoredModel(self.root, {name: double.pop(name) for name in self.params}, double)

    @property
    def bytes(self) -> int:
        """Of the weights."""
        return sum(p.numel() * p.element_size() for p in self.params.values())

    def budget(self, max_bytes: int | None) -> int:
        """Return the byte budget, the default one if none is given."""
        return default_max_bytes(next(iter(self.params.values())).device) if max_bytes is None else max_bytes

    def call(self, weights: Params, group: Any) -> Any:
        """Run the model on one group under other weights."""
        group = pytree.tree_map_only(Tensor, copy_for_model, group)
        return call_with(self.root, {**weights, **self.fixed}, group)


def prepare(model: nn.Module, forward: Forward | None) -> ScoredModel:
    """Check a model and take it apart into what scorers need."""
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
    return ScoredModel(root, params, fixed)


class Scorer(ABC):
    """A way to score groups."""

    def __init__(self, model: ScoredModel) -> None:
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


class OneAfterAnother(Scorer):
    """Scores one group after another: the plain loop that all other ways are held against."""

    def __init__(self, model: ScoredModel, score: GroupScore) -> None:
        super().__init__(model)
        self.score = score

    def groups_at_once(self, inputs: Any, group_size: int, max_bytes: int | None) -> int:
        """Return one: groups do not wait for each other."""
        return 1

    def __call__(self, inputs: Any, group_size: int) -> Tensor:
        """Score the groups of ``inputs``."""
        model = self.model

        def score() -> Tensor:
            return self.score(OneByOne(), model.call, model.params, inputs)

        # Checkpointed blocks run again in the backward pass, when the weights of the call are no longer in place.
        weights = {name: p.detach().requires_grad_() for name, p in model.params.items()}
        tensors = {f"model.{name}": t for name, t in {**model.fixed, **weights}.items()}
        scores: Tensor = call_with(Around(model.root), tensors, score)
        return scores


class ByTorchFunc(Scorer):
    """Scores many groups at once through ``torch.func.vmap``."""

    def __init__(self, model: ScoredModel, score: GroupScore, copies: int) -> None:
        super().__init__(model)
        self.score = score
        self.copies = copies

    def groups_at_once(self, inputs: Any, group_size: int, max_bytes: int | None) -> int:
        """Return how many groups fit into the memory."""
        per_group = self.copies * self.model.bytes + self._activations(inputs, group_size)
        return int(min(max(self.model.budget(max_bytes) // per_group, 1), max(MAX_GROUPS // group_size, 1)))

    def _activations(self, inputs: Any, group_size: int) -> int:
        """Return about how many bytes one group keeps for its gradient beside the weights; looked at once a model."""
        known = _ACTIVATIONS.setdefault(self.model.root.model, {})  # type: ignore[arg-type]
        key = group_size, tuple(map(look_of, pytree.tree_leaves(inputs)))
        if key not in known:
            with torch.random.fork_rng(), saved_bytes(self.model.params.values()) as saved:
                OneAfterAnother(self.model, self.score)(slice_of(inputs, 0, group_size), group_size)
            known[key] = saved.total
        return known[key]

    def __call__(self, inputs: Any, group_size: int) -> Tensor:
        """Score the groups of ``inputs``."""
        if batch_size_of(inputs) == group_size:  # nothing to gain, and large weights need not be copied
            return OneAfterAnother(self.model, self.score)(inputs, group_size)
        tensors, rebuild = tensors_apart(slice_of(inputs, 0, batch_size_of(inputs), (-1, group_size)))

        # vmap takes tensors only; what else is in the inputs (None, flags) is the same for all.
        def one(*group: Tensor) -> Tensor:
            return self.score(Vectorized(), self.model.call, self.model.params, rebuild(group))

        return vmap(one)(*tensors)

    def instead(self, error: Exception) -> str:
        """Say what is done where ``torch.func`` fails."""
        return f"torch.func cannot vectorize this model ({error}); scoring one group at a time."


def in_double(tensor: Tensor) -> Tensor:
    """Return floating-point numbers in float64, anything else as it is."""
    return tensor.double() if tensor.is_floating_point() else tensor


def slice_of(inputs: Any, start: int, stop: int, shape: tuple[int, ...] = (-1,)) -> Any:
    """Samples ``start`` to ``stop`` of every tensor, their dimension unflattened to ``shape``."""
    return pytree.tree_map_only(Tensor, lambda t: t[start:stop].unflatten(0, shape), inputs)
