"""What a module holds beside its ``state_dict``: buffers that are not saved, other tensors, numbers and strings."""

import contextlib
from collections.abc import Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torchmetrics import Metric, MetricCollection

_PLAIN = (bool, int, float, str, type(None))
_NOT_OURS = frozenset({*vars(nn.Module()), *vars(pl.LightningModule())})


class BesideWeights:
    """A copy of what a module holds now beside its ``state_dict``, to be put back.

    A new model has the values it was made with: a temperature that is lowered step by step, a running mean in a plain
    tensor or in a buffer with ``persistent=False``, a learning rate that was searched. Lists, dicts and other objects
    are not looked at: they may be a record that somebody reads later. Metrics of torchmetrics have a ``reset``.

    Args:
        model: The module.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._places = _places(model)
        self._values = {key: owner[name] for key, (owner, name) in self._places.items()}
        self._copies = {key: _copied(value) for key, value in self._values.items()}

    def changes(self) -> dict[str, Any]:
        """Return what has another value now, by name: tensors and plain values, which can be saved."""
        changed = {}
        for key, (owner, name) in self._places.items():
            value = owner.get(name)
            if name in owner and isinstance(value, (Tensor, *_PLAIN)) and not _same(value, self._copies[key]):
                changed[key] = _copied(value)
        return changed

    def present(self) -> dict[str, Any]:
        """Return the present values, to tell later whether somebody set another."""
        return {key: _copied(owner.get(name)) for key, (owner, name) in self._places.items()}

    def put_back(self, unless_set_since: dict[str, Any] | None = None) -> None:
        """Give the module the values of the copy again.

        Args:
            unless_set_since: What :meth:`present` returned; a value that is another one now is left alone.
        """
        for key, (owner, name) in self._places.items():
            if name not in owner:  # it has become a parameter or a layer since
                continue
            if unless_set_since is None or _same(owner[name], unless_set_since[key]):
                owner[name] = _with_value(self._values[key], self._copies[key], like=owner[name])
        for module in self.model.modules():
            if isinstance(module, (Metric, MetricCollection)):
                module.reset()


def put_changes(model: nn.Module, changes: dict[str, Any]) -> None:
    """Give the module the values that :meth:`BesideWeights.changes` found in one like it."""
    for key, (owner, name) in _places(model).items():
        if key in changes:
            value, present = changes[key], owner[name]
            if isinstance(value, Tensor):
                value = value.to(present.device if isinstance(present, Tensor) else "cpu", copy=True)
            owner[name] = value


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


def _places(model: nn.Module) -> dict[str, tuple[dict[str, Any], str]]:
    """Return by name where each value is: the dict that holds it, and its name in there."""
    places: dict[str, tuple[dict[str, Any], str]] = {}
    saved = model.state_dict(keep_vars=True).keys()
    of_metrics = {
        id(part) for m in model.modules() if isinstance(m, (Metric, MetricCollection)) for part in m.modules()
    }
    for path, module in model.named_modules():
        if id(module) in of_metrics:
            continue
        prefix = f"{path}." if path else ""
        for name, value in vars(module).items():
            if name not in _NOT_OURS and isinstance(value, (Tensor, *_PLAIN)):
                places[prefix + name] = (vars(module), name)
        for name, buffer in module._buffers.items():
            if buffer is not None and prefix + name not in saved:
                places[prefix + name] = (module._buffers, name)
    hparams: dict[str, Any] = model.hparams if isinstance(model, pl.LightningModule) else {}
    places.update({f"hparams.{name}": (hparams, name) for name, v in hparams.items() if isinstance(v, _PLAIN)})
    return places


def _copied(value: Any) -> Any:
    return value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value


def _with_value(value: Any, copy: Any, like: Any) -> Any:
    """Return ``value`` itself with the value of its copy, since other modules may hold it too; on ``like``'s device."""
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
    if isinstance(value, Tensor) and isinstance(copy, Tensor):
        return value.shape == copy.shape and value.dtype == copy.dtype and torch.equal(value.detach().cpu(), copy)
    if isinstance(value, _PLAIN) and isinstance(copy, _PLAIN):
        return type(value) is type(copy) and (value == copy or value != value)  # nan is not equal to itself
    return value is copy
