"""The user's datamodule seen through a pool: training on what is labelled, scoring what is not."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import nn
from torch.utils.data import Dataset

from lightning_al._compat import infinite_barrier, is_overridden
from lightning_al.checks import Findings, check_choice, check_count, check_type
from lightning_al.data import validation
from lightning_al.data.augmentation import Augment
from lightning_al.data.collate import check_collate, refuse_several_sizes
from lightning_al.data.drawn import DrawnSampler
from lightning_al.data.epochs import Epochs
from lightning_al.data.keys import SampleKeys
from lightning_al.data.known import KnownSamples
from lightning_al.data.loaders import owner_of
from lightning_al.data.pool import Pool
from lightning_al.data.readable import readable
from lightning_al.data.samples import Samples
from lightning_al.data.scored_data import ScoredData
from lightning_al.data.template import LoaderTemplate
from lightning_al.data.train_loaders import TrainLoaders
from lightning_al.data.training_samples import TrainingSamples
from lightning_al.data.unlabelled import find_samples, has_unlabelled
from lightning_al.distributed.randomness import derive_seed
from lightning_al.tasks.base import Task


class ActiveDataModule(ScoredData):
    """The user's datamodule seen through a :class:`~lightning_al.Pool`.

    The train loader covers what is labelled, with the labels that were told; the predict loader the candidates, on
    un-augmented inputs. Where the user's has an ``unlabelled_dataset()``, that is the pool, and all that their train
    loader has is labelled already (:class:`~lightning_al.data.samples.Samples` numbers both). A label that was read
    from the data is left to the sample, whose target is augmented with its input; one that was told is put in before
    the user's ``augment(sample)``, if there is such a method. The settings of the user's train loader (batch size,
    workers, collate function, pinning, ...) are kept. ``prepare_data`` and ``setup`` run once per stage, not at every
    fit. A Trainer, and with it the user's code, gets a :class:`~lightning_al.data.for_trainer.ForTrainer`, where all
    else is the user's.

    Args:
        datamodule: The user's.
        task: What a batch means.
        pool_source: ``"auto"``: the datamodule's ``pool_dataset()`` if it has one, else the training set, with a
            warning if that augments. ``"predict"``: the dataset of ``predict_dataloader()``.
        pool_batch_size: Batch size for scoring; default the train loader's.

    Raises:
        TypeError: If ``datamodule`` is not a ``LightningDataModule``.
        ValueError: If an option is out of range.

    Example:
        >>> import torch
        >>> from lightning_al.tasks import ClassificationTask
        >>> data = torch.utils.data.TensorDataset(torch.arange(5.0), torch.tensor([0, 1, 0, 1, 0]))
        >>> active = ActiveDataModule(
        ...     pl.LightningDataModule.from_datasets(data, batch_size=2), task=ClassificationTask()
        ... )
        >>> active.open(pl.Trainer(logger=False, barebones=True), torch.nn.Linear(1, 2))
        >>> pool = Pool(5)
        >>> pool.label([4, 2])
        >>> active.follow(pool, labels={4: 1, 2: 1})  # as told, not as in the dataset
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
        super().__init__(datamodule, task, pool_batch_size)
        with Findings() as findings:
            findings.of(
                check_type, "datamodule", datamodule, pl.LightningDataModule, "a `lightning.LightningDataModule`"
            )
            findings.of(check_choice, "pool", pool_source, ("auto", "predict"))
            findings.of(check_count, "pool_batch_size", pool_batch_size, optional=True)
        self.pool_source = pool_source
        self.pool = Pool(0)
        self.labels: Mapping[int, Any] = {}
        self._own_labels: Collection[int] = ()  # which of them were read from the data themselves
        self.seed = 0
        self.known_share: float | None = None
        self.fit_key: tuple[int | str, ...] = (0,)
        self.prepare_data_per_node = datamodule.prepare_data_per_node
        self._prepared = False
        self._stages: list[str] = []
        self._template: LoaderTemplate | None = None  # there from `begin` on
        self._keys: SampleKeys | None = None  # there from `open` on
        self.known_samples: KnownSamples | None = None
        self._has_batch_norm = False
        self.has_pool = False
        self._warned_of_single = False
        self._view_is_checked = False

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

    def begin(self, trainer: pl.Trainer, *, seed: int = 0, known_share: float | None = None) -> None:
        """Prepare the data and set them up to be trained on.

        Args:
            trainer: The user's.
            seed: With each fit's key it decides the order of the samples.
            known_share: The share of each batch that is of the training set beside an ``unlabelled_dataset()``.

        Raises:
            TypeError: If the train loader cannot be carried over to the labelled part.
            ValueError: If the training set is empty.
            IndexError: If the training set is shorter than it says.
        """
        self.seed = seed
        self.known_share = known_share
        self.trainer = trainer
        self.datamodule.trainer = trainer
        with infinite_barrier():
            if trainer.local_rank == 0 and (self.prepare_data_per_node or trainer.is_global_zero):
                self.prepare_data()
        self.setup("fit")
        self._template = TrainLoaders.of(self.datamodule).template()
        if known_share is not None and self._template.draw is not None:
            raise ValueError(
                "`known_share` makes up the batches, and the train loader has a sampler that does. Leave `known_share` "
                "out: in `sampler_factory(labelled)` the training set comes first, so that it can see to the share."
            )
        self.train_set: Dataset = self._template.dataset
        validation.check_last_sample(self.train_set, may_be_empty=has_unlabelled(self.datamodule))
        augment, owner = Augment.of(self.datamodule), owner_of(self.datamodule)
        self.samples = Samples(TrainingSamples.of(self.train_set, augment, self.task, owner))
        self._view_is_checked = False

    def open(self, trainer: pl.Trainer, model: nn.Module, evaluate: str | None = "validate") -> None:
        """Find and check the datasets, before anything trains; runs :meth:`begin` first if it has not run yet.

        Args:
            trainer: The user's.
            model: The user's, with all of its layers.
            evaluate: The stage that is evaluated; None: none is.

        Raises:
            TypeError: If the train loader cannot be carried over to the labelled part.
            ValueError: If the pool's dataset is not the training set without augmentation, nor one beside it, or the
                split is drawn anew in every ``setup``.
        """
        if not self._stages:
            self.begin(trainer)
        self._has_batch_norm = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
        self.has_pool = False
        if evaluate is not None:
            self.setup(evaluate)
        owner = owner_of(self.datamodule)
        train_set_now = TrainLoaders.of(self.datamodule).pool.dataset
        hook = "test_dataloader" if evaluate == "test" else "val_dataloader"
        since = "train_dataloader()" if evaluate is None else f"setup({evaluate!r})"
        with Findings() as findings:
            with findings.of_block():
                validation.check_split_is_fixed(self.train_set, train_set_now, self.task, hook=since, owner=owner)
            if evaluate is not None and is_overridden(hook, self.datamodule):
                with findings.of_block():
                    validation.check_evaluated(getattr(self.datamodule, hook)(), hook=hook, owner=owner)
            with findings.of_block():
                self.setup("predict")
                collate = self._train_loader().collate_fn
                self.samples = find_samples(
                    self.datamodule, self.train_set, self.task, source=self.pool_source, collate=collate
                )
                rows = readable(self.pool_set, validation.spread_over_parts(self.pool_set))
                if rows and not self.goes_one_by_one:
                    check_collate(collate, [self.pool_set[i] for i in rows], self.task)
                self._keys = self.samples.pool.keys()
                self.known_samples = self.samples.known_samples()
                self.has_pool = True

    def follow(self, pool: Pool, labels: Mapping[int, Any], own: Collection[int] = ()) -> None:
        """Train from now on on what is labelled in ``pool``.

        Args:
            pool: Of the campaign.
            labels: Encoded, by dataset index.
            own: Which of them were read from the data themselves, and stay there.
        """
        self.pool = pool
        self.labels = labels
        self._own_labels = own

    def begin_fit(self, key: tuple[int | str, ...]) -> None:
        """Begin a fit; with the seed its key, the round first, decides the order of the samples."""
        self.fit_key = key

    @property
    def pool_set(self) -> Dataset:
        """The samples as they are scored."""
        return self.samples.pool_set

    def called(self, indices: Sequence[int]) -> str:
        """Say which samples are meant, for an error: some may be of the training set beside the pool."""
        return self.samples.called(indices)

    def new_pool(self) -> Pool:
        """Return the pool of a campaign that begins: all of it unlabelled, but for what the training set has too."""
        pool = Pool(self.samples.size)
        if self.known_samples is not None:
            pool.know(self.known_samples.in_pool)
        return pool

    @property
    def told_labels(self) -> Mapping[int, Any]:
        """Labels that are put into the samples of :attr:`pool_set`, encoded, by index."""
        return self.samples.pool.to_put_in(self.samples.pool.pool_set, self.labels, self._own_labels)

    @property
    def round(self) -> int:
        """Which round is fitted."""
        return int(self.fit_key[0])

    # -- loaders ---------------------------------------------------------------------------------------------------

    @property
    def template(self) -> LoaderTemplate:
        """The user's train loader, whose settings all loaders have."""
        return self._train_loader()

    def _train_loader(self) -> LoaderTemplate:
        """Return the user's train loader, which is there from :meth:`begin` on."""
        if self._template is None:
            raise RuntimeError("This datamodule has no loaders before the campaign is opened. Call `loop.run` first.")
        return self._template

    def _renew_loaders(self) -> TrainLoaders:
        """Ask for the user's train loaders anew; the pool's must hold the samples that its indices mean."""
        self._train_loader()
        loaders = TrainLoaders.of(self.datamodule)
        template = loaders.template()
        owner = owner_of(self.datamodule)
        validation.check_split_is_fixed(
            self.train_set, template.dataset, self.task, hook="train_dataloader()", owner=owner
        )
        self._template, self.train_set = template, template.dataset
        self.samples = self.samples.renewed(self.train_set)
        return loaders

    def check_training(self, count: int) -> None:
        """Refuse a labelled set from which no training batch can be made.

        Args:
            count: Labels of the pool; the known samples beside it are labelled too.

        Raises:
            ValueError: If there is no batch, or none in which ``known_share`` is a whole number of samples.
        """
        self._epochs(self._train_loader()).check(count, self.trainer)

    def _epochs(self, template: LoaderTemplate) -> Epochs:
        """Return what says how the labelled samples make up an epoch."""
        return Epochs(
            template=template,
            known=len(self.samples.known_indices),
            known_share=self.known_share,
            has_batch_norm=self._has_batch_norm,
            **self._replicas(),
        )

    def collate(self, samples: list[Any]) -> Any:
        """Return a batch of samples, as the train loader makes it."""
        collate = self._train_loader().collate_fn
        try:
            return collate(samples)
        except RuntimeError:
            refuse_several_sizes(collate, samples)
            raise

    @property
    def sample_keys(self) -> SampleKeys:
        """What the samples are called, from :meth:`open` on."""
        if self._keys is None:
            raise RuntimeError("The samples have no keys before the campaign is opened. Call `loop.run` first.")
        return self._keys

    @property
    def known_keys(self) -> SampleKeys | None:
        """What the known samples are called, where there are any beside the pool."""
        return None if self.known_samples is None else self.known_samples.keys

    def key(self, index: int) -> str | None:
        """Return the key of a dataset index; None where it has none, or the data are not set up to be read."""
        return self.keys([index])[0]

    def keys(self, indices: Sequence[int]) -> list[str | None]:
        """Return the key of each of these distinct dataset indices, as :meth:`key` does."""
        if self._keys is None:
            return [None] * len(indices)
        return self._keys.keys(indices) if self._stages else [self._keys.name(index) for index in indices]

    def places(self, names: Collection[str]) -> dict[str, int]:
        """Return where the samples of these names are, those that are known to be there."""
        return {} if self._keys is None else self._keys.places(names)

    def train_dataloader(self) -> Any:
        """Return the user's loader over the labelled samples, in an order that follows from seed and epoch.

        Where the user has several, the others are beside it.

        The user's is asked for again, as at every fit of theirs: a tuner may have set another batch size.

        Raises:
            TypeError: If it can no longer be carried over to the labelled part.
            ValueError: If it holds other samples than at first, or beside its samples labels would be wrong.
        """
        loaders = self._renew_loaders()
        template = self._train_loader()
        view = self.samples.labelled(self.pool, self.labels, self._own_labels)
        is_first = not self._view_is_checked and len(view) > 0
        if is_first:
            self.samples.check_view(view, self._own_labels)
            self._view_is_checked = True
        epochs = self._epochs(template)
        sampler = epochs.sampler(view, derive_seed(self.seed, *self.fit_key, "order"))
        if is_first and isinstance(sampler, DrawnSampler):
            sampler.check_draws_again()
        # A resumed round begins at a later epoch, and workers fetch as soon as the loader is iterated.
        if self.trainer is not None:
            sampler.set_epoch(self.trainer.fit_loop.epoch_progress.current.processed)
        drops_single = epochs.leaves_single(sampler)
        if drops_single and not self._warned_of_single:
            self._warned_of_single = True
            rank_zero_warn(
                f"{len(sampler)} labelled samples in batches of {template.batch_size} leave a last batch of one, which "
                "BatchNorm cannot train on. Such a batch is dropped; each epoch drops another sample."
            )
        drop_last = template.drop_last or drops_single
        return loaders.replaced(template.train_loader(view, sampler, drop_last=drop_last))
