"""SAAL: samples whose loss is largest under a worst-case perturbation of the weights."""

from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from lightning_al import functional as F_al
from lightning_al.acquisition.base import SELECTIONS, Acquisition
from lightning_al.checks import Findings, check_choice, check_count, check_flag
from lightning_al.functional.scores.perturbation import check_perturbation
from lightning_al.functional.scores.saal import SCORES
from lightning_al.oracle.base import Oracle
from lightning_al.tasks.base import Task
from lightning_al.tasks.ignored import may_be_ignored


class SAAL(Acquisition):
    r"""Samples of the largest loss under a worst-case weight perturbation (Kim et al., ICML 2023).

    .. math:: s_i = \max_{\|\epsilon\| \le \rho} \ell(x_i, \hat y_i; \theta + \epsilon) \quad\text{to first order}

    with one perturbation per sample and the model's own label :math:`\hat y_i`; see
    :func:`lightning_al.functional.saal`.

    The default, ``"sam"`` with ``"kmeans++"``, is neither the paper's Algorithm 1 (``"sam"`` with ``"top"``) nor its
    authors' code (``"asam"`` with ``"kmeans++"``, over the scalar scores), but what learned best in trials with the
    paper's perturbation. At the same ``rho``, "asam" moves the loss far less than "sam"; the published figures very
    likely used "asam", ``rho=0.05``.

    Args:
        rho: Radius of the perturbation, > 0.
        perturbation: ``"sam"`` (the paper's text) or ``"asam"`` (its code).
        p: Norm of the ball for ``"sam"``, > 1, ``inf`` allowed.
        group_size: Consecutive candidates that share the perturbation of their mean loss (Table 2). 1: none do.
        score: ``"max"``, the perturbed loss, or ``"difference"``, how much it exceeds the plain one.
        lowest: Pick the *least* sharp (SAAL-Reverse, Table 10); needs ``selection="top"``. Scores are then negated.
        labels: ``"pseudo"``, or ``"true"`` to score with the dataset's own labels: an oracle bound for simulated
            campaigns.
        selection: ``"kmeans++"`` (the authors' own, and the published best), ``"top"``, or ``"badge"``, which draws by
            the gradients of the last layer, each made longer by its sample's score; see :class:`Acquisition`.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range, or ``lowest`` is combined with another selection than ``"top"``.
    """

    requires = frozenset({"logits", "gradients"})

    def __init__(
        self,
        rho: float = 0.05,
        perturbation: str = "sam",
        p: float = 2.0,
        group_size: int = 1,
        score: str = "max",
        lowest: bool = False,
        labels: str = "pseudo",
        selection: str = "kmeans++",
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(selection=selection)
            findings.of(check_perturbation, rho, perturbation, p)
            findings.of(check_count, "group_size", group_size)
            findings.of(check_choice, "score", score, SCORES)
            findings.of(check_choice, "labels", labels, ("pseudo", "true"))
            is_flag = findings.of(check_flag, "lowest", lowest)
            findings.refuse_if(
                is_flag and lowest and selection in SELECTIONS and selection != "top",
                f'`lowest=True` picks the least sharp samples and needs `selection="top"`, got {selection!r}: '
                "k-means++ spreads over all scores and has no lowest.",
            )
        self.rho = rho
        self.perturbation = perturbation
        self.p = p
        self.group_size = group_size
        self.score = score
        self.lowest = lowest
        self.labels = labels

    @property
    def batch_multiple(self) -> int:
        """Groups must not be cut."""
        return self.group_size

    def bind(self, task: Task, oracle: Oracle) -> None:
        """Refuse ``labels="true"`` where the labels are not in the dataset."""
        if self.labels == "true" and not oracle.simulated:
            raise ValueError(
                '`SAAL(labels="true")` scores with the dataset\'s own labels, which only a simulated campaign has, '
                f'but the loop\'s oracle is a {type(oracle).__name__}. Use `labels="pseudo"`.'
            )
        if self.labels == "true" and oracle.truth is not None:
            raise ValueError(
                '`SAAL(labels="true")` scores with the labels that samples of the loop\'s dataset come with, and the '
                f'{type(oracle).__name__} answers with those of a dataset or task of its own. Use `labels="pseudo"`, '
                "or give the loop a dataset that has them."
            )
        super().bind(task, oracle)

    def score_batch(self, model: pl.LightningModule, batch: Any) -> Tensor:
        """Return the maximally perturbed loss of each sample, (B,)."""
        targets = self._own_targets(batch) if self.labels == "true" else None
        # Those that may leave something out look at the targets' values, which takes the slow way.
        loss = self.task.loss_of_known if may_be_ignored(targets) else self.task.loss
        scores = F_al.saal(
            model,
            self.task.held(model, self.task.inputs(batch)),
            rho=self.rho,
            perturbation=self.perturbation,
            p=self.p,
            group_size=self.group_size,
            score=self.score,
            targets=targets,
            forward=self.task.logits,
            target_fn=self.task.pseudo_targets,
            loss_fn=loss,
        )
        return -scores if self.lowest else scores

    def _own_targets(self, batch: Any) -> Any:
        """Return the targets that the dataset has, of every sample.

        Raises:
            ValueError: If some samples have none.
        """
        try:
            return self.task.known_targets(batch)
        except ValueError as error:
            raise ValueError(
                f'`SAAL(labels="true")` scores with the dataset\'s own labels, and {error} Use `labels="pseudo"`.'
            ) from None
