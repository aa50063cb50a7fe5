"""Layers of a model by name, and the features that are seen at them in a forward pass."""

import contextlib
import difflib
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from lightning_al.inference.pooling import Pooling


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """Return the layer of this name.

    Raises:
        ValueError: If there is none, with names that are near.
    """
    layers = dict(model.named_modules())
    if not name or name not in layers:
        near = difflib.get_close_matches(name, layers, n=5, cutoff=0.3) or list(layers)[1:6]
        raise ValueError(f"The model has no layer {name!r}. It has, among others: {', '.join(map(repr, near))}.")
    return layers[name]


def logits_and_features_of(model: nn.Module, run: Callable[[], Tensor], layer: str | None) -> tuple[Tensor, Tensor]:
    """Return the logits that ``run`` gives, and what is seen at a layer meanwhile, as (B, C).

    Channels are averaged over positions, whatever their number, without those known to be padding
    (:class:`~lightning_al.inference.pooling.Pooling`).

    Args:
        model: The model that ``run`` calls.
        run: One forward pass, which returns the logits, one row for each sample.
        layer: The name of a layer, whose output is taken; None: the input of the last ``nn.Linear`` that runs.

    Raises:
        ValueError: If no such layer runs, or what is seen there has not one row for each sample.
    """
    seen: list[Any] = []
    pooling = Pooling()

    def see_input(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen[:] = [args[0] if args else kwargs["input"]]  # of several, the last

    def see_output(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        # At once, since what follows may work in place.
        pooled = pooling.of_output(module, output)
        seen[:] = [output, pooled.clone() if pooled is not None else None]

    with pooling.watching(model), contextlib.ExitStack() as hooks:
        if layer is None:
            for module in model.modules():
                if isinstance(module, nn.Linear):
                    hooks.callback(module.register_forward_pre_hook(see_input, with_kwargs=True).remove)
        else:
            hooks.callback(find_layer(model, layer).register_forward_hook(see_output).remove)
        logits = run()
    if not seen and layer is None:
        raise ValueError(
            "No `nn.Linear` runs in the model's forward, so there are no penultimate features. Name a layer "
            '(`features="backbone.avgpool"`), or give the loop a `task=` whose `features(model, inputs)` returns '
            "them."
        )
    if not seen:
        raise ValueError(f"The layer {layer!r} does not run in the model's forward, so it has no features.")
    output, features = seen if layer is not None else (seen[0], pooling.average(seen[0], seen[0], -1))
    if features is None or features.shape[:1] != (len(logits),):
        what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise ValueError(
            f"Features must be a tensor with one row for each of the {len(logits)} samples, got {what} "
            f"{'from the last linear layer' if layer is None else f'from {layer!r}'}. Name another layer "
            '(`features="..."`).'
        )
    return logits, features
