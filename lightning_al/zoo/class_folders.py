"""Image files in a folder for each class, all of them labelled: published data sets that are too large for memory."""

from functools import partial
from pathlib import Path

import torch

from lightning_al.checks import Findings, check_choice, check_count, check_flag, check_number
from lightning_al.zoo.image_files import (
    MEAN,
    STD,
    Augmentation,
    ImageFiles,
    Samples,
    class_folders,
    class_names_in,
    decode,
    middle,
    read_image,
)
from lightning_al.zoo.images import ImageDataModule, ImageDataset, Images, Splits, crop_and_flip
from lightning_al.zoo.long_tail import check_long_tail, long_tail
from lightning_al.zoo.own_files import hashed
from lightning_al.zoo.published import check_normalization

AUGMENTATIONS: tuple[Augmentation, ...] = ("none", "crop_and_flip", "resized_crop")


class ClassFoldersDataModule(ImageDataModule):
    """Images in a folder for each class, of which all training images are the pool and the others are tested on.

    .. code-block:: text

        root/train/cat/1.jpg      root/train/dog/5.jpg      classes may have folders in them
        root/test/cat/9.jpg       root/test/dog/3.jpg

    or, with ``test_share``, one folder ``root/cat/1.jpg`` of which some are tested on. Labels are what active learning
    spends, so no validation set is carved out: run the loop with ``evaluate="test"``. Classes and files are taken in
    the order of their names, as in torchvision's ``ImageFolder``. What a network gets is the largest part in the middle
    of the asked shape, scaled to ``size``. Files are read when they are asked for, with their path in ``samples``.

    For a pool that nobody has labelled: :class:`ImageFolderDataModule`.

    Args:
        root: Folder of the data.
        train: Folder of the training images in it.
        test: Folder of the test images in it.
        test_share: In place of both: the share of the images below ``root`` that is tested on. Drawn by a hash of their
            names and ``split_seed``, so that it is the same on every machine.
        split_seed: Another number draws another test set. Leave it as it is over the repeats of an experiment.
        size: Height and width of the images that the network gets; one number for both.
        margin: The share of height and width that is cut off on each side first; not when a random part is trained on.
        augmentation: Of training images: ``"crop_and_flip"`` moves them by up to an eighth of their shorter side,
            filled up with black, and mirrors every second one; ``"resized_crop"`` takes a random part, 8 to 100 % of
            the image, of sides 3:4 to 4:3, scaled to ``size``, and mirrors; ``"none"``.
        in_memory: Whether all files are read in ``setup``, once, and kept as bytes of this size: faster from then on,
            and a file that cannot be read ends the start.
        imbalance: Images of the largest training class over those of the smallest: from class to class, in the order of
            their names, fewer are kept, exponentially (see :func:`~lightning_al.zoo.long_tail.long_tail`). What is
            tested on stays as it is. Default: 1, all of them.
        imbalance_seed: Another number keeps other images, here and of the two that follow. Leave it as it is over the
            repeats of an experiment. Which are kept is drawn by a hash of their names.
        train_per_class: Training images of a class (with ``imbalance``, of the largest) at most. Default: all of them.
        test_per_class: Test images of a class at most. Default: all of them.
        mean: Of each channel, of pixels from 0 to 1, subtracted. Default: ImageNet's.
        std: Of each channel, divided by. Default: ImageNet's.
        batch_size: Images per training batch.
        eval_batch_size: Images per test batch.
        num_workers: Loader processes.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range; in ``setup`` if a class has no image, or the test images have other
            classes than the training images.
        FileNotFoundError: In ``setup``, if the folders are not there, or have no folders of classes in them.
    """

    def __init__(
        self,
        root: str = "data",
        *,
        train: str = "train",
        test: str = "test",
        test_share: float | None = None,
        split_seed: int = 0,
        size: int | tuple[int, int] = 224,
        margin: float = 0.0,
        augmentation: Augmentation = "crop_and_flip",
        in_memory: bool = False,
        imbalance: float = 1.0,
        imbalance_seed: int = 0,
        train_per_class: int | None = None,
        test_per_class: int | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        batch_size: int = 64,
        eval_batch_size: int = 250,
        num_workers: int = 0,
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=num_workers)
            if test_share is not None:
                findings.of(check_number, "test_share", test_share, above=0, below=1)
            findings.of(check_count, "split_seed", split_seed, 0)
            height_and_width = (size, size) if isinstance(size, int) else tuple(size)
            for length in height_and_width:
                findings.of(check_count, "size", length)
            findings.refuse_if(
                len(height_and_width) != 2, f"`size` must be height and width, or one number for both, got {size}."
            )
            findings.of(check_number, "margin", margin, least=0, below=0.5)
            findings.of(check_flag, "in_memory", in_memory)
            if findings.of(check_choice, "augmentation", augmentation, AUGMENTATIONS):
                findings.refuse_if(
                    in_memory is True and augmentation == "resized_crop",
                    "`augmentation='resized_crop'` takes its part of the whole picture, which is not kept with "
                    "`in_memory=True`. Leave one of them out.",
                )
            check_long_tail(
                findings, imbalance, imbalance_seed, train_per_class=train_per_class, test_per_class=test_per_class
            )
            check_normalization(findings, mean, std, channels=3)
        self.root = root
        self.train = train
        self.test = test
        self.test_share = test_share
        self.split_seed = split_seed
        self.size = (height_and_width[0], height_and_width[1])
        self.margin = margin
        self.augmentation = augmentation
        self.in_memory = in_memory
        self.imbalance = imbalance
        self.imbalance_seed = imbalance_seed
        self.train_per_class = train_per_class
        self.test_per_class = test_per_class
        self.mean = list(MEAN if mean is None else mean)
        self.std = list(STD if std is None else std)

    def folder(self) -> Path:
        """Return the folder of the data; subclasses know where it is below ``root``."""
        return Path(self.root).expanduser()

    def layout(self) -> str:
        """What the folder must hold, for errors."""
        return f"the class folders in `{self.train}` and `{self.test}`" if self.test_share is None else "class folders"

    def list_classes(self, folder: Path) -> tuple[list[str], Samples]:
        """Return the names of the classes in a folder, and its files."""
        return class_folders(folder)

    def read(self) -> Splits:
        """List the files, or read them all."""
        folder = self.folder()
        parts = [folder] if self.test_share is not None else [folder / self.train, folder / self.test]
        empty = [part for part in parts if not part.is_dir() or not class_names_in(part)]
        if empty:
            raise FileNotFoundError(
                f"{empty[0]} is no folder of class folders. `root={self.root!r}` must hold {self.layout()}."
            )
        listed = [self.list_classes(part) for part in parts]
        classes, train = listed[0]
        if self.test_share is not None:
            train, test = self._divided(train, folder, self.test_share)
        else:
            others, test = listed[1]
            differ = sorted(set(classes) ^ set(others))
            if differ:
                raise ValueError(
                    f"{parts[0]} and {parts[1]} must have folders of the same classes; {differ[0]!r} is in one of them "
                    f"alone ({len(differ)} in all)."
                )
        train = self._kept(train, parts[0], self.imbalance, self.train_per_class)
        test = self._kept(test, parts[-1], 1.0, self.test_per_class)
        return Splits(
            train=self._images(train, parts[0], classes, self.augmentation),
            test=self._images(test, parts[-1], classes, "none"),
        )

    def _kept(self, samples: Samples, folder: Path, imbalance: float, most: int | None) -> Samples:
        """Return the samples that a long tail leaves, or so many of each class."""
        targets = torch.tensor([label for _, label in samples], dtype=torch.long)
        names = [Path(path).relative_to(folder).as_posix() for path, _ in samples]
        rows = long_tail(targets, imbalance, self.imbalance_seed, most=most, names=names)
        return [samples[row] for row in rows.tolist()]

    def _divided(self, samples: Samples, folder: Path, share: float) -> tuple[Samples, Samples]:
        def drawn(sample: tuple[str, int]) -> int:
            return hashed(f"{self.split_seed}/{Path(sample[0]).relative_to(folder).as_posix()}")

        test = set(sorted(samples, key=drawn)[: round(share * len(samples))])
        return [sample for sample in samples if sample not in test], [sample for sample in samples if sample in test]

    def _images(self, samples: Samples, folder: Path, classes: list[str], augmentation: Augmentation) -> Images:
        if not self.in_memory:
            return ImageFiles(
                samples,
                root=str(folder),
                classes=classes,
                size=self.size,
                margin=self.margin,
                mean=self.mean,
                std=self.std,
                augmentation=augmentation,
            )
        part = partial(middle, margin=self.margin)
        return ImageDataset(
            decode(samples, lambda path: (255 * read_image(path, self.size, part)).round().byte()),
            torch.tensor([label for _, label in samples]),
            mean=[255 * value for value in self.mean],
            std=[255 * value for value in self.std],
            augment=partial(crop_and_flip, padding=min(self.size) // 8) if augmentation == "crop_and_flip" else None,
            samples=samples,
            root=str(folder),
            classes=classes,
        )
