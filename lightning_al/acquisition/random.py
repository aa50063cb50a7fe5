"""Random: the baseline that every method must beat."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from lightning_al.acquisition.base import Acquisition
from lightning_al.acquisition.query import Rows
from lightning_al.acquisition.regions import Regions, map_size
from lightning_al.checks import needed_generator
from lightning_al.functional.selection.top_k import top_k


class Random(Acquisition):
    """Uniformly random samples, or regions. Runs no inference at all.

    Example:
        >>> rows = {"index": torch.arange(10)}
        >>> len(Random().select(rows, 3, labelled_rows={}, generator=torch.Generator().manual_seed(0)))
        3
    """

    requires = frozenset[str]()

    def __init__(self) -> None:
        super().__init__()

    def select(self, rows: Rows, k: int, *, labelled_rows: Rows, generator: torch.Generator | None) -> Tensor:
        """Draw a uniform score for each candidate and take the largest."""
        generator = needed_generator(generator, "Random", "draws at random")
        return top_k(torch.rand(len(rows["index"]), generator=generator, dtype=torch.float64), k)

    def region_scores(self, model: pl.LightningModule, batch: Any, regions: Regions) -> Tensor:
        """Draw a uniform score for each region, (B, H, W)."""
        return regions.uniform(map_size(self.task, batch, regions))
