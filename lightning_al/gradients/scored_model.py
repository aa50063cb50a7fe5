"""A model taken apart for scoring: its trainable weights, and all else that they are used with."""

from collections.abc import Collection
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_al.gradients.differentiators import Params
from lightning_al.inference.calling import (
    Forward,
    ForwardOf,
    Place,
    call_with,
    check_whole,
    copies_for_model,
    places_of,
)
from lightning_al.inference.compiled import unwrapped
from lightning_al.inference.memory import default_max_bytes
from lightning_al.inference.module_state import modules_of, tensors_of_modules
from lightning_al.inference.precision import at_least_float32, is_half


class ScoredModel(NamedTuple):
    """A model prepared for scoring, its weights detached and raised to float32."""

    root: ForwardOf
    params: Params
    fixed: dict[str, Tensor]
    places: list[Place]

    def in_double(self) -> "ScoredModel":
        """The same in float64, to check by."""
        named = [*self.root.named_parameters(), *self.root.named_buffers()]
        values = {**dict(named), **self.params, **self.fixed}
        double = {name: floats_in_double(t.detach()) for name, t in values.items()}
        return self._replace(params={name: double.pop(name) for name in self.params}, fixed=double)

    def with_channels_last(self, names: Collection[str]) -> "ScoredModel":
        """The same with these weights, of convolutions, in the order in memory that has their channels last."""
        own = {place.name: place.holder[place.attribute] for place in self.places if place.name in names}
        plain = {**own, **self.fixed, **self.params}
        last = {name: plain[name].detach().contiguous(memory_format=torch.channels_last) for name in names}
        params = {name: last.pop(name, p) for name, p in self.params.items()}
        return self._replace(params=params, fixed={**self.fixed, **last})

    @property
    def bytes(self) -> int:
        """Of the weights."""
        return sum(p.numel() * p.element_size() for p in self.params.values())

    def budget(self, max_bytes: int | None) -> int:
        """Return the byte budget, the default one if none is given."""
        return default_max_bytes(next(iter(self.params.values())).device) if max_bytes is None else max_bytes

    def call(self, weights: Params, group: Any) -> Any:
        """Run the model on one group under other weights."""
        group = copies_for_model(group)
        return call_with(self.root, {**weights, **self.fixed}, group, places=self.places)


def root_of(model: nn.Module, forward: Forward | None) -> ForwardOf:
    """Check a model, and return what calls it.

    Raises:
        TypeError: If weights are sharded over processes.
        ValueError: If it has layers without weights as yet, or nothing to differentiate by.
    """
    root = ForwardOf(unwrapped(model), forward)
    modules = modules_of(root.model)
    check_whole(modules)
    weights = tensors_of_modules(modules, "_parameters")
    if any(map(nn.parameter.is_lazy, [*weights, *tensors_of_modules(modules, "_buffers")])):
        raise ValueError(
            "The model has lazy layers that have seen no input yet, so that their weights have no shape. Run one batch "
            "through it before it is scored."
        )
    if not any(p.requires_grad for p in weights):
        raise ValueError(
            "The model has no trainable parameter (`requires_grad=True`), so there is no gradient to score by. "
            "Unfreeze some, or use an acquisition that needs logits only."
        )
    return root


def prepare(root: ForwardOf) -> ScoredModel:
    """Take a model, in the mode in which it is scored, apart into what scorers need."""
    places = places_of(root)
    tensors: dict[str, Tensor] = {}
    trained = set()
    for place in places:
        tensor = tensors.setdefault(place.name, place.holder[place.attribute])
        if place.is_parameter and tensor.requires_grad:
            trained.add(place.name)
    params = {name: at_least_float32(t.detach()) for name, t in tensors.items() if name in trained}
    half = is_half(tensors[place.name] for place in places if place.is_parameter)
    others = [name for name in tensors if name not in trained] if half else []
    return ScoredModel(root, params, {name: at_least_float32(tensors[name]) for name in others}, places)


def floats_in_double(tensor: Tensor) -> Tensor:
    """Return floating-point numbers in float64, anything else as it is."""
    return tensor.double() if tensor.is_floating_point() else tensor
