"""Square windows of pixels, clipped at the image's borders: their sums, and how many pixels they have."""

import torch
from torch import Tensor
from torch.nn import functional as F


def window_sums(values: Tensor, radius: int) -> Tensor:
    """Sum over the window of ``radius`` around each pixel, (..., H, W) -> (..., H, W), in the precision of ``values``.

    A window is put together of others of 1, 2, 4, ... pixels, first along rows and then along columns: about 4 log2 of
    its width additions, whatever its size. Nothing is subtracted, so that a sum has the precision of its own values and
    NaN does not reach beyond its windows, as both do with an integral image.
    """
    return _sums_along(_sums_along(values, radius, values.ndim - 1), radius, values.ndim - 2)


def _sums_along(values: Tensor, radius: int, dim: int) -> Tensor:
    length = values.shape[dim]
    radius = min(radius, max(length - 1, 0))  # beyond that a window has nothing more
    part = F.pad(values, [0, 0] * (values.ndim - 1 - dim) + [radius, radius])  # sums of `size` pixels, by their first
    width, size, start = 2 * radius + 1, 1, 0
    total: Tensor | None = None
    while True:
        if width & size:
            here = part.narrow(dim, start, length)
            total = here if total is None else total + here
            start += size
        if 2 * size > width:
            return here if total is None else total
        pairs = part.shape[dim] - size
        part = part.narrow(dim, 0, pairs) + part.narrow(dim, size, pairs)
        size *= 2


def window_sizes(shape: tuple[int, int], radius: int, device: torch.device | None = None) -> Tensor:
    """Return how many pixels of an image (H, W) the window around each has, (H, W), integers."""
    down, across = (_sizes_along(length, radius, device) for length in shape)
    return down.unsqueeze(1) * across


def _sizes_along(length: int, radius: int, device: torch.device | None) -> Tensor:
    before = torch.arange(length, device=device).clamp(max=radius)
    return before + before.flip(0) + 1


def counting_type(most: int) -> torch.dtype:
    """Return the smallest type of integers that can count as far as that."""
    return next(t for t in (torch.uint8, torch.int16, torch.int32, torch.int64) if torch.iinfo(t).max >= most)


def dilated(mask: Tensor, radius: int) -> Tensor:
    """Return the pixels of a mask, (..., H, W), and those of their windows."""
    return window_sums(mask.to(counting_type((2 * radius + 1) ** 2)), radius) > 0
