"""The samples that are trained on: where their labels come from, and when they are augmented."""

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch.utils.data import Dataset

from lightning_al.data.augmentation import Augment, check_targets_stay, check_told_labels, moving, same, target_of
from lightning_al.data.keys import SampleKeys
from lightning_al.data.readable import readable
from lightning_al.data.validation import spread_over
from lightning_al.data.views import LabelledView
from lightning_al.storage.blobs import Blob, as_read
from lightning_al.tasks.base import Task


@dataclass(frozen=True)
class TrainingSamples:
    """The user's datasets of one campaign, index for index the same samples.

    Args:
        train_set: Of the train loader, with whatever augmentation is in it.
        pool_set: What is scored.
        label_set: Where labels of the data themselves are read: without augmentation, if they are there.
        augment: Applied to the samples of ``pool_set`` in place of those of ``train_set``, once labels were put in.
        task: Reads targets, and puts labels in.
        owner: Whose datasets they are, for errors.
    """

    train_set: Dataset
    pool_set: Dataset
    label_set: Dataset
    augment: Augment | None
    task: Task
    owner: str

    @classmethod
    def of(cls, train_set: Dataset, augment: Augment | None, task: Task, owner: str) -> "TrainingSamples":
        """Return the samples of a training set that is all that there is."""
        return cls(train_set, train_set, train_set, augment, task=task, owner=owner)

    def renewed(self, train_set: Dataset) -> "TrainingSamples":
        """Return the same samples, now that the user's train loader is made anew."""
        return replace(
            self,
            train_set=train_set,
            pool_set=train_set if self.pool_set is self.train_set else self.pool_set,
            label_set=train_set if self.label_set is self.train_set else self.label_set,
        )

    @property
    def trained_on(self) -> Dataset:
        """The samples before labels are put in and ``augment`` is applied."""
        return self.train_set if self.augment is None else self.pool_set

    def keys(self) -> SampleKeys:
        """Return what says how the samples are called."""
        return SampleKeys(self.train_set, self.pool_set, self.task)

    def check_view(self, view: LabelledView, own: Collection[int]) -> None:
        """Refuse labels that would be wrong beside their samples, and an ``augment`` that fails on one.

        Raises:
            ValueError: With what to do.
        """
        told = {index: label for index, label in view.labels_put_in().items() if index not in own}
        self.check_labels(told=bool(told), labels=told)
        self.check_augment(view)

    def to_put_in(self, dataset: Dataset, labels: Mapping[int, Any], own: Collection[int]) -> Mapping[int, Any]:
        """Return the labels that samples of a dataset do not have of themselves.

        Args:
            dataset: One of the three.
            labels: All, by dataset index.
            own: Which of them were read from the data themselves. The sample's own target stays there: it is augmented
                with its input.
        """
        if dataset is self.train_set or dataset is self.label_set:
            return {index: label for index, label in labels.items() if index not in own}
        return labels

    def check_labels(self, *, told: bool, labels: Mapping[int, Any] | None = None) -> None:
        """Refuse samples beside which labels would be wrong, since augmentation moves input and target together.

        Args:
            told: Whether labels come from elsewhere than the data themselves.
            labels: Those that were told so far.

        Raises:
            ValueError: With what to do.
        """
        rows = spread_over(len(self.train_set))  # type: ignore[arg-type]
        if told:
            decoded = [self.task.decode_label(label) for label in list((labels or {}).values())[:2]]
            self.check_told(rows, decoded)
        elif self.trained_on is self.pool_set is not self.label_set:
            check_targets_stay(self.label_set, readable(self.label_set, rows), self.task, owner=self.owner)

    def check_told(self, rows: Sequence[int], told: list[Any]) -> None:
        """Refuse samples whose inputs move beside labels that would have to.

        Args:
            rows: Which to look at.
            told: Some labels that were told.
        """
        rows = readable(self.trained_on, rows)
        check_told_labels(self.trained_on, rows, self.task, owner=self.owner, told=told)

    def check_augment(self, view: LabelledView) -> None:
        """Try ``augment``, if there is one, on the first sample of a view.

        Raises:
            ValueError: If it fails, or returns nothing.
        """
        if self.augment is not None:
            self.augment.check(view.sample_with_label(0), self.owner)

    def own_label(self, index: int) -> Any:
        """Return the label that a sample has in the data themselves, as the ledger has it."""
        return as_read(self.task.encode_label(self.task.targets(self.label_set[index])))

    def same_label(self, one: Any, other: Any) -> bool:
        """Whether two labels of the ledger are the same, whatever wrote their files, or if they were in one."""
        in_files = isinstance(one, Blob) or isinstance(other, Blob)
        return one == other or (in_files and same(*map(self.task.decode_label, (one, other))))

    def keeps_target(self, index: int) -> bool:
        """Whether a sample has the same target whenever it is drawn: augmentation leaves it alone."""
        return moving(self.label_set, [index], functools.partial(target_of, self.task)) is None
