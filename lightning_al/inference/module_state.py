"""The state of a module, put back as it was: flags, gradients, weights, buffers and other attributes."""

import contextlib
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, MutableMapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_al.storage.weights import load_weights, plain_name, whole_copy

_COLLECTIONS = (list, dict, set, OrderedDict, deque)
_OF_TORCH = frozenset(vars(nn.Module()))
_PLACES = (
    "_parameters", "_buffers", "_modules",
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs",
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
    "_backward_pre_hooks", "_backward_hooks",
)  # fmt: skip
"""The dicts of a module that its ``train()`` may write."""
_NONE = object()


def modules_of(model: nn.Module) -> list[nn.Module]:
    """Return a module and all modules inside of it, each once, in the order of ``model.modules()``.

    In a fraction of the time, since nothing is asked for its hash: that of a metric is made of all that it holds.
    """
    found: dict[int, nn.Module] = {}
    ahead: list[nn.Module | None] = [model]
    while ahead:
        module = ahead.pop()
        if module is not None and id(module) not in found:
            found[id(module)] = module
            if module._modules:
                ahead += reversed(module._modules.values())
    return list(found.values())


def named_modules_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return :func:`modules_of` with their first names, the model's own being ""."""
    found: dict[int, tuple[str, nn.Module]] = {}
    ahead: list[tuple[str, nn.Module | None]] = [("", model)]
    while ahead:
        name, module = ahead.pop()
        if module is not None and id(module) not in found:
            found[id(module)] = name, module
            if module._modules:
                prefix = f"{name}." if name else ""
                ahead += [(prefix + own, inside) for own, inside in reversed(module._modules.items())]
    return list(found.values())


def tensors_of_modules(modules: Iterable[nn.Module], *kinds: str) -> list[Tensor]:
    """Return the tensors that modules hold themselves, each once; ``kinds``: ``"_parameters"``, ``"_buffers"``."""
    found = {id(t): t for module in modules for kind in kinds for t in getattr(module, kind).values() if t is not None}
    return list(found.values())


class Flags(NamedTuple):
    """Which parameters of a module are trained, and which of its modules are in training mode, by name."""

    trained: dict[str, bool]
    training: dict[str, bool]


def flags_of(model: nn.Module) -> Flags:
    """Return the flags that the model has now."""
    trained = {plain_name(name): p.requires_grad for name, p in model.named_parameters()}
    return Flags(trained, {plain_name(name): module.training for name, module in model.named_modules()})


