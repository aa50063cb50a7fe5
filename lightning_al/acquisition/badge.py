"""BADGE: batches that are uncertain and diverse at once."""

from pathlib import Path
from typing import Any, ClassVar

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from lightning_al import functional as F_al
from lightning_al.acquisition.features import FeatureAcquisition
from lightning_al.acquisition.query import LocalRows, Rows
from lightning_al.checks import needed_generator


class BADGE(FeatureAcquisition):
    r"""k-means++ over the gradients of the last layer under the model's own labels (Ash et al., ICLR 2020).

    .. math:: g_i = \left(p_i - \mathrm{onehot}(\hat y_i)\right) \otimes h_i

    Of a model that gives real values (:class:`~lightning_al.RegressionTask`) the gradient of squared error under its
    own prediction is 0. The gradient of the outputs stands in its place, :math:`\nabla_W f_m = e_m \otimes h`, the
    last-layer features of Holzmüller et al. (JMLR 2023), with inner products :math:`\langle h, h' \rangle` times the
    number of outputs: samples are drawn by k-means++ over :math:`h`, and no uncertainty has a part in it. Where this
    differs: their code counts labelled samples among the centres unless told otherwise, and takes other features too
    (those of all layers, sketched; as a Gaussian process sees them once the labelled ones are known).

    Of a model with a class for each pixel (:class:`~lightning_al.SegmentationTask`) both factors are means over pixels.

    The first pick is the longest gradient, as in the authors' code, then each is drawn with probability ∝ D²; see
    :func:`lightning_al.functional.badge`, which never makes the products. Over several processes the factors stay
    where they were made.

    Args:
        features: Name of the layer that the gradient is taken for, by its output; default the last layer, by
            what it gets.
        encoder: A module or a file that gives features in the model's place; see :class:`FeatureAcquisition`. There are
            no probabilities then, and this is k-means++ on the features.

    Example:
        >>> residuals = torch.tensor([[-0.1, 0.1], [-0.4, 0.4], [-0.4, 0.4]])
        >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> rows = {"index": torch.arange(3), "residuals": residuals, "features": features}
        >>> BADGE().select(rows, 2, labelled_rows={}, generator=torch.Generator().manual_seed(0))
        tensor([1, 2])
    """

    gathers: ClassVar[bool] = False
    uses_labelled: ClassVar[bool] = False

    def __init__(self, features: str | None = None, encoder: nn.Module | str | Path | None = None) -> None:
        super().__init__(features=features, encoder=encoder)
        if encoder is None:
            self.requires = frozenset({"outputs", "features"})

    def rows(self, model: pl.LightningModule, batch: Any) -> dict[str, Tensor]:
        """Return the two factors of each sample's gradient: ``"residuals"`` (B, C) and ``"features"`` (B, d)."""
        if self.encoder is not None:
            return super().rows(model, batch)
        return self.last_layer_rows(model, batch, self.features)

    def select(self, rows: Rows, k: int, *, labelled_rows: Rows, generator: torch.Generator | None) -> Tensor:
        """Draw candidates whose gradients are long and far from each other."""
        generator = needed_generator(generator, "BADGE", "draws at random")
        features = self.features_of(rows)
        residuals = rows["residuals"] if "residuals" in rows else features.new_ones(len(features), 1)
        shard = rows.shard if isinstance(rows, LocalRows) else None
        return F_al.badge(residuals, features, k, generator=generator, ids=rows["index"], shard=shard)
