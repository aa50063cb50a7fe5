"""One's own image files: a folder for each class, and a folder of files that nobody has labelled."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lightning_al.checks import Findings, check_count
from lightning_al.words import cut
from lightning_al.zoo.images import crop_and_flip
from lightning_al.zoo.own_files import NO_LABEL, OwnFilesDataModule, is_held_out

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""Of files that are taken for images, in small letters or capitals."""

# Of ImageNet's pixels, from 0 to 1, which torchvision's and timm's weights were trained with.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class ImageFiles(Dataset[tuple[Tensor, int]]):
    """Image files, read when they are asked for: the largest square in the middle, scaled and normalised.

    Args:
        samples: ``(path, class index)`` of each.
        root: The folder that the paths are below; what is left of a path names its sample.
        classes: Names, by class index.
        size: Height and width.

    Raises:
        OSError: Of a file that cannot be read, with its path.
    """

    def __init__(self, samples: list[tuple[str, int]], *, root: str, classes: Sequence[str], size: int) -> None:
        self.samples = samples
        self.root = root
        self.classes = list(classes)
        self.size = size
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in (MEAN, STD))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        path, label = self.samples[index]
        return (read_image(path, self.size) - self.mean) / self.std, label


@contextlib.contextmanager
def open_image(path: str, what: str = "an image") -> Iterator[Any]:
    """Open an image file with Pillow.

    Raises:
        ImportError: If Pillow is missing.
        OSError: If it cannot be read, with its path.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("Reading image files needs Pillow: `pip install 'lightning-al[vision]'`.") from error
    try:
        with Image.open(path) as file:
            yield file
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise OSError(f"{path} cannot be read as {what}: {cut(error, 200)}") from None


def read_image(path: str, size: int) -> Tensor:
    """Return the largest square in the middle of an image, as floats (3, size, size) from 0 to 1.

    A picture is turned as its camera says (EXIF); grey ones and palettes become colours.

    Raises:
        ImportError: If Pillow is missing.
        OSError: If it cannot be read, with its path.
    """
    with open_image(path) as file:
        from PIL import Image, ImageOps

        upright = ImageOps.exif_transpose(file).convert("RGB")
    square = ImageOps.fit(upright, (size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 255


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


class ImageFolderDataModule(OwnFilesDataModule):
    """Labelled image files in a folder for each class, and unlabelled ones beside them.

    .. code-block:: text

        folder/labelled/cat/1.jpg      a folder of each class; it may be empty, and have folders in it
        folder/labelled/dog/5.JPG
        folder/unlabelled/7.jpg        what may be asked for; it may have folders in it

    Labels that are told stay with the campaign, their files where they are. Files may join, or be moved from
    ``unlabelled`` to the folder of a class, between two starts.

    Args:
        folder: Has the two folders.
        classes: Names of the classes, in order. Default: the folders in ``labelled``, sorted.
        val_share: The share of the labelled files that validate and never train: drawn by a hash of the name below the
            class's folder, so that a file stays where it is when others join. 0: there is no validation.
        size: Height and width of the images that the network gets.
        augmentation: Whether training images are mirrored and moved at random.
        batch_size: Images per training batch.
        eval_batch_size: Images per validation batch.
        num_workers: Loader processes.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range; in ``setup`` if there is no class, a file is in no class's folder, or
            a folder is of none of ``classes``.
        FileNotFoundError: In ``setup``, if there is no folder ``unlabelled``.
    """

    def __init__(
        self,
        folder: str,
        *,
        classes: list[str] | None = None,
        val_share: float = 0.0,
        size: int = 224,
        augmentation: bool = True,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(
                    classes=classes,
                    val_share=val_share,
                    batch_size=batch_size,
                    eval_batch_size=eval_batch_size,
                    num_workers=num_workers,
                )
            findings.of(check_count, "size", size)
        self.folder = folder
        self.size = size
        self.augmentation = augmentation

    def read_sets(self) -> dict[str, ImageFiles]:
        """List the files."""
        folder = Path(self.folder).expanduser()
        labelled, unlabelled = folder / "labelled", folder / "unlabelled"
        if not unlabelled.is_dir():
            raise FileNotFoundError(
                f"There is no folder {unlabelled}. Put the files that may be asked for there, and what is labelled in "
                f"{labelled}/CLASS."
            )
        classes = self._class_names(labelled)
        files = [(path, Path(path).relative_to(labelled).parts) for path in image_files(labelled)]
        loose = [path for path, parts in files if len(parts) == 1]
        if loose:
            raise ValueError(f"{loose[0]} is in no folder of a class. Put it into one, or into {unlabelled}.")
        split: dict[str, list[tuple[str, int]]] = {"train": [], "val": []}
        for path, (name, *below) in files:
            part = "val" if is_held_out("/".join(below), self.val_share) else "train"
            split[part].append((path, classes.index(name)))
        of_nobody = [(path, NO_LABEL) for path in image_files(unlabelled)]
        return {
            "unlabelled": ImageFiles(of_nobody, root=str(unlabelled), classes=classes, size=self.size),
            **{
                part: ImageFiles(samples, root=str(labelled), classes=classes, size=self.size)
                for part, samples in split.items()
            },
        }

    def _class_names(self, labelled: Path) -> list[str]:
        there = [path.name for path in labelled.iterdir() if path.is_dir()] if labelled.is_dir() else []
        there = sorted(name for name in there if not name.startswith("."))
        if self.named_classes is None and not there:
            raise ValueError(
                f"There are no classes yet. Make a folder of each in {labelled} (they may be empty), or say their "
                "names: `--data.classes=[cat,dog]`."
            )
        others = [name for name in there if self.named_classes is not None and name not in self.named_classes]
        if others:
            raise ValueError(
                f"{labelled / others[0]} is the folder of no class: they are {', '.join(self.named_classes or [])}. "
                "Rename it, or add it to the end of `classes`."
            )
        return there if self.named_classes is None else list(self.named_classes)

    def augment(self, sample: tuple[Tensor, int]) -> tuple[Tensor, int]:
        """Mirror every second image, and move it by up to an eighth of its width."""
        image, label = sample
        return (crop_and_flip(image, self.size // 8) if self.augmentation else image), label
