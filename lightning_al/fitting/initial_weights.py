"""Which weights a campaign begins with: none that another one left in the model unnoticed, and the same as others."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.weak import WeakIdKeyDictionary

from lightning_al.inference.fingerprint import add_tensor
from lightning_al.inference.module_state import named_modules_of
from lightning_al.storage.weights import as_pieces, plain_name


class Left(NamedTuple):
    """What a campaign trained of one module.

    Args:
        digest: Of the weights and buffers that it holds itself, as they were left.
        folder: The campaign's.
    """

    digest: str
    folder: str


_LEFT = WeakIdKeyDictionary()
"""By module, not by model: another model may be made around the same network."""


def note_left(model: nn.Module, initial: Mapping[str, Any], folder: Path) -> None:
    """Note what a campaign leaves in a model, as far as it is other than what the campaign began with.

    Args:
        model: As it is left.
        initial: The ``state_dict`` that the campaign began with, whole.
        folder: The campaign's.
    """
    before = {plain_name(name): value for name, value in initial.items()}
    for path, module in named_modules_of(model):
        own = _own_of(module)
        names = {name: plain_name(f"{path}.{name}".lstrip(".")) for name in own}
        if any(names[name] in before and not _same(value, before[names[name]]) for name, value in own.items()):
            _LEFT[module] = Left(_digest(own), str(folder))


def notes_of(model: nn.Module) -> dict[str, Left]:
    """Return what is noted of a model's modules, by their names, for a process that is a copy of this one."""
    return {path: _LEFT[module] for path, module in named_modules_of(model) if module in _LEFT}


def take_notes(model: nn.Module, notes: Mapping[str, Left]) -> None:
    """Note of a model what :func:`notes_of` returned of the one that it is a copy of."""
    for path, module in named_modules_of(model):
        if path in notes:
            _LEFT[module] = notes[path]


def warn_of_weights_left(model: pl.LightningModule) -> None:
    """Warn if a campaign begins with weights that an earlier one left, and nobody has changed since."""
    for path, module in named_modules_of(model):
        left = _LEFT.get(module)
        if left is not None and left.digest == _digest(_own_of(module)):
            where = f" (in `{path}`)" if path else ""
            rank_zero_warn(
                f"This campaign begins with the weights that the one in {left.folder} trained{where}, so its first "
                "round knows more than its labels say, and it cannot be compared with that one. Make a new "
                f"{type(model).__name__} for each campaign, or begin each with a `copy.deepcopy(model)` that was made "
                "before the first. If these weights are meant, load them into a new module, with "
                "`load_from_checkpoint` say: then nothing is said."
            )
            return


def digests_of_parts(state: Mapping[str, Any]) -> dict[str, str]:
    """Return a hash of each part of a model, by the first word of its tensors' names.

    Parts, so that a model which has one more, as a network that predicts its loss, can be told to be alike otherwise.

    Args:
        state: Its ``state_dict``, whole.

    Example:
        >>> [*digests_of_parts(nn.ModuleDict({"net": nn.Linear(2, 1), "head": nn.Linear(1, 1)}).state_dict())]
        ['net', 'head']
    """
    parts: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        if isinstance(value, Tensor):
            parts.setdefault(plain_name(name).partition(".")[0], {})[name] = value
    return {part: _digest(tensors) for part, tensors in parts.items()}


def _own_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors of the ``state_dict`` that a module holds itself and that have values."""
    saved = {k: v for k, v in module._buffers.items() if k not in module._non_persistent_buffers_set}
    own = {**module._parameters, **saved}
    return {name: t for name, t in own.items() if t is not None and not nn.parameter.is_lazy(t) and not t.is_meta}


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for tensor in tensors.values():
        add_tensor(digest.update, _piece(tensor))
    return digest.hexdigest()


def _same(tensor: Tensor, whole: Any) -> bool:
    now, before = _piece(tensor), as_pieces(whole, tensor)
    before = _piece(before) if isinstance(before, Tensor) else before
    if not isinstance(before, Tensor) or now.shape != before.shape or now.dtype != before.dtype:
        return False
    return torch.equal(now, before.to(now.device))


def _piece(tensor: Tensor) -> Tensor:
    return (tensor.to_local() if isinstance(tensor, DTensor) else tensor).detach()
