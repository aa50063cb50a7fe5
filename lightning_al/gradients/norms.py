"""L2 norms of gradients: of each unit's gradient of one tensor, and of one unit's over all tensors."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def square_norm(gradient: Tensor) -> Tensor:
    """Squared L2 norm of each unit's gradient, (U, *shape) -> (U,)."""
    return torch.linalg.vector_norm(gradient.unsqueeze(-1).flatten(1), dim=1).square()


def square_norms_of(gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """:func:`square_norm` of each entry."""
    return {name: square_norm(g) for name, g in gradients.items()}


def global_norm(tensors: Sequence[Tensor]) -> Tensor:
    """The L2 norm over all ``tensors`` together, as a scalar tensor.

    Entries are divided by the largest first: the squares of float32 gradients below about 1e-19, which a lead of 45
    already gives, are 0.
    """
    largest = largest_entry(tensors)
    unit = torch.where(largest > 0, largest, 1.0)
    return unit * torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(t / unit) for t in tensors]))


def largest_entry(tensors: Sequence[Tensor]) -> Tensor:
    """The largest absolute value in all ``tensors`` together, as a scalar tensor."""
    return torch.stack([torch.linalg.vector_norm(t, ord=math.inf) for t in tensors if t.numel()]).amax()
