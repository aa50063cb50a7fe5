"""What data modules of published data sets share whose small images are held in memory."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

from torch import Tensor

from lightning_al.checks import Findings, check_flag, check_number
from lightning_al.words import shown
from lightning_al.zoo.image_files import Samples
from lightning_al.zoo.images import ImageDataModule, ImageDataset, Splits, crop_and_flip
from lightning_al.zoo.long_tail import check_long_tail, long_tail

Split = Literal["train", "test"]


class Rows(Protocol):
    """Images by their numbers: a tensor, or files that are decoded when they are asked for."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """Some of them, uint8 (n, C, H, W)."""


class Pixels(NamedTuple):
    """What :meth:`PublishedImages.read_split` returns.

    Args:
        images: uint8 (N, C, H, W).
        targets: Class indices (N,).
        classes: Names, by class index.
        samples: ``(path, label)`` of each image, where images are files.
        root: The folder that the paths are below.
    """

    images: Rows
    targets: Tensor
    classes: Sequence[str]
    samples: Samples | None = None
    root: Path | None = None


def check_normalization(
    findings: Findings, mean: Sequence[float] | None, std: Sequence[float] | None, channels: int
) -> None:
    """Take note of what is wrong with means and deviations of each channel, if any are given."""
    above: dict[str, float | None] = {"mean": None, "std": 0.0}
    for name, values in (("mean", mean), ("std", std)):
        if values is None:
            continue
        findings.refuse_if(
            len(values) != channels, f"`{name}` must have one number per channel, {channels}, got {shown(values)}."
        )
        for value in values:
            findings.of(check_number, name, value, above=above[name])


class PublishedImages(ImageDataModule):
    """A published data set of small images: all training images are the pool, and the published test set is tested on.

    Labels are what active learning spends, so no validation set is carved out: there is a ``test_dataloader`` and no
    ``val_dataloader``. Run the loop with ``evaluate="test"``.

    Args:
        batch_size: Images per training batch.
        eval_batch_size: Images per test batch.
        num_workers: Loader processes.
        root: Folder of the data, in one of the forms that the class names. Default: ``data``.
        augmentation: Whether training images are moved by up to 4 pixels and every second one mirrored, before they are
            normalised. Default: as the class says.
        mean: Of each channel, of pixels from 0 to 1, subtracted. Default: that of the training images.
        std: Of each channel, divided by. Default: that of the training images. With ``mean=[0, 0, 0]`` and
            ``std=[1, 1, 1]`` pixels stay between 0 and 1.
        imbalance: Images of the largest training class over those of the smallest: from class to class fewer are kept,
            exponentially (see :func:`~lightning_al.zoo.long_tail.long_tail`). The test images stay as they are.
            Default: 1, all of them.
        imbalance_seed: Another number keeps other images, here and of the two that follow. Leave it as it is over the
            repeats of an experiment: which images are kept does not depend on ``loop.seed``.
        train_per_class: Training images of a class (with ``imbalance``, of the largest) at most. Default: all of them.
        test_per_class: Test images of a class at most, which saves time where rounds are short. Default: all of them.
        download: Whether ``prepare_data`` downloads with torchvision, which checks the files by their MD5 sums, what is
            not below ``root``.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range, or what is read is not in the published form.
        FileNotFoundError: In ``setup``, if the data are not there, with the places.
        RuntimeError: In ``prepare_data``, if they are to be downloaded and cannot be.
    """

    title: ClassVar[str]
    """What the data set is called."""
    augmented: ClassVar[bool]
    """Whether training images are augmented where nothing is said."""
    pixel_mean: ClassVar[Sequence[float]]
    pixel_std: ClassVar[Sequence[float]]

    def __init__(
        self,
        batch_size: int = 10,
        eval_batch_size: int = 250,
        num_workers: int = 0,
        root: str | None = None,
        *,
        augmentation: bool | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        imbalance: float = 1.0,
        imbalance_seed: int = 0,
        train_per_class: int | None = None,
        test_per_class: int | None = None,
        download: bool = False,
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=num_workers)
            if augmentation is not None:
                findings.of(check_flag, "augmentation", augmentation)
            check_long_tail(
                findings, imbalance, imbalance_seed, train_per_class=train_per_class, test_per_class=test_per_class
            )
            findings.of(check_flag, "download", download)
            check_normalization(findings, mean, std, len(self.pixel_mean))
        self.root = root
        self.augmentation = self.augmented if augmentation is None else augmentation
        self.mean = list(self.pixel_mean if mean is None else mean)
        self.std = list(self.pixel_std if std is None else std)
        self.imbalance = imbalance
        self.imbalance_seed = imbalance_seed
        self.train_per_class = train_per_class
        self.test_per_class = test_per_class
        self.download = download

    @property
    def folder(self) -> Path:
        """Where the data are looked for, and downloaded to."""
        return Path("data" if self.root is None else self.root).expanduser()

    @abstractmethod
    def find(self) -> Path | None:
        """Return the folder that has the data in it, None if there is none."""

    @abstractmethod
    def read_split(self, folder: Path, split: Split) -> Pixels:
        """Read the training or the test images from the folder that was found."""

    @abstractmethod
    def fetch(self, datasets: Any) -> None:
        """Download into :attr:`folder` with ``torchvision.datasets``."""

    @abstractmethod
    def where_from(self) -> str:
        """Sentences for errors: where the data were looked for, and where they can be had."""

    def prepare_data(self) -> None:
        """Download what is not there, if that is asked for."""
        if not self.download or self.find() is not None:
            return
        try:
            import torchvision.datasets as datasets

            self.fetch(datasets)
        except ImportError as error:
            raise RuntimeError(
                f"Downloading {self.title} needs torchvision: `pip install 'lightning-al[vision]'`. {self.where_from()}"
            ) from error
        except (RuntimeError, OSError) as error:
            raise RuntimeError(f"{self.title} could not be downloaded ({error}). {self.where_from()}") from error

    def read(self) -> Splits:
        """Read both splits."""
        folder = self.find()
        if folder is None:
            raise FileNotFoundError(
                f"{self.title} is not there. {self.where_from()} Or `download=True` (`--data.download=true`)."
            )
        return Splits(train=self._dataset(folder, "train"), test=self._dataset(folder, "test"))

    def _dataset(self, folder: Path, split: Split) -> ImageDataset:
        pixels = self.read_split(folder, split)
        unknown = pixels.targets[(pixels.targets < 0) | (pixels.targets >= len(pixels.classes))]
        if len(pixels.images) != len(pixels.targets) or len(unknown):
            raise ValueError(
                f"{folder}: {self.title} must have one label per image, from 0 to {len(pixels.classes) - 1}; the "
                f"{split} images are {len(pixels.images)}, their labels {len(pixels.targets)}"
                f"{f', of which one is {int(unknown[0])}' if len(unknown) else ''}. Is a file another data set's?"
            )
        rows = self._kept(pixels.targets, split)
        return ImageDataset(
            pixels.images[rows],
            pixels.targets[rows],
            mean=[255 * value for value in self.mean],
            std=[255 * value for value in self.std],
            augment=crop_and_flip if self.augmentation and split == "train" else None,
            samples=None if pixels.samples is None else [pixels.samples[row] for row in rows.tolist()],
            root=None if pixels.root is None else str(pixels.root),
            classes=pixels.classes,
        )

    def _kept(self, targets: Tensor, split: Split) -> Tensor:
        imbalance, most = (self.imbalance, self.train_per_class) if split == "train" else (1.0, self.test_per_class)
        return long_tail(targets, imbalance, self.imbalance_seed, most=most)
