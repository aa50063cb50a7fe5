"""Images beside their masks, read when they are asked for, and moved together when they are augmented."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lightning_al.zoo.image_files import MEAN, STD, open_image
from lightning_al.zoo.parts import PicturesDataModule

VOID = 255
"""The class of pixels that do not count."""

Sample = tuple[Tensor, Tensor]


class SegmentationFiles(Dataset[Sample]):
    """Image files and the files of their masks.

    A sample is an image, floats (3, H, W) normalised as ImageNet's are, and the class of each pixel, integers (H, W),
    255 where it does not count.

    Args:
        paths: The image files; what is left of a path below ``root`` names its sample.
        mask_paths: The mask files, one for each: grey or with a palette, a number for each pixel, see
            :func:`read_numbers`.
        root: The folder that the images are below.
        classes: Names, by class index.
        class_of: The class index of each number in the masks, or 255. Other numbers are refused.
        size: Height and width that images (bilinear) and masks (nearest) are brought to. None: as they are.

    Raises:
        OSError: Of a file that cannot be read, with its path.
        ValueError: If a mask has another size than its image, or a number that is of no class, with its path.
    """

    def __init__(
        self,
        paths: Sequence[str],
        mask_paths: Sequence[str],
        *,
        root: str,
        classes: Sequence[str],
        class_of: Mapping[int, int],
        size: tuple[int, int] | None = None,
    ) -> None:
        self.paths = list(paths)
        self.mask_paths = list(mask_paths)
        self.root = root
        self.classes = list(classes)
        self.class_of = dict(class_of)
        self.size = size
        self._table = torch.full((max(self.class_of) + 1,), -1)
        for number, index in self.class_of.items():
            self._table[number] = index

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Sample:
        image, numbers = read_rgb(self.paths[index]), read_numbers(self.mask_paths[index])
        if image.shape[1:] != numbers.shape:
            raise ValueError(
                f"{self.mask_paths[index]} has {_size(numbers)} pixels, its image {_size(image)}: a mask has the size "
                "of its image."
            )
        mask = self._classes_of(numbers, index)
        if self.size is not None:
            image, mask = _resized(image, self.size), _resized(mask[None].float(), self.size, "nearest")[0].long()
        return normalised(image), mask

    def mask(self, index: int) -> Tensor:
        """Return the class of each pixel (H, W), at the size of the file; the image is not read."""
        return self._classes_of(read_numbers(self.mask_paths[index]), index)

    def _classes_of(self, numbers: Tensor, index: int) -> Tensor:
        known = (numbers >= 0) & (numbers < len(self._table))
        mask = torch.where(known, self._table[numbers.clamp(0, len(self._table) - 1)], -1)
        if (mask < 0).any():
            raise ValueError(
                f"{self.mask_paths[index]} has pixels of the number {int(numbers[mask < 0][0])}, which is of no class: "
                f"masks have {', '.join(map(str, sorted(self.class_of)))}."
            )
        return mask


def _size(maps: Tensor) -> str:
    return f"{maps.shape[-1]}x{maps.shape[-2]}"


def _resized(maps: Tensor, size: tuple[int, int], mode: str = "bilinear") -> Tensor:
    """Return (C, H, W) at another height and width, with nothing left out when it is made smaller."""
    smooth = {} if mode == "nearest" else {"antialias": True}
    kind = "nearest-exact" if mode == "nearest" else mode
    return nn.functional.interpolate(maps[None], size, mode=kind, **smooth)[0]


# -- reading -----------------------------------------------------------------------------------------------------------


def read_rgb(path: str) -> Tensor:
    """Return the pixels of an image file, floats (3, H, W) from 0 to 1.

    Raises:
        ImportError: If Pillow is missing.
        OSError: If it cannot be read, with its path.
    """
    with open_image(path, "an image") as file:
        pixels = np.array(file.convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def read_numbers(path: str) -> Tensor:
    """Return the number of each pixel of a mask file (H, W).

    Palettes are left as numbers, grey of 16 bits as it is. Of colours, the first channel; where that has 16 bits, as in
    SYNTHIA's masks, its lower byte.

    Raises:
        ImportError: If Pillow is missing.
        OSError: If it cannot be read, with its path.
    """
    with open_image(path, "a mask") as file:
        if file.tile and file.tile[0][3] in _COLOURS_OF_16_BITS:
            # Pillow would keep the higher byte of each, which is 0. As if the bytes came in the other order:
            decoder, extents, offset, raw = file.tile[0]
            file.tile = [(decoder, extents, offset, raw.replace("16B", "16L"))]
        numbers = np.array(file)
    return torch.from_numpy((numbers if numbers.ndim == 2 else numbers[..., 0]).astype(np.int64))


_COLOURS_OF_16_BITS = ("RGB;16B", "RGBA;16B")
"""Pillow's names of what PNG files of such colours hold."""


