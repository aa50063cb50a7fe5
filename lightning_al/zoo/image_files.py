"""Image files: which there are, and how they are read."""

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lightning_al.extras import needs
from lightning_al.words import cut
from lightning_al.zoo.images import Images, crop_and_flip

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""Of files that are taken for images, in small letters or capitals."""

# Of ImageNet's pixels, from 0 to 1, which torchvision's and timm's weights were trained with.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

Samples = list[tuple[str, int]]
"""``(path, class index)`` of each, as in torchvision's ``ImageFolder``."""

Augmentation = Literal["none", "crop_and_flip", "resized_crop"]
"""How training images differ from those that are looked at, see :class:`ImageFiles`."""

# -- which there are ---------------------------------------------------------------------------------------------------


def image_files(folder: Path) -> list[str]:
    """Return the image files of a folder and of all folders below it, sorted; hidden ones are passed over."""
    found: list[str] = []
    for where, below, names in os.walk(folder, followlinks=True):
        below[:] = [name for name in below if not name.startswith(".")]
        found += [
            str(Path(where) / name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
        ]
    return sorted(found)


def class_names_in(folder: Path, leave_out: Collection[str] = ()) -> list[str]:
    """Return the names of the folders in one, sorted; hidden ones and some others are passed over."""
    names = [path.name for path in folder.iterdir() if path.is_dir()]
    return sorted(name for name in names if not name.startswith(".") and name not in leave_out)


def class_folders(folder: Path, leave_out: Collection[str] = ()) -> tuple[list[str], Samples]:
    """List a folder of class folders, classes and files in the order of their names.

    Args:
        folder: Has a folder of each class, which may have folders in it.
        leave_out: Names of folders that are of no class.

    Returns:
        The classes' names, and the files.

    Raises:
        ValueError: If there is no class, or none of its files is an image, with its folder.
    """
    classes = class_names_in(folder, leave_out)
    samples = [(path, label) for label, name in enumerate(classes) for path in image_files(folder / name)]
    empty = set(range(len(classes))) - {label for _, label in samples}
    if empty:
        raise ValueError(f"{folder / classes[min(empty)]} holds no image ({', '.join(SUFFIXES)}).")
    if not classes:
        raise ValueError(f"{folder} holds no class folders.")
    return classes, samples


# -- how they are read -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def open_image(path: str, what: str = "an image") -> Iterator[Any]:
    """Open an image file with Pillow.

    Raises:
        ImportError: If Pillow is missing.
        OSError: If it cannot be read, with its path.
    """
    with needs("Reading image files", "Pillow", "vision"):
        from PIL import Image
    try:
        with Image.open(path) as file:
            yield file
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise OSError(f"{path} cannot be read as {what}: {cut(error, 200)}") from None


def middle(picture: Any, size: tuple[int, int], margin: float = 0.0) -> Any:
    """Return the largest part in the middle of a picture of Pillow's that has the shape of a size, scaled to it.

    Args:
        picture: In colours.
        size: Height and width.
        margin: A share of height and width that is cut off on each side first: 1/16 leaves of a square what is left of
            256 pixels by a crop of 224.
    """
    from PIL import Image, ImageOps

    return ImageOps.fit(picture, (size[1], size[0]), Image.Resampling.BILINEAR, bleed=margin)


def random_part(picture: Any, size: tuple[int, int]) -> Any:
    """Return a part of 8 to 100 % of a picture of Pillow's, of sides 3:4 to 4:3, scaled, every second time mirrored.

    Raises:
        ImportError: If torchvision is missing.
    """
    with needs("`resized_crop`", "torchvision", "vision"):
        from torchvision.transforms import v2
    return v2.RandomHorizontalFlip()(v2.RandomResizedCrop(size)(picture))


def read_image(path: str, size: int | tuple[int, int], part: Callable[..., Any] = middle) -> Tensor:
    """Return a part of an image, as floats (3, height, width) from 0 to 1.

    A picture is turned as its camera says (EXIF); grey ones and palettes become colours.

    Args:
        path: The file.
        size: Height and width; one number for both.
        part: A picture of Pillow's and ``(height, width)`` to a picture of that size.

    Raises:
        ImportError: If Pillow is missing.
        OSError: If it cannot be read, with its path.
    """
    with open_image(path) as file:
        from PIL import ImageOps

        upright = ImageOps.exif_transpose(file).convert("RGB")
    return pixels_of(part(upright, (size, size) if isinstance(size, int) else size)).float() / 255


def pixels_of(picture: Any) -> Tensor:
    """Return the pixels of a picture of Pillow's, (C, H, W), as they are."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)


def decode(samples: Samples, read: Callable[[str], Tensor]) -> Tensor:
    """Read files into one tensor.

    Args:
        samples: At least one.
        read: A path to the bytes (C, H, W) of an image.

    Raises:
        ValueError: If the images differ in size, naming the first such.
    """
    first = read(samples[0][0])
    images = torch.empty((len(samples), *first.shape), dtype=torch.uint8)
    for row, (path, _) in enumerate(samples):
        image = first if row == 0 else read(path)
        if image.shape != first.shape:
            raise ValueError(
                f"{path} has the shape {tuple(image.shape)}, the images before it {tuple(first.shape)}: images of one "
                "size are needed."
            )
        images[row] = image
    return images


class ImageFiles(Images):
    """Image files, read when they are asked for: the largest part in the middle, scaled and normalised.

    Args:
        samples: ``(path, class index)`` of each.
        root: The folder that the paths are below; what is left of a path names its sample.
        classes: Names, by class index.
        size: Height and width; one number for both.
        margin: See :func:`middle`.
        mean: Per channel, of pixels from 0 to 1, subtracted.
        std: Per channel, divided by.
        augmentation: ``"crop_and_flip"`` moves the image by up to an eighth of its shorter side, filled up with black,
            and mirrors every second one; ``"resized_crop"`` takes a random part in place of the one in the middle,
            see :func:`random_part`.

    Raises:
        OSError: Of a file that cannot be read, with its path.
    """

    def __init__(
        self,
        samples: Samples,
        *,
        root: str,
        classes: Sequence[str],
        size: int | tuple[int, int],
        margin: float = 0.0,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        augmentation: Augmentation = "none",
    ) -> None:
        self.samples = samples
        self.root = root
        self.classes = list(classes)
        self.size = (size, size) if isinstance(size, int) else size
        self.margin = margin
        self.augmentation = augmentation
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.samples[index]
        part = random_part if self.augmentation == "resized_crop" else partial(middle, margin=self.margin)
        image = read_image(path, self.size, part)
        if self.augmentation == "crop_and_flip":
            image = crop_and_flip(image, min(self.size) // 8)
        return (image - self.mean) / self.std, label

    def without_augmentation(self) -> "ImageFiles":
        """The same files in the same order, as they are looked at."""
        return ImageFiles(
            self.samples,
            root=self.root,
            classes=self.classes,
            size=self.size,
            margin=self.margin,
            mean=self.mean.flatten().tolist(),
            std=self.std.flatten().tolist(),
        )
