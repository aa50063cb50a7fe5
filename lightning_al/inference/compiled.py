"""Modules that ``torch.compile`` compiled, run as they are written."""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import nn

from lightning_al.inference.module_state import named_modules_of
from lightning_al.storage.weights import plain_name

_SAID: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
"""Models of which it was said that they are scored outside of their compiled graphs."""


def is_wrapper(module: nn.Module) -> bool:
    """Whether this is what ``torch.compile(module)`` puts around a module."""
    return "torch._dynamo" in sys.modules and isinstance(module, torch._dynamo.OptimizedModule)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside ``DistributedDataParallel`` and ``torch.compile``, whose hooks would be in the way."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif is_wrapper(model):
            model = model._orig_mod  # type: ignore[assignment]
        else:
            return model


def is_compiled(module: nn.Module) -> bool:
    """Whether a module itself is compiled, in place, around it, or its ``forward`` alone."""
    if getattr(module, "_compiled_call_impl", None) is not None or is_wrapper(module):
        return True
    forward: Any = vars(module).get("forward")
    return forward is not None and hasattr(forward, "_torchdynamo_orig_callable")


@contextlib.contextmanager
def nothing_compiled() -> Iterator[None]:
    """Have compiled modules and functions called as they are written; what was compiled stays so for later."""
    # Importing dynamo takes seconds, and without it nothing can be compiled.
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def say_once_if_compiled(model: nn.Module, modules: Iterable[nn.Module]) -> None:
    """Say of a model with compiled modules, once, that it is scored outside of their graphs.

    Args:
        model: The model, maybe wrapped.
        modules: All of its modules.
    """
    inner = unwrapped(model)
    if not any(map(is_compiled, modules)) or inner in _SAID:
        return
    _SAID[inner] = True
    whole = is_compiled(inner) or inner is not model
    rank_zero_info(
        f"{type(inner).__name__} is compiled{'' if whole else _where(inner)}: samples are scored by its layers as they "
        "are written, outside of the compiled graph, which nobody can look into. Training and your own calls stay "
        "compiled."
    )


def _where(model: nn.Module) -> str:
    names = list(dict.fromkeys(plain_name(name) for name, m in named_modules_of(model) if is_compiled(m)))
    return f" in part ({', '.join(f'`{name}`' for name in names[:3])}{', ...' if len(names) > 3 else ''})"


def seen_from_outside(model: nn.Module) -> Iterable[nn.Module]:
    """Yield the modules of a model but those inside of compiled ones, which hooks would have compiled anew."""
    yield model
    if getattr(model, "_compiled_call_impl", None) is not None or is_wrapper(model):
        return
    for child in model.children():
        if not isinstance(child, torch.jit.ScriptModule):
            yield from seen_from_outside(child)
