"""The state in which models are looked at: ``eval()``, without autocast, nothing compiled."""

import contextlib
from collections.abc import Iterator

import torch
from torch import nn

from lightning_al.inference.compiled import nothing_compiled, say_once_if_compiled
from lightning_al.inference.module_state import (
    Attributes,
    ReachedByTrain,
    attributes_kept,
    flags_kept,
    modules_of,
    tensors_kept,
    tensors_of_modules,
    with_own_train,
)
from lightning_al.inference.precision import full_precision


@contextlib.contextmanager
def scoring_mode(model: nn.Module, *, as_it_comes: bool = False) -> Iterator[None]:
    """Put ``model`` in ``eval()``, gradients on, autocast and compiling off, and leave everything as it was found.

    Train flags are restored module by module, attributes that some models count or cache in and the global random state
    too, and so is what a ``train()`` of the model's own did: weights that it folds an update into in ``eval()``. In
    half precision ``θ + ε`` would round back to ``θ``, which is why autocast is switched off.

    Args:
        model: The model.
        as_it_comes: Whether ``eval()`` is left to the caller.
    """
    modules = modules_of(model)
    say_once_if_compiled(model, modules)
    tensors = tensors_of_modules(modules, "_parameters", "_buffers")
    devices = {t.device for t in tensors}
    kinds = {device.type for device in devices}
    cuda = sorted(device.index for device in devices if device.type == "cuda")
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.random.fork_rng(devices=cuda))
        stack.enter_context(full_precision(*kinds))
        stack.enter_context(nothing_compiled())
        for put_back in (attributes_kept, tensors_kept, flags_kept):
            stack.enter_context(put_back(modules))
        if not as_it_comes and (any(module.training for module in modules) or with_own_train(modules)):
            model.eval()
        yield


@contextlib.contextmanager
def own_train_undone(model: nn.Module) -> Iterator[None]:
    """Undo in the end what the model's own ``train()`` did when it went to ``eval()``, to weights and attributes.

    For passes in which Lightning calls ``eval()``, and then sets nothing but flags back. What else was written inside,
    metrics say, stays.
    """
    modules = modules_of(model)
    if not with_own_train(modules):
        yield
        return
    tensors, attributes = ReachedByTrain(modules), Attributes(modules)
    with flags_kept(modules):
        model.eval()
        tensors.keep_changed()
        put_back = attributes.put_back_changed()
        try:
            yield
        finally:
            put_back()
            tensors.put_back()


@contextlib.contextmanager
def plain_layers() -> Iterator[None]:
    """Have every layer called as it is written: nothing compiled, no fused encoder layers that skip those in them."""
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        with nothing_compiled():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
