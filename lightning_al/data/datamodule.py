"""The user's datamodule seen through a pool: training on what is labelled, scoring what is not."""

from collections.abc import Iterable, Iterator
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, Subset

from lightning_al._compat import infinite_barrier, is_overridden, share_hyperparameters
from lightning_al.checks import check_count, kind_of
from lightning_al.data.loaders import owner_of
from lightning_al.data.pool import Pool
from lightning_al.data.samplers import BlockSampler, EpochSampler
from lightning_al.data.validation import (
    check_collate,
    check_last_sample,
    check_train_loader,
    check_validation,
    is_empty,
    spread_over,
)
from lightning_al.data.views import LabelledView
from lightning_al.distributed.randomness import derive_seed
from lightning_al.tasks.base import Task

_DELEGATED_HOOKS = (
    "val_dataloader",
    "test_dataloader",
    "transfer_batch_to_device",
    "on_before_batch_transfer",
    "on_after_batch_transfer",
    "on_exception",
)


class ActiveDataModule(pl.LightningDataModule):
    """The user's datamodule seen through a :class:`~lightning_al.Pool`.

    The train loader covers what is labelled, with the labels that were told; the predict loader the candidates, on
    un-augmented inputs. Validation and test loaders, transfer hooks, hyperparameters and every other attribute are the
    user's. The settings of the user's train loader (batch size, workers, collate function, pinning, ...) are kept.
    ``prepare_data`` and ``setup`` run once per stage, not at every fit.

    Args:
        datamodule: The user's.
        task: What a batch means.
        pool_source: ``"auto"``: the datamodule's ``pool_dataset()`` if it has one, else the training set with a
            warning. ``"predict"``: the data set of ``predict_dataloader()``.
        pool_batch_size: Batch size for scoring; default the train loader's.

    Raises:
        TypeError: If ``datamodule`` is not a ``LightningDataModule``.
        ValueError: If an option is out of range.

    Example:
        >>> from lightning_al.tasks import ClassificationTask
        >>> data = torch.utils.data.TensorDataset(torch.arange(5.0), torch.tensor([0, 1, 0, 1, 0]))
        >>> active = ActiveDataModule(
        ...     pl.LightningDataModule.from_datasets(data, batch_size=2), task=ClassificationTask()
        ... )
        >>> active.open(pl.Trainer(logger=False, barebones=True), torch.nn.Linear(1, 2))
        >>> active.pool = Pool(5)
        >>> active.pool.label([4, 2])
        >>> active.labels = {4: 1, 2: 1}  # as told, not as in the data set
        >>> sorted(pair for x, y in active.train_dataloader() for pair in zip(x.tolist(), y.tolist()))
        [(2.0, 1), (4.0, 1)]
    """

    def __init__(
        self,
        datamodule: pl.LightningDataModule,
        *,
        task: Task,
        pool_source: str = "auto",
        pool_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(datamodule, pl.LightningDataModule):
            raise TypeError(f"`datamodule` must be a `lightning.LightningDataModule`, got {kind_of(datamodule)}.")
        if pool_source not in ("auto", "predict"):
            raise ValueError(f'`pool` must be "auto" or "predict", got {pool_source!r}.')
        check_count("pool_batch_size", pool_batch_size, optional=True)
        self.datamodule = datamodule
        self.task = task
        self.pool_source = pool_source
        self.pool_batch_size = pool_batch_size
        self.pool = Pool(0)
        self.labels: dict[int, Any] = {}
        self.seed = 0
        self.fit_key: tuple[int | str, ...] = (0,)
        self.prepare_data_per_node = datamodule.prepare_data_per_node
        self._prepared = False
        self._stages: list[str] = []
        self._candidates = torch.empty(0, dtype=torch.long)
        self._multiple = 1
        self._warned_single = self._has_batch_norm = False
        # Only what the user overrides may look overridden here: Lightning asks before it calls.
        for hook in _DELEGATED_HOOKS:
            if is_overridden(hook, datamodule):
                setattr(self, hook, getattr(datamodule, hook))
        share_hyperparameters(self, datamodule)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "datamodule":
            raise AttributeError(name)
        return getattr(self.datamodule, name)

    # -- life cycle ------------------------------------------------------------------------------------------------

    def prepare_data(self) -> None:
        """Run the user's hook, once."""
        if not self._prepared:
            self._prepared = True
            self.datamodule.prepare_data()

    def setup(self, stage: str) -> None:
        """Run the user's hook, once per stage."""
        self.datamodule.trainer = self.trainer
        if getattr(stage, "value", stage) == "predict" and self.pool_source != "predict":
            return  # the user's predict loader has no part in this
        if stage not in self._stages:
            self._stages.append(stage)
            self.datamodule.setup(stage)

    def teardown(self, stage: str) -> None:
        """Keep everything for the next round; :meth:`close` tears down."""

    def close(self) -> None:
        """Run the user's ``teardown`` for every stage that was set up."""
        for stage in self._stages:
            self.datamodule.teardown(stage)
        self._stages.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return the user's state."""
        return self.datamodule.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the user's state."""
        self.datamodule.load_state_dict(state_dict)

    def begin(self, trainer: pl.Trainer) -> None:
        """Prepare the data and set them up to be trained on.

        Args:
            trainer: The user's.

        Raises:
            TypeError: If the train loader is not one ``DataLoader`` over a map-style data set with a plain sampler.
        """
        self.trainer = trainer
        self.datamodule.trainer = trainer
        with infinite_barrier():
            if trainer.local_rank == 0 and (self.prepare_data_per_node or trainer.is_global_zero):
                self.prepare_data()
        self.setup("fit")
        self._template = check_train_loader(self.datamodule.train_dataloader())
        self.train_set: Dataset = self._template.dataset
        check_last_sample(self.train_set)

    def open(self, trainer: pl.Trainer, model: nn.Module, evaluate: str = "validate") -> None:
        """Find and check the data sets, before anything trains; after :meth:`begin`, which is run if it was not.

        Args:
            trainer: The user's.
            model: The user's, with all of its layers.
            evaluate: The stage that is evaluated.

        Raises:
            TypeError: If the train loader is not one ``DataLoader`` over a map-style data set with a plain sampler.
            ValueError: If the pool's data set is not the training set without augmentation, or the split is drawn
                anew in every ``setup``.
        """
        if not self._stages:
            self.begin(trainer)
        self.setup(evaluate)
        self._check_split_is_fixed(evaluate)
        self._check_evaluated("val" if evaluate == "validate" else "test")
        self.pool_set = self._find_pool_set()
        samples = [self.pool_set[i] for i in spread_over(len(self.pool_set))[::2]]  # type: ignore[arg-type]
        check_collate(self._template.collate_fn, samples, self.task)
        self._has_batch_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())

    def _find_pool_set(self) -> Dataset:
        n = len(self.train_set)  # type: ignore[arg-type]
        if self.pool_source == "predict":
            if not is_overridden("predict_dataloader", self.datamodule):
                raise ValueError(
                    '`pool="predict"` needs a `predict_dataloader()` over the training set without augmentation, but '
                    f'{type(self.datamodule).__name__} has none. Define it, or `pool_dataset()` with `pool="auto"`.'
                )
            self.setup("predict")
            loader = self.datamodule.predict_dataloader()
            dataset: Any = getattr(loader, "dataset", None)
            where = "predict_dataloader()"
        else:
            make = getattr(self.datamodule, "pool_dataset", None)
            if make is None:
                rank_zero_warn(
                    f"{owner_of(self.datamodule)} has no `pool_dataset()`, so the pool is scored on the training "
                    "set as it is, random augmentation included. Return the same samples in the same order, without "
                    "augmentation, from a method `pool_dataset()`."
                )
                return self.train_set
            dataset, where = make(), "pool_dataset()"
        if not isinstance(dataset, Dataset) and not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
            raise TypeError(f"`{where}` must give one map-style data set, got {type(dataset).__name__}.")
        if isinstance(dataset, IterableDataset):
            raise TypeError(f"`{where}` gave an iterable data set; samples need stable indices: use a map-style one.")
        if len(dataset) != n:
            raise ValueError(
                f"The pool of `{where}` has {len(dataset)} samples and the training set {n}. Both must hold the same "
                "samples in the same order."
            )
        self._compare_targets(dataset, n, where)
        return dataset

    def _compare_targets(self, dataset: Dataset, n: int, where: str) -> None:
        """A pool of other data, or in another order, would silently have wrong rows picked."""
        rows = spread_over(n)
        try:
            ours, theirs = ([self._target(data, i) for i in rows] for data in (self.train_set, dataset))
        except (TypeError, ValueError):
            if self.pool_source != "predict":
                return  # without targets there is nothing to compare
            raise ValueError(
                '`pool="predict"`: the predict set has no targets that could be compared with those of the training '
                "set, so it may be other data. Define `pool_dataset()` on the datamodule instead."
            ) from None
        masked = self.pool_source != "predict" and len(set(map(str, theirs))) == 1
        for i, mine, other in zip(rows, ours, theirs, strict=True):
            if mine != other and not masked:
                raise ValueError(
                    f"`{where}`: sample {i} has target {mine!r} in the training set and {other!r} in the pool: they "
                    "are other data, or in another order. Return the training samples in their order from "
                    "`pool_dataset()`."
                )

    def _check_split_is_fixed(self, stage: str) -> None:
        """A split drawn anew in every ``setup`` would put training samples among those that are evaluated."""
        before, now = self.train_set, self.datamodule.train_dataloader().dataset
        same = True
        while same and isinstance(before, Subset) and isinstance(now, Subset):
            same = list(before.indices) == list(now.indices)
            before, now = before.dataset, now.dataset
        if not same or not (before is now or self._same_samples(before, now)):
            raise ValueError(
                f"`setup({stage!r})` of {owner_of(self.datamodule)} drew another training set than "
                '`setup("fit")`, so that training samples would be among those that are evaluated. Split once (`if '
                'not hasattr(self, "train_set")`), or with a generator of fixed seed.'
            )

    def _same_samples(self, one: Dataset, other: Dataset) -> bool:
        """Whether two data sets look alike: their lengths, and the names and targets of a few samples."""
        n = len(one)  # type: ignore[arg-type]
        if len(other) != n:  # type: ignore[arg-type]
            return False
        try:
            looks = [[(self.task.key(data, i), self._target(data, i)) for i in spread_over(n)] for data in (one, other)]
        except (TypeError, ValueError):
            return True  # without targets there is nothing to compare
        return looks[0] == looks[1]

    def _target(self, dataset: Dataset, index: int) -> Any:
        return self.task.encode_label(self.task.targets(dataset[index]))

    def _check_evaluated(self, short: str) -> None:
        if not is_overridden(f"{short}_dataloader", self.datamodule):
            return
        loaders = getattr(self.datamodule, f"{short}_dataloader")()
        some = loaders if isinstance(loaders, (list, tuple)) else [loaders]
        if not some or any(each is None or (isinstance(each, DataLoader) and is_empty(each)) for each in some):
            raise ValueError(
                f"`{short}_dataloader()` of {type(self.datamodule).__name__} gives no batch, so no round would have "
                "metrics. Give it samples, or evaluate on the other set (`evaluate=`)."
            )

    @property
    def round(self) -> int:
        """Which round is fitted."""
        return int(self.fit_key[0])

    # -- loaders ---------------------------------------------------------------------------------------------------

    @property
    def batch_size(self) -> int:
        """Batch size of the user's train loader."""
        return int(self._template.batch_size or 1)

    def check_training(self, count: int) -> None:
        """Refuse a labelled set from which no training batch can be made.

        Raises:
            ValueError: If ``count`` labels give no batch.
        """
        local = -(-count // self._replicas()["num_replicas"])
        if self._template.drop_last and local < self.batch_size:
            raise ValueError(
                f"The train loader drops its last batch (`drop_last=True`, batch size {self.batch_size}), and "
                f"{count} labels give {local} per process: not one batch, so nothing would train. Start with at least "
                f"{self.batch_size * self._replicas()['num_replicas']} labels, or set `drop_last=False`."
            )
        batches = local // self.batch_size if self._template.drop_last else -(-local // self.batch_size)
        self._check_limit(count, batches)
        check_validation(self.trainer, batches, count)
        if self._has_batch_norm and local == 1:
            raise ValueError(
                f"{count} labelled sample(s) give one per process: a batch of one, which BatchNorm cannot train "
                "on. Start with at least 2 per process."
            )

    def _check_limit(self, count: int, batches: int) -> None:
        if self.trainer is None:
            return
        limit = self.trainer.limit_train_batches
        if isinstance(limit, float) and int(batches * limit) == 0:
            raise ValueError(
                f"`limit_train_batches={limit}` of the {batches} batches that {count} labels give is none: nothing "
                "would train. Remove it."
            )

    def collate(self, samples: list[Any]) -> Any:
        """Return a batch of samples, as the train loader makes it."""
        return self._template.collate_fn(samples)

    def _replicas(self) -> dict[str, int]:
        kwargs = self.trainer.distributed_sampler_kwargs if self.trainer is not None else None
        return {"num_replicas": 1, "rank": 0, **(kwargs or {})}  # type: ignore[dict-item]

    def key(self, index: int) -> str | None:
        """Return a name for a dataset index that outlives a reordering; None while the data are not set up."""
        return self.task.key(self.train_set, index) if "train_set" in vars(self) else None

    def train_dataloader(self) -> DataLoader:
        """Return the user's loader over the labelled samples, in an order that follows from seed and epoch."""
        view = LabelledView(self.train_set, self.pool.labelled, self.labels, self.task)
        template = self._template
        shuffle = isinstance(template.sampler, RandomSampler) or bool(getattr(template.sampler, "shuffle", False))
        seed = derive_seed(self.seed, *self.fit_key, "order")
        sampler = EpochSampler(view, shuffle=shuffle, seed=seed, **self._replicas())
        # A resumed round begins at a later epoch, and workers fetch as soon as the loader is iterated.
        if self.trainer is not None:
            sampler.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed)
        drop_last = bool(template.drop_last)
        if self._has_batch_norm and not drop_last and len(sampler) % self.batch_size == 1 < self.batch_size:
            drop_last = len(sampler) > 1
            if drop_last and not self._warned_single:
                self._warned_single = True
                rank_zero_warn(
                    f"{len(sampler)} labelled samples in batches of {self.batch_size} leave a last batch of one, which "
                    "BatchNorm cannot train on. Such a batch is dropped; each epoch drops another sample."
                )
        return self._loader(
            view, sampler=sampler, batch_size=self.batch_size, drop_last=drop_last, generator=sampler.generator
        )

    def predict_dataloader(self) -> DataLoader:
        """Return a loader over the candidates of :meth:`pool_pass`, in their order."""
        sampler = self._block_sampler()
        size = self.pool_batch_size or self.batch_size
        size = -(-size // self._multiple) * self._multiple
        view = LabelledView(self.pool_set, self._candidates, {}, self.task)
        return self._loader(view, sampler=sampler, batch_size=size, drop_last=False, persistent_workers=False)

    def plain_dataloader(self, batches: Iterable[list[int]]) -> DataLoader:
        """Return a loader over batches of dataset indices, as the pool pass sees their samples; the same on every rank.

        Those that are labelled come with the labels that were told. There may be infinitely many batches.
        """
        view = LabelledView(self.pool_set, torch.arange(len(self.pool_set)), self.labels, self.task)  # type: ignore[arg-type]
        return self._loader(
            view, batch_sampler=batches, persistent_workers=False, generator=torch.Generator(), in_order=True
        )

    def to_device(self, batch: Any, model: pl.LightningModule, device: torch.device) -> Any:
        """Move a batch through the transfer hooks, the user's datamodule's or else their model's, as Lightning does."""

        def hook(name: str, *args: Any) -> Any:
            owner = self if is_overridden(name, self) else model
            return getattr(owner, name)(*args, 0)  # the loader's number

        batch = hook("on_before_batch_transfer", batch)
        return hook("on_after_batch_transfer", hook("transfer_batch_to_device", batch, device))

    def pool_pass(self, indices: Tensor, multiple: int) -> BlockSampler:
        """Point :meth:`predict_dataloader` at dataset ``indices``.

        Args:
            indices: The samples, in order; the same on every rank.
            multiple: Batches and shards are cut only at multiples of this.

        Returns:
            What says which of them this rank sees. With fewer groups than ranks every rank sees all, since Lightning
            cannot predict over an empty shard.
        """
        self._candidates, self._multiple = indices, multiple
        return self._block_sampler()

    def _block_sampler(self) -> BlockSampler:
        where = self._replicas()
        if -(-len(self._candidates) // self._multiple) < where["num_replicas"]:
            where = {"num_replicas": 1, "rank": 0}
        return BlockSampler(range(len(self._candidates)), multiple=self._multiple, **where)

    def _loader(self, dataset: Dataset, **changed: Any) -> DataLoader:
        t = self._template
        kept: dict[str, Any] = {
            "num_workers": t.num_workers,
            "collate_fn": t.collate_fn,
            "pin_memory": t.pin_memory,
            "timeout": t.timeout,
            "worker_init_fn": t.worker_init_fn,
            "multiprocessing_context": t.multiprocessing_context,
            "prefetch_factor": t.prefetch_factor,
            "persistent_workers": t.persistent_workers,
        }
        if hasattr(t, "in_order"):
            kept["in_order"] = t.in_order
        return DataLoader(dataset, **{**kept, **changed})

    def __iter__(self) -> Iterator[Any]:  # a wrapper with __getattr__ must not pass for iterable
        raise TypeError("ActiveDataModule is not iterable.")
