"""Layers of a model by name, and the features that are seen at them in a forward pass."""

import contextlib
import difflib
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn

from lightning_al.inference.calling import Forward, copies_for_model
from lightning_al.inference.division import as_samples
from lightning_al.inference.entries import device_of, slice_of
from lightning_al.inference.outputs import floating_tensors
from lightning_al.inference.pooling import Pooling
from lightning_al.inference.shared_forward import sharing_of
from lightning_al.storage.weights import plain_name

Kinds = tuple[type[nn.Module], ...]

HEADS: Kinds = (nn.Linear, nn.modules.conv._ConvNd)
"""What may give a model's outputs as products of weights and features: those are what such a layer gets."""

_LAST: WeakKeyDictionary[nn.Module, dict[int, tuple[Any, str | None]]] = WeakKeyDictionary()
"""Of each model, by the ``id`` of who looks at its outputs: a reference to that, and what :func:`last_layer` found."""


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """Return the layer of this name.

    Raises:
        ValueError: If there is none, with names that are near.
    """
    layers = {plain_name(path): module for path, module in model.named_modules()}
    if not name or name not in layers:
        near = difflib.get_close_matches(name, layers, n=5, cutoff=0.3) or list(layers)[1:6]
        raise ValueError(f"The model has no layer {name!r}. It has, among others: {', '.join(map(repr, near))}.")
    return layers[name]


def outputs_and_features_of_head(
    looker: object, model: nn.Module, inputs: Any, forward: Forward
) -> tuple[Tensor, Tensor]:
    """Return what :func:`outputs_and_features_of` does, at the last layer of weights that the outputs come from.

    Where the model gives several outputs, that layer is looked for, once for each model and ``looker`` at its outputs.
    """

    def run() -> Tensor:
        outputs: Tensor = forward(model, inputs)
        return outputs

    known = _LAST.get(model, {})
    who, head = known.get(id(looker), (None, None))
    if who is not None and who() is looker:
        return outputs_and_features_of(model, run, None, head=head)
    given: list[int] = []
    hook = model.register_forward_hook(lambda _, __, outputs: given.append(len(floating_tensors(outputs))))
    try:
        found = outputs_and_features_of(model, run, None)
    finally:
        hook.remove()
    if set(given) == {1}:
        return found
    head = last_layer(model, slice_of(as_samples(model, inputs, forward), 0, 1), forward, HEADS)
    _LAST.setdefault(model, {})[id(looker)] = (ref(looker), head)
    return found if head is None else outputs_and_features_of(model, run, None, head=head)


def last_layer(model: nn.Module, sample: Any, forward: Forward, kinds: Kinds) -> str | None:
    """Return the name of the last layer of these kinds that outputs come from; None if there is no choice.

    Of a model with several heads the last one that runs may be another head's, on which the outputs do not depend.

    Args:
        model: In ``eval()``.
        sample: Inputs of one sample, as a batch.
        forward: ``forward(model, inputs) -> outputs``: of the head that is meant.
        kinds: Types of layers.
    """
    layers = [(plain_name(name), m) for name, m in model.named_modules() if isinstance(m, kinds)]
    if len(layers) < 2:
        return None
    seen: list[tuple[str, Tensor]] = []

    def cut_off(name: str, _: nn.Module, __: Any, output: Tensor) -> Tensor:
        start = output.detach().requires_grad_()
        seen.append((name, start))
        return start.clone()  # what follows may work in place

    device = device_of(sample)
    with contextlib.ExitStack() as stack, torch.random.fork_rng([device] if device.type == "cuda" else []):
        for name, module in layers:
            stack.callback(module.register_forward_hook(partial(cut_off, name)).remove)
        try:
            with torch.inference_mode(False), torch.enable_grad():
                outputs = forward(model, copies_for_model(sample))
                ends = [t.sum() for t in floating_tensors(outputs) if t.requires_grad]
                starts = [start for _, start in seen]
                reached = torch.autograd.grad(ends, starts, allow_unused=True)
        except Exception:  # a model that cannot be run so; what is wrong with it is said elsewhere
            return None
    of_outputs = [name for (name, _), gradient in zip(seen, reached, strict=True) if gradient is not None]
    return of_outputs[-1] if of_outputs else None


def outputs_and_features_of(
    model: nn.Module, run: Callable[[], Tensor], layer: str | None, *, head: str | None = None
) -> tuple[Tensor, Tensor]:
    """Return the outputs that ``run`` gives, and what is seen at a layer meanwhile, as (B, C).

    Channels are averaged over positions, whatever their number, without those known to be padding
    (:class:`~lightning_al.inference.pooling.Pooling`).

    Args:
        model: The model that ``run`` calls.
        run: One forward pass, which returns the outputs, one row for each sample.
        layer: The name of a layer, whose output is taken; None: the input of the last linear or
            convolutional layer that runs.
        head: The name of the linear or convolutional layer that is meant instead of the last.

    Raises:
        ValueError: If no such layer runs, or what is seen there has not one row for each sample.
    """
    shared, look = sharing_of(model), partial(_outputs_and_features, model, layer=layer, head=head)
    return look(run) if shared is None else shared.with_features(run, f"features {layer} {head}", look)


def _outputs_and_features(
    model: nn.Module, run: Callable[[], Tensor], *, layer: str | None, head: str | None
) -> tuple[Tensor, Tensor]:
    """Do what :func:`outputs_and_features_of` says, by a forward pass of which layers are watched."""
    seen: list[Any] = []
    pooling = Pooling()

    def see_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen[:] = [args[0] if args else kwargs["input"], -1 if isinstance(module, nn.Linear) else 1]  # the last

    def see_output(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        # At once, since what follows may work in place.
        pooled = pooling.of_output(module, output)
        seen[:] = [output, pooled.clone() if pooled is not None else None]

    with pooling.watching(model), contextlib.ExitStack() as hooks:
        if layer is None:
            for name, module in model.named_modules():
                if isinstance(module, HEADS) and head in (None, plain_name(name)):
                    hooks.callback(module.register_forward_pre_hook(see_input, with_kwargs=True).remove)
        else:
            hooks.callback(find_layer(model, layer).register_forward_hook(see_output).remove)
        outputs = run()
    if not seen and layer is None:
        raise ValueError(
            "No linear or convolutional layer runs in the model's forward, so there are no penultimate features. Name "
            'a layer (`features="backbone.avgpool"`), or give a `task=` whose `features(model, inputs)` '
            "returns them."
        )
    if not seen:
        raise ValueError(f"The layer {layer!r} does not run in the model's forward, so it has no features.")
    output, features = seen if layer is not None else (seen[0], pooling.average(seen[0], seen[0], seen[1]))
    if features is None or features.shape[:1] != (len(outputs),):
        what = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise ValueError(
            f"Features must be a tensor with one row for each of the {len(outputs)} samples, got {what} "
            f"{'from the last layer' if layer is None else f'from {layer!r}'}. Name another layer "
            '(`features="..."`).'
        )
    return outputs, features