def normalised(image: Tensor) -> Tensor:
    """Return pixels from 0 to 1, (3, H, W), with ImageNet's mean taken off and its deviation divided by."""
    mean, std = _imagenets()
    return (image - mean) / std


def _imagenets() -> tuple[Tensor, Tensor]:
    """Return the mean and the deviation of ImageNet's pixels, (3, 1, 1) each."""
    return torch.tensor(MEAN).view(-1, 1, 1), torch.tensor(STD).view(-1, 1, 1)


# -- augmentation ------------------------------------------------------------------------------------------------------


def augmented(transforms: Sequence[nn.Module], sample: Any) -> Any:
    """Return a sample whose image and mask went through transforms of ``torchvision.transforms.v2`` together.

    The image goes in as ``tv_tensors.Image`` with pixels from 0 to 1, the mask as ``tv_tensors.Mask``: a transform
    that moves pixels moves both, one that changes colours the image alone. What a transform fills in, where it fills in
    with 0 as they do by default, is black in the image and does not count in the mask.

    Args:
        transforms: Called one after the other.
        sample: ``(image, mask, ...)``, the image normalised.
    """
    if not transforms:
        return sample
    from torchvision import tv_tensors

    image, mask, *others = sample
    mean, std = _imagenets()
    moved = tv_tensors.Image(image * std + mean)
    # Shifted, so that a 0 that is filled in is no class.
    numbers = tv_tensors.Mask(torch.where(mask == VOID, 0, mask + 1))
    for transform in transforms:
        moved, numbers = transform(moved, numbers)
    numbers = numbers.as_subclass(Tensor)
    mask = torch.where(numbers == 0, VOID, numbers - 1).to(mask.dtype)
    return (normalised(moved.as_subclass(Tensor)).to(image.dtype), mask, *others)


# -- data modules ------------------------------------------------------------------------------------------------------


class SegmentationDataModule(PicturesDataModule):
    """Images with masks, to be trained on and to be tested on; subclasses read them.

    Args:
        size: Height and width that images and masks are brought to. None: as they are.
        augmentation: Transforms of ``torchvision.transforms.v2`` for training samples, image and mask together, see
            :func:`augmented`; None or none: they train as they are.
        batch_size: Images per training batch.
        eval_batch_size: Images per test batch.
        num_workers: Loader processes.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range.
    """

    def augment(self, sample: Any) -> Any:
        """Return a training sample augmented, its label in it."""
        return augmented(self.augmentation, sample)


def folder_found(root: str, *needed: str, what: str) -> Path:
    """Return a folder that has some others in it.

    Raises:
        FileNotFoundError: If it has not.
    """
    folder = Path(root).expanduser()
    missing = [name for name in needed if not (folder / name).is_dir()]
    if missing:
        raise FileNotFoundError(f"`root={root!r}` must hold {what}; there is no {folder / missing[0]}.")
    return folder
