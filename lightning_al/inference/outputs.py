"""What a model gives, as plain tensors with one row a sample."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from lightning_al.inference.calling import Forward, ForwardOf, call_with, copy_for_model, is_half, unwrapped
from lightning_al.inference.mode import scoring_mode
from lightning_al.inference.precision import at_least_float32


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
