"""The ways to score groups of samples: their base, and the two without rules, by autograd and by ``torch.func``."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.utils import _pytree as pytree

from lightning_al.gradients.differentiators import Differentiator, OneByOne, Params, Vectorized, tensors_apart
from lightning_al.gradients.keys import input_key
from lightning_al.gradients.scored_model import ScoredModel
from lightning_al.gradients.tape import Tape
from lightning_al.inference.calling import Around, call_with
from lightning_al.inference.memory import saved_bytes
from lightning_al.inference.outputs import batch_size_of

ModelFunction = Callable[[Params, Any], Any]
"""The model as a function of its trainable weights: ``call(params, inputs) -> outputs``."""
GroupScore = Callable[[Differentiator, ModelFunction, Params, Any], Tensor]
"""``score(differentiator, call, params, group)``: the scores of one group, (b,)."""
BatchScore = Callable[[Tape, Any], Tensor]
"""``score(tape, inputs)``: the scores of all groups of a batch, (b,)."""

MAX_GROUPS = 128  # more at once brings no speed

_ACTIVATIONS: WeakKeyDictionary[nn.Module, dict[Hashable, int]] = WeakKeyDictionary()


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
        key = group_size, tuple(map(input_key, pytree.tree_leaves(inputs)))
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


def slice_of(inputs: Any, start: int, stop: int, shape: tuple[int, ...] = (-1,)) -> Any:
    """Samples ``start`` to ``stop`` of every tensor, their dimension unflattened to ``shape``."""
    return pytree.tree_map_only(Tensor, lambda t: t[start:stop].unflatten(0, shape), inputs)
