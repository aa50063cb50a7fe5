"""The state in which models are scored: ``eval()``, full precision, and nothing left behind."""

import contextlib
import copy
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from lightning_al.gradients.precision import at_least_float32
from lightning_al.weights import in_pieces

Forward = Callable[[nn.Module, Any], Any]

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


def call_with(root: nn.Module, tensors: dict[str, Tensor], *args: Any) -> Any:
    """Call a module with these tensors, by name, in the place of its parameters and buffers.

    Wherever a module has one of its tensors, the new one is put, also under its other names. (``functional_call`` by
    itself does not put things back in a module that has two names.)
    """
    first: dict[int, str] = {}
    places: dict[str, Tensor] = {}
    for path, module in root.named_modules():
        for attribute, tensor in (*module._parameters.items(), *module._buffers.items()):
            place = f"{path}.{attribute}" if path else attribute
            name = first.setdefault(id(tensor), place)
            if tensor is not None and name in tensors:
                places[place] = as_parameter(tensors[name]) if attribute in module._parameters else tensors[name]
    return functional_call(root, places, args, tie_weights=False)


def as_parameter(tensor: Tensor) -> Tensor:
    """Let a tensor pass for an ``nn.Parameter``, whose place it takes: models may ask."""
    tensor._is_param = True  # type: ignore[attr-defined]
    return tensor


class Around(nn.Module):
    """Runs anything while a model's tensors are replaced by :func:`call_with`, where their names get ``"model."``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, action: Callable[[], Any]) -> Any:
        """Call ``action``."""
        return action()


class ForwardOf(nn.Module):
    """``forward(model, inputs)`` as a module, so that ``functional_call`` reaches the model's weights."""

    def __init__(self, model: nn.Module, forward: Forward | None) -> None:
        super().__init__()
        self.model = model
        self._call = forward

    def forward(self, inputs: Any) -> Any:
        """Call the model."""
        return self.model(inputs) if self._call is None else self._call(self.model, inputs)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside ``DistributedDataParallel`` and ``torch.compile``, whose hooks would be in the way."""
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model = model.module
        elif "torch._dynamo" in sys.modules and isinstance(model, torch._dynamo.OptimizedModule):
            model = model._orig_mod
        else:
            return model


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


def is_half(model: nn.Module) -> bool:
    """Whether some weights are in half precision."""
    return any(p.dtype in (torch.float16, torch.bfloat16) for p in model.parameters())


def copy_for_model(tensor: Tensor) -> Tensor:
    """A copy for the model to use as it likes: a forward may work in place, or be run twice.

    Inference tensors, which predict loops hand out, could not be saved for backward; half precision is raised.
    """
    return at_least_float32(tensor.detach().clone())


def copies_for_model(inputs: Any) -> Any:
    """:func:`copy_for_model` of every tensor in a pytree."""
    return pytree.tree_map_only(Tensor, copy_for_model, inputs)


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return copies, on the CPU, of all parameters and buffers by name: a model as :func:`plain_outputs` runs it.

    Raises:
        TypeError: If they are sharded over processes (FSDP2, tensor parallelism).
    """
    check_whole(model)
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: t.detach().to("cpu", copy=True) for name, t in named}


def check_whole(model: nn.Module) -> None:
    """Refuse a model that cannot be run with other weights than its own, each sample's or another fit's.

    Raises:
        TypeError: If weights are sharded over processes.
    """
    if in_pieces(model):
        raise TypeError(
            f"Weights of {type(model).__name__} are sharded over processes, so that samples have no gradients of their "
            'own and no other weights can be run in it. Use `strategy="ddp"`, or an acquisition of logits or features: '
            "`BADGE`, say, takes the gradients of the last layer in closed form."
        )


def plain_outputs(
    model: nn.Module, inputs: Any, forward: Forward | None = None, tensors: Mapping[str, Tensor] | None = None
) -> Any:
    """Return the model's outputs as the scores see them: in ``eval()``, without autocast, graph or trace.

    Weights in half precision are raised to float32. ``tensors`` takes the place of parameters and buffers of these
    names, wherever they are: those of another fit of the model, say, see :func:`tensors_of`. The forward gets copies.
    """
    root = ForwardOf(unwrapped(model), forward)
    with scoring_mode(model), torch.no_grad():
        inputs = pytree.tree_map_only(Tensor, copy_for_model, inputs)
        if tensors is None and not is_half(root):
            return root(inputs)
        own = [*root.named_parameters(), *root.named_buffers()]
        given = {f"model.{name}": tensor for name, tensor in (tensors or {}).items()}
        state = {name: given[name].to(t.device, copy=True) if name in given else t for name, t in own}
        return call_with(root, {name: at_least_float32(t) for name, t in state.items()}, inputs)


def batch_size_of(inputs: Any) -> int:
    """Return the common first dimension of all tensors in ``inputs``.

    Raises:
        ValueError: If there is no tensor, or the tensors disagree.
    """
    sizes = {t.shape[0] if t.ndim else -1 for t in pytree.tree_leaves(inputs) if isinstance(t, Tensor)}
    if len(sizes) != 1 or -1 in sizes:
        raise ValueError(
            "Every tensor in `inputs` must have the same first dimension, the batch; "
            f"seen: {sorted(sizes) or 'no tensor'} (-1: a scalar)."
        )
    return sizes.pop()
