"""How labelled samples make up an epoch: their order, the share of known ones in a batch, and whether there is any."""

from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl

from lightning_al.checks import Findings
from lightning_al.data import validation
from lightning_al.data.drawn import DrawnSampler
from lightning_al.data.samplers import EpochSampler, ShareSampler, known_in_batch
from lightning_al.data.template import LoaderTemplate
from lightning_al.data.views import LabelledView


@dataclass(frozen=True)
class Epochs:
    """The epochs of a fit.

    Args:
        template: The user's train loader.
        known: How many samples are known beside the pool.
        known_share: The share of each batch that comes from these; None: as it happens.
        has_batch_norm: Whether the model has BatchNorm, which cannot be trained on a batch of one.
        num_replicas: Number of processes that divide the samples among themselves.
        rank: This process.
    """

    template: LoaderTemplate
    known: int
    known_share: float | None
    has_batch_norm: bool
    num_replicas: int
    rank: int

    def check(self, count: int, trainer: pl.Trainer) -> None:
        """Refuse a labelled set from which no training batch can be made.

        Args:
            count: Labels of the pool.
            trainer: The user's.

        Raises:
            ValueError: If there is no batch, or ``known_share`` of one is no whole number of samples.
        """
        epoch = self.template.epoch(labels=count + self.known, num_replicas=self.num_replicas)
        if not self.template.counts:
            return  # the user's sampler says it, once it has the labels
        with Findings() as findings:
            if self.known_share is not None:
                findings.of(known_in_batch, self.known_share, self.template.batch_size)
            if findings.of(validation.check_drop_last, epoch):  # the others ask about the batches
                findings.of(validation.check_train_limit, trainer, epoch)
                findings.of(validation.check_validation_interval, trainer, epoch)
                if self.has_batch_norm:
                    findings.of(validation.check_batch_norm, epoch)

    def sampler(self, view: LabelledView, seed: int) -> EpochSampler:
        """Return the order of labelled samples, of which the first are the known ones."""
        ranks: Any = {"num_replicas": self.num_replicas, "rank": self.rank, "seed": seed}
        if self.template.draw is not None:
            return DrawnSampler(view, self.template.draw, **ranks)
        options = {"shuffle": self.template.shuffle, **ranks}
        others = len(view) - self.known
        if self.known_share is None or not self.known or not others:
            return EpochSampler(view, **options)
        return ShareSampler(
            self.known,
            others,
            known_in_batch=known_in_batch(self.known_share, self.template.batch_size),
            batch_size=self.template.batch_size,
            drop_last=self.template.drop_last,
            **options,
        )

    def leaves_single(self, sampler: EpochSampler) -> bool:
        """Whether what this process draws ends with a batch of one, on which BatchNorm cannot be trained."""
        if isinstance(sampler, DrawnSampler) and sampler.batched:
            return False
        size, samples = self.template.batch_size, len(sampler)
        return self.has_batch_norm and samples > 1 and samples % size == 1 < size
