"""The user's train loader as the template of every loader that the loop makes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, Dataset, RandomSampler

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

    Example:
        >>> epoch = Epoch(labels=9, num_replicas=2, batch_size=2, drop_last=False)
        >>> epoch.samples, epoch.batches
        (5, 3)
    """

    labels: int
    num_replicas: int
    batch_size: int
    drop_last: bool

    @property
    def samples(self) -> int:
        """Samples in each process; some are repeated where the labels do not divide evenly."""
        return -(-self.labels // self.num_replicas)

    @property
    def batches(self) -> int:
        """Batches in each process."""
        return self.samples // self.batch_size if self.drop_last else -(-self.samples // self.batch_size)


class LoaderTemplate:
    """Makes loaders over other samples with the settings of the user's train loader.

    Args:
        loader: The user's, one that :func:`~lightning_al.data.validation.check_train_loader` accepts.

    Example:
        >>> import torch
        >>> data = torch.utils.data.TensorDataset(torch.arange(4))
        >>> template = LoaderTemplate(DataLoader(data, batch_size=3, drop_last=True))
        >>> template.epoch(labels=7, num_replicas=1).batches
        2
        >>> template.loader(range(7), batch_size=5).drop_last
        False
    """

    def __init__(self, loader: DataLoader) -> None:
        self.dataset: Dataset = loader.dataset
        self.batch_size = int(loader.batch_size or 1)
        self.drop_last = bool(loader.drop_last)
        shuffles = isinstance(loader.sampler, RandomSampler) or bool(getattr(loader.sampler, "shuffle", False))
        # Of no samples torch makes no loader that shuffles; those that are labelled later are shuffled all the same.
        self.shuffle = shuffles or len(loader.dataset) == 0  # type: ignore[arg-type]
        self.collate_fn: Callable[[list[Any]], Any] = loader.collate_fn
        self._settings = {name: getattr(loader, name) for name in _SETTINGS}

    def epoch(self, *, labels: int, num_replicas: int) -> Epoch:
        """Return the size of an epoch over this many labelled samples."""
        return Epoch(labels, num_replicas, self.batch_size, self.drop_last)

    def loader(self, dataset: Dataset, **changes: Any) -> DataLoader:
        """Return a loader over a dataset with the user's settings.

        Args:
            dataset: Map-style.
            **changes: Arguments of ``DataLoader`` that are not the user's: the sampler, the batch size and whether a
                last batch is dropped are never taken over.
        """
        return DataLoader(dataset, **{**self._settings, **changes})
