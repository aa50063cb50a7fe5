"""Diversity: batches whose samples differ from each other and from what is labelled."""

from pathlib import Path
from typing import ClassVar

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor, nn

from lightning_al import functional as F_al
from lightning_al.acquisition.features import FeatureAcquisition
from lightning_al.acquisition.query import LocalRows, Rows
from lightning_al.checks import Findings, check_choice, check_count, check_number, needed_generator
from lightning_al.functional.selection.typiclust import check_typiclust


class CoreSet(FeatureAcquisition):
    r"""Samples farthest from all that are labelled or picked (Sener & Savarese, ICLR 2018).

    .. math:: \arg\max_x \min_{c \,\in\, L \cup \text{picks}} \lVert h(x) - h(c) \rVert_2

    greedily; see :func:`lightning_al.functional.k_center_greedy`. Over several processes the features stay where they
    were made. (The paper's robust variant, which solves a mixed integer programme, is left out.)

    Args:
        features: Name of the model's layer to take features from; default what the last linear layer gets, as in the
            paper.
        encoder: A module or a file that gives features in the model's place; see :class:`FeatureAcquisition`.

    Example:
        >>> rows = {"index": torch.arange(4), "features": torch.tensor([[0.0], [1.0], [5.0], [9.0]])}
        >>> labelled = {"index": torch.tensor([7]), "features": torch.tensor([[8.0]])}
        >>> CoreSet().select(rows, 2, labelled_rows=labelled, generator=None)
        tensor([0, 2])
    """

    gathers: ClassVar[bool] = False

    def __init__(self, features: str | None = None, encoder: nn.Module | str | Path | None = None) -> None:
        super().__init__(features=features, encoder=encoder)

    def select(self, rows: Rows, k: int, *, labelled_rows: Rows, generator: torch.Generator | None) -> Tensor:
        """Take the farthest candidates, one after the other."""
        shard = rows.shard if isinstance(rows, LocalRows) else None
        labelled = self.centres_of(labelled_rows)
        return F_al.k_center_greedy(self.features_of(rows), k, labelled=labelled, shard=shard)


class ProbCover(FeatureAcquisition):
    r"""Samples whose balls of radius ``delta`` cover the most samples (Yehuda et al., NeurIPS 2022).

    See :func:`lightning_al.functional.prob_cover`. The paper's features come from a self-supervised encoder, which
    ``encoder=`` takes; the default here, the model's own, changes from round to round. All pairs are compared: over
    several processes the features are gathered on the first, which needs memory for a copy of all (4 N d bytes; a few
    with ``"auto"``, for k-means) and, past a gigabyte, disk for another.

    Args:
        delta: Radius of the balls on the unit sphere, > 0; or ``"auto"``, the largest for which a share ``purity`` of
            the balls holds one cluster only (:func:`lightning_al.functional.coverage_delta`), found anew in every
            round. Needs scikit-learn.
        purity: That share, > 0 and at most 1.
        clusters: Number of clusters of k-means for ``"auto"``; default the number of classes, which before any
            training (``initial_by=``) is not known and must be given.
        features: Name of the model's layer to take features from; default what the last linear layer gets.
        encoder: A module or a file that gives features in the model's place; see :class:`FeatureAcquisition`.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> angles = torch.tensor([0.0, 0.1, 0.2, 1.5, 1.6, 3.0])
        >>> rows = {"index": torch.arange(6), "features": torch.stack([angles.cos(), angles.sin()], 1)}
        >>> ProbCover(delta=0.15).select(rows, 3, labelled_rows={}, generator=torch.Generator())
        tensor([1, 3, 5])
    """

    def __init__(
        self,
        delta: float | str = "auto",
        purity: float = 0.95,
        clusters: int | None = None,
        features: str | None = None,
        encoder: nn.Module | str | Path | None = None,
    ) -> None:
        with Findings() as findings:
            if isinstance(delta, str):
                findings.of(check_choice, "delta", delta, ("auto",), or_else="a number above 0")
            else:
                findings.of(check_number, "delta", delta, above=0)
            findings.of(check_number, "purity", purity, above=0, most=1)
            findings.of(check_count, "clusters", clusters, optional=True)
            with findings.of_block():
                super().__init__(features=features, encoder=encoder)
        self.delta = delta
        self.purity = purity
        self.clusters = clusters
        if delta == "auto" and clusters is None:
            self.requires |= {"classes"}

    def select(self, rows: Rows, k: int, *, labelled_rows: Rows, generator: torch.Generator | None) -> Tensor:
        """Take the candidates that cover the most of what is not covered yet, one after the other."""
        features, labelled = self.features_of(rows), self.centres_of(labelled_rows)
        delta = self.delta
        if isinstance(delta, str):
            delta = self._estimate(features if labelled is None else torch.cat([features, labelled]), generator)
            rank_zero_info(f"ProbCover: delta {delta:.4g}, from purity {self.purity}.")
        return F_al.prob_cover(features, k, delta=delta, labelled=labelled)

    def _estimate(self, features: Tensor, generator: torch.Generator | None) -> float:
        clusters = self.clusters if self.clusters is not None else self.task.num_classes
        if clusters is None:
            raise ValueError('`ProbCover(delta="auto")` needs the number of classes, which is not known: `clusters=`.')
        generator = needed_generator(generator, 'ProbCover(delta="auto")', "clusters from a random start")
        seed = int(torch.randint(2**31, (), generator=generator))
        return F_al.coverage_delta(features, F_al.cluster_labels(features, clusters, seed=seed), purity=self.purity)


class TypiClust(FeatureAcquisition):
    """The most typical sample of each large cluster without labels (Hacohen et al., ICML 2022). For small budgets.

    See :func:`lightning_al.functional.typiclust`. The paper's features come from a self-supervised encoder, which
    ``encoder=`` takes; the default here is the model's own. Needs scikit-learn. For k-means, features are gathered on
    the first of several processes, which needs memory for a few copies of all (4 N d bytes each) and, past a gigabyte,
    disk for another.

    Args:
        max_clusters: The largest number of clusters, at least 1.
        neighbours: Nearest neighbours over which typicality is taken, at least 1.
        variant: ``"paper"``; or ``"code"``, as its authors' code differs from it.
        features: Name of the model's layer to take features from; default what the last linear layer gets.
        encoder: A module or a file that gives features in the model's place; see :class:`FeatureAcquisition`.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        max_clusters: int = 500,
        neighbours: int = 20,
        variant: str = "paper",
        features: str | None = None,
        encoder: nn.Module | str | Path | None = None,
    ) -> None:
        with Findings() as findings:
            findings.of(check_typiclust, max_clusters, neighbours, variant)
            with findings.of_block():
                super().__init__(features=features, encoder=encoder)
        self.max_clusters = max_clusters
        self.neighbours = neighbours
        self.variant = variant

    def select(self, rows: Rows, k: int, *, labelled_rows: Rows, generator: torch.Generator | None) -> Tensor:
        """Take the most typical candidates of clusters that have the fewest labels."""
        generator = needed_generator(generator, "TypiClust", "clusters from a random start")
        return F_al.typiclust(
            self.features_of(rows),
            k,
            generator=generator,
            labelled=self.centres_of(labelled_rows),
            max_clusters=self.max_clusters,
            neighbours=self.neighbours,
            variant=self.variant,
        )
