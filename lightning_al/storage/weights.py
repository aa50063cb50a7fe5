"""Copies weights out of a model and loads them back as whole tensors.

Also where each process has only a piece of them (FSDP2, tensor parallelism).
"""

import contextlib
import copy
import io
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, Replicate
from torch.utils import _pytree as pytree

from lightning_al.storage.checkpoints import read_checkpoint
from lightning_al.words import first_line

_EXTRA = "_extra_state"  # how torch names what `get_extra_state` of a module returns


_COMPILED = "_orig_mod"  # under which `torch.compile(module)` has the module


def plain_name(name: str) -> str:
    """Return the name that a module or tensor has where nothing is compiled.

    Example:
        >>> plain_name("net._orig_mod.0.weight")
        'net.0.weight'
    """
    return ".".join(part for part in name.split(".") if part != _COMPILED) if _COMPILED in name else name


def named_as_in(names: Iterable[str], state: dict[str, Any]) -> dict[str, Any]:
    """Return a state under these names, from a model in which others of the modules are compiled, or none.

    Args:
        names: Of the model's tensors.
        state: By name; what has no other name among these keeps its own.
    """
    own = {plain_name(name): name for name in names}
    if all(own.get(plain_name(name), name) == name for name in state):
        return state
    renamed = {own.get(plain_name(name), name): value for name, value in state.items()}
    if hasattr(state, "_metadata"):
        modules = {plain_name(name.rpartition(".")[0]): name.rpartition(".")[0] for name in own.values()}
        versions = {modules.get(plain_name(m), m): version for m, version in state._metadata.items()}
        renamed = OrderedDict(renamed)
        renamed._metadata = OrderedDict(versions)  # type: ignore[attr-defined]
    return renamed


@contextlib.contextmanager
def names_of_others_known(model: nn.Module) -> Iterator[None]:
    """Have whoever loads a state into the model inside do so by :func:`named_as_in`."""

    def rename(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        renamed = named_as_in(module.state_dict(), state)
        if renamed is not state:
            state.clear()
            state.update(renamed)

    hook = model.register_load_state_dict_pre_hook(rename)
    try:
        yield
    finally:
        hook.remove()


def in_pieces(modules: Iterable[nn.Module]) -> bool:
    """Whether weights of modules are spread over processes, even if they are together for now, as in a forward."""
    modules = list(modules)
    of_weights = {type(p) for module in modules for p in module._parameters.values()}
    kinds = {*map(type, modules)}
    return any(issubclass(kind, FSDPModule) for kind in kinds) or any(issubclass(kind, DTensor) for kind in of_weights)


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

    Which modules are compiled, here or where they are from, makes no difference.
    Names may be missing or surplus where the module says so, with Lightning's ``strict_loading = False``.
    """
    _replace_inference_buffers(model)
    present = model.state_dict()
    state = named_as_in(present, state)
    if in_pieces(model.modules()):
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
        if isinstance(model, pl.LightningModule) and len(checkpoint) > 1:  # no plain state, which has the weights alone
            model.on_load_checkpoint(checkpoint)  # it may put back what its `on_save_checkpoint` left out
        load_weights(model, checkpoint["state_dict"])


def put_weights(model: nn.Module, state: dict[str, Any], file: Path) -> None:
    """Give the model the weights of a campaign, or leave it as it was.

    Args:
        model: Gets the weights.
        state: Its ``state_dict`` as it was kept.
        file: Where that is from, for errors.

    Raises:
        ValueError: If they are another model's.
    """
    before = whole_copy(model.state_dict())
    try:
        load_weights(model, state)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        load_weights(model, before)  # some of it may have been loaded
        raise ValueError(
            f"{file} holds the weights of another model than this {type(model).__name__}. Go on with the model that "
            f"the campaign began with, or begin another in another `dirpath`. ({first_line(error)})"
        ) from None


def load_weights_of(model: nn.Module, path: Path) -> None:
    """Give the model the weights in a file, a checkpoint's or a plain ``state_dict``, or leave it as it was.

    Raises:
        ValueError: If they are another model's, with the first names that do not fit; or if the file holds none.
    """
    before = whole_copy(model.state_dict())
    try:
        load_checkpoint(model, path, trusted=False)
        present = model.state_dict()
        state = named_as_in(present, read_checkpoint(path)["state_dict"])
        differences = _differences(present, state, shared_alone=True)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        present = model.state_dict()
        state = named_as_in(present, read_checkpoint(path)["state_dict"])
        differences = _differences(present, state) or [first_line(error)]
    if differences:
        load_weights(model, before)
        raise ValueError(
            f"{path} holds the weights of another model than this {type(model).__name__}: {'; '.join(differences)}."
        )


def _differences(present: dict[str, Any], loaded: dict[str, Any], *, shared_alone: bool = False) -> list[str]:
    """Say how two states differ; with ``shared_alone``, where names may be missing, only whether any is in both."""
    if not shared_alone or present.keys().isdisjoint(loaded):
        missing = [name for name in present if name not in loaded]
        unexpected = [name for name in loaded if name not in present]
    else:
        return []
    differences = []
    for what, names in (("misses", missing), ("has the unexpected", unexpected)):
        if names:
            differences.append(f"it {what} `{names[0]}` ({len(names)} such)")
    for name, value in loaded.items():
        if isinstance(value, Tensor) and name in present and value.shape != present[name].shape:
            differences.append(f"`{name}` is {tuple(value.shape)} there and {tuple(present[name].shape)} in the model")
            break
    return differences


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
