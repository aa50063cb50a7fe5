"""Datasets of images, those held in memory as one uint8 tensor, and the base class of the zoo's datamodules."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_al.zoo.parts import PartsDataModule


class Images(Dataset[tuple[Tensor, int]]):
    """Images (C, H, W), normalised, with class indices; each read may augment anew.

    Where classes have names, by class index, they are in ``classes``; else there is no such attribute.
    """

    classes: list[str]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def without_augmentation(self) -> "Images":
        """The same images in the same order, as they are."""


class ImageDataset(Images):
    """Images kept as bytes in one tensor, normalised when read.

    One tensor rather than many small objects: forked workers share it, and 50,000 CIFAR images take 150 MB.

    Args:
        images: uint8 (N, C, H, W).
        targets: Class indices (N,).
        mean: Per channel, in pixel units (0 to 255), subtracted first.
        std: Per channel, in pixel units, divided by.
        augment: uint8 (C, H, W) -> uint8 (C, H, W), called at every read; ``None`` for none.
        samples: ``(path, label)`` of each image where images are files, as in torchvision's ``ImageFolder``: a name
            that stays the same when the order does not. The attribute exists only if given.
        root: The folder that the paths are below.
        classes: Names, by class index. The attribute exists only if given.

    Raises:
        TypeError: If ``images`` is not uint8.
        ValueError: If ``images`` is not (N, C, H, W), or the lengths or channel counts differ.

    Example:
        >>> data = ImageDataset(torch.full((2, 1, 4, 4), 255, dtype=torch.uint8), torch.tensor([3, 5]), [0.0], [255.0])
        >>> image, label = data[1]
        >>> image.shape, image.max().item(), label
        (torch.Size([1, 4, 4]), 1.0, 5)
    """

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        mean: Sequence[float],
        std: Sequence[float],
        augment: Callable[[Tensor], Tensor] | None = None,
        samples: list[tuple[str, int]] | None = None,
        root: str | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        if images.dtype != torch.uint8:
            raise TypeError(f"`images` must be uint8, got {images.dtype}.")
        if images.ndim != 4:
            raise ValueError(f"`images` must have the shape (N, C, H, W), got {tuple(images.shape)}.")
        lengths = {"images": len(images), "targets": len(targets)}
        if samples is not None:
            lengths["samples"] = len(samples)
        if len(set(lengths.values())) != 1:
            raise ValueError(f"Every image needs one target (and one sample, if given), got {lengths}.")
        if not len(mean) == len(std) == images.shape[1]:
            raise ValueError(
                f"`mean` and `std` need one value per channel: {images.shape[1]} channels, "
                f"{len(mean)} means, {len(std)} stds."
            )
        self.images = images
        self.targets = targets.long()
        self.mean = torch.tensor(mean).view(-1, 1, 1)
        self.std = torch.tensor(std).view(-1, 1, 1)
        self.augment = augment
        self.root = root
        if samples is not None:
            self.samples = samples
        if classes is not None:
            self.classes = list(classes)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index]
        if self.augment is not None:
            image = self.augment(image)
        return (image.float() - self.mean) / self.std, int(self.targets[index])

    def without_augmentation(self) -> "ImageDataset":
        """The same images in the same order, as they are. Shares the memory."""
        return ImageDataset(
            self.images,
            self.targets,
            self.mean.flatten().tolist(),
            self.std.flatten().tolist(),
            samples=getattr(self, "samples", None),
            root=self.root,
            classes=getattr(self, "classes", None),
        )


def crop_and_flip(image: Tensor, padding: int = 4) -> Tensor:
    """The usual CIFAR augmentation: zero-pad, crop back at a random place, mirror every second time.

    Args:
        image: (C, H, W), not yet normalised, so that the padding is black.
        padding: Pixels added on each side.

    Returns:
        (C, H, W). Draws from torch's global generator, which Lightning and DataLoader seed per worker.

    Example:
        >>> crop_and_flip(torch.zeros(3, 32, 32, dtype=torch.uint8)).shape
        torch.Size([3, 32, 32])
    """
    height, width = image.shape[-2:]
    top, left = torch.randint(2 * padding + 1, (2,)).tolist()
    image = torch.nn.functional.pad(image, (padding,) * 4)[..., top : top + height, left : left + width]
    return image.flip(-1) if torch.rand(()) < 0.5 else image


class Splits(NamedTuple):
    """What :meth:`ImageDataModule.read` returns."""

    train: Images
    test: Images
    val: Images | None = None


class ImageDataModule(PartsDataModule):
    """A datamodule over datasets of images; a subclass says how to :meth:`read` them.

    Args:
        batch_size: Images per training batch.
        eval_batch_size: Images per validation or test batch; changes speed and memory, not results.
        num_workers: Loader processes. 0 is fastest for small images in memory.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range.
    """

    def __init__(self, batch_size: int = 10, eval_batch_size: int = 250, num_workers: int = 0) -> None:
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=num_workers)

    def read(self) -> Splits:
        """Read the dataset from disk. Called once."""
        raise NotImplementedError(f"{type(self).__name__} must define read().")

    def read_sets(self) -> dict[str, Images]:
        """Read the dataset from disk, into its parts."""
        return {name: part for name, part in self.read()._asdict().items() if part is not None}

    @property
    def splits(self) -> Splits:
        """The datasets, read now if `setup` has not run."""
        return Splits(**self.sets)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by class index; empty where the training images have none."""
        return list(getattr(self.splits.train, "classes", []))

    def pool_dataset(self) -> Images:
        """The training images in the same order without augmentation: what an acquisition scores."""
        return self.splits.train.without_augmentation()

    def test_dataloader(self) -> DataLoader[tuple[Tensor, int]]:
        """In order, never augmented."""
        return self.loader("test")
