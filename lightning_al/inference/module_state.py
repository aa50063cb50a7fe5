"""The state of a module, put back as it was: flags, gradients, weights, buffers and other attributes."""

import contextlib
import copy
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_al.storage.weights import load_weights, whole_copy

_COLLECTIONS = (list, dict, set, OrderedDict, deque)
_OF_TORCH = frozenset(vars(nn.Module()))


class Flags(NamedTuple):
    """Which parameters of a module are trained, and which of its modules are in training mode, by name."""

    trained: dict[str, bool]
    training: dict[str, bool]


def flags_of(model: nn.Module) -> Flags:
    """Return the flags that the model has now."""
    trained = {name: p.requires_grad for name, p in model.named_parameters()}
    return Flags(trained, {name: module.training for name, module in model.named_modules()})


def set_flags(model: nn.Module, flags: Flags) -> None:
    """Set flags by name, also where layers were made anew; parameters and modules without any are left alone."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(flags.trained.get(name, parameter.requires_grad))
    for name, module in model.named_modules():
        module.training = flags.training.get(name, module.training)


@contextlib.contextmanager
def flags_kept(model: nn.Module) -> Iterator[None]:
    """Give every parameter and module the flags back that it had: the very same ones, whatever their names are then."""
    trained = [(p, p.requires_grad) for p in model.parameters()]
    training = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, flag in training:
            module.training = flag
        for parameter, flag in trained:
            if parameter.requires_grad != flag:  # torch refuses to set some that cannot have changed
                parameter.requires_grad_(flag)


@contextlib.contextmanager
def gradients_kept(model: nn.Module) -> Iterator[None]:
    """Give every parameter the gradient back that it had, or none."""
    gradients = [(p, p.grad) for p in model.parameters()]
    try:
        yield
    finally:
        for parameter, gradient in gradients:
            parameter.grad = gradient


@contextlib.contextmanager
def weights_kept(model: nn.Module) -> Iterator[None]:
    """Give the model its weights and buffers back, also where layers were made anew or lie on several processes."""
    state = whole_copy(model.state_dict())
    buffers = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}  # also those not in the state
    try:
        yield
    finally:
        load_weights(model, state)
        with torch.no_grad():
            for name, buffer in model.named_buffers():
                if name in buffers and buffer.shape == buffers[name].shape:
                    buffer.copy_(buffers[name])


@contextlib.contextmanager
def tensors_kept(model: nn.Module) -> Iterator[None]:
    """Give the model the tensors and values back that a forward pass may write: its buffers, and shrunk embeddings.

    For a forward pass, which makes no layers: much cheaper than :func:`weights_kept`, since no weights are copied.
    """
    # An embedding with `max_norm` shrinks its rows in the forward pass.
    shrunk: list[dict[str, Any]] = [
        module._parameters for module in model.modules() if getattr(module, "max_norm", None) is not None
    ]
    with buffers_kept(model.modules()), _values_kept(shrunk):
        yield


def buffers_kept(modules: Iterable[nn.Module]) -> contextlib.AbstractContextManager[None]:
    """Give each of the modules its own buffers back, the very same tensors with the values that they had."""
    return _values_kept([module._buffers for module in modules])


@contextlib.contextmanager
def _values_kept(owners: Sequence[MutableMapping[str, Tensor | None]]) -> Iterator[None]:
    before = [
        # One that a validation left, in inference mode, cannot be written to here.
        (owner, name, tensor, None if tensor.is_inference() else tensor.detach().clone())
        for owner in owners
        for name, tensor in owner.items()
        if tensor is not None
    ]
    try:
        yield
    finally:
        for owner, name, tensor, value in before:
            owner[name] = tensor  # a forward pass may have put another in its place
            # Batch norm leaves no trace in a tensor's version, so values are compared. Through `data` we leave none
            # either: a backward pass that is still to come may use the tensor.
            if value is not None and not torch.equal(tensor, value):
                tensor.data.copy_(value)


@contextlib.contextmanager
def attributes_kept(model: nn.Module) -> Iterator[None]:
    """Leave the attributes of all modules as they were found, and what is in lists, dicts and the like, too.

    What models cache or collect there may be of another precision, or stand for something else while they are scored.
    """
    before = [(module, dict(vars(module))) for module in model.modules()]
    collections = [
        (value, copy.copy(value), _contents(value))
        for _, attributes in before
        for name, value in attributes.items()
        if type(value) in _COLLECTIONS and name not in _OF_TORCH
    ]
    try:
        yield
    finally:
        for module, attributes in before:
            for name in vars(module).keys() - attributes.keys():
                del vars(module)[name]
            vars(module).update(attributes)
        for value, items, contents in collections:
            if list(map(id, _contents(value))) != list(map(id, contents)):
                value.clear()
                (value.extend if isinstance(value, (list, deque)) else value.update)(items)


def _contents(collection: Any) -> list[Any]:
    if isinstance(collection, dict):
        return [part for item in collection.items() for part in item]
    return list(collection)
