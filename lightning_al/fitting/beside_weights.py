"""What a module holds beside its ``state_dict``: buffers that are not saved, other tensors, numbers and strings."""

import contextlib
import enum
import inspect
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

from lightning_al.storage.weights import plain_name

_PLAIN = (bool, int, float, str, type(None))
_VALUES = (*_PLAIN, Tensor, np.ndarray, np.generic)
_ARRAY = "array"  # how one of NumPy's is saved, as a tensor
_ENOUGH = 1000  # entries of a long list that are looked at
_COLLECTIONS = (list, dict, set, deque)
_NOT_OURS = frozenset({*vars(nn.Module()), *vars(pl.LightningModule())})
_OF_RECURRENT = frozenset(vars(nn.RNN(1, 1)))  # lists of its weights, made anew when the layer moves


class _Place(NamedTuple):
    """Where a value is: the dict that holds it, and its name in there."""

    module: nn.Module | None
    owner: dict[str, Any]
    name: str

    @property
    def is_taken(self) -> bool:
        """Whether a parameter or a layer is called so now."""
        module = self.module
        return module is not None and (self.name in module._parameters or self.name in module._modules)


class BesideWeights:
    """A copy of what a module holds now beside its ``state_dict``, to be put back.

    A new model has the values it was made with: a temperature that is lowered step by step, a running mean in a plain
    tensor, an array or a buffer with ``persistent=False``, a learning rate that was searched; and nothing that a hook
    of the fit sets. Lists, dicts and other objects are left alone: they may be a record that somebody reads later.
    Metrics of torchmetrics have a ``reset``.

    Args:
        model: The module.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._places = _places(model)
        self._values = {key: place.owner[place.name] for key, place in self._places.items()}
        self._copies = {key: _copied(value) for key, value in self._values.items()}
        self._contents = _contents(model)

    def changes(self) -> dict[str, Any]:
        """Return what has another value now, or is new, by name: tensors and plain values, which can be saved."""
        now = {key: place.owner[place.name] for key, place in _places(self.model).items()}
        return {k: _saved(v) for k, v in now.items() if k not in self._copies or not _same(v, self._copies[k])}

    def changed_objects(self) -> list[str]:
        """Return the names of lists, dicts and other objects in which something is another now."""
        now = _contents(self.model)
        return [name for name, content in self._contents.items() if now.get(name, content) != content]

    def present(self) -> dict[str, Any]:
        """Return the present values, to tell later whether somebody set another."""
        places = {**self._places, **_places(self.model)}
        return {key: _copied(place.owner.get(place.name)) for key, place in places.items()}

    def put_back(self, unless_set_since: dict[str, Any] | None = None) -> None:
        """Give the module the values of the copy again, and take away what is new.

        Args:
            unless_set_since: What :meth:`present` returned; a value that is another one now is left alone.
        """
        new = {key: place for key, place in _places(self.model).items() if key not in self._places}
        for key, place in {**self._places, **new}.items():
            owner, name, since = place.owner, place.name, unless_set_since
            if place.is_taken:  # it has become a parameter or a layer since
                continue
            if since is not None and not (key in since and _same(owner.get(name), since[key])):
                continue
            if key in new:
                del owner[name]
            else:
                owner[name] = _with_value(self._values[key], self._copies[key], like=owner.get(name))
        for module in self.model.modules():
            if isinstance(module, (Metric, MetricCollection)):
                module.reset()


def put_changes(model: nn.Module, changes: dict[str, Any]) -> None:
    """Give the module the values that :meth:`BesideWeights.changes` found in one like it."""
    places = _places(model)
    modules = _modules(model)
    for key, saved in changes.items():
        path, _, name = key.rpartition(".")
        if key in places:
            owner = places[key].owner
            owner[name] = _read(saved, like=owner[name])
        elif path in modules and _can_be_set(modules[path], name):
            setattr(modules[path], name, _read(saved, like=None))


def _can_be_set(module: nn.Module, name: str) -> bool:
    """Whether nothing is called so, or only a value of the class that stands until the module has its own."""
    return not hasattr(module, name) or isinstance(inspect.getattr_static(type(module), name, ()), _VALUES)


def unsaved_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Return copies of the buffers that are not in the ``state_dict``."""
    saved = model.state_dict(keep_vars=True).keys()
    return {name: _copied(buffer) for name, buffer in model.named_buffers() if name not in saved}


@contextlib.contextmanager
def as_in(model: nn.Module, copy: BesideWeights | None) -> Iterator[None]:
    """Inside, let the module begin with the values of an earlier copy; afterwards it has its own again."""
    now = BesideWeights(model)
    try:
        if copy is not None:
            copy.put_back()
        yield
    finally:
        now.put_back()


