"""Weights and gradients that are given other values in place, and half precision computed with in float32."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from lightning_al.inference.precision import at_least_float32

Gradients = dict[int, Tensor]
"""Gradients of weights, by the position of the weight."""


@torch.no_grad()
def overwrite(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Give tensors the values of others, of the same shapes and devices, rounded where their precision is lower."""
    torch._foreach_copy_([_piece(t) for t in tensors], [_piece(v) for v in values])


@contextmanager
def in_float32(gradients: Gradients) -> Iterator[Gradients]:
    """Yield gradients to be changed in place: themselves, or, in half precision, float32 that is rounded at the end.

    Example:
        >>> half = torch.ones(1, dtype=torch.bfloat16)
        >>> with in_float32({0: half}) as gradients:
        ...     for _ in range(500):
        ...         _ = gradients[0].add_(0.001)  # by steps that bfloat16 has none of
        >>> half
        tensor([1.5000], dtype=torch.bfloat16)
    """
    raised = {i: at_least_float32(g) for i, g in gradients.items()}
    yield raised
    if of_half := [i for i, g in gradients.items() if raised[i] is not g]:
        overwrite([gradients[i] for i in of_half], [raised[i] for i in of_half])


def _piece(tensor: Tensor) -> Tensor:
    """The memory of a tensor in this process, of one that is spread over ranks (FSDP2) too."""
    piece: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return piece