def set_flags(model: nn.Module, flags: Flags) -> None:
    """Set flags by name, also where layers were made anew; parameters and modules without any are left alone."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(flags.trained.get(plain_name(name), parameter.requires_grad))
    for name, module in model.named_modules():
        module.training = flags.training.get(plain_name(name), module.training)


@contextlib.contextmanager
def flags_kept(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Give modules and their parameters the flags back that they had: the very same ones, wherever they are then."""
    trained = [(p, p.requires_grad) for p in tensors_of_modules(modules, "_parameters")]
    training = [(module, module.training) for module in modules]
    try:
        yield
    finally:
        for module, flag in training:
            if module.training != flag:
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
            # Moving a module moves its gradients, but not one that was cleared before.
            parameter.grad = None if gradient is None else gradient.to(parameter)


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
def tensors_kept(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Give modules the tensors and values back that a forward pass, ``train()`` and ``eval()`` may write.

    These are their buffers, embeddings that shrink, and all that a ``train()`` of a module's own may reach. Much
    cheaper than :func:`weights_kept`: only what was written to is copied back, and most models' weights are not copied
    at all.
    """
    # An embedding with `max_norm` shrinks its rows in the forward pass.
    shrunk: list[dict[str, Any]] = [
        module._parameters
        for module in modules
        if vars(module).get("max_norm", getattr(type(module), "max_norm", None)) is not None
    ]
    with buffers_kept(modules), _values_kept(shrunk):
        reached = ReachedByTrain(modules)
        try:
            yield
        finally:
            reached.put_back()


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
            # Batch norm leaves no trace in a tensor's version, so values are compared.
            if value is not None and _written(tensor, value):
                _rewrite(tensor, value)


class ReachedByTrain:
    """What a ``train()`` of a module's own may change: the module, and those inside.

    It may write to tensors past torch's counter of writes, give a parameter other memory or put another in its place,
    take layers out, and put hooks and reparametrisations on or take them off, with which modules change their class.

    Args:
        modules: Among which some have one.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        modules = list({id(m): m for own in with_own_train(modules) for m in modules_of(own)}.values())
        places = (vars(m)[name] for m in modules for name in _PLACES)
        self._places = [(place, dict(place)) for place in places]
        self._classes = [(m, type(m), _properties(type(m))) for m in modules]
        tensors = {id(t): t for m in modules for t in (*m._parameters.values(), *m._buffers.values()) if t is not None}
        self._tensors = [(t, t.data, t.detach().clone()) for t in tensors.values() if not t.is_inference()]

    def keep_changed(self) -> None:
        """Let go of what is as it was."""
        self._classes = [entry for entry in self._classes if type(entry[0]) is not entry[1]]
        self._places = [(place, own) for place, own in self._places if _contents_differ(place, _contents(own))]
        self._tensors = [entry for entry in self._tensors if _moved(*entry[:2]) or _written(entry[0], entry[2])]

    def put_back(self) -> None:
        """Put everything back that is not as it was."""
        for module, own_class, properties in self._classes:
            if type(module) is not own_class:
                module.__class__ = own_class
                for name in properties.keys() - vars(own_class).keys():
                    setattr(own_class, name, properties[name])
        for place, own in self._places:
            _refill(place, own, _contents(own))
        for tensor, memory, value in self._tensors:
            if _moved(tensor, memory):
                tensor.data = memory
            if _written(tensor, value):
                _rewrite(tensor, value)


def _properties(kind: type) -> dict[str, property]:
    """Return those of a class, from which torch takes the one of a parametrized weight when it is plain again."""
    return {name: value for name, value in vars(kind).items() if isinstance(value, property)}


def _moved(tensor: Tensor, memory: Tensor) -> bool:
    if memory.layout != torch.strided:
        return False
    return tensor.data_ptr() != memory.data_ptr() or tensor.shape != memory.shape


def _written(tensor: Tensor, value: Tensor) -> bool:
    if value.layout != torch.strided:  # torch does not compare such: put back in any case
        return True
    return not torch.equal(tensor.detach(), value)


def _rewrite(tensor: Tensor, value: Tensor) -> None:
    if value.layout != torch.strided:  # whose `data` has memory of its own
        with torch.no_grad():
            tensor.copy_(value)
    else:  # leaves no trace in the tensor's version: a backward pass that is still to come may use it
        tensor.data.copy_(value)


def with_own_train(modules: Sequence[nn.Module]) -> list[nn.Module]:
    """Return the modules that do more in ``train()`` or ``eval()`` than torch's own do: fold weights, empty caches."""
    kinds = {kind for kind in set(map(type, modules)) if _is_own(kind, "train") or _is_own(kind, "eval")}
    return [m for m in modules if type(m) in kinds or "train" in vars(m) or "eval" in vars(m)]


def _is_own(kind: type, method: str) -> bool:
    return getattr(kind, method).__module__.partition(".")[0] not in ("torch", "lightning")


class Attributes:
    """The attributes of modules as they are now, and what is in lists, dicts and the like, to be put back.

    Args:
        modules: Whose.
        but: Names of attributes that are left alone.
    """

    def __init__(self, modules: Iterable[nn.Module], but: Collection[str] = ()) -> None:
        self._but = frozenset(but)
        self._before = [(m, vars(m).copy()) for m in modules]
        for _, attributes in self._before:
            for name in self._but & attributes.keys():
                del attributes[name]
        values = (attributes[name] for _, attributes in self._before for name in attributes.keys() - _OF_TORCH)
        self._collections = [(v, v.copy(), _contents(v)) for v in values if type(v) in _COLLECTIONS]

    def put_back(self) -> None:
        """Put everything back."""
        for module, attributes in self._before:
            now = vars(module)
            now.update(attributes)
            if len(now) > len(attributes):
                for name in now.keys() - attributes.keys() - self._but:
                    del now[name]
        for collection in self._collections:
            _refill(*collection)

    def put_back_changed(self) -> Callable[[], None]:
        """Return what will put back those attributes, and those collections, that are others now; the rest stays."""
        others = [
            (vars(module), name, attributes.get(name, _NONE))
            for module, attributes in self._before
            for name in (vars(module).keys() | attributes.keys()) - self._but
            if attributes.get(name, _NONE) is not vars(module).get(name, _NONE)
        ]
        refilled = [c for c in self._collections if _contents_differ(c[0], c[2])]

        def put_back() -> None:
            for owner, name, value in others:
                if value is _NONE:
                    owner.pop(name, None)
                else:
                    owner[name] = value
            for collection in refilled:
                _refill(*collection)

        return put_back


@contextlib.contextmanager
def attributes_kept(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Leave the attributes of modules as they were found, and what is in lists, dicts and the like, too.

    What models cache or collect there may be of another precision, or stand for something else while they are scored.
    """
    before = Attributes(modules)
    try:
        yield
    finally:
        before.put_back()


def _contents(collection: Any) -> list[Any]:
    if isinstance(collection, dict):
        return [part for item in collection.items() for part in item]
    return list(collection)


def _contents_differ(collection: Any, contents: list[Any]) -> bool:
    return list(map(id, _contents(collection))) != list(map(id, contents))


def _refill(collection: Any, items: Any, contents: list[Any]) -> None:
    if _contents_differ(collection, contents):
        collection.clear()
        (collection.extend if isinstance(collection, (list, deque)) else collection.update)(items)