def _places(model: nn.Module) -> dict[str, _Place]:
    """Return by name where each value is."""
    places: dict[str, _Place] = {}
    saved = set(map(plain_name, model.state_dict(keep_vars=True)))
    for path, module in _modules(model).items():
        prefix = f"{path}." if path else ""
        for name, value in vars(module).items():
            if name not in _NOT_OURS and isinstance(value, _VALUES) and _can_be_saved(value):
                places[prefix + name] = _Place(module, vars(module), name)
        for name, buffer in module._buffers.items():
            if buffer is not None and prefix + name not in saved:
                places[prefix + name] = _Place(module, module._buffers, name)
    hparams: dict[str, Any] = model.hparams if isinstance(model, pl.LightningModule) else {}
    plain = [name for name, value in hparams.items() if isinstance(value, _PLAIN)]
    places.update({f"hparams.{name}": _Place(None, hparams, name) for name in plain})
    return places


def _modules(model: nn.Module) -> dict[str, nn.Module]:
    """Return the modules by name, without those that metrics are made of."""
    of_metrics = {
        id(part) for m in model.modules() if isinstance(m, (Metric, MetricCollection)) for part in m.modules()
    }
    # What is compiled is there twice, and the module itself is the later.
    return {plain_name(path): module for path, module in model.named_modules() if id(module) not in of_metrics}


def _contents(model: nn.Module) -> dict[str, Any]:
    """Return, by name, by what it is seen that something in a list, a dict or an object of the user's is another."""
    return {
        f"{path}.{name}" if path else name: _content(value)
        for path, module in _modules(model).items()
        for name, value in vars(module).items()
        if name not in _NOT_OURS
        and not (isinstance(module, nn.RNNBase) and name in _OF_RECURRENT)
        and (isinstance(value, _COLLECTIONS) or _is_of_user(value))
    }


def _content(value: Any) -> list[Any]:
    if isinstance(value, _COLLECTIONS):
        parts = [*value, *value.values()] if isinstance(value, dict) else list(value)
        return [len(parts), *map(_mark, parts[:: len(parts) // _ENOUGH + 1])]
    return [(name, _mark(part)) for name, part in vars(value).items() if isinstance(part, _VALUES)]


def _mark(part: Any) -> Any:
    if isinstance(part, Tensor):
        return id(part), 0 if part.is_inference() else part._version
    return part.tobytes() if isinstance(part, np.ndarray) else repr(part) if isinstance(part, _PLAIN) else id(part)


def _is_of_user(value: Any) -> bool:
    kind = type(value)
    # What the mixins of this package keep, they begin anew with each fit themselves.
    libraries = ("builtins", "torch", "torchmetrics", "lightning", "lightning_al", "numpy", "collections", "logging")
    return hasattr(value, "__dict__") and not callable(value) and kind.__module__.partition(".")[0] not in libraries


def _can_be_saved(value: Any) -> bool:
    return not isinstance(value, (np.ndarray, np.generic)) or value.dtype.kind in "biufc"


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    return value.copy() if isinstance(value, np.ndarray) else value


def _saved(value: Any) -> Any:
    """Return a value in a form that is read back without running code."""
    if isinstance(value, (np.ndarray, np.generic)):
        return {_ARRAY: torch.from_numpy(np.array(value))}
    if isinstance(value, enum.Enum):
        return value.value
    return _copied(value)


def _read(saved: Any, like: Any) -> Any:
    if isinstance(saved, Mapping):
        return saved[_ARRAY].numpy().copy()[()]
    if isinstance(saved, Tensor):
        return saved.to(like.device if isinstance(like, Tensor) else "cpu", copy=True)
    return type(like)(saved) if isinstance(like, enum.Enum) else saved


def _with_value(value: Any, copy: Any, like: Any) -> Any:
    """Return ``value`` itself with the value of its copy, since other modules may hold it too; on ``like``'s device."""
    if isinstance(value, np.ndarray):
        if not _same(value, copy):
            value = copy.copy() if value.shape != copy.shape or not value.flags.writeable else _filled(value, copy)
        return value
    if not isinstance(value, Tensor):
        return value
    if not _same(value, copy):
        if value.is_inference() or 0 in value.stride():  # which cannot be written to
            value = copy.to(value.device, copy=True)
        else:
            with torch.no_grad():
                value.copy_(copy)
    return value.to(like.device) if isinstance(like, Tensor) else value


def _same(value: Any, copy: Any) -> bool:
    """Whether a value is what its copy is; NaN is the same as NaN alone."""
    if isinstance(value, Tensor) and isinstance(copy, Tensor):
        if value.shape != copy.shape or value.dtype != copy.dtype:
            return False
        now = value.detach().cpu()
        return torch.equal(now, copy) or bool(((now == copy) | ((now != now) & (copy != copy))).all())
    if isinstance(value, np.ndarray) and isinstance(copy, np.ndarray):
        return value.shape == copy.shape and value.dtype == copy.dtype and value.tobytes() == copy.tobytes()
    if isinstance(value, (*_PLAIN, np.generic)) and isinstance(copy, (*_PLAIN, np.generic)):
        return type(value) is type(copy) and bool(value == copy or (value != value and copy != copy))
    return value is copy


def _filled(array: np.ndarray, values: np.ndarray) -> np.ndarray:
    array[...] = values
    return array
