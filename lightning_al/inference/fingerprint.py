"""A fingerprint of a model and of how it computes: another one, where its outputs may be others."""

import functools
import hashlib
import re
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import PurePath
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics import Metric

import lightning_al
from lightning_al.inference.entries import device_of
from lightning_al.inference.module_state import named_modules_of

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_NUMBERS = (bool, int, float, complex, np.generic)
_PLAIN = (*_NUMBERS, str, bytes, type(None), Enum, PurePath, torch.dtype, torch.device)
_KNOWN_BY_VERSION = ("torch", "torchmetrics", "lightning", "lightning_al", "builtins", "abc", "typing")
"""Packages whose classes are told apart by their names, not by their code."""
_PACKING = ("_save_to_state_dict", "get_extra_state")
"""Methods by which a module tells of weights that are no parameters."""


def fingerprint(model: nn.Module) -> str:
    """Return a hash of all that is known to make a model's outputs, and of torch's ways to compute.

    That is, for each of its modules: weights and buffers; the attributes, with what is in lists, dicts, functions and
    modules there; and the code of its class, but not of the functions that it calls. Of objects of other kinds, such as
    a configuration, it is the numbers and words that are their attributes.

    Not looked at: whether it trains, since scores are in ``eval()`` anyway, and torchmetrics.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> before = fingerprint(layer)
        >>> layer.scales = [torch.tensor(2.0)]
        >>> fingerprint(layer) == before
        False
    """
    of_all = _Fingerprint()
    of_all.say(*_ways(model), _ADDRESS.sub("", repr(model)))
    of_all.add_module(model)
    return of_all.digest.hexdigest()


def _ways(model: nn.Module) -> tuple[object, ...]:
    device = device_of(model)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    backends: Any = torch.backends
    cuda, cpu = (backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn), backends.mkldnn
    of_float32 = [part.fp32_precision for part in (*cuda, cpu.matmul, cpu.conv, cpu.rnn)]
    return torch.__version__, lightning_al.__version__, name, of_float32, torch.get_default_dtype()


@functools.cache
def _own_attributes() -> frozenset[str]:
    """The attributes of every module, which are looked at apart or say nothing of outputs."""
    return frozenset(vars(LightningModule())) | {"_compiled_call_impl"}


class _Fingerprint:
    """A hash in the making; what was seen once is not looked into again."""

    def __init__(self) -> None:
        self.digest = hashlib.blake2b(digest_size=16)
        self._seen: dict[int, Any] = {}  # kept, so that no other object gets the same id

    def say(self, *words: object) -> None:
        self.digest.update(f"{words!r}\n".encode())

    def _is_new(self, value: Any) -> bool:
        is_new = id(value) not in self._seen
        self._seen[id(value)] = value
        return is_new

    def add_module(self, module: nn.Module) -> None:
        """Add a module and those inside of it."""
        for name, part in named_modules_of(module):
            kind = type(part)
            self.say("module", name, kind.__module__, kind.__qualname__)
            if not self._is_new(part) or isinstance(part, Metric):
                continue
            self._add_class(kind)
            self._add_entries({k: v for k, v in vars(part).items() if k not in _own_attributes()})
            self._add_entries({**dict(part._parameters.items()), **dict(part._buffers.items())})
            if any(getattr(kind, name) is not getattr(nn.Module, name) for name in _PACKING):
                packed: dict[str, Any] = {}
                part._save_to_state_dict(packed, "", keep_vars=True)
                self._add_entries(packed)

    def _add_class(self, kind: type) -> None:
        for base in kind.__mro__:
            if base.__module__.partition(".")[0] not in _KNOWN_BY_VERSION and self._is_new(base):
                members = {k: v for k, v in vars(base).items() if callable(v) or not k.startswith("_")}
                self._add_entries(members)

    def _add_entries(self, entries: Mapping[Any, Any]) -> None:
        for key, value in sorted(((_word(k), v) for k, v in entries.items()), key=lambda entry: entry[0]):
            self.say(key)
            self.add(value)

    def add(self, value: Any) -> None:
        """Add anything."""
        if isinstance(value, _PLAIN):
            self.say(_word(value))
        elif isinstance(value, (set, frozenset)):
            self.say(sorted(map(_word, value)))
        elif isinstance(value, nn.Module):
            self.add_module(value)
        elif not self._is_new(value):
            self.say("again")
        elif isinstance(value, Tensor):
            add_tensor(self.digest.update, value)
        elif isinstance(value, np.ndarray):
            self.say(value.dtype, value.shape)
            self.digest.update(value.tobytes())
        elif isinstance(value, Mapping):
            self._add_entries(value)
        elif isinstance(value, (list, tuple)):
            self.say(len(value))
            for each in value:
                self.add(each)
        else:
            self._add_object(value)

    def _add_object(self, value: Any) -> None:
        kind = type(value)
        self.say(kind.__module__, kind.__qualname__, getattr(value, "__qualname__", ""))
        if isinstance(value, FunctionType):
            self._add_code(value.__code__)
            self.add(value.__defaults__)
            self.add(value.__kwdefaults__)
            for cell in value.__closure__ or ():
                self._add_cell(cell)
        elif isinstance(value, (staticmethod, classmethod, MethodType)):
            self.add(value.__func__)
        elif isinstance(value, (property, functools.cached_property)):
            self.add(value.fget if isinstance(value, property) else value.func)
        elif isinstance(value, functools.partial):
            self.add([value.func, value.args, value.keywords])
        elif not isinstance(value, type) and kind.__module__.partition(".")[0] != "lightning_al":
            self._add_entries({k: v for k, v in getattr(value, "__dict__", {}).items() if isinstance(v, _PLAIN)})

    def _add_cell(self, cell: Any) -> None:
        try:
            self.add(cell.cell_contents)
        except ValueError:  # nothing was put into it yet
            self.say("empty")

    def _add_code(self, code: CodeType) -> None:
        self.digest.update(code.co_code)
        self.say(code.co_names)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                self._add_code(constant)
            else:
                self.add(constant)


def add_tensor(update: Callable[[Any], None], tensor: Tensor) -> None:
    """Add a tensor's kind, shape and values to a hash, given by its ``update``."""
    update(f"{(tensor.dtype, tuple(tensor.shape), tensor.layout)!r}\n".encode())
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    elif tensor.layout == torch.sparse_coo:
        coalesced = tensor.coalesce()
        add_tensor(update, coalesced.indices())
        tensor = coalesced.values()
    elif tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    flat = tensor.cpu().resolve_conj().resolve_neg().contiguous().flatten()
    update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")


def _word(value: Any) -> str:
    return _ADDRESS.sub("", repr(value))
