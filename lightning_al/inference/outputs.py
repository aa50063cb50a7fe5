"""What a model returns for a batch, as the scores see it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al.inference.calling import Forward, ForwardOf, call_with, copies_for_model
from lightning_al.inference.compiled import unwrapped
from lightning_al.inference.live_weights import live_weights
from lightning_al.inference.mode import scoring_mode
from lightning_al.inference.module_state import modules_of, tensors_of_modules
from lightning_al.inference.precision import (
    Lowered,
    all_at_least_float32,
    at_least_float32,
    is_half,
    lowered_again,
    lowered_of,
)
from lightning_al.storage.weights import named_as_in


def plain_outputs(
    model: nn.Module, inputs: Any, forward: Forward | None = None, tensors: Mapping[str, Tensor] | None = None
) -> Any:
    """Return the model's outputs as the scores see them: in ``eval()``, without autocast or graph.

    Weights in half precision are raised to float32, and the model is left as it was. Where
    :func:`~lightning_al.inference.precision.lower_forwards` says so, the model runs in the Trainer's precision instead,
    and what it returns is raised to float32.

    Args:
        model: Any module, also in ``DistributedDataParallel`` or compiled.
        inputs: Any pytree. The model gets copies of its tensors.
        forward: ``forward(model, inputs)``. Default: ``model(inputs)``.
        tensors: Take the place of the parameters and buffers of these names: those of another fit of the model, say,
            from :func:`~lightning_al.inference.calling.tensors_of`, on any device.
    """
    root = ForwardOf(unwrapped(model), forward)
    lowered = lowered_of(model)
    if lowered is not None:
        return _outputs_in(lowered, model, inputs, root, tensors=tensors or {})
    if tensors is None and not is_half(tensors_of_modules(modules_of(root), "_parameters")):
        with scoring_mode(model), torch.no_grad():
            return root(copies_for_model(inputs))
    with live_weights(model, root, inputs), torch.no_grad():
        state = {name: at_least_float32(t) for name, t in _state_of(root, tensors or {}).items()}
        return call_with(root, state, copies_for_model(inputs))


def _outputs_in(
    lowered: Lowered, model: nn.Module, inputs: Any, root: ForwardOf, *, tensors: Mapping[str, Tensor]
) -> Any:
    """Run the model in lower precision, with inputs and weights as they come."""
    mode = live_weights(model, root, inputs) if tensors else scoring_mode(model)
    with mode, torch.no_grad(), lowered_again(lowered):
        inputs = copies_for_model(inputs, as_they_come=True)
        outputs = call_with(root, _state_of(root, tensors), inputs) if tensors else root(inputs)
        return all_at_least_float32(outputs)


def _state_of(root: ForwardOf, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that the root is to be called with."""
    state = dict([*root.named_parameters(), *root.named_buffers()])
    for name, tensor in named_as_in(state, {f"model.{name}": tensor for name, tensor in tensors.items()}).items():
        if name in state:
            state[name] = tensor.to(state[name].device, copy=True)
    return state


def floating_tensors(tree: Any) -> list[Tensor]:
    """Return the floating-point tensors of a pytree."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
