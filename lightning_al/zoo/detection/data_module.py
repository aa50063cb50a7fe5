"""The base class of data modules of images with boxes."""

from abc import abstractmethod
from typing import Any

from lightning.pytorch import LightningDataModule
from torch import nn
from torch.utils.data import DataLoader

from lightning_al.checks import Findings, check_count, check_flag
from lightning_al.zoo.detection.images import DetectionFiles, Sample, augmented, collate_boxes


class DetectionDataModule(LightningDataModule):
    """Images with boxes, to be trained on and to be tested on; subclasses list them.

    Args:
        size: Height and width that images are brought to, whatever their shape; batches are then stacks. None: as they
            are.
        augmentation: Transforms of ``torchvision.transforms.v2`` for training samples, image and boxes together, see
            :func:`~lightning_al.zoo.detection.images.augmented`; None or none: they train as they are.
        in_memory: Whether images stay in memory once they were read.
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
        super().__init__()
        with Findings() as findings:
            for part, length in zip(("height", "width"), size or (), strict=False):
                findings.of(check_count, f"size ({part})", length)
            findings.of(check_flag, "in_memory", in_memory)
            findings.of(check_count, "batch_size", batch_size)
            findings.of(check_count, "eval_batch_size", eval_batch_size)
            findings.of(check_count, "num_workers", num_workers, 0)
        self.size = None if size is None else (size[0], size[1])
        self.augmentation = list(augmentation or [])
        self.in_memory = in_memory
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self._sets: dict[str, DetectionFiles] = {}

    @abstractmethod
    def read_sets(self) -> dict[str, DetectionFiles]:
        """List the images and boxes of the datasets ``"train"`` and ``"test"``."""

    @property
    def sets(self) -> dict[str, DetectionFiles]:
        """The datasets by name, listed now if `setup` has not run."""
        self.setup()
        return self._sets

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by class index; the first is the background."""
        return list(self.sets["train"].classes)

    def setup(self, stage: str | None = None) -> None:
        """List images and boxes, at the first call."""
        if not self._sets:
            self._sets = self.read_sets()

    def pool_dataset(self) -> DetectionFiles:
        """The training images, as they are."""
        return self.sets["train"]

    def augment(self, sample: Any) -> Any:
        """Return a training sample augmented, its label in it."""
        return augmented(self.augmentation, sample)

    def train_dataloader(self) -> DataLoader[Sample]:
        """Shuffled; :meth:`augment` is applied by the loop, once labels are in."""
        return DataLoader(
            self.sets["train"],
            self.batch_size,
            shuffle=True,
            num_workers=self.num_workers,
            collate_fn=collate_boxes,
        )

    def test_dataloader(self) -> DataLoader[Sample]:
        """In order, as they are."""
        return DataLoader(
            self.sets["test"], self.eval_batch_size, num_workers=self.num_workers, collate_fn=collate_boxes
        )
