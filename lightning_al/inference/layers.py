"""Layers of a model, by name."""

from torch import nn


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """Return the layer of this name.

    Raises:
        ValueError: If there is none, with names that are near.
    """
    layers = dict(model.named_modules())
    if not name or name not in layers:
        import difflib

        near = difflib.get_close_matches(name, layers, n=5, cutoff=0.3) or list(layers)[1:6]
        raise ValueError(f"The model has no layer {name!r}. It has, among others: {', '.join(map(repr, near))}.")
    return layers[name]
