"""The base class of data modules of images with boxes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from lightning_al.checks import Findings, check_flag
from lightning_al.zoo.detection.images import BoxedImage, DetectionFiles, augmented, collate_boxes
from lightning_al.zoo.parts import PicturesDataModule

BACKGROUND = "background"
"""The name of class 0."""


class DetectionDataModule(PicturesDataModule):
    """Images with boxes, to be trained on and to be tested on; subclasses list them.

    Args:
        size: Height and width that images are brought to, whatever their shape; batches are then stacks. None: as they
            are. Where people draw boxes in the files it must keep the files' proportions.
        augmentation: Transforms of ``torchvision.transforms.v2`` for training samples, image and boxes together, see
            :func:`~lightning_al.zoo.detection.images.augmented`; None or none: they train as they are.
        in_memory: Whether images stay in memory once they were read, a byte a channel and pixel. Of no use to loader
            processes, which begin anew in each epoch.
        batch_size: Images per training batch.
        eval_batch_size: Images per test batch.
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
        in_memory: bool = False,
        batch_size: int = 8,
        eval_batch_size: int = 8,
        num_workers: int = 0,
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(
                    size=size,
                    augmentation=augmentation,
                    batch_size=batch_size,
                    eval_batch_size=eval_batch_size,
                    num_workers=num_workers,
                )
            findings.of(check_flag, "in_memory", in_memory)
        self.in_memory = in_memory

    def loader(self, part: str, collate: Callable[[list[Any]], Any] | None = collate_boxes) -> DataLoader[Any]:
        """Return a loader of a dataset: shuffled where it trains, in order otherwise; ``collate`` makes batches."""
        return super().loader(part, collate)

    def dataset(self, part: str, images: Sequence[BoxedImage], *, root: Path, classes: Sequence[str]) -> DetectionFiles:
        """Return the dataset of a part, ``"train"`` or ``"test"``, as the options say."""
        return DetectionFiles(
            images,
            root=str(root),
            classes=classes,
            size=self.size,
            in_memory=self.in_memory,
            for_test=part == "test",
        )

    def augment(self, sample: Any) -> Any:
        """Return a training sample augmented, its label in it."""
        return augmented(self.augmentation, sample)
