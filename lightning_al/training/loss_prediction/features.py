"""Which feature maps a loss is predicted from: by the names of layers, or found by running the model once."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_al.inference.calling import Forward
from lightning_al.inference.division import as_samples
from lightning_al.inference.entries import batch_size_of, has_entries, slice_of, whole
from lightning_al.inference.layers import find_layer
from lightning_al.inference.mode import plain_layers
from lightning_al.inference.outputs import plain_outputs
from lightning_al.inference.pooling import Pooling, batch_of, channel_dim
from lightning_al.nn.loss_prediction import LossPrediction
from lightning_al.storage.weights import plain_name
from lightning_al.training.losses.image_losses import detectors_in

MOST_RESOLUTIONS = 4  # distinct resolutions


class _Seen(NamedTuple):
    """What the last call of a layer gave, and where its channels are, 1 or -1."""

    output: Tensor
    channels: int


def find_features(model: nn.Module, inputs: Any, forward: Forward | None, layers: Sequence[str] | None) -> "Features":
    """Run the model once and tell which layers' outputs to predict from.

    Args:
        model: Run in ``eval()`` and left as it was.
        inputs: What it is called with, samples first.
        forward: ``forward(model, inputs) -> outputs``. Default: ``model(inputs)``.
        layers: Their names. Default: those with the last output of each resolution, of at most the last four distinct
            ones; what is 1 x 1 is left out beside larger maps, and the model's very output beside anything else. A
            model without maps gives its last vectors of each width, one of torchvision's detectors maps of its
            backbone.

    Raises:
        ValueError: If there is no such layer, it does not run, or its output is no feature map of the samples.
    """
    for name in layers or ():
        find_layer(model, name)
    first, *_ = _that_go_together(model, inputs, forward)
    seen: dict[str, _Seen] = {}
    pooling = Pooling()

    def see(name: str, module: nn.Module, output: Any) -> None:
        seen.pop(name, None)  # to its end: in the order of the last calls
        features = batch_of(module, output)
        if features is not None:
            seen[name] = _Seen(features.detach(), channel_dim(features, pooling.channels))

    with plain_layers(), pooling.watching(model), ExitStack() as hooks:
        for name, module in model.named_modules():
            if name:
                plain = plain_name(name)
                hook = module.register_forward_hook(lambda m, _, out, n=plain: see(n, m, out))
                hooks.callback(hook.remove)
        outputs = plain_outputs(model, first, forward)
    is_rows = isinstance(outputs, Tensor) and outputs.ndim > 0
    samples = len(outputs) if is_rows else batch_size_of(as_samples(model, first, forward))
    usable = {n: s for n, s in seen.items() if s.output.ndim >= 2 and len(s.output) == samples}
    for name in layers or ():
        if name not in usable:
            raise ValueError(_why_not(name, seen.get(name), samples))
    if layers is None:
        backbone = {n: s for n, s in usable.items() if any(n.startswith(b) for b in _backbones(model))}
        layers = _choose(backbone or usable, outputs)
    if not layers:
        raise ValueError(
            "No layer of the model gives feature maps (B, C, ...) to predict the loss from. Name one in `loss_layers=`."
        )
    return Features({name: usable[name] for name in layers})


def _that_go_together(model: nn.Module, inputs: Any, forward: Forward | None) -> list[Any]:
    """Return inputs as the model is to get them: all samples at once, or each alone where they are entries of lists.

    Such as images of several sizes: together they may be padded, and each would depend on what else is there.
    """
    if isinstance(inputs, Tensor):
        return [inputs]
    try:
        samples = as_samples(model, inputs, forward)
    except ValueError:  # nothing says how many there are
        return [inputs]
    if not has_entries(samples):
        return [inputs]
    return [whole(slice_of(samples, i, i + 1)) for i in range(batch_size_of(samples))]


def _backbones(model: nn.Module) -> list[str]:
    """Return how the names of layers begin that are in the backbone of one of torchvision's detectors."""
    names = (plain_name(name) for name, _ in detectors_in(model))
    return [f"{name}.backbone." if name else "backbone." for name in names]


