"""Calling a model with other weights than its own, and with copies of its inputs."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al.inference.entries import whole
from lightning_al.inference.module_state import modules_of, named_modules_of
from lightning_al.inference.precision import at_least_float32
from lightning_al.storage.weights import in_pieces

Forward = Callable[[nn.Module, Any], Any]
"""``forward(model, inputs)``: how a model is called, where that is not ``model(inputs)``."""


class Place(NamedTuple):
    """Where a module has one of its tensors.

    Attributes:
        name: Of the tensor, the first that it is found under.
        holder: The dict of the module's that it is in.
        attribute: Its name there.
        is_parameter: Or a buffer.
    """

    name: str
    holder: dict[str, Any]
    attribute: str
    is_parameter: bool


def places_of(root: nn.Module) -> list[Place]:
    """Return where a module has its tensors, each wherever it is."""
    first_names: dict[int, str] = {}
    places = []
    for path, module in named_modules_of(root):
        prefix = f"{path}." if path else ""
        for holder in (module._parameters, module._buffers):
            for attribute, tensor in holder.items():
                if tensor is not None:
                    name = first_names.setdefault(id(tensor), prefix + attribute)
                    places.append(Place(name, holder, attribute, holder is module._parameters))
    return places


def call_with(root: nn.Module, tensors: dict[str, Tensor], *args: Any, places: Iterable[Place] | None = None) -> Any:
    """Call a module with these tensors, by name, in the place of its parameters and buffers.

    Wherever a module has one of its tensors, the new one is put, also under its other names. (``functional_call`` does
    not put things back in a module that has two names, and takes a tenth of a small model's pass.)

    Args:
        root: The module.
        tensors: By first name.
        args: Of the call.
        places: What :func:`places_of` gives, for a module that is called many times.
    """
    taken = [place for place in (places_of(root) if places is None else places) if place.name in tensors]
    before = [holder[attribute] for _, holder, attribute, _ in taken]
    try:
        for name, holder, attribute, is_parameter in taken:
            holder[attribute] = as_parameter(tensors[name]) if is_parameter else tensors[name]
        return root(*args)
    finally:
        for (_, holder, attribute, _), tensor in zip(taken, before, strict=True):
            holder[attribute] = tensor


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
        self.call = forward

    def forward(self, inputs: Any) -> Any:
        """Call the model."""
        return self.model(inputs) if self.call is None else self.call(self.model, inputs)


def copy_for_model(tensor: Tensor) -> Tensor:
    """Return a copy for the model to use as it likes: a forward may work in place, or be run twice.

    Inference tensors, which predict loops hand out, could not be saved for backward; half precision is raised.
    """
    return at_least_float32(_copy(tensor))


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def copies_for_model(inputs: Any, *, as_they_come: bool = False) -> Any:
    """Return inputs with every tensor in them replaced by its :func:`copy_for_model`, and no list marked.

    Args:
        inputs: Any pytree.
        as_they_come: Whether half precision stays.
    """
    copied = _copy if as_they_come else copy_for_model
    return whole(pytree.tree_map_only(Tensor, copied, inputs))


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return copies, on the CPU, of all parameters and buffers by name, for a model to be called with later.

    Raises:
        TypeError: If they are sharded over processes (FSDP2, tensor parallelism).
    """
    check_whole(modules_of(model))
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: t.detach().to("cpu", copy=True) for name, t in named}


def check_whole(modules: Sequence[nn.Module]) -> None:
    """Refuse a model that cannot be run with other weights than its own, each sample's or another fit's.

    Args:
        modules: All of its modules, itself first.

    Raises:
        TypeError: If weights are sharded over processes.
    """
    if in_pieces(modules):
        raise TypeError(
            f"Weights of {type(modules[0]).__name__} are sharded over processes, so that samples have no gradients of "
            'their own and no other weights can be run in it. Use `strategy="ddp"`, or an acquisition of logits or '
            "features: `BADGE`, say, takes the gradients of the last layer in closed form."
        )
