"""What a round starts from, and new random weights through the layers' ``reset_parameters``."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal

import lightning.pytorch as pl
import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from lightning_al.distributed.randomness import draws_undone, seed_reading
from lightning_al.inference.module_state import weights_kept
from lightning_al.storage.weights import in_pieces, plain_name

RESETS = ("initial", "warm", "continue", "fresh")
"""Names of what a round starts from."""

Reset = Literal["initial", "warm", "continue", "fresh"] | Callable[[pl.LightningModule], None]


def _redraw_of(module: nn.Module) -> Callable[[], None] | None:
    for name in ("reset_parameters", "_reset_parameters"):  # attention and transformers have the second
        redraw = getattr(module, name, None)
        if callable(redraw):
            return redraw
    return None


def not_redrawn(model: nn.Module) -> list[str]:
    """Return the names of the trainable parameters that :func:`redraw_parameters` does not draw, by trying it.

    Where a parameter is the origin of a weight that is computed from it (``spectral_norm`` and the like), a
    ``reset_parameters`` that writes to the computed weight does not draw it.
    """
    with weights_kept(model), torch.no_grad(), draws_undone():
        for parameter in _trainable(model).values():
            parameter.fill_(torch.nan)
        try:
            redraw_parameters(model)
        except (RuntimeError, ValueError):  # of an orthogonal or a symmetric matrix, say, which nan cannot make
            names = list(_trainable(model))
            return [name for name in names if _reparametrisation(model, name)] or names
        return [name for name, p in _trainable(model).items() if bool(p.isnan().any())]


@contextlib.contextmanager
def _computed_weights_apart(model: nn.Module) -> Iterator[None]:
    """Inside, tensors that are plain attributes share no memory with parameters; as after a first forward pass."""
    computed = [
        (vars(module), name, value)
        for module in model.modules()
        for name, value in vars(module).items()
        if isinstance(value, torch.Tensor)
    ]
    for owner, name, value in computed:
        owner[name] = value.detach().clone()
    try:
        yield
    finally:
        for owner, name, value in computed:
            owner[name] = value


def _reparametrisation(model: nn.Module, name: str) -> str | None:
    """Return the name of what computes a weight from this parameter, if anything does."""
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    if isinstance(module, ParametrizationList):
        return " and ".join(type(part).__name__.lstrip("_") for part in module.children())
    for hook in module._forward_pre_hooks.values():
        computed = getattr(hook, "name", getattr(hook, "_tensor_name", None))  # the second of pruning
        if isinstance(computed, str) and leaf in (f"{computed}_orig", f"{computed}_g", f"{computed}_v"):
            return type(hook).__name__
    return None


def check_redrawable(model: nn.Module) -> None:
    """Refuse a model with parameters that :func:`redraw_parameters` does not draw.

    Raises:
        ValueError: Naming the trainable parameters that keep their values; or if they are spread over processes.
    """
    if in_pieces(model.modules()):
        raise ValueError(
            '`reset="fresh"` cannot draw weights that are sharded over processes: each would draw its own piece. Use '
            '`reset="initial"`, or pass `reset=` a function of the model.'
        )
    missing = not_redrawn(model)
    if missing:
        of = {name: _reparametrisation(model, name) for name in missing}
        named = [f"{name} (of {of[name]})" if of[name] else name for name in missing]
        shown = ", ".join(named[:10]) + (", ..." if len(named) > 10 else "")
        raise ValueError(
            f'`reset="fresh"` cannot re-draw {shown} ({len(missing)} parameter(s)): no '
            "`reset_parameters()` of a module that holds them does. Add one, or pass `reset=` a function of the model."
        )


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {
        name: p for name, p in model.named_parameters() if p.requires_grad and (p.is_floating_point() or p.is_complex())
    }


def redraw_parameters(model: nn.Module, *key: int | str) -> None:
    """Draw all trainable parameters anew through the layers' ``reset_parameters``, children before parents.

    Frozen parameters (``requires_grad=False``) stay as they are.

    Args:
        model: The model.
        *key: Each module's draws follow from it and from the module's name. So they are the same beside others, as a
            module that learns to predict the loss, which not every method has.
    """
    frozen = [(p, p.detach().clone()) for p in model.parameters() if not p.requires_grad]
    with _computed_weights_apart(model):
        for name, module in reversed(list(model.named_modules())):
            inside = list(module.parameters())
            redraw = _redraw_of(module)
            if redraw is not None and (not inside or any(p.requires_grad for p in inside)):
                seed_reading(*key, plain_name(name))
                redraw()
    with torch.no_grad():
        for parameter, value in frozen:
            parameter.copy_(value)
