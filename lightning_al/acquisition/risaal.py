"""RI-SAAL: regions of mixed classes whose loss is large under a worst-case perturbation of the weights."""

from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from lightning_al import functional as F_al
from lightning_al.acquisition.base import Acquisition
from lightning_al.acquisition.regions import Regions
from lightning_al.acquisition.ripu import VARIANTS, check_neighbourhood
from lightning_al.checks import Findings, check_choice, check_count
from lightning_al.functional.scores.perturbation import check_perturbation
from lightning_al.functional.scores.saal import SCORES
from lightning_al.inference.outputs import plain_outputs
from lightning_al.oracle.base import Oracle
from lightning_al.tasks.base import Task


class RISAAL(Acquisition):
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
            super().__init__()
            findings.of(check_perturbation, rho, perturbation, p)
            findings.of(check_choice, "score", score, SCORES)
            findings.of(check_count, "radius", radius, optional=True)
            findings.of(check_choice, "variant", variant, VARIANTS)
        self.rho = rho
        self.perturbation = perturbation
        self.p = p
        self.score = score
        self.radius = radius
        self.variant = variant
        self.region_variant = VARIANTS[variant]

    def bind(self, task: Task, oracle: Oracle) -> None:
        """Refuse a task that asks for whole samples, or for single pixels without a ``radius``."""
        check_neighbourhood("RISAAL", self.radius, task)
        super().bind(task, oracle)

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
        logits = plain_outputs(model, self.task.inputs(batch), self.task.logits)
        impurity = regions.impurity(self.task.pseudo_targets(logits), self.radius).to(losses)
        return impurity * (losses if regions.superpixels is None else regions.mean(losses))

    def region_spacing(self, radius: int) -> int:
        """Return how far apart picks are: the window of P where it is larger than the region."""
        return max(radius, self.radius or 0)
