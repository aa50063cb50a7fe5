"""Diversity: batches whose samples differ from each other and from what is labelled."""

from pathlib import Path
from typing import ClassVar

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor, nn

from lightning_al import functional as F_al
from lightning_al.acquisition.features import FeatureAcquisition
from lightning_al.acquisition.query import LocalRows, Query, Rows
from lightning_al.checks import Findings, check_choice, check_count, check_number, needed_generator
from lightning_al.distributed.randomness import generator
from lightning_al.distributed.ranks import on_rank_zero
from lightning_al.functional.selection.typiclust import check_typiclust

_MARGIN = 1e-5
"""By how much of it a radius that was found is smaller than the distance that it is: more than rounding moves that."""

MOST_FOR_DELTA = 50_000
"""Samples on which the radius of the balls is found, at most: it takes as many distances as they have pairs."""


class CoreSet(FeatureAcquisition):
    r"""Samples farthest from all that are labelled or picked (Sener & Savarese, ICLR 2018).

    .. math:: \arg\max_x \min_{c \,\in\, L \cup \text{picks}} \lVert h(x) - h(c) \rVert_2

    greedily; see :func:`lightning_al.functional.k_center_greedy`. Over several processes the features stay where they
    were made. (The paper's robust variant, which solves a mixed integer programme, is left out.)

    Args:
        features: Name of the model's layer to take features from; default what the last layer gets, as in the
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
            the balls holds one cluster only (:func:`lightning_al.functional.coverage_delta`). It is found on the whole
            dataset, labelled or not, or on 50,000 samples of a larger one, the same for every campaign; never on a
            round's sub-pool, since the fewer samples there are the larger it would be. Features of an encoder are
            looked at once, those of the model before every query. Needs scikit-learn.
        purity: That share, > 0 and at most 1.
        clusters: Number of clusters of k-means for ``"auto"``; default the number of classes, which before any
            training (``initial_by=``) is not known and must be given.
        features: Name of the model's layer to take features from; default what the last layer gets.
        encoder: A module or a file that gives features in the model's place; see :class:`FeatureAcquisition`.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> angles = torch.tensor([0.0, 0.1, 0.2, 1.5, 1.6, 3.0])
        >>> rows = {"index": torch.arange(6), "features": torch.stack([angles.cos(), angles.sin()], 1)}
        >>> ProbCover(delta=0.15).select(rows, 3, labelled_rows={}, generator=torch.Generator())
        tensor([1, 3, 5])
    """

    selects_unlearnt: ClassVar[bool] = True

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
        self._found: float | None = None

    def unbind(self) -> None:
        """Leave the loop, and what was found on its dataset."""
        super().unbind()
        self._found = None

    def learn(self, query: Query) -> None:
        """Find ``delta`` where it is ``"auto"``, on the whole dataset."""
        if not isinstance(self.delta, str) or (self._found is not None and self.encoder is not None):
            return
        looked_at = torch.randperm(query.size, generator=generator("delta", query.size))[:MOST_FOR_DELTA]
        rows = query.score(self, looked_at)
        self._found = on_rank_zero(query.trainer.strategy, lambda: self._estimate(rows))

    def select(self, rows: Rows, k: int, *, labelled_rows: Rows, generator: torch.Generator | None) -> Tensor:
        """Take the candidates that cover the most of what is not covered yet, one after the other."""
        features, labelled = self.features_of(rows), self.centres_of(labelled_rows)
        delta = self.delta
        if isinstance(delta, str):
            # Where nothing was learnt, as for the initial set, the candidates are all that there is.
            delta = self._found if self._found is not None else self._estimate(rows, labelled_rows)
        return F_al.prob_cover(features, k, delta=delta, labelled=labelled)

    def _estimate(self, *parts: Rows) -> float:
        """Return the radius of the balls by the purity rule, whatever the order of the samples."""
        clusters = self.clusters if self.clusters is not None else self.task.num_classes
        if clusters is None:
            raise ValueError('`ProbCover(delta="auto")` needs the number of classes, which is not known: `clusters=`.')
        some = [rows for rows in parts if rows]
        order = torch.cat([rows["index"] for rows in some]).argsort()
        features = torch.cat([self.features_of(rows) for rows in some])[order]
        # It is the distance of two samples, whose last bit may depend on their batches: on its edge, so would picks.
        labels = F_al.cluster_labels(features, clusters)
        delta = (1 - _MARGIN) * F_al.coverage_delta(features, labels, purity=self.purity)
        rank_zero_info(f"ProbCover: delta {delta:.4g}, from purity {self.purity} on {len(features):,} samples.")
        return delta


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
        features: Name of the model's layer to take features from; default what the last layer gets.
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
