"""What a model returns for a batch, as the scores see it."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al.inference.calling import Forward, ForwardOf, call_with, copies_for_model, unwrapped
from lightning_al.inference.live_weights import live_weights
from lightning_al.inference.mode import scoring_mode
from lightning_al.inference.precision import at_least_float32, is_half


def plain_outputs(
    model: nn.Module, inputs: Any, forward: Forward | None = None, tensors: Mapping[str, Tensor] | None = None
) -> Any:
    """Return the model's outputs as the scores see them: in ``eval()``, without autocast or graph.

    Weights in half precision are raised to float32, and the model is left as it was.

    Args:
        model: Any module, also in ``DistributedDataParallel`` or compiled.
        inputs: Any pytree. The model gets copies of its tensors.
        forward: ``forward(model, inputs)``. Default: ``model(inputs)``.
        tensors: Take the place of the parameters and buffers of these names: those of another fit of the model, say,
            from :func:`~lightning_al.inference.calling.tensors_of`, on any device.
    """
    root = ForwardOf(unwrapped(model), forward)
    if tensors is None and not is_half(root):
        with scoring_mode(model), torch.no_grad():
            return root(copies_for_model(inputs))
    with live_weights(model, root, inputs), torch.no_grad():
        inputs = copies_for_model(inputs)
        state = dict([*root.named_parameters(), *root.named_buffers()])
        for name, tensor in (tensors or {}).items():
            name_in_root = f"model.{name}"
            if name_in_root in state:
                state[name_in_root] = tensor.to(state[name_in_root].device, copy=True)
        return call_with(root, {name: at_least_float32(t) for name, t in state.items()}, inputs)


def floating_tensors(tree: Any) -> list[Tensor]:
    """Return the floating-point tensors of a pytree."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
