"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), 50,000 + 10,000 images of 32x32 pixels each."""

import logging
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_al.extras import needs
from lightning_al.words import cut
from lightning_al.zoo.image_files import Samples, class_folders, class_names_in, decode, open_image, pixels_of
from lightning_al.zoo.published import Pixels, PublishedImages, Split

_log = logging.getLogger(__name__)

# Of the training pixels / 255.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)


def _bytes_of(path: str) -> Tensor:
    with open_image(path) as file:
        return pixels_of(file.convert("RGB"))


class _Files:
    """Images in files, decoded when they are asked for."""

    def __init__(self, samples: Samples, folder: Path) -> None:
        self.samples = samples
        self.folder = folder

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, rows: Tensor) -> Tensor:
        _log.info("Decoding %d images below %s, once.", len(rows), self.folder)
        return decode([self.samples[row] for row in rows.tolist()], _bytes_of)


class CIFAR10DataModule(PublishedImages):
    """CIFAR-10: ten classes of 5,000 + 1,000 images (3, 32, 32), normalised; training images cropped and mirrored.

    From https://www.cs.toronto.edu/~kriz/cifar.html, 163 MB (MD5 c58f30108f718f92721af3b95e74349a of
    cifar-10-python.tar.gz). Licence: not stated; the authors ask for their report to be cited.

    ``root`` holds either the folder ``cifar-10-batches-py`` (the archive, unpacked; its files are read by torchvision,
    which checks their MD5 sums before it unpickles them) or an image folder: ``train`` and ``test``, each with the same
    ten class folders. Files are decoded once, in ``setup`` (60,000 JPEGs: some ten seconds), and then carry their path
    in ``samples``.

    The code of LPLgrad and of the gradient norms normalises with other deviations than those of the training pixels:
    ``std=[0.2023, 0.1994, 0.2010]``.

    Options: those of :class:`PublishedImages`.
    """

    title: ClassVar[str] = "CIFAR-10"
    augmented: ClassVar[bool] = True
    pixel_mean: ClassVar[tuple[float, ...]] = MEAN
    pixel_std: ClassVar[tuple[float, ...]] = STD
    of_torchvision: ClassVar[str] = "CIFAR10"
    batches: ClassVar[str] = "cifar-10-batches-py"
    count: ClassVar[int] = 10

    def find(self) -> Path | None:
        """Return the folder of the batches, else ``root`` if that is an image folder."""
        if (self.folder / self.batches).is_dir():
            return self.folder / self.batches
        return self.folder if all((self.folder / split).is_dir() for split in ("train", "test")) else None

    def where_from(self) -> str:
        """The two forms."""
        return (
            f"`root={str(self.folder)!r}` must hold either `{self.batches}` (the original archive, unpacked) or an "
            f"image folder: `train` and `test`, each with {self.count} class folders of images."
        )

    def fetch(self, datasets: Any) -> None:
        """Download the archive."""
        getattr(datasets, self.of_torchvision)(self.folder, download=True)

    def read_split(self, folder: Path, split: Split) -> Pixels:
        """Read the batches, else decode the image folder."""
        return self._of_batches(folder, split) if folder.name == self.batches else self._of_image_folder(folder, split)

    def _of_batches(self, folder: Path, split: Split) -> Pixels:
        with needs(f"Reading the {self.title} batches", "torchvision", "vision"):
            import torchvision.datasets as datasets
        try:
            data = getattr(datasets, self.of_torchvision)(folder.parent, train=split == "train")
        except RuntimeError as error:
            raise ValueError(
                f"{folder} is not what was published: a file is missing, or has another MD5 sum. Unpack the archive "
                "anew, or remove the folder and give `download=True`."
            ) from error
        images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
        return Pixels(images, torch.tensor(data.targets), data.classes)

    def _of_image_folder(self, folder: Path, split: Split) -> Pixels:
        train, test = (class_names_in(folder / side) for side in ("train", "test"))
        if train != test or len(train) != self.count:
            raise ValueError(
                f"{self.title} has the same {self.count} classes in {folder}/train and /test, found {cut(train)} and "
                f"{cut(test)}."
            )
        classes, samples = class_folders(folder / split)
        targets = torch.tensor([label for _, label in samples])
        return Pixels(_Files(samples, folder / split), targets, classes, samples, folder / split)


class CIFAR100DataModule(CIFAR10DataModule):
    """CIFAR-100: a hundred (fine) classes of 500 + 100 images (3, 32, 32), normalised; cropped and mirrored to train.

    From https://www.cs.toronto.edu/~kriz/cifar.html, 161 MB (MD5 eb9058c3a382ffc7106e4002c42a8d85 of
    cifar-100-python.tar.gz). Licence: not stated; the authors ask for their report to be cited.

    ``root`` holds the folder ``cifar-100-python`` or an image folder, as with :class:`CIFAR10DataModule`.

    Options: those of :class:`PublishedImages`.
    """

    title: ClassVar[str] = "CIFAR-100"
    pixel_mean: ClassVar[tuple[float, ...]] = (0.5071, 0.4865, 0.4409)
    pixel_std: ClassVar[tuple[float, ...]] = (0.2673, 0.2564, 0.2762)
    of_torchvision: ClassVar[str] = "CIFAR100"
    batches: ClassVar[str] = "cifar-100-python"
    count: ClassVar[int] = 100
