"""The regions that a campaign asks for, as acquisitions see them: squares of pixels, or superpixels."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightning_al.functional.scores.regions import (
    region_impurity,
    superpixel_impurity,
    superpixel_mean,
    window_mean,
)
from lightning_al.functional.selection.regions import numbered_areas


@dataclass(frozen=True)
class Regions:
    """The regions of a batch of images, around each pixel.

    Attributes:
        radius: k, of squares of (2k + 1) x (2k + 1) pixels; of no meaning for superpixels.
        superpixels: Integers (B, H, W), to which superpixel each pixel belongs. None: regions are squares.
        draws: The source of randomness of each image: seeded by the campaign's seed, the round and the image, so that
            picks depend neither on batches nor on processes.
    """

    radius: int
    superpixels: Tensor | None = None
    draws: Sequence[torch.Generator] = field(default=(), repr=False)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over the region of each pixel, (B, H, W) -> (B, H, W)."""
        if self.superpixels is not None:
            return superpixel_mean(values, self.superpixels)
        return window_mean(values, self.radius)

    def impurity(self, labels: Tensor, radius: int | None = None) -> Tensor:
        """Return the entropy of the labels in the region of each pixel, (B, H, W) -> (B, H, W).

        Args:
            labels: Integers (B, H, W).
            radius: Of the window instead of the square's own.
        """
        if self.superpixels is not None:
            return superpixel_impurity(labels, self.superpixels)
        return region_impurity(labels, self.radius if radius is None else radius)

    def uniform(self, shape: tuple[int, int]) -> Tensor:
        """Return a number drawn from [0, 1) for each region of each image, (B, H, W) in float64, on the CPU."""
        drawn = [torch.rand(shape, generator=g, dtype=torch.float64) for g in self.draws]
        if self.superpixels is None:
            return torch.stack(drawn)
        return torch.stack([_of_areas(d, s) for d, s in zip(drawn, self.superpixels.cpu(), strict=True)])


def _of_areas(drawn: Tensor, superpixels: Tensor) -> Tensor:
    """Return at each pixel what was drawn at one place of its superpixel, the same for all of it."""
    numbers = numbered_areas(superpixels)
    return drawn.flatten()[numbers]
