"""Weights as whole tensors, also where they lie in pieces on several processes (FSDP2, tensor parallelism)."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, Replicate
from torch.optim import Optimizer
from torch.utils import _pytree as pytree

from lightning_al.checkpoints import weights_of


def in_pieces(model: nn.Module) -> bool:
    """Whether weights of the model are spread over processes, even if they are together for now, as in a forward."""
    sharded = any(isinstance(module, FSDPModule) for module in model.modules())
    return sharded or any(isinstance(p, DTensor) for p in model.parameters())


def whole(state: Any) -> dict[str, Any]:
    """Return a state with its tensors put together. Every process must call it."""
    return pytree.tree_map_only(DTensor, lambda t: t.detach().full_tensor(), dict(state))  # type: ignore[no-any-return]


def whole_copy(state: Any) -> dict[str, Any]:
    """Return :func:`whole` with copies of the tensors, on the CPU."""
    return pytree.tree_map_only(Tensor, lambda t: t.detach().to("cpu", copy=True), whole(state))  # type: ignore[no-any-return]


def load_weights(model: nn.Module, state: dict[str, Any]) -> None:
    """Give the model weights and buffers that are whole; each process takes its pieces."""
    if in_pieces(model):
        own = model.state_dict()
        state = {name: _as_pieces(value, own.get(name)) for name, value in state.items()}
    model.load_state_dict(state)


def load_checkpoint(model: nn.Module, path: Path, *, trusted: bool) -> None:
    """Give the model the weights of a checkpoint, a file or a folder with pieces.

    ``trusted``: a folder may be read, which can run code; a file cannot.
    """
    if trusted and path.is_dir():
        state = {"state_dict": model.state_dict()}
        load(state, checkpoint_id=path)  # into these very tensors
        model.load_state_dict(state["state_dict"])
    else:
        load_weights(model, weights_of(path))


def load_momentum(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Give the optimizer what another one gathered step by step, whole; learning rates and the like stay its own."""
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state["state"]})
    for parameter, gathered in optimizer.state.items():
        for name, value in gathered.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                gathered[name] = _as_pieces(value, parameter)


def _as_pieces(value: Any, like: Any) -> Any:
    if not isinstance(like, DTensor) or not isinstance(value, Tensor):
        return value
    mesh = like.device_mesh
    everywhere = [Replicate()] * mesh.ndim
    with torch.no_grad():
        copies = DTensor.from_local(value.to(like.device), mesh, everywhere, run_check=False)
        return copies.redistribute(placements=like.placements)
