"""The regions that a campaign asks for, as acquisitions see them: squares of pixels, or superpixels."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.checks import kind_of
from lightning_al.functional.scores.regions import (
    numbered,
    region_impurity,
    superpixel_impurity,
    superpixel_mean,
    window_mean,
)
from lightning_al.tasks.base import Task
from lightning_al.words import counted


@dataclass(frozen=True, eq=False)
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
        # One for each number of a superpixel, and not the mean over its pixels, by which small ones would lead.
        of_images = zip(drawn, self.superpixels.cpu(), strict=True)
        return torch.stack([numbers.flatten()[numbered(areas)] for numbers, areas in of_images])


def check_maps(method: str, maps: Any, images: int | None) -> None:
    """Refuse what is no score for each pixel of so many images; None: of any number of them.

    Raises:
        TypeError: If it is no tensor.
        ValueError: If its shape is not (B, H, W). Both name the method that gave it.
    """
    of_all = "each image" if images is None else counted(images, "image")
    wanted = f"`{method}` must give a score for each pixel of {of_all}, (B, H, W)"
    if not isinstance(maps, Tensor):
        raise TypeError(f"{wanted}, got {kind_of(maps)}.")
    if maps.ndim != 3 or len(maps) != (len(maps) if images is None else images):
        raise ValueError(f"{wanted}, got shape {tuple(maps.shape)}.")


def map_size(task: Task, batch: Any, regions: Regions) -> tuple[int, int]:
    """Return height and width of the maps of a batch, without running the model.

    They are those of its superpixels, else of its masks, where it has some, else of its images.

    Raises:
        ValueError: If it has none of them.
    """
    try:
        targets = task.targets(batch)
    except (TypeError, LookupError):  # samples without
        targets = None
    for maps in (regions.superpixels, targets, *pytree.tree_leaves(task.inputs(batch))):
        if isinstance(maps, Tensor) and maps.ndim >= 3:
            return maps.shape[-2], maps.shape[-1]
    raise ValueError("Regions are parts of images, and this batch has no maps (B, H, W) or images (B, C, H, W).")
