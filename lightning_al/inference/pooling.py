"""What a layer gives for each sample as one vector: its channels, averaged over positions that are not padding."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from lightning_al.inference.padding import Padding
from lightning_al.nn.positions import average

_SECOND = (nn.modules.conv._ConvNd, nn.modules.batchnorm._NormBase, nn.GroupNorm)
_LAST: tuple[type[nn.Module], ...] = (nn.Linear, nn.LayerNorm, nn.Embedding, nn.MultiheadAttention, nn.RNNBase)


class Channels(NamedTuple):
    """The channels that a layer with weights makes.

    Attributes:
        number: How many.
        last: Whether they are the last dimension of its output, rather than the second.
    """

    number: int
    last: bool


class Pooling:
    """Watches one forward pass of a model, and averages outputs of its layers over positions.

    Positions that are padding, where :class:`Padding` knows of them, are left out.
    """

    def __init__(self) -> None:
        self.padding = Padding()
        self.channels = Channels(0, False)
        """Of the layer with weights that ran last."""

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Inside, a forward pass is watched."""
        with ExitStack() as stack:
            stack.enter_context(self.padding.watching(model))
            for module in model.modules():
                if isinstance(module, (*_SECOND, *_LAST)):
                    stack.callback(module.register_forward_hook(self._ran).remove)
            yield

    def _ran(self, module: nn.Module, args: Any, output: Any) -> None:
        self.channels = channels_of(module) or self.channels

    def of_output(self, layer: nn.Module, output: Any) -> Tensor | None:
        """Return the channels (B, C) of what a layer just gave; None if that is no tensor."""
        features = batch_of(layer, output)
        if features is None:
            return None
        return self.average(output, features, channel_dim(features, self.channels))

    def average(self, output: Any, features: Tensor, channels: int) -> Tensor:
        """Average what a layer gave over its positions, to (B, C).

        Args:
            output: As it gave it.
            features: The tensor in it, (B, C, ...) or (B, ..., C).
            channels: Which of the two, 1 or -1.
        """
        return average(features, channels, self._padding_in(output, features, channels))

    def _padding_in(self, output: Any, features: Tensor, channels: int) -> Tensor | None:
        if features.ndim != 3:
            return None
        first = _first(output)
        if isinstance(first, PackedSequence):
            lengths = pad_packed_sequence(first, batch_first=True)[1]
            return torch.arange(features.shape[1]) >= lengths.unsqueeze(1)
        return self.padding.of(len(features), features.shape[2 if channels == 1 else 1])


def batch_of(layer: nn.Module, output: Any) -> Tensor | None:
    """Return the first tensor of floats that a layer gave, the batch first; None if there is none.

    Of a tuple or dict it is the first entry. A packed sequence is unpacked, and torch's layers with
    ``batch_first=False`` are turned round.
    """
    first = _first(output)
    if isinstance(first, PackedSequence):
        return pad_packed_sequence(first, batch_first=True)[0]
    if not isinstance(first, Tensor) or not first.is_floating_point():
        return None
    return first.transpose(0, 1) if first.ndim == 3 and _batch_is_second(layer) else first


def _first(output: Any) -> Any:
    if isinstance(output, PackedSequence):
        return output
    if isinstance(output, Mapping) and output:
        return next(iter(output.values()))
    if isinstance(output, (tuple, list)) and output:
        return output[0]
    return output


def _batch_is_second(layer: nn.Module) -> bool:
    if isinstance(layer, (nn.TransformerEncoder, nn.TransformerDecoder)):
        layer = layer.layers[0]  # type: ignore[assignment]
    if isinstance(layer, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
        layer = layer.self_attn
    return isinstance(layer, (nn.RNNBase, nn.MultiheadAttention)) and not layer.batch_first


def channels_of(module: nn.Module) -> Channels | None:
    """Return the channels that a layer with weights makes."""
    if isinstance(module, nn.RNNBase):
        return Channels((module.proj_size or module.hidden_size) * (2 if module.bidirectional else 1), True)
    if isinstance(module, nn.LayerNorm):
        return Channels(module.normalized_shape[-1], True)
    for name in ("out_channels", "num_features", "num_channels", "out_features", "embedding_dim", "embed_dim"):
        if isinstance(module, (*_SECOND, *_LAST)) and isinstance(getattr(module, name, None), int):
            return Channels(getattr(module, name), isinstance(module, _LAST))
    return None


def channel_dim(output: Tensor, channels: Channels) -> int:
    """Return where the channels are: where the layer before makes as many, else where it puts them, 1 or -1.

    A block may permute what its last layer made, concatenate or pool.
    """
    if output.ndim <= 2:
        return 1
    second, final = output.shape[1] == channels.number, output.shape[-1] == channels.number
    if second != final:
        return 1 if second else -1
    if second:
        return -1 if channels.last else 1
    return -1 if channels.last and output.ndim == 3 else 1
