"""What the zoo's data modules share: datasets by the names of their parts, read once, and loaders of them."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningDataModule
from torch import nn
from torch.utils.data import DataLoader

from lightning_al.checks import Findings, check_count
from lightning_al.words import shown


def check_batches(batch_size: int, eval_batch_size: int, num_workers: int) -> None:
    """Refuse options of loaders.

    Raises:
        TypeError: If one has the wrong type.
        ValueError: If one is out of range.
    """
    with Findings() as findings:
        findings.of(check_count, "batch_size", batch_size)
        findings.of(check_count, "eval_batch_size", eval_batch_size)
        findings.of(check_count, "num_workers", num_workers, 0)


def check_size(size: Any, name: str = "size") -> None:
    """Refuse what is no height and width in pixels.

    Raises:
        TypeError: If it is no pair, or not of integers.
        ValueError: If one is out of range.
    """
    if not isinstance(size, (list, tuple)) or len(size) != 2:
        raise TypeError(f"`{name}` must be the height and the width, such as (160, 160), got {shown(size)}.")
    with Findings() as findings:
        for part, length in zip(("height", "width"), size, strict=True):
            findings.of(check_count, f"{name} ({part})", length)


class PartsDataModule(LightningDataModule):
    """Datasets called ``"train"``, ``"test"`` and so on; subclasses read them.

    Args:
        batch_size: Samples per training batch.
        eval_batch_size: Samples per validation or test batch.
        num_workers: Loader processes.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range.
    """

    def __init__(self, *, batch_size: int, eval_batch_size: int, num_workers: int) -> None:
        super().__init__()
        check_batches(batch_size, eval_batch_size, num_workers)
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self._sets: dict[str, Any] = {}

    @abstractmethod
    def read_sets(self) -> dict[str, Any]:
        """Read the datasets ``"train"`` and others by their names, or list their files."""

    @property
    def sets(self) -> dict[str, Any]:
        """The datasets by name, read now if `setup` has not run."""
        if not self._sets:
            self._sets = self.read_sets()
        return self._sets

    def setup(self, stage: str | None = None) -> None:
        """Read the datasets, at the first call."""
        self.sets  # noqa: B018

    def loader(self, part: str, collate: Callable[[list[Any]], Any] | None = None) -> DataLoader[Any]:
        """Return a loader of a dataset: shuffled where it trains, in order otherwise; ``collate`` makes batches."""
        dataset = self.sets[part]
        trains = part == "train"
        return DataLoader(
            dataset,
            self.batch_size if trains else self.eval_batch_size,
            shuffle=trains and len(dataset) > 0,  # there may be nothing yet, which torch cannot shuffle
            num_workers=self.num_workers,
            collate_fn=collate,
        )

    def train_dataloader(self) -> DataLoader[Any]:
        """What trains, shuffled; where there is an ``augment``, the loop calls it once labels are in."""
        return self.loader("train")


class NamedClassesDataModule(PartsDataModule):
    """The same of datasets that know the names of their ``classes``."""

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by class index."""
        return list(self.sets["train"].classes)


class PicturesDataModule(NamedClassesDataModule):
    """Pictures that are trained on and tested on, with what is said of their pixels; both are augmented together.

    Args:
        size: Height and width that pictures are brought to. None: as they are.
        augmentation: Transforms of ``torchvision.transforms.v2`` for training samples; None or none: they train as they
            are.
        batch_size: Pictures per training batch.
        eval_batch_size: Pictures per test batch.
        num_workers: Loader processes.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        *,
        size: tuple[int, int] | None = None,
        augmentation: list[nn.Module] | None = None,
        batch_size: int = 8,
        eval_batch_size: int = 8,
        num_workers: int = 0,
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=num_workers)
            if size is not None:
                findings.of(check_size, size)
        self.size = None if size is None else (size[0], size[1])
        self.augmentation = list(augmentation or [])

    def pool_dataset(self) -> Any:
        """The training pictures, as they are."""
        return self.sets["train"]

    def test_dataloader(self) -> DataLoader[Any]:
        """In order, as they are."""
        return self.loader("test")
