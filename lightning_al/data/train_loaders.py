"""What the user's ``train_dataloader()`` gives: which loader is the pool's, and whether it can be carried over."""

from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from lightning_al.data.drawn import FACTORY, Draw
from lightning_al.data.stream import has_indices
from lightning_al.data.template import LoaderTemplate
from lightning_al.data.unlabelled import HOOK, has_unlabelled
from lightning_al.words import shown

POOL_LOADER = "pool_loader"
"""The attribute of the user's datamodule that says which of several train loaders is the pool's."""

_OWN_WAY = (
    f"Define `{FACTORY}(labelled)` on the datamodule (or `Loaders({FACTORY}=)`), which returns such a sampler of the "
    "labelled part"
)


@dataclass(frozen=True)
class TrainLoaders:
    """The user's train loaders, one of which has the samples that are labelled.

    Args:
        pool: That one.
        factory: Makes its sampler, where the user's datamodule has such a method.
        combined: All of them, where there are several.

    Example:
        >>> class Data(pl.LightningDataModule):
        ...     pool_loader = "a"
        ...     def train_dataloader(self):
        ...         return {"a": DataLoader(range(3), batch_size=2), "b": DataLoader(range(9))}
        >>> loaders = TrainLoaders.of(Data())
        >>> loaders.template().batch_size
        2
        >>> {name: len(loader) for name, loader in loaders.replaced(DataLoader(range(1))).iterables.items()}
        {'a': 1, 'b': 9}
    """

    pool: DataLoader
    factory: Draw | None = None
    combined: CombinedLoader | None = None

    @classmethod
    def of(cls, datamodule: pl.LightningDataModule) -> "TrainLoaders":
        """Ask for the user's train loaders.

        Raises:
            TypeError: If the pool's is not one ``DataLoader`` over a map-style dataset, whose sampler can be carried
                over to the labelled part.
            ValueError: If the datamodule names none of several loaders, or weights are not of all samples.
        """
        given: Any = datamodule.train_dataloader()
        factory = getattr(datamodule, FACTORY, None)
        if factory is not None and not callable(factory):
            raise TypeError(
                f"`{FACTORY}` must be a method that returns a sampler, `{FACTORY}(labelled)`, got "
                f"{type(factory).__name__}."
            )
        pool = check_train_loader(pool_loader(datamodule, given), factory)
        if factory is None and has_unlabelled(datamodule) and isinstance(_sampler(pool), WeightedRandomSampler):
            raise ValueError(
                "The train loader's `WeightedRandomSampler` has no weights for the samples of "
                f"`{HOOK}()`. Define `{FACTORY}(labelled)` on the datamodule, which weights all that is labelled; the "
                "training set comes first there."
            )
        return cls(pool, factory, None if pool is given else _combined(given))

    def template(self) -> LoaderTemplate:
        """Return the settings of the pool's loader."""
        return LoaderTemplate(self.pool, self.factory)

    def replaced(self, loader: DataLoader) -> Any:
        """Return the user's train loaders with another in place of the pool's."""
        if self.combined is None:
            return loader
        combined = copy(self.combined)
        combined.flattened = [loader if each is self.pool else each for each in self.combined.flattened]
        return combined


def _combined(loaders: Any) -> CombinedLoader:
    """Return several loaders in the form that Lightning gives them."""
    return loaders if isinstance(loaders, CombinedLoader) else CombinedLoader(loaders, "max_size_cycle")


def pool_loader(datamodule: pl.LightningDataModule, loaders: Any) -> Any:
    """Return the one of the user's train loaders that the datamodule names, or what there is.

    Raises:
        ValueError: If there is none of this name.
    """
    if not isinstance(loaders, (CombinedLoader, list, tuple, Mapping)) or not hasattr(datamodule, POOL_LOADER):
        return loaders
    name, iterables = getattr(datamodule, POOL_LOADER), _combined(loaders).iterables
    if not isinstance(iterables, (list, tuple, Mapping)):
        return iterables
    names = list(iterables) if isinstance(iterables, Mapping) else list(range(len(iterables)))
    if isinstance(name, bool) or name not in names:
        raise ValueError(f"`{POOL_LOADER}={shown(name)}` is none of the train loaders: there are {shown(names)}.")
    return iterables[name]


def _sampler(loader: DataLoader) -> Any:
    return getattr(loader.batch_sampler, "sampler", loader.sampler)


def check_train_loader(loader: Any, factory: Draw | None = None) -> DataLoader:
    """Return the user's train loader if it can be carried over to the labelled part.

    Args:
        loader: The user's.
        factory: Makes its sampler, where the user's datamodule has such a method.

    Raises:
        TypeError: If it is not one ``DataLoader`` over a map-style dataset with a sampler that can be made anew.
        ValueError: If it weights another number of samples.
    """
    if not isinstance(loader, DataLoader):
        raise TypeError(
            f"`train_dataloader()` must return one `torch.utils.data.DataLoader`, got {type(loader).__name__}: the "
            "loop must know which samples are in it. Where there are several, say which has the samples to be "
            f"labelled: `{POOL_LOADER} = ...` on the datamodule, its key or its place; the others stay as they are."
        )
    if not has_indices(loader.dataset):
        raise TypeError(
            f"The training set is iterable ({type(loader.dataset).__name__}); active learning needs stable indices. "
            "Use a map-style dataset, with `__getitem__` and `__len__`."
        )
    if loader.batch_sampler is None:
        raise TypeError(
            "The train loader makes no batches (`batch_size=None`), so samples cannot be chosen one by one. Use "
            "`batch_size=`, over a dataset of single samples."
        )
    if factory is not None:
        return loader
    if type(loader.batch_sampler) is not BatchSampler:
        raise TypeError(
            f"The train loader has a batch sampler of its own ({type(loader.batch_sampler).__name__}), which draws "
            f"positions of the whole training set. {_OWN_WAY}, or use `batch_size=` with `shuffle=`."
        )
    if isinstance(loader.dataset, IterableDataset):  # with indices too: its order is its own, and it has no sampler
        return loader
    sampler = _sampler(loader)
    if type(sampler) is SubsetRandomSampler:
        raise TypeError(
            "The train loader draws from a part of its dataset (SubsetRandomSampler). Say so by the dataset: "
            "`torch.utils.data.Subset(dataset, indices)`, with `shuffle=True`."
        )
    if type(sampler) not in (RandomSampler, SequentialSampler, DistributedSampler, WeightedRandomSampler):
        raise TypeError(
            f"The train loader has a sampler of its own ({type(sampler).__name__}), which draws positions of the whole "
            f"training set. {_OWN_WAY}, or use `shuffle=True`."
        )
    if isinstance(sampler, WeightedRandomSampler) and len(sampler.weights) != len(loader.dataset):  # type: ignore[arg-type]
        raise ValueError(
            f"The train loader's `WeightedRandomSampler` has {len(sampler.weights)} weights, and the training set "
            f"{len(loader.dataset)} samples. Give it one for each sample."  # type: ignore[arg-type]
        )
    return loader
