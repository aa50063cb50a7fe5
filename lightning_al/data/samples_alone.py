"""Samples that are scored without a campaign: a dataset, a loader's, or those that a datamodule has for it."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeGuard

import lightning.pytorch as pl
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, DistributedSampler

from lightning_al._compat import infinite_barrier, is_overridden
from lightning_al.data.augmented import warn_of_scored
from lightning_al.data.collate import check_collate
from lightning_al.data.keys import SampleKeys
from lightning_al.data.loaders import owner_of
from lightning_al.data.parts import CompletedSamples
from lightning_al.data.pool import Indices, Pool
from lightning_al.data.readable import NamedSamples, readable
from lightning_al.data.scored_data import ScoredData
from lightning_al.data.stream import Stream, check_map_style, is_stream
from lightning_al.data.template import LoaderTemplate
from lightning_al.data.train_loaders import pool_loader
from lightning_al.distributed.randomness import draws_undone
from lightning_al.inference.batches import copy_of
from lightning_al.tasks.base import Task
from lightning_al.words import first_line

BATCH_SIZE = 64
"""Samples of a batch where no loader says how many."""

Source: TypeAlias = Dataset | DataLoader | pl.LightningDataModule
Labelled: TypeAlias = Dataset | Indices | bool


class SamplesAlone(ScoredData):
    """Samples to be scored that belong to no campaign, and those that are labelled already.

    Args:
        source: A map-style dataset; a loader, whose batch size, collate function and workers are kept; or a datamodule.
            Of that the samples are, of the first that it has: ``unlabelled_dataset()``, ``predict_dataloader()``,
            ``pool_dataset()``.
        task: What a batch means.
        labelled: What is labelled already: a dataset, whose indices come after those of the samples; or indices of the
            samples themselves; or True: the training set of the datamodule. False: nothing is.
        batch_size: Samples of a batch; default the loader's, or :data:`BATCH_SIZE`.

    Example:
        >>> from lightning_al.tasks import ClassificationTask
        >>> alone = SamplesAlone(torch.utils.data.TensorDataset(torch.zeros(5, 2)), task=ClassificationTask())
        >>> alone.begin(pl.Trainer(logger=False, barebones=True))
        >>> alone.candidates.tolist(), alone.scoring_batch_size
        ([0, 1, 2, 3, 4], 64)
    """

    def __init__(
        self, source: Source, *, task: Task, labelled: Labelled = False, batch_size: int | None = None
    ) -> None:
        users = source if isinstance(source, pl.LightningDataModule) else pl.LightningDataModule()
        super().__init__(users, task, batch_size)
        self.source = source
        self._labelled = labelled
        self._stages: list[str] = []
        self._are_for_training = False
        self.stream: Stream | None = None
        """The samples, where they come one after the other and have no indices; from :meth:`begin` on."""

    # -- life cycle ------------------------------------------------------------------------------------------------

    def begin(self, trainer: pl.Trainer) -> None:
        """Set the data up and find the samples.

        Raises:
            TypeError: If they are not in a map-style dataset.
            ValueError: If there are none, or the datamodule does not say which they are.
        """
        self.trainer = trainer
        self.datamodule.trainer = trainer
        if isinstance(self.source, pl.LightningDataModule):
            with infinite_barrier():
                if trainer.local_rank == 0 and (self.datamodule.prepare_data_per_node or trainer.is_global_zero):
                    self.datamodule.prepare_data()
            loader, where = self._found()
        elif isinstance(self.source, DataLoader):
            loader, where = self.source, "the loader"
        else:
            if not is_stream(self.source):
                check_map_style(self.source, "`dataset`")
            loader, where = DataLoader(self.source, batch_size=BATCH_SIZE), "`dataset`"
        if isinstance(loader, DataLoader) and is_stream(loader.dataset):
            self.stream = Stream(loader, self.task, self.pool_batch_size, where=where)
            return
        self._check_loader(loader, where)
        self._samples: Any = loader.dataset
        self._template = LoaderTemplate(loader)
        self._keys = SampleKeys(self._samples, self._samples, self.task)
        warn_of_scored(self._samples, self.task, where[0].upper() + where[1:])
        self._divide()

    def close(self) -> None:
        """Run the user's ``teardown`` for every stage that was set up."""
        for stage in self._stages:
            self.datamodule.teardown(stage)
        self._stages.clear()

    def _set_up(self, stage: str) -> None:
        if stage not in self._stages:
            self.datamodule.setup(stage)
            self._stages.append(stage)

    # -- what is there ---------------------------------------------------------------------------------------------

    @property
    def has_labelled(self) -> bool:
        """Whether anything was said to be labelled already."""
        return not isinstance(self._labelled, bool) or self._labelled

    @property
    def pool_set(self) -> Dataset:
        """All samples: those that may be picked, and those that are labelled."""
        return self._everything

    def predict_dataloader(self) -> Any:
        """Return a loader over the candidates of :meth:`pool_pass`, or over the stream from its beginning."""
        return super().predict_dataloader() if self.stream is None else self.stream.loader()

    @property
    def template(self) -> LoaderTemplate:
        """The loader whose settings all loaders have."""
        return self._template

    def key(self, index: int) -> str | None:
        """Return what a sample is called; None where it is known by its index alone."""
        return self._keys.key(index) if index < len(self._samples) else None

    def keys_of(self, indices: Tensor) -> Sequence[str | None]:
        """Return the keys of samples; all of them now, where the datamodule tears down what later ones are made of."""
        keys = super().keys_of(indices)
        return list(keys) if is_overridden("teardown", self.datamodule) else keys

    def check_batches(self, indices: Tensor) -> None:
        """Refuse a collate function under which a row of a batch is not the sample at its place.

        Args:
            indices: Of samples that can be read.

        Raises:
            ValueError: If rows are in another order, or mixed.
            TypeError: If the samples are of different kinds and cannot be put together.
        """
        if self.scoring_batch_size == 1:
            return
        few = indices[:: max(len(indices) // 8, 1)][:8].tolist()
        samples = NamedSamples(self.pool_set, self.task)
        check_collate(self.template.collate_fn, [samples[i] for i in few], self.task, whose="The loader")

    # -- finding ---------------------------------------------------------------------------------------------------

    def _found(self) -> tuple[DataLoader, str]:
        """Return a loader over the datamodule's samples, and where they come from."""
        users, owner = self.datamodule, owner_of(self.datamodule)
        for hook in ("unlabelled_dataset", "predict_dataloader", "pool_dataset"):
            if hook == "predict_dataloader":
                if not is_overridden(hook, users):
                    continue
                self._set_up("predict")
                loader = users.predict_dataloader()
            else:
                make: Callable[[], Any] | None = getattr(users, hook, None)
                if make is None:
                    continue
                self._set_up_as_for_training()
                samples = make()
                if samples is None:
                    continue
                check_map_style(samples, f"`{hook}()` of {owner}")
                loader = self._like_the_users(samples, are_bare=hook == "unlabelled_dataset")
            self._are_for_training = hook == "pool_dataset"
            size = len(loader.dataset) if isinstance(loader, DataLoader) and hasattr(loader.dataset, "__len__") else 0
            rank_zero_info(f"Scoring the {size:,} samples of `{hook}()` of {owner}.")
            return loader, f"`{hook}()` of {owner}"
        raise ValueError(
            f"{owner} does not say which samples there are to score. Define `unlabelled_dataset()`, or "
            "`predict_dataloader()`."
        )

    def _set_up_as_for_training(self) -> None:
        """As a campaign does before it asks for these samples; where there is nothing to train on, without that."""
        try:
            self._set_up("fit")
        except Exception as error:  # the user's, of any kind
            rank_zero_info(f"`setup('fit')` failed ({first_line(error)}); the data are set up for 'predict' alone.")
        self._set_up("predict")

    def _like_the_users(self, samples: Dataset, *, are_bare: bool) -> DataLoader:
        """Return a loader over samples as the datamodule's own are: for training, or else for prediction.

        Samples that may be inputs alone are given the form that the loader's collate function is made for.
        """
        for hook in ("train_dataloader", "predict_dataloader"):
            if is_overridden(hook, self.datamodule):
                with contextlib.suppress(Exception):  # there may be nothing to train on
                    loader = getattr(self.datamodule, hook)()
                    if hook == "train_dataloader":
                        loader = pool_loader(self.datamodule, loader)
                    if isinstance(loader, DataLoader) and loader.batch_sampler is not None:
                        template = LoaderTemplate(loader)
                        if are_bare and hook == "train_dataloader":
                            samples = completed_like(loader.dataset, samples, self.task)
                        return template.loader(samples, batch_size=template.batch_size)
        return DataLoader(samples, batch_size=BATCH_SIZE)

    def _check_loader(self, loader: Any, where: str) -> None:
        if not isinstance(loader, DataLoader):
            raise TypeError(f"{where} must give one `torch.utils.data.DataLoader`, got a {type(loader).__name__}.")
        check_map_style(loader.dataset, f"The dataset of {where}")
        some = not isinstance(loader.sampler, DistributedSampler) and hasattr(loader.sampler, "__len__")
        if some and loader.batch_size is not None and len(loader.sampler) != len(loader.dataset):  # type: ignore[arg-type]
            raise ValueError(
                f"{where} draws {len(loader.sampler)} of {len(loader.dataset)} samples "  # type: ignore[arg-type]
                f"({type(loader.sampler).__name__}), and the samples of a dataset are all scored. Give those that are "
                "meant as a `torch.utils.data.Subset`."
            )
        if loader.batch_size is None and self.pool_batch_size is None:
            raise ValueError(
                f"{where} has a batch sampler of its own, or none, so it does not say how many samples a batch has. "
                "Say `batch_size=`: samples are scored in an order of their own."
            )
        if len(loader.dataset) == 0:  # type: ignore[arg-type]
            raise ValueError(f"{where} has no sample to score.")

    def _divide(self) -> None:
        """Say which samples may be picked, and which are labelled."""
        labelled, samples, size = self._labelled, self._samples, len(self._samples)
        self._everything: Dataset = samples
        self.candidates, self.labelled = torch.arange(size), torch.empty(0, dtype=torch.long)
        if isinstance(labelled, bool):
            if not labelled:
                return
            labelled = self._training_set()
        if not are_indices(labelled):
            check_map_style(labelled, "`labelled`")
            self._everything = ConcatDataset([samples, labelled])  # type: ignore[list-item]
            self.labelled = torch.arange(size, len(self._everything))  # type: ignore[arg-type]
            return
        pool = Pool(size)
        pool.label(labelled)
        self.candidates, self.labelled = pool.unlabelled, pool.labelled
        if len(self.candidates) == 0:
            raise ValueError(f"All {size} samples are in `labelled`: there is none to score.")

    def _training_set(self) -> Dataset:
        users, owner = self.datamodule, owner_of(self.datamodule)
        if not is_overridden("train_dataloader", users):
            raise ValueError(f"`labelled=True` is the training set of a datamodule, and {owner} has none.")
        self._set_up("fit")
        dataset: Any = getattr(pool_loader(users, users.train_dataloader()), "dataset", None)
        if self._are_for_training or dataset is self._samples:
            raise ValueError(
                f"`labelled=True`: the training set of {owner} holds the very samples that are to be scored. Give "
                "their indices: `labelled=[...]`."
            )
        warn_of_scored(dataset, self.task, f"The training set of {owner}")
        return dataset


def completed_like(train_set: Dataset, samples: Dataset, task: Task) -> Dataset:
    """Return samples in the form of those of a training set, as a campaign has them; as they are where that fails."""
    few = [readable(each, range(len(each)), 1) for each in (train_set, samples)]  # type: ignore[arg-type]
    if not all(few):
        return samples
    with draws_undone():
        completed = CompletedSamples(samples, copy_of(train_set[few[0][0]]), task)
        try:
            completed[few[1][0]]
        except (TypeError, ValueError, LookupError, AttributeError):
            return samples
    return completed


def are_indices(labelled: Any) -> TypeGuard[Indices]:
    """Whether what is labelled is named by its indices."""
    return isinstance(labelled, (list, tuple, range, Tensor)) or type(labelled).__module__ == "numpy"
