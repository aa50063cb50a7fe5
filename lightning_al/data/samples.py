"""All samples of a campaign under one numbering: those that may be asked for, and those known beside them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_al.data.classes import class_names
from lightning_al.data.known import KnownSamples
from lightning_al.data.parts import Parts, WithClasses
from lightning_al.data.pool import Pool
from lightning_al.data.training_samples import TrainingSamples
from lightning_al.data.views import LabelledView


@dataclass(frozen=True)
class Samples:
    """The pool's samples have the numbers from 0 on, their dataset indices; the known ones those after them.

    What is known trains as it is, from round 0 on, and is never asked for. Where the pool is the training set, with its
    labels hidden or to be told, nothing is known.

    Args:
        pool: What may be asked for.
        known: The training set beside it.
    """

    pool: TrainingSamples
    known: TrainingSamples | None = None

    def __len__(self) -> int:
        return self.size + len(self.known_indices)

    @property
    def size(self) -> int:
        """How many may be asked for."""
        return len(self.pool.train_set)  # type: ignore[arg-type]

    @property
    def known_indices(self) -> Tensor:
        """The numbers of the known samples, (M,)."""
        known = 0 if self.known is None else len(self.known.train_set)  # type: ignore[arg-type]
        return torch.arange(self.size, self.size + known)

    def labelled_of(self, pool: Pool) -> Tensor:
        """Return the numbers of all that is labelled: the known samples, then the pool's as their labels came."""
        return torch.cat([self.known_indices, pool.labelled])

    def called(self, numbers: Sequence[int]) -> str:
        """Say in words which samples these are.

        Example:
            >>> part = TrainingSamples.of(range(3), None, task=None, owner="Data")
            >>> Samples(part, part).called([2, 4])
            'dataset indices [2] and samples [1] of the training set'
        """
        pool, known = [n for n in numbers if n < self.size], [n - self.size for n in numbers if n >= self.size]
        said = [f"dataset indices {pool}"] if pool else []
        said += [f"samples {known} of the training set"] if known else []
        return " and ".join(said)

    def renewed(self, train_set: Dataset) -> "Samples":
        """Return the same samples, now that the user's train loader is made anew."""
        if self.known is None:
            return Samples(self.pool.renewed(train_set))
        return replace(self, known=self.known.renewed(train_set))

    # -- as datasets -----------------------------------------------------------------------------------------------

    @cached_property
    def trained_on(self) -> Dataset:
        """The samples before labels are put in and ``augment`` is applied."""
        return self.pool.trained_on if self.known is None else Parts([self.pool.trained_on, self.known.trained_on])

    @cached_property
    def pool_set(self) -> Dataset:
        """The samples as they are scored."""
        return self.pool.pool_set if self.known is None else Parts([self.pool.pool_set, self.known.pool_set])

    @cached_property
    def label_set(self) -> Dataset:
        """The samples that may be asked for, where their labels are read if they have any."""
        return self.pool.label_set if self.known is None else self._users

    @cached_property
    def shown(self) -> Dataset:
        """The samples that may be asked for as people see them: without augmentation."""
        return self.pool.pool_set if self.known is None else self._users

    @cached_property
    def _users(self) -> Dataset:
        """The user's ``unlabelled_dataset()``, with the files that it lists and the training set's names of classes."""
        unlabelled, known = self.pool.label_set, self.known
        if known is None or class_names(unlabelled) is not None:
            return unlabelled
        classes = class_names(known.train_set) or class_names(known.pool_set)
        return unlabelled if classes is None else WithClasses(unlabelled, classes)

    def view(self, indices: Tensor, labels: Mapping[int, Any]) -> LabelledView:
        """Return samples as they are trained on.

        Args:
            indices: Their numbers, (N,).
            labels: Those to put in, encoded, by number.
        """
        return LabelledView(self.trained_on, indices, labels, self.pool.task, augment=self.pool.augment)

    def labelled(self, pool: Pool, labels: Mapping[int, Any], own: Collection[int]) -> LabelledView:
        """Return all that is labelled as it is trained on, with those labels put in that are not in the samples.

        Args:
            pool: Says what is labelled.
            labels: Of the pool, encoded, by dataset index.
            own: Which of them were read from the data themselves.
        """
        return self.view(self.labelled_of(pool), self.pool.to_put_in(self.pool.trained_on, labels, own))

    def check_view(self, view: LabelledView, own: Collection[int]) -> None:
        """Refuse labels that would be wrong beside their samples, and an ``augment`` that fails on one.

        Raises:
            ValueError: With what to do.
        """
        self.pool.check_view(view, own)

    # -- which is which --------------------------------------------------------------------------------------------

    def known_samples(self) -> KnownSamples | None:
        """Return what says which of the pool's samples are known too; None where nothing is known."""
        return None if self.known is None else KnownSamples(self.known.keys(), self.pool.keys())
