"""The user's train loader as the template of every loader that the loop makes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, WeightedRandomSampler

from lightning_al.data.drawn import BatchLoader, Draw, DrawnSampler, Redrawn
from lightning_al.data.samplers import EpochSampler
from lightning_al.distributed.randomness import draws_undone

_SETTINGS = (
    "num_workers",
    "collate_fn",
    "pin_memory",
    "timeout",
    "worker_init_fn",
    "multiprocessing_context",
    "prefetch_factor",
    "persistent_workers",
    "in_order",
)


@dataclass(frozen=True)
class Epoch:
    """How many samples and batches each process trains on in one epoch.

    Args:
        labels: Labelled samples over all processes.
        num_replicas: Number of processes that divide them among themselves.
        batch_size: Samples of a batch.
        drop_last: Whether a last batch that is not full is left out.
        per_label: Samples that are drawn for each label.

    Example:
        >>> epoch = Epoch(labels=9, num_replicas=2, batch_size=2, drop_last=False)
        >>> epoch.samples, epoch.batches
        (5, 3)
    """

    labels: int
    num_replicas: int
    batch_size: int
    drop_last: bool
    per_label: float = 1.0

    @property
    def samples(self) -> int:
        """Samples in each process; some are repeated where the labels do not divide evenly."""
        drawn = max(min(self.labels, 1), round(self.labels * self.per_label))
        return -(-drawn // self.num_replicas)

    @property
    def batches(self) -> int:
        """Batches in each process."""
        return self.samples // self.batch_size if self.drop_last else -(-self.samples // self.batch_size)


class LoaderTemplate:
    """Makes loaders over other samples with the settings of the user's train loader.

    Args:
        loader: The user's, one that :func:`~lightning_al.data.train_loaders.check_train_loader` accepts.
        factory: Makes its sampler for the labelled part, where it is the user's own.

    Attributes:
        draw: Makes the sampler that says what an epoch trains on; None: each sample once.
        counts: Whether it is known before the labels are how many samples an epoch has.

    Example:
        >>> import torch
        >>> data = torch.utils.data.TensorDataset(torch.arange(4))
        >>> template = LoaderTemplate(DataLoader(data, batch_size=3, drop_last=True))
        >>> template.epoch(labels=7, num_replicas=1).batches
        2
        >>> template.loader(range(7), batch_size=5).drop_last
        False
    """

    def __init__(self, loader: DataLoader, factory: Draw | None = None) -> None:
        self.dataset: Dataset = loader.dataset
        self.batch_size = _batch_size(loader.batch_sampler)
        self.drop_last = bool(getattr(loader.batch_sampler, "drop_last", False))
        sampler: Any = getattr(loader.batch_sampler, "sampler", loader.sampler)
        shuffler = loader.dataset if isinstance(loader.dataset, IterableDataset) else sampler  # LitData's, say
        shuffles = isinstance(sampler, RandomSampler) or bool(getattr(shuffler, "shuffle", False))
        # Of no samples torch makes no loader that shuffles; those that are labelled later are shuffled all the same.
        self.shuffle = shuffles or len(loader.dataset) == 0  # type: ignore[arg-type]
        self.counts = factory is None
        self.draw: Draw | None = factory
        self._per_label = 1.0
        if factory is None and _draws_a_number(sampler):
            redrawn = Redrawn(sampler, len(loader.dataset))  # type: ignore[arg-type]
            self.draw, self._per_label = redrawn, redrawn.per_label
        self.collate_fn: Callable[[list[Any]], Any] = loader.collate_fn
        self._settings = {name: getattr(loader, name) for name in _SETTINGS}

    def epoch(self, *, labels: int, num_replicas: int) -> Epoch:
        """Return the size of an epoch over this many labelled samples."""
        return Epoch(labels, num_replicas, self.batch_size, drop_last=self.drop_last, per_label=self._per_label)

    def loader(self, dataset: Dataset, **changes: Any) -> DataLoader:
        """Return a loader over a dataset with the user's settings.

        Args:
            dataset: Map-style.
            **changes: Arguments of ``DataLoader`` that are not the user's: the sampler, the batch size and whether a
                last batch is dropped are never taken over.
        """
        return DataLoader(dataset, **{**self._settings, **changes})

    def train_loader(self, dataset: Dataset, sampler: EpochSampler, *, drop_last: bool) -> DataLoader:
        """Return a loader in the order of a sampler, which may draw whole batches."""
        if isinstance(sampler, DrawnSampler) and sampler.batched:
            return BatchLoader(dataset, batch_sampler=sampler, generator=sampler.generator, **self._settings)
        order = {"sampler": sampler, "generator": sampler.generator}
        return self.loader(dataset, batch_size=self.batch_size, drop_last=drop_last, **order)


def _batch_size(batches: Any) -> int:
    """Return the size of batches, as they say it, or else of the first."""
    if isinstance(size := getattr(batches, "batch_size", None), int):
        return size
    with draws_undone():
        return len(next(iter(batches or ()), [0]))


def _draws_a_number(sampler: Any) -> bool:
    """Whether a sampler draws a number of samples in place of each once."""
    if isinstance(sampler, RandomSampler):
        return sampler.replacement or sampler.num_samples != len(sampler.data_source)
    return isinstance(sampler, WeightedRandomSampler)
