"""What a round starts from, and new random weights through the layers' ``reset_parameters``."""

from collections.abc import Callable
from typing import Literal

import lightning.pytorch as pl
import torch
from torch import nn

from lightning_al.inference.module_state import weights_kept
from lightning_al.storage.weights import in_pieces

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
    """Return the names of the trainable parameters that :func:`redraw_parameters` does not draw, by trying it."""
    with weights_kept(model), torch.no_grad(), torch.random.fork_rng():
        for parameter in _trainable_floats(model).values():
            parameter.fill_(torch.nan)
        redraw_parameters(model)
        return [name for name, p in _trainable_floats(model).items() if bool(p.isnan().any())]


def check_redrawable(model: nn.Module) -> None:
    """Refuse a model with parameters that :func:`redraw_parameters` does not draw.

    Raises:
        ValueError: Naming the trainable parameters that keep their values; or if they are spread over processes.
    """
    if in_pieces(model):
        raise ValueError(
            '`reset="fresh"` cannot draw weights that are sharded over processes: each would draw its own piece. Use '
            '`reset="initial"`, or pass `reset=` a function of the model.'
        )
    missing = not_redrawn(model)
    if missing:
        raise ValueError(
            f'`reset="fresh"` cannot re-draw {", ".join(missing[:10])} ({len(missing)} parameter(s)): no '
            "`reset_parameters()` of a module that holds them does. Add one, or pass `reset=` a function of the model."
        )


def _trainable_floats(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad and p.is_floating_point()}


def redraw_parameters(model: nn.Module) -> None:
    """Draw all trainable parameters anew through the layers' ``reset_parameters``, children before parents.

    Frozen parameters (``requires_grad=False``) stay as they are.
    """
    frozen = [(p, p.detach().clone()) for p in model.parameters() if not p.requires_grad]
    for module in reversed(list(model.modules())):
        inside = list(module.parameters())
        redraw = _redraw_of(module)
        if redraw is not None and (not inside or any(p.requires_grad for p in inside)):
            redraw()
    with torch.no_grad():
        for parameter, value in frozen:
            parameter.copy_(value)
