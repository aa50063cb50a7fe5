"""RI-SAAL: regions of mixed classes whose loss is large under a worst-case perturbation of the weights."""

from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from lightning_al import functional as F_al
from lightning_al.acquisition.impurity import ByImpurity
from lightning_al.acquisition.regions import Regions
from lightning_al.checks import Findings, check_choice
from lightning_al.functional.scores.perturbation import check_perturbation
from lightning_al.functional.scores.saal import SCORES
from lightning_al.inference.shared_forward import shared_outputs


class RISAAL(ByImpurity):
    r"""Regions of mixed classes whose perturbed loss is large (Kim et al., ICML 2023, §4.4, App. A.8).

    .. math:: A_{ij} = P_{ij}\, S_{ij}, \qquad S_{ij} = \ell_{ij}(x, \hat y; \theta + \epsilon)

    with RIPU's region impurity P (:class:`RIPU`) and, in place of its uncertainty, the loss of the pixel under one
    worst-case perturbation for each image; see :func:`lightning_al.functional.perturbed_pixel_losses`. Regions are
    picked as RIPU's.

    What the paper leaves open, and what is done here: the perturbation is that of the image's mean pixel loss; S is of
    the pixel itself, as A.8 has it, where RIPU's U is a mean over the region; of superpixels, which the paper does not
    have, S is the mean. As of :class:`SAAL`, "asam" is what the authors' code of SAAL computes, and moves the loss far
    less at the same ``rho``.

    Args:
        rho: Radius of the perturbation, > 0.
        perturbation: ``"sam"`` (the paper's text) or ``"asam"`` (the authors' code of SAAL).
        p: Norm of the ball for ``"sam"``, > 1, ``inf`` allowed.
        score: ``"max"``, the perturbed loss, or ``"difference"``, how much it exceeds the plain one.
        radius: Of the window that P is taken over, where it is not the region's own.
        variant: ``"paper"``, or ``"code"`` for regions picked as by RIPU's code.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range.
    """

    requires = frozenset({"logits", "gradients"})

    def __init__(
        self,
        rho: float = 0.05,
        perturbation: str = "sam",
        p: float = 2.0,
        score: str = "max",
        radius: int | None = None,
        variant: str = "paper",
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(radius, variant)
            findings.of(check_perturbation, rho, perturbation, p)
            findings.of(check_choice, "score", score, SCORES)
        self.rho = rho
        self.perturbation = perturbation
        self.p = p
        self.score = score

    def pixel_scores(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return the loss of each pixel under its image's perturbation, (B, H, W)."""
        return F_al.perturbed_pixel_losses(
            model,
            self.task.inputs(batch),
            rho=self.rho,
            perturbation=self.perturbation,
            p=self.p,
            score=self.score,
            forward=self.task.logits,
            target_fn=self.task.pseudo_targets,
        )

    def region_scores(self, model: pl.LightningModule, batch: Any, regions: Regions) -> Tensor:
        """Return the impurity around each pixel times its perturbed loss, (B, H, W)."""
        losses = self.pixel_scores(model, batch)
        logits = shared_outputs(model, self.task.inputs(batch), self.task.logits)
        impurity = regions.impurity(self.task.pseudo_targets(logits), self.radius).to(losses)
        return impurity * (losses if regions.superpixels is None else regions.mean(losses))
