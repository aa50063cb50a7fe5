"""Copies weights out of a model and loads them back as whole tensors.

Also where each process has only a piece of them (FSDP2, tensor parallelism).
"""

import copy
import io
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, Replicate
from torch.utils import _pytree as pytree

from lightning_al.checks import first_line
from lightning_al.storage.checkpoints import read_checkpoint

_EXTRA = "_extra_state"  # how torch names what `get_extra_state` of a module returns


def in_pieces(model: nn.Module) -> bool:
    """Whether weights of the model are spread over processes, even if they are together for now, as in a forward."""
    sharded = any(isinstance(module, FSDPModule) for module in model.modules())
    return sharded or any(isinstance(p, DTensor) for p in model.parameters())


def whole(state: Any) -> dict[str, Any]:
    """Return a state with each tensor put together from the pieces of all processes, which must all call this."""
    return _map_values(DTensor, lambda t: t.detach().full_tensor(), state)


def whole_copy(state: Any) -> dict[str, Any]:
    """Return a copy of a state with its tensors whole and on the CPU. Every process must call it."""
    return _map_values(Tensor, lambda t: t.detach().to("cpu", copy=True), _with_own_extra(whole(state)))


def check_plain(state: dict[str, Any]) -> None:
    """Refuse extra state that could be written but, without running code, never read back.

    Raises:
        TypeError: Naming it.
    """
    for name, value in state.items():
        if isinstance(value, Tensor):
            continue
        file = io.BytesIO()
        try:
            torch.save(value, file)
            file.seek(0)
            torch.load(file, weights_only=True)
        except Exception as error:  # pickle and torch raise many kinds
            raise TypeError(
                f"`{name}` of the model's `state_dict` is a {type(value).__name__}, and a campaign keeps tensors and "
                f"plain values only ({first_line(error)}). Have `get_extra_state` return those."
            ) from None


def load_weights(model: nn.Module, state: dict[str, Any]) -> None:
    """Give the model weights and buffers that are whole; each process takes its pieces.

    Names may be missing or surplus where the module says so, with Lightning's ``strict_loading = False``.
    """
    _replace_inference_buffers(model)
    if in_pieces(model):
        present = model.state_dict()
        pieces = {name: as_pieces(value, present.get(name)) for name, value in state.items()}
        state = _with_versions(pieces, state)
    model.load_state_dict(_with_own_extra(state), strict=_is_strict(model))


def _replace_inference_buffers(model: nn.Module) -> None:
    """Put tensors that can be written to in place of buffers that a validation put there, in inference mode."""
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_inference():
                module._buffers[name] = buffer.clone()


def load_checkpoint(model: nn.Module, path: Path, *, trusted: bool) -> None:
    """Give the model the weights of a checkpoint.

    Args:
        model: Gets the weights.
        path: A file, or a folder with the pieces of each process.
        trusted: Whether a folder may be read, which can run code in it. Reading a file cannot.
    """
    if trusted and path.is_dir():
        _replace_inference_buffers(model)
        state = {"state_dict": model.state_dict()}
        load(state, checkpoint_id=path)  # into these very tensors
        model.load_state_dict(state["state_dict"], strict=_is_strict(model))
    else:
        checkpoint = read_checkpoint(path)
        if isinstance(model, pl.LightningModule):
            model.on_load_checkpoint(checkpoint)  # it may put back what its `on_save_checkpoint` left out
        load_weights(model, checkpoint["state_dict"])


def _is_strict(model: nn.Module) -> bool:
    return getattr(model, "strict_loading", True)


def _map_values(kind: type, function: Callable[[Any], Any], state: Any) -> dict[str, Any]:
    return _with_versions(pytree.tree_map_only(kind, function, dict(state)), state)


def _with_own_extra(state: dict[str, Any]) -> dict[str, Any]:
    """Copy the extra state of modules, which they hand out and keep as it is, and go on writing to."""
    extra = {name: copy.deepcopy(value) for name, value in state.items() if str(name).endswith(_EXTRA)}
    return _with_versions({**state, **extra}, state)


def _with_versions(changed: dict[str, Any], state: Any) -> dict[str, Any]:
    """Give a changed state the versions of modules, without which some take it for that of an old release."""
    if not hasattr(state, "_metadata"):
        return changed
    versioned = OrderedDict(changed)
    versioned._metadata = copy.deepcopy(state._metadata)  # type: ignore[attr-defined]
    return versioned


def as_pieces(value: Any, like: Any) -> Any:
    """Return this process's piece of a whole tensor, cut as ``like`` is; other values as they are."""
    if not isinstance(like, DTensor) or not isinstance(value, Tensor):
        return value
    mesh = like.device_mesh
    everywhere = [Replicate()] * mesh.ndim
    with torch.no_grad():
        copies = DTensor.from_local(value.to(like.device), mesh, everywhere, run_check=False)
        return copies.redistribute(placements=like.placements)
