"""RIPU: regions of mixed classes whose predictions are uncertain."""

from typing import Any

import lightning.pytorch as pl
from torch import Tensor, nn

from lightning_al.acquisition.impurity import ByImpurity
from lightning_al.acquisition.regions import Regions
from lightning_al.functional.scores.regions import labels_and_entropies
from lightning_al.inference.shared_forward import shared_outputs


class RIPU(ByImpurity):
    r"""Regions of mixed classes whose predictions are uncertain (Xie et al., CVPR 2022).

    .. math:: A_{ij} = P_{ij}\, U_{ij}

    with the region impurity P, the entropy of the classes predicted around a pixel
    (:func:`lightning_al.functional.region_impurity`), and the prediction uncertainty U, the mean entropy of the
    predictions in the region; see :func:`lightning_al.functional.ripu_map`. Regions are picked greedily and never
    overlap, also in later rounds (:func:`lightning_al.functional.pick_squares`).

    ================================  ==========================================  =================================
    The paper's                       here                                        asks for
    ================================  ==========================================  =================================
    region form, "RA"                 ``SegmentationTask(C, regions=3)``,         squares of 3 x 3 pixels
                                      ``RIPU()``
    pixel form, "PA"                  ``SegmentationTask(C, regions=1)``,         single pixels, 32 apart; U is the
                                      ``RIPU(radius=32)``                         pixel's own entropy
    superpixels (not in the paper)    ``SegmentationTask(C, superpixels=...)``,   areas of a map; P and U over each
                                      ``RIPU()``
    ================================  ==========================================  =================================

    Where the authors' code errs, ours is right by default: pixels without a class (void) cost nothing, squares at the
    border cost the pixels that they have, an image all of which is blocked is left alone, and equal scores are taken
    row by row. With ``variant="code"`` equal scores are taken column by column; what is paid for stays as it is here,
    and nothing is asked for twice. (The authors' code counts regions alone: void pixels and border squares are as dear
    as others there, which changes no pick.)

    A training set that resizes masks by nearest neighbour loses labels that were paid for: from 2048 x 1024 to 1280 x
    640, as the authors' code trains, 61 % of the told pixels are never seen. Keep masks as they are, and interpolate
    the logits to their size instead.

    Args:
        radius: Of the window that P is taken over, where it is not the region's own.
        variant: ``"paper"`` or ``"code"``.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range.
    """

    def __init__(self, radius: int | None = None, variant: str = "paper") -> None:
        super().__init__(radius, variant)

    def region_scores(self, model: pl.LightningModule, batch: Any, regions: Regions) -> Tensor:
        """Return impurity times uncertainty of the region of each pixel, (B, H, W)."""

        def labels_and_uncertainty(model: nn.Module, inputs: Any) -> tuple[Tensor, Tensor]:
            logits = self.task.logits(model, inputs)
            return self.task.pseudo_targets(logits), labels_and_entropies(logits)[1]

        labels, entropies = shared_outputs(model, self.task.inputs(batch), labels_and_uncertainty)
        uncertainty = regions.mean(entropies)
        return regions.impurity(labels, self.radius).to(uncertainty) * uncertainty
