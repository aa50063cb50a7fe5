"""Two datasets as two domains: one is labelled, of the other labels may be asked for."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_al._compat import is_overridden
from lightning_al.checks import Findings, check_count
from lightning_al.tasks.keys import name_of
from lightning_al.zoo.parts import check_batches
from lightning_al.zoo.segmentation.images import SegmentationDataModule

SOURCE, TARGET = 0, 1
"""The third part of a sample: which domain it is of."""


class OfDomain(Dataset[tuple[Tensor, Tensor, int]]):
    """Samples ``(image, mask)`` with their domain as a third part.

    Args:
        dataset: Map-style, with ``classes``.
        domain: 0 for the source, 1 for the target.
    """

    def __init__(self, dataset: Any, domain: int) -> None:
        self.dataset = dataset
        self.domain = domain
        self.classes = list(dataset.classes)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        image, mask = self.dataset[index]
        return image, mask, self.domain

    def sample_key(self, index: int) -> str | None:
        """Return the name of a sample."""
        return name_of(self.dataset, index)


class ImagesAlone(Dataset[Tensor]):
    """The images of samples, augmented, without their masks.

    Args:
        dataset: Of samples ``(image, mask)``.
        augment: Gets a sample and returns it augmented.
    """

    def __init__(self, dataset: Any, augment: Callable[[Any], Any]) -> None:
        self.dataset = dataset
        self.augment = augment

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Tensor:
        image: Tensor = self.augment(self.dataset[index])[0]
        return image


class TwoDomainsDataModule(LightningDataModule):
    """The training images of one data module, labelled, beside those of another, of which labels may be asked for.

    What is tested on is of the second, the target, and so is what is validated on, where that has a
    ``val_dataloader`` (CamVid has one; of Cityscapes the images of ``val`` are tested on). Samples are
    ``(image, mask, domain)``, domain 0 for the source and 1 for the target, by which :class:`AdaptiveSegmenter` tells
    them. Run the loop with ``initial=0`` and, say, ``known_share=0.5``: half of each batch from the source.

    Images of both must have one size where they come in one batch: ``size`` of both, or a crop in ``augmentation``.

    Args:
        source: Labelled.
        target: Its training images may be asked for, and its test images are tested on.
        batch_size: Images per training batch, of both together.
        eval_batch_size: Images per test batch.
        target_batch_size: Images of the target, without their masks, that each training batch has beside it, for losses
            that need no labels: ``{"labelled": ..., "target": images}``. 0: batches are as they are.
        num_workers: Loader processes, of each loader.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range; in ``setup`` if the two have other classes.
    """

    pool_loader = "labelled"

    def __init__(
        self,
        source: SegmentationDataModule,
        target: SegmentationDataModule,
        *,
        batch_size: int = 4,
        eval_batch_size: int = 4,
        target_batch_size: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        with Findings() as findings:
            findings.of(check_batches, batch_size, eval_batch_size, num_workers)
            findings.of(check_count, "target_batch_size", target_batch_size, 0)
        self.source = source
        self.target = target
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.target_batch_size = target_batch_size
        self.num_workers = num_workers
        if not is_overridden("val_dataloader", target):  # then there is none, as in a datamodule that defines none
            self.val_dataloader = super().val_dataloader  # type: ignore[method-assign]

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by class index."""
        return self.target.classes

    def prepare_data(self) -> None:
        """What the two need."""
        self.source.prepare_data()
        self.target.prepare_data()

    def setup(self, stage: str | None = None) -> None:
        """List the files of both."""
        if self.source.classes != self.target.classes:
            raise ValueError(
                f"The classes of the source, {self.source.classes}, are not those of the target, "
                f"{self.target.classes}. Give both the same `num_classes`."
            )

    def pool_dataset(self) -> OfDomain:
        """The source's images, as they are: what is labelled before."""
        return OfDomain(self.source.pool_dataset(), SOURCE)

    def unlabelled_dataset(self) -> OfDomain:
        """The target's training images, which may be asked for."""
        return OfDomain(self.target.pool_dataset(), TARGET)

    def augment(self, sample: Any) -> Any:
        """Return a training sample augmented as its domain says, its label in it."""
        return (self.target if int(sample[2]) == TARGET else self.source).augment(sample)

    def train_dataloader(self) -> Any:
        """The source's images, shuffled; beside it, if they are wanted, the target's without masks."""
        labelled = DataLoader(self.pool_dataset(), self.batch_size, shuffle=True, num_workers=self.num_workers)
        if not self.target_batch_size:
            return labelled
        images = ImagesAlone(self.target.pool_dataset(), self.target.augment)
        beside = DataLoader(images, self.target_batch_size, shuffle=True, drop_last=True, num_workers=self.num_workers)
        return {"labelled": labelled, "target": beside}

    def val_dataloader(self) -> Any:
        """The target's validation images, in order, as they are; no loader where it has none of these sequences."""
        images = self.target.sets["val"]
        return DataLoader(images, self.eval_batch_size, num_workers=self.num_workers) if len(images) else []

    def test_dataloader(self) -> Any:
        """The target's test images, in order, as they are."""
        return DataLoader(self.target.sets["test"], self.eval_batch_size, num_workers=self.num_workers)
