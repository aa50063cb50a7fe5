"""Fashion-MNIST (Xiao et al., 2017): 60,000 + 10,000 images of 28x28 pixels, ten classes."""

import gzip
import math
import zlib
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from lightning_al.zoo.published import Pixels, PublishedImages, Split

DEBIAN_FOLDER = "/usr/share/datasets/fashion-mnist"  # apt-get install dataset-fashion-mnist
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
CLASSES = (*("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),)
# Of the training pixels / 255.
MEAN, STD = 0.2860, 0.3530


def read_idx(path: Path) -> Tensor:
    """Read an IDX file of unsigned bytes, gzipped or not.

    The format: two zero bytes, the type (8 = unsigned byte), the number of dimensions, each dimension as a
    big-endian 32-bit integer, then the values.

    Args:
        path: The file; gzip is recognised by its first bytes, not by the name.

    Returns:
        uint8 tensor of the shape the file names.

    Raises:
        ValueError: If the file is not IDX, not of unsigned bytes, or cut short.
    """
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} cannot be unzipped ({error}): was it cut short?") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes: it begins with {content[:4]!r}.")
    start = 4 + 4 * content[3]
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if len(content) - start != math.prod(shape):
        raise ValueError(f"{path} promises {shape} bytes and holds {len(content) - start}: was it cut short?")
    # bytearray: torch warns about memory it may not write to.
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).view(shape)


class FashionMNISTDataModule(PublishedImages):
    """Fashion-MNIST: ten classes of 6,000 + 1,000 images (1, 28, 28), normalised; not augmented by default.

    From https://github.com/zalandoresearch/fashion-mnist, 31 MB. Licence: MIT.

    With ``root``, the four IDX files (gzipped or not) are read from ``root``, ``root/raw`` or ``root/FashionMNIST/raw``
    (torchvision's layout). Without, from the folder of Debian's package ``dataset-fashion-mnist``, else from these
    places in ``data``.

    Options: those of :class:`PublishedImages`.
    """

    title: ClassVar[str] = "Fashion-MNIST"
    augmented: ClassVar[bool] = False
    pixel_mean: ClassVar[tuple[float, ...]] = (MEAN,)
    pixel_std: ClassVar[tuple[float, ...]] = (STD,)

    @property
    def _places(self) -> list[Path]:
        places = [self.folder, self.folder / "raw", self.folder / "FashionMNIST" / "raw"]
        # A given root is meant: reading another folder instead would hide a mistyped one.
        return [Path(DEBIAN_FOLDER), *places] if self.root is None else places

    def find(self) -> Path | None:
        """Return the folder that has the four files."""
        return next((place for place in self._places if all(_file(place, name) for name in FILES)), None)

    def where_from(self) -> str:
        """The places."""
        looked = ", ".join(str(place) for place in self._places)
        return (
            f"It was looked for in: {looked}. `apt-get install dataset-fashion-mnist` provides it, or give `root=`, a "
            f"folder with {FILES[0]}.gz and the three files beside it."
        )

    def fetch(self, datasets: Any) -> None:
        """Download the four files."""
        datasets.FashionMNIST(self.folder, download=True)

    def read_split(self, folder: Path, split: Split) -> Pixels:
        """Read two of the four files."""
        names = FILES[:2] if split == "train" else FILES[2:]
        paths = [_file(folder, name) or folder / name for name in names]
        images, targets = map(read_idx, paths)
        if images.shape[1:] != (28, 28) or targets.ndim != 1:
            raise ValueError(
                f"{paths[0]} must hold images (N, 28, 28) and {paths[1].name} labels (N,), got {tuple(images.shape)} "
                f"and {tuple(targets.shape)}: is one the other's, or another data set's?"
            )
        return Pixels(images.unsqueeze(1), targets, CLASSES)


def _file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)
