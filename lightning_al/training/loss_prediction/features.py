"""Which feature maps a loss is predicted from: by the names of layers, or found by running the model once."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lightning_al.inference.calling import Forward
from lightning_al.inference.layers import find_layer
from lightning_al.inference.mode import plain_layers
from lightning_al.inference.outputs import batch_size_of, plain_outputs
from lightning_al.nn.loss_prediction import LossPrediction

MOST_RESOLUTIONS = 4  # distinct resolutions


class _Seen(NamedTuple):
    """What the last call of a layer gave, and how many channels the layer with weights before it makes, and where."""

    output: Tensor
    channels: int
    last: bool


def find_features(model: nn.Module, inputs: Any, forward: Forward | None, layers: Sequence[str] | None) -> "Features":
    """Run the model once and tell which layers' outputs to predict from.

    Args:
        model: Run in ``eval()`` and left as it was.
        inputs: What it is called with, samples first.
        forward: ``forward(model, inputs) -> outputs``. Default: ``model(inputs)``.
        layers: Their names. Default: those with the last output of each resolution, of at most the last four distinct
            ones; what is 1 x 1 is left out beside larger maps, and the model's very output beside anything else. A
            model without maps gives its last vectors of each width.

    Raises:
        ValueError: If there is no such layer, it does not run, or its output is no feature map of the samples.
    """
    for name in layers or ():
        find_layer(model, name)
    seen: dict[str, _Seen] = {}
    weighted = [(0, False)]

    def see(name: str, module: nn.Module, output: Any) -> None:
        weighted.append(_channels_of(module) or weighted[-1])
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        seen.pop(name, None)  # to its end: in the order of the last calls
        if isinstance(first, Tensor) and first.is_floating_point():
            seen[name] = _Seen(first.detach(), *weighted[-1])

    modules = [(n, m) for n, m in model.named_modules() if n]
    hooks = [m.register_forward_hook(lambda m, _, out, n=n: see(n, m, out)) for n, m in modules]
    try:
        with plain_layers():
            outputs = plain_outputs(model, inputs, forward)
    finally:
        for hook in hooks:
            hook.remove()
    samples = len(outputs) if isinstance(outputs, Tensor) and outputs.ndim else batch_size_of(inputs)
    usable = {n: s for n, s in seen.items() if s.output.ndim >= 2 and len(s.output) == samples}
    for name in layers or ():
        if name not in usable:
            raise ValueError(_why_not(name, seen.get(name), samples))
    if layers is None:
        layers = _choose(usable, outputs)
    if not layers:
        raise ValueError(
            "No layer of the model gives feature maps (B, C, ...) to predict the loss from. Name one in `loss_layers=`."
        )
    return Features({name: usable[name] for name in layers})


class Features:
    """Feature maps by layer name, and where each has its channels."""

    def __init__(self, seen: Mapping[str, _Seen]) -> None:
        self.maps: dict[str, int] = {}
        self.sequences: dict[str, int] = {}
        for name, (output, channels, last) in seen.items():
            where = _channel_dim(output, channels, last)
            (self.maps if where == 1 else self.sequences)[name] = output.shape[where]
        self.example = next(iter(seen.values())).output


def _choose(usable: Mapping[str, _Seen], outputs: Any) -> list[str]:
    maps = {name: s for name, s in usable.items() if s.output.ndim > 2} or usable
    inner = {name: s for name, s in maps.items() if not _is_same(s.output, outputs)} or maps
    last: dict[tuple[int, ...], str] = {}
    for name, (output, channels, is_last) in inner.items():
        where = _channel_dim(output, channels, is_last)
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


_CHANNELS_SECOND = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
_CHANNELS_LAST: tuple[type[nn.Module], ...] = (nn.Linear, nn.LayerNorm, nn.Embedding, nn.MultiheadAttention, nn.RNNBase)


def _channels_of(module: nn.Module) -> tuple[int, bool] | None:
    """How many channels a layer with weights makes, and whether they are last rather than second."""
    if isinstance(module, nn.RNNBase):
        return (module.proj_size or module.hidden_size) * (2 if module.bidirectional else 1), True
    if isinstance(module, nn.LayerNorm):
        return module.normalized_shape[-1], True
    for name in ("out_channels", "num_features", "num_channels", "out_features", "embedding_dim", "embed_dim"):
        if isinstance(module, (*_CHANNELS_SECOND, *_CHANNELS_LAST)) and isinstance(getattr(module, name, None), int):
            return getattr(module, name), isinstance(module, _CHANNELS_LAST)
    return None


def _channel_dim(output: Tensor, channels: int, last: bool) -> int:
    """Where the channels are: where the layer before makes as many, and where that does not decide, where it puts them.

    A block may permute what its last layer made, concatenate or pool.
    """
    if output.ndim == 2:
        return 1
    second, final = output.shape[1] == channels, output.shape[-1] == channels
    if second != final:
        return 1 if second else -1
    if second:
        return -1 if last else 1
    return -1 if last and output.ndim == 3 else 1


_MASKS = {
    nn.TransformerEncoder: "src_key_padding_mask",
    nn.TransformerEncoderLayer: "src_key_padding_mask",
    nn.TransformerDecoder: "tgt_key_padding_mask",
    nn.TransformerDecoderLayer: "tgt_key_padding_mask",
}


def _padding(layer: nn.Module, args: Any, kwargs: Any) -> Tensor | None:
    """(B, T), True at the tokens that one of torch's transformer layers was told to ignore."""
    name = next((name for kind, name in _MASKS.items() if isinstance(layer, kind)), None)
    if name is None:
        return None
    mask = inspect.signature(layer.forward).bind(*args, **kwargs).arguments.get(name)
    if not isinstance(mask, Tensor):
        return None
    return mask if mask.dtype == torch.bool else mask == -torch.inf


@contextmanager
def pooled_outputs(model: nn.Module, module: LossPrediction) -> Iterator[Callable[[], dict[str, Tensor]]]:
    """Keep what the last call of each of the module's layers gives inside the block, averaged over positions.

    They are averaged at once, since the layers that follow may write into them, and without tokens that are padding.

    Yields:
        A function that returns them by name.

    Raises:
        RuntimeError: By that function, if a layer did not run.
    """
    pooled: dict[str, Tensor] = {}

    def keep(name: str, layer: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        if isinstance(first, Tensor):
            pooled[name] = module.pool(name, first, _padding(layer, args, kwargs))

    def get() -> dict[str, Tensor]:
        missing = [name for name in module.layers if name not in pooled]
        if missing:
            raise RuntimeError(
                f"The layer {missing[0]!r}, from which the loss is predicted, gave nothing. Does the forward pass"
                " leave it out, or is it inside of a compiled module, which hides its layers? Name others in"
                " `loss_layers=`."
            )
        return pooled

    hooks = [
        model.get_submodule(name).register_forward_hook(functools.partial(keep, name), with_kwargs=True)
        for name in module.layers
    ]
    try:
        yield get
    finally:
        for hook in hooks:
            hook.remove()


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
        predicted: Tensor = plain_outputs(model, inputs, predict)
    return predicted