class Features:
    """Feature maps by layer name, and where each has its channels."""

    def __init__(self, seen: Mapping[str, _Seen]) -> None:
        self.maps: dict[str, int] = {}
        self.sequences: dict[str, int] = {}
        for name, (output, where) in seen.items():
            (self.maps if where == 1 else self.sequences)[name] = output.shape[where]
        self.example = next(iter(seen.values())).output


def _choose(usable: Mapping[str, _Seen], outputs: Any) -> list[str]:
    maps = {name: s for name, s in usable.items() if s.output.ndim > 2} or usable
    inner = {name: s for name, s in maps.items() if not _is_same(s.output, outputs)} or maps
    last: dict[tuple[int, ...], str] = {}
    for name, (output, where) in inner.items():
        resolution = tuple(output.shape[2:] if where == 1 else output.shape[1:-1]) or tuple(output.shape[1:])
        last.pop(resolution, None)
        last[resolution] = name
    larger = [name for resolution, name in last.items() if any(size > 1 for size in resolution)]
    return (larger or list(last.values()))[-MOST_RESOLUTIONS:]


def _is_same(a: Tensor, b: Any) -> bool:
    return isinstance(b, Tensor) and a.data_ptr() == b.data_ptr() and a.numel() == b.numel()


def _why_not(name: str, seen: _Seen | None, samples: int) -> str:
    if seen is None:
        return (
            f"`loss_layers`: the layer {name!r} does not run in the model's forward, or gives no tensor of floats. "
            "Name one that does."
        )
    return (
        f"`loss_layers`: the layer {name!r} gives shape {tuple(seen.output.shape)} for {samples} samples; it must give"
        f" (B, C, ...) or (B, T, C) with B = {samples}. Name another one, or set `batch_first=True` in it."
    )


@contextmanager
def pooled_outputs(model: nn.Module, module: LossPrediction) -> Iterator[Callable[[], dict[str, Tensor]]]:
    """Keep what the last call of each of the module's layers gives inside the block, averaged over positions.

    They are averaged at once, since the layers that follow may write into them, and without positions that are known
    to be padding (:class:`~lightning_al.inference.padding.Padding`).

    Yields:
        A function that returns them by name.

    Raises:
        RuntimeError: By that function, if a layer did not run.
    """
    pooled: dict[str, Tensor] = {}
    pooling = Pooling()

    def keep(name: str, layer: nn.Module, args: Any, output: Any) -> None:
        features = batch_of(layer, output)
        if features is not None:
            pooled[name] = pooling.average(output, features, 1 if module.has_channels_second(name) else -1)

    def get() -> dict[str, Tensor]:
        missing = [name for name in module.layers if name not in pooled]
        if missing:
            raise RuntimeError(
                f"The layer {missing[0]!r}, from which the loss is predicted, gave nothing. Does the forward pass"
                " leave it out, or is it inside of a compiled module, which hides its layers? Name others in"
                " `loss_layers=`."
            )
        return pooled

    with pooling.watching(model), ExitStack() as hooks:
        for name in module.layers:
            hooks.callback(model.get_submodule(name).register_forward_hook(functools.partial(keep, name)).remove)
        yield get


def predict_losses(model: nn.Module, module: LossPrediction, inputs: Any, forward: Forward | None) -> Tensor:
    """Return the losses (B,) that ``module`` predicts of samples, in ``eval()`` and float32 at least."""

    def predict(model: nn.Module, inputs: Any) -> Tensor:
        with pooled_outputs(model, module) as features:
            if forward is None:
                model(inputs)
            else:
                forward(model, inputs)
            return module(features())

    with torch.no_grad(), plain_layers():
        parts: list[Tensor] = [
            plain_outputs(model, some, predict) for some in _that_go_together(model, inputs, forward)
        ]
    return torch.cat(parts)
