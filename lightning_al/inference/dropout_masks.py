"""Masks for the calls of dropout, the same for every sample.

A mask depends on the seed, the layer, how often it dropped before, the pass and the shape of one sample.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_al.distributed.randomness import generator
from lightning_al.inference.dropout_calls import NO_MASKS, PLAIN, DropoutCall, DropoutCalls, Kind, dropout_of


class SeenShapes(DropoutCalls):
    """Notes the shapes that calls of dropout get, and drops nothing.

    Attributes:
        dropped: Shape by call, in order.
        linear: The same for all linear layers.
        before: How many results there were before the first call.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dropped: dict[DropoutCall, tuple[int, ...]] = {}
        self.linear: dict[DropoutCall, tuple[int, ...]] = {}
        self.before: dict[DropoutCall, int] = {}

    def drop(self, call: DropoutCall, x: Tensor, p: float, kind: Kind) -> Tensor:
        """Return ``x``."""
        self.dropped[call] = tuple(x.shape)
        self.before[call] = len(self.sizes)
        self.sizes.append(x.numel() * x.element_size())
        return x

    def before_linear(self, call: DropoutCall, x: Tensor) -> Tensor:
        """Return ``x``."""
        self.linear[call] = tuple(x.shape)
        self.before[call] = len(self.sizes)
        return x


class BatchAxis(NamedTuple):
    """Where the samples of a batch are in a tensor.

    Attributes:
        dimension: Which dimension counts them.
        each: How many entries there each sample has, next to each other, such as the heads of an attention layer.
    """

    dimension: int
    each: int


def find_batch_axis(call: DropoutCall, two: tuple[int, ...], three: tuple[int, ...]) -> BatchAxis:
    """Return where the samples are, from the shapes that a call saw in batches of two and of three.

    Raises:
        ValueError: If that cannot be told.
    """
    grown = [d for d in range(len(two)) if two[d] != three[d]] if len(two) == len(three) else []
    if len(grown) == 1 and 3 * two[grown[0]] == 2 * three[grown[0]]:
        return BatchAxis(grown[0], two[grown[0]] // 2)
    raise ValueError(
        f"{dropout_of([call[0]])} drops from a tensor of shape {two} in a batch of 2 and {three} in one of 3, "
        f"{NO_MASKS} dimension, which no loop takes apart."
    )


class MaskedDropout(DropoutCalls):
    """Drops by masks of several passes, the same for every sample.

    Args:
        axes: Of every call that drops.
        seed: For the masks.
        passes: Which, by number; the rows of a batch are those of the first pass, then those of the second, ...
        repeated: Whether the model's inputs are. If not, rows are repeated by the first call.
        added: A linear layer's call, and the probability of a dropout to put before it.
    """

    def __init__(
        self,
        axes: dict[DropoutCall, BatchAxis],
        seed: int,
        passes: range,
        *,
        repeated: bool,
        added: tuple[DropoutCall, float] | None = None,
    ) -> None:
        super().__init__()
        self.axes = axes
        self.seed = seed
        self.passes = passes
        self.repeated = repeated
        self.added = added

    def before_linear(self, call: DropoutCall, x: Tensor) -> Tensor:
        """Return ``x``, dropped from if this is where dropout is added."""
        if self.added is None or call != self.added[0]:
            return x
        return self.drop(call, x, self.added[1], PLAIN)

    def drop(self, call: DropoutCall, x: Tensor, p: float, kind: Kind) -> Tensor:
        """Return ``x`` times the masks, for all passes."""
        if call not in self.axes:
            raise ValueError(
                f"{dropout_of([call[0]])} ran {call[1] + 1} times in a batch and fewer times in the first two samples "
                f"of it, {NO_MASKS} dimension, which no loop takes apart."
            )
        d, each = self.axes[call]
        if kind.channels and d != 0:
            raise ValueError(
                f"{dropout_of([call[0]])} drops channels, dimension 1 of (batch, channels, ...), and gets a tensor of "
                f"shape {tuple(x.shape)} whose batch is dimension {d}."
            )
        count = len(self.passes) if self.repeated else 1
        rows = x.unflatten(d, (count, x.shape[d] // (count * each), each))
        shape = [*x.shape[:d], each, *x.shape[d + 1 :]]
        if kind.channels:
            shape[2:] = [1] * len(shape[2:])
        keep = torch.stack([self._kept(call, number, shape, p) for number in self.passes])
        noise = keep.movedim(0, d).unsqueeze(d + 1).to(x)
        self.repeated = True
        return _drop_by(rows, noise, p, kind).flatten(d, d + 2)

    def _kept(self, call: DropoutCall, number: int, shape: list[int], p: float) -> Tensor:
        """Draw what is kept in a pass, on the CPU, so that it is the same on every device."""
        return torch.rand(shape, generator=generator(self.seed, *call, number)) >= p


def _drop_by(x: Tensor, noise: Tensor, p: float, kind: Kind) -> Tensor:
    """Drop as torch does: ``noise`` is 1 where ``x`` is kept and 0 where it is dropped."""
    if p == 1:
        return x * torch.zeros_like(noise)
    if not kind.alpha:
        return x * noise.div_(1 - p)
    alpha = 1.7580993408473766  # minus the value that a SELU tends to
    scale = ((alpha * alpha * p + 1) * (1 - p)) ** -0.5
    shift = (noise - 1).mul_(alpha * scale).add_(alpha * scale * p)
    return x * noise.mul_(scale) + shift
