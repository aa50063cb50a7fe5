"""Images beside their boxes, read when they are asked for, and moved together when they are augmented."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from lightning_al.checks import Findings
from lightning_al.zoo.image_files import open_image

Target = dict[str, Tensor]
Sample = tuple[Tensor, Target]

_MOST_NAMED = 5  # files in which something is wrong
_THINNEST = 1.0  # pixels; what is left of a box that augmentation cut off


@dataclass(frozen=True)
class BoxedImage:
    """An image file and the boxes in it.

    Attributes:
        path: The file.
        boxes: Corners (left, top, right, bottom) in its pixels, (n, 4).
        labels: Their classes, (n,).
        ignored: Which neither train nor count in a test, (n,): difficult ones, and crowds.
    """

    path: str
    boxes: Tensor
    labels: Tensor
    ignored: Tensor


def read_each(reads: Iterable[Callable[[], BoxedImage]]) -> list[BoxedImage]:
    """Return what these read, one after the other.

    Raises:
        ValueError: With the first few that are wrong.
    """
    images: list[BoxedImage] = []
    with Findings() as findings:
        for read in reads:
            with findings.of_block():
                images.append(read())
            if len(findings.errors) == _MOST_NAMED:
                break
    return images


class DetectionFiles(Dataset[Sample]):
    """Image files and the boxes in them.

    A sample is an image, floats (3, H, W) from 0 to 1, as torchvision's detectors take it, and a dict of ``"boxes"``
    (n, 4), corners (left, top, right, bottom) in pixels, and ``"labels"`` (n,).

    Args:
        images: The files with their boxes; what is left of a path below ``root`` names its sample.
        root: The folder that the images are below.
        classes: Names, by class index; the first is the background.
        size: Height and width that images are brought to (bilinear), whatever their shape, and boxes with them. None:
            as they are.
        in_memory: Whether images stay in memory once they were read, a byte a channel and pixel.
        for_test: Whether boxes that are ignored are there too, marked in ``"iscrowd"`` (n,), as torchmetrics takes it.
            Otherwise they are left out.

    Raises:
        OSError: Of a file that cannot be read, with its path.
    """

    def __init__(
        self,
        images: Sequence[BoxedImage],
        *,
        root: str,
        classes: Sequence[str],
        size: tuple[int, int] | None = None,
        in_memory: bool = False,
        for_test: bool = False,
    ) -> None:
        self.images = list(images)
        self.paths = [image.path for image in self.images]
        self.root = root
        self.classes = list(classes)
        self.size = size
        self.in_memory = in_memory
        self.for_test = for_test
        self._read: dict[int, tuple[Tensor, tuple[int, int]]] = {}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        pixels, (height, width) = self._pixels(index)
        own = self.images[index]
        scale = torch.tensor([pixels.shape[2] / width, pixels.shape[1] / height]).repeat(2)
        target = {"boxes": own.boxes * scale, "labels": own.labels, "iscrowd": own.ignored.long()}
        if not self.for_test:
            del target["iscrowd"]
            target = {name: part[~own.ignored] for name, part in target.items()}
        return pixels.float() / 255, target

    def _pixels(self, index: int) -> tuple[Tensor, tuple[int, int]]:
        """Return an image, uint8 (3, H, W), and height and width of its file."""
        if index in self._read:
            return self._read[index]
        read = read_pixels(self.paths[index], self.size)
        if self.in_memory:
            self._read[index] = read
        return read


def read_pixels(path: str, size: tuple[int, int] | None) -> tuple[Tensor, tuple[int, int]]:
    """Return an image file at a height and width, uint8 (3, H, W), and those that it has itself.

    Raises:
        ImportError: If Pillow is missing.
        OSError: If it cannot be read, with its path.
    """
    with open_image(path) as file:
        from PIL import Image

        image = file.convert("RGB")
        width, height = image.size
        if size is not None:
            image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        pixels = np.array(image)
    return torch.from_numpy(pixels).permute(2, 0, 1), (height, width)


def collate_boxes(samples: Sequence[Any]) -> tuple[Any, ...]:
    """Return a batch: images stacked where all are of one size, otherwise in a list; all else in lists.

    Example:
        >>> images, targets = collate_boxes([(torch.zeros(3, 4, 6), {"labels": torch.zeros(n)}) for n in (1, 2)])
        >>> images.shape, len(targets)
        (torch.Size([2, 3, 4, 6]), 2)
    """
    images, *others = (list(entries) for entries in zip(*samples, strict=True))
    are_alike = all(isinstance(image, Tensor) for image in images) and len({image.shape for image in images}) == 1
    return (torch.stack(images) if are_alike else images, *others)


def augmented(transforms: Sequence[nn.Module], sample: Any) -> Any:
    """Return a sample whose image and boxes went through transforms of ``torchvision.transforms.v2`` together.

    The image goes in as ``tv_tensors.Image`` with pixels from 0 to 1, the boxes as ``tv_tensors.BoundingBoxes`` in a
    dict with their labels. Afterwards boxes are clipped to the image, and left out if less than a pixel of their width
    or height is left.

    Args:
        transforms: Called one after the other.
        sample: ``(image, target, ...)``.
    """
    if not transforms:
        return sample
    from torchvision import tv_tensors
    from torchvision.ops import clip_boxes_to_image

    image, target, *others = sample
    moved = tv_tensors.Image(image)
    boxes = tv_tensors.BoundingBoxes(target["boxes"], format="XYXY", canvas_size=image.shape[-2:])
    with_boxes = {"boxes": boxes, "labels": target["labels"]}
    for transform in transforms:
        moved, with_boxes = transform(moved, with_boxes)
    image = moved.as_subclass(Tensor)
    corners = clip_boxes_to_image(with_boxes["boxes"].as_subclass(Tensor), image.shape[-2:])
    is_left = (corners[:, 2:] - corners[:, :2] >= _THINNEST).all(1)
    return (image, {"boxes": corners[is_left], "labels": with_boxes["labels"][is_left]}, *others)
