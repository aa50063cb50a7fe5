"""What a pass over samples needs of a datamodule: the samples as they are scored, and loaders over some of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_al._compat import is_overridden
from lightning_al.completion import OffersLess
from lightning_al.data.collate import CollateWithoutTargets
from lightning_al.data.keys import Keys
from lightning_al.data.readable import NamedSamples
from lightning_al.data.samplers import BlockSampler, PoolPass
from lightning_al.data.template import LoaderTemplate
from lightning_al.data.views import LabelledView
from lightning_al.tasks.base import Task


class ScoredData(OffersLess, pl.LightningDataModule):
    """Samples as they are scored, in batches as the user's loader makes them.

    Subclasses say which samples there are, :attr:`pool_set`, what they are called, :meth:`key`, and whose settings
    loaders have, :attr:`template`.

    Args:
        datamodule: Whose transfer hooks move a batch to its device, and what the module sees at ``trainer.datamodule``.
        task: What a batch means.
        pool_batch_size: Batch size for scoring; default the template's.
    """

    _not_offered = """begin begin_fit called check_training close collate fit_key follow goes_one_by_one has_pool key
        keys keys_of known_keys known_samples known_share labels new_pool open pass_batch_size places plain_dataloader
        pool_batch_size pool_pass pool_set pool_source round sample_keys samples scoring_batch_size seed template
        to_device told_labels"""

    def __init__(self, datamodule: pl.LightningDataModule, task: Task, pool_batch_size: int | None = None) -> None:
        super().__init__()
        self.datamodule = datamodule
        self.task = task
        self.pool_batch_size = pool_batch_size
        self._pool_pass = PoolPass(torch.empty(0, dtype=torch.long), multiple=1)

    @property
    def pool_set(self) -> Dataset:
        """The samples as they are scored."""
        raise NotImplementedError(f"{type(self).__name__} must define `pool_set`.")

    @property
    def template(self) -> LoaderTemplate:
        """The user's loader, whose settings all loaders have."""
        raise NotImplementedError(f"{type(self).__name__} must define `template`.")

    @property
    def told_labels(self) -> Mapping[int, Any]:
        """Labels that are put into the samples of :attr:`pool_set`, encoded, by index. By default there are none."""
        return {}

    def key(self, index: int) -> str | None:
        """Return what a sample is called; None where it is known by its index alone."""
        raise NotImplementedError(f"{type(self).__name__} must define `key`.")

    def called(self, indices: Sequence[int]) -> str:
        """Say which samples are meant, for an error."""
        return f"dataset indices {list(indices)}"

    def keys_of(self, indices: Tensor) -> Sequence[str | None]:
        """Return the keys of samples, each of which may be found when it is looked at."""
        return Keys(indices, self.key)

    def _replicas(self) -> dict[str, int]:
        """Return the number of processes that divide the data among themselves, and which of them this is."""
        kwargs = self.trainer.distributed_sampler_kwargs if self.trainer is not None else None
        return {"num_replicas": 1, "rank": 0, **(kwargs or {})}  # type: ignore[dict-item]

    @property
    def scoring_batch_size(self) -> int:
        """Samples of a batch in a pass over the pool."""
        return self.pool_batch_size or self.template.batch_size

    @property
    def pass_batch_size(self) -> int:
        """Samples of a batch in the pass of :meth:`pool_pass`; the last may have fewer."""
        return self._pool_pass.whole_groups(self._pool_pass.batch_size or self.scoring_batch_size)

    @property
    def goes_one_by_one(self) -> bool:
        """Whether no two samples are ever put together, so that they may have any sizes."""
        return self.template.batch_size == 1 and self.scoring_batch_size == 1

    def pool_pass(self, indices: Tensor, multiple: int, batch_size: int | None = None) -> BlockSampler:
        """Point :meth:`predict_dataloader` at dataset ``indices``.

        Args:
            indices: The samples, in order; the same on every rank.
            multiple: Batches and shards are cut only at multiples of this.
            batch_size: Of this pass, rounded up to such a multiple. Default: :attr:`scoring_batch_size`.

        Returns:
            What says which of them this rank sees. With fewer groups than ranks every rank sees all, since Lightning
            cannot predict over an empty shard.
        """
        self._pool_pass = PoolPass(indices, multiple, batch_size)
        return self._pool_pass.sampler(**self._replicas())

    def predict_dataloader(self) -> DataLoader:
        """Return a loader over the candidates of :meth:`pool_pass`, in their order."""
        return self.template.loader(
            LabelledView(NamedSamples(self.pool_set, self.task), self._pool_pass.indices, {}, self.task),
            sampler=self._pool_pass.sampler(**self._replicas()),
            batch_size=self.pass_batch_size,
            drop_last=False,
            persistent_workers=False,
            collate_fn=CollateWithoutTargets(self.template.collate_fn),
        )

    def plain_dataloader(self, batches: Iterable[list[int]]) -> DataLoader:
        """Return a loader over batches of dataset indices, as the pool pass sees their samples; the same on every rank.

        Those that are labelled come with the labels that were told. There may be infinitely many batches.
        """
        everything = torch.arange(len(self.pool_set))  # type: ignore[arg-type]
        return self.template.loader(
            LabelledView(NamedSamples(self.pool_set, self.task), everything, self.told_labels, self.task),
            batch_sampler=batches,
            persistent_workers=False,
            collate_fn=CollateWithoutTargets(self.template.collate_fn),
            generator=torch.Generator(),
            in_order=True,
        )

    def to_device(self, batch: Any, model: pl.LightningModule, device: torch.device) -> Any:
        """Move a batch through the transfer hooks, the user's datamodule's or else their model's, as Lightning does."""
        hooks: dict[str, tuple[Any, ...]] = {
            "on_before_batch_transfer": (),
            "transfer_batch_to_device": (device,),
            "on_after_batch_transfer": (),
        }
        loader_number = 0
        for hook, arguments in hooks.items():
            owner = self.datamodule if is_overridden(hook, self.datamodule) else model
            batch = getattr(owner, hook)(batch, *arguments, loader_number)
        return batch
