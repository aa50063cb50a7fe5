"""L2 norms of gradients: of each unit's gradient of one tensor, and of one unit's over all tensors."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

_SQUARES_FROM, _SQUARES_TO = 1e-12, 1e15
"""Norms whose squares, and those of all entries that matter, float32 holds."""


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


def total_norm(tensors: Sequence[Tensor]) -> float:
    """The L2 norm over all ``tensors`` together, as a number: one pass over them, and one wait for the device.

    The same as :func:`global_norm`, which is slower, and is asked where squares are too large or too small.

    Example:
        >>> total_norm([torch.tensor([3.0]), torch.tensor([4.0])])
        5.0
        >>> total_norm([torch.tensor([1e-30])]) > 0
        True
    """
    return norm_together(torch._foreach_norm(list(tensors)), lambda: tensors)


def norm_together(norms: Sequence[Tensor], tensors: Callable[[], Sequence[Tensor]]) -> float:
    """The L2 norm over all tensors, whose norms these are; they are made anew where squares may have been lost."""
    norm = _number_of(torch.linalg.vector_norm, norms)
    return norm if _SQUARES_FROM < norm < _SQUARES_TO else float(whole_scalar(global_norm(tensors())))


def cosine(a: Sequence[Tensor], b: Sequence[Tensor], norm_a: float, norm_b: float) -> float:
    """The cosine of the angle between two lists of tensors, each as one vector with this norm; 0 if a norm is 0.

    Example:
        >>> cosine([torch.tensor([1.0, 1.0])], [torch.tensor([2.0, 0.0])], 2**0.5, 2.0)
        0.7071067811865475
    """
    if not norm_a or not norm_b:
        return 0.0
    if not _SQUARES_FROM < min(norm_a, norm_b) <= max(norm_a, norm_b) < _SQUARES_TO:
        a, b = [t / norm_a for t in a], [t / norm_b for t in b]
        norm_a = norm_b = 1.0
    return _number_of(torch.sum, [(x * y).sum() for x, y in zip(a, b, strict=True)]) / (norm_a * norm_b)


def whole_scalar(scalar: Tensor) -> Tensor:
    """A scalar of all ranks together, where its tensor is spread over ranks (FSDP2)."""
    whole: Tensor = scalar.full_tensor() if hasattr(scalar, "full_tensor") else scalar
    return whole


def _number_of(reduce: Callable[[Tensor], Tensor], scalars: Sequence[Tensor]) -> float:
    first = scalars[0]
    if any(type(s) is not Tensor or s.dtype != first.dtype or s.device != first.device for s in scalars):
        scalars = [whole_scalar(s) for s in scalars]
        scalars = [s.to(scalars[0].device, torch.float64) for s in scalars]
    return float(reduce(torch.stack(list(scalars))))


def largest_entry(tensors: Sequence[Tensor]) -> Tensor:
    """The largest absolute value in all ``tensors`` together, as a scalar tensor; 0 where they have no entries."""
    ends = [end for t in tensors if t.numel() for end in torch.aminmax(t)]  # 25 times as fast as the norm of order inf
    return torch.stack(ends or [tensors[0].new_zeros(())]).abs().amax()


def plain_norm(tensors: Sequence[Tensor]) -> Tensor:
    """The L2 norm over all ``tensors`` together from the squares as they are, right where :func:`is_right` says so."""
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors))))


def is_right(norm: float) -> bool:
    """Whether squares that add up to this norm have neither vanished nor overflowed in float32."""
    return 1e-12 < norm < 1e12


def brought_in_range(tensors: Sequence[Tensor]) -> tuple[float, float]:
    """Divide ``tensors``, in place, where their squares are too large or too small; return by what, and their norm."""
    norm = float(plain_norm(tensors))
    if is_right(norm):
        return 1.0, norm
    scale = float(largest_entry(tensors)) or 1.0
    torch._foreach_div_(list(tensors), scale)
    return scale, float(plain_norm(tensors))
