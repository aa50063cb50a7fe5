"""The state in which models are looked at: ``eval()``, full precision, and nothing left behind."""

import contextlib
import copy
import sys
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

_COLLECTIONS = (list, dict, set, OrderedDict, deque)
_OF_TORCH = frozenset(vars(nn.Module()))


@contextlib.contextmanager
def scoring_mode(model: nn.Module) -> Iterator[None]:
    """Put ``model`` in ``eval()``, with gradients on and autocast off, and leave everything as it was found.

    Train flags are restored module by module, attributes that some models count or cache in and the global random state
    too. In half precision ``θ + ε`` would round back to ``θ``, which is why autocast is switched off.
    """
    flags = [(module, module.training) for module in model.modules()]
    owners: list[dict[str, Any]] = [module._buffers for module in model.modules()]
    # An embedding with `max_norm` shrinks its rows in the forward pass.
    owners += [module._parameters for module in model.modules() if getattr(module, "max_norm", None) is not None]
    written = [
        (own, name, tensor, tensor._version, tensor.detach().clone())
        for own in owners
        for name, tensor in own.items()
        if tensor is not None and not tensor.is_inference()
    ]
    tensors = [*model.parameters(), *model.buffers()]
    kinds = {"cpu"} | {t.device.type for t in tensors}
    cuda = sorted({t.device.index for t in tensors if t.device.type == "cuda"})
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.random.fork_rng(devices=cuda))
        for kind in kinds:
            stack.enter_context(torch.autocast(device_type=kind, enabled=False))
        stack.enter_context(attributes_kept(model))
        try:
            model.eval()
            yield
        finally:
            for module, training in flags:
                module.training = training
            with torch.no_grad():
                for own, name, tensor, version, value in written:
                    own[name] = tensor
                    if tensor._version != version:
                        tensor.copy_(value)


@contextlib.contextmanager
def attributes_kept(model: nn.Module) -> Iterator[None]:
    """Leave the attributes of all modules as they were found, and what is in lists, dicts and the like, too.

    What models cache or collect there may be of another precision, or stand for something else while they are scored.
    """
    before = [(module, dict(vars(module))) for module in model.modules()]
    collections = [
        (value, copy.copy(value), _contents(value))
        for _, found in before
        for name, value in found.items()
        if type(value) in _COLLECTIONS and name not in _OF_TORCH
    ]
    try:
        yield
    finally:
        for module, found in before:
            for name in vars(module).keys() - found.keys():
                del vars(module)[name]
            vars(module).update(found)
        for value, items, contents in collections:
            if list(map(id, _contents(value))) != list(map(id, contents)):
                value.clear()
                (value.extend if isinstance(value, (list, deque)) else value.update)(items)


def _contents(collection: Any) -> list[Any]:
    if isinstance(collection, dict):
        return [part for item in collection.items() for part in item]
    return list(collection)


@contextlib.contextmanager
def plain_layers() -> Iterator[None]:
    """Have every layer called as it is written: nothing compiled, no fused encoder layers that skip those in them."""
    fused = torch.backends.mha.get_fastpath_enabled()
    # Importing dynamo takes seconds, and without it nothing can be compiled.
    eager = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else contextlib.nullcontext()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        with eager:
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
