"""Datamodules for projects that have none: made of loaders that are handed over, or that the module defines."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import lightning.pytorch as pl
from torch.utils.data import DataLoader, Dataset

from lightning_al._compat import is_overridden
from lightning_al.data.augmentation import Augment

Evaluated = DataLoader | Sequence[DataLoader]

_HOOKS = ("train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader")


class Loaders(pl.LightningDataModule):
    """A datamodule of loaders that are there already, as one hands them to ``trainer.fit``.

    Args:
        train: Over the samples that may be labelled; with ``unlabelled``, over those that are labelled already.
        val: One loader, or several.
        test: One loader, or several.
        pool: The samples of ``train`` in the same order, without augmentation.
        augment: ``augment(sample) -> sample``, the training augmentation; applied to the samples of ``pool``, or of
            ``train``, once their labels were put in, so that input and target move together.
        unlabelled: Samples that may be labelled and are not in ``train``; they need no targets.
        sampler_factory: ``sampler_factory(labelled) -> Sampler``, of samples or of batches, in place of that of
            ``train``.
        pool_loader: Where ``train`` is several loaders, the key or the place of the one meant above.

    Example:
        >>> import torch
        >>> data = torch.utils.data.TensorDataset(torch.arange(4.0), torch.tensor([0, 1, 0, 1]))
        >>> loaders = Loaders(DataLoader(data, batch_size=2), DataLoader(data), pool=data)
        >>> len(loaders.train_dataloader()), len(loaders.val_dataloader())
        (2, 4)
    """

    def __init__(
        self,
        train: Any,
        val: Evaluated | None = None,
        test: Evaluated | None = None,
        *,
        pool: Dataset | None = None,
        augment: Callable[[Any], Any] | None = None,
        unlabelled: Dataset | None = None,
        sampler_factory: Callable[[Any], Any] | None = None,
        pool_loader: str | int | None = None,
    ) -> None:
        super().__init__()
        self.train_dataloader = partial(_identity, train)
        # Lightning and the loop ask which hooks there are, so a loader that is missing must have none.
        if val is not None:
            self.val_dataloader = partial(_identity, val)
        if test is not None:
            self.test_dataloader = partial(_identity, test)
        if pool is not None:
            self.pool_dataset = partial(_identity, pool)
        if augment is not None:
            self.augment = partial(augment)
        if unlabelled is not None:
            self.unlabelled_dataset = partial(_identity, unlabelled)
        if sampler_factory is not None:
            self.sampler_factory = partial(sampler_factory)
        if pool_loader is not None:
            self.pool_loader = pool_loader


def _identity(value: Any) -> Any:
    """Return the value; unlike a lambda, it can be sent to another process."""
    return value


class ModuleLoaders(pl.LightningDataModule):
    """The loaders that a module defines itself, as a datamodule.

    Args:
        model: With a ``train_dataloader``; its ``prepare_data`` and ``setup`` make the data.
    """

    def __init__(self, model: pl.LightningModule) -> None:
        super().__init__()
        self.model = model
        for hook in _HOOKS:
            if is_overridden(hook, model):
                setattr(self, hook, getattr(model, hook))
        for hook in ("pool_dataset", "unlabelled_dataset", "sampler_factory", "pool_loader"):
            if hasattr(model, hook):
                setattr(self, hook, getattr(model, hook))
        if Augment.of(model) is not None:  # a layer of this name is for batches
            self.augment: Any = model.augment

    def prepare_data(self) -> None:
        """Run the module's hook."""
        self.model.prepare_data()

    def setup(self, stage: str) -> None:
        """Run the module's hook."""
        self.model.setup(stage)


def owner_of(datamodule: pl.LightningDataModule) -> str:
    """Return the name of the class that the user wrote these loaders in, for an error."""
    return type(datamodule.model if isinstance(datamodule, ModuleLoaders) else datamodule).__name__
