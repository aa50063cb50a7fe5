"""Fashion-MNIST (Xiao et al., 2017): 60,000 + 10,000 images of 28x28 pixels, ten classes."""

import gzip
import math
from pathlib import Path

import torch
from torch import Tensor

from lightning_al.zoo.images import ImageDataModule, ImageDataset, Splits

DEBIAN_FOLDER = "/usr/share/datasets/fashion-mnist"  # apt-get install dataset-fashion-mnist
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
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
        content = gzip.decompress(content)
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise ValueError(f"{path} is not an IDX file of unsigned bytes: it begins with {content[:4]!r}.")
    start = 4 + 4 * content[3]
    shape = [int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4)]
    if len(content) - start != math.prod(shape):
        raise ValueError(f"{path} promises {shape} bytes and holds {len(content) - start}: was it cut short?")
    # bytearray: torch warns about memory it may not write to.
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).view(shape)


class FashionMNISTDataModule(ImageDataModule):
    """Fashion-MNIST as (1, 28, 28) floats, normalised, never augmented.

    Labels are what active learning spends, so no validation set is carved out: there is a ``test_dataloader`` and no
    ``val_dataloader``. Run the loop with ``evaluate="test"``.

    With ``root``, the four IDX files (gzipped or not) are read from ``root``, ``root/raw`` or ``root/FashionMNIST/raw``
    (torchvision's layout) and, if in none of them, downloaded by torchvision into ``root``. Without, they are read
    from the folder of Debian's package ``dataset-fashion-mnist``, else from ``data``, where torchvision downloads.

    Args:
        batch_size: Images per training batch.
        eval_batch_size: Images per test batch.
        num_workers: Loader processes.
        root: Folder of the files.

    Raises:
        FileNotFoundError: In ``setup``, if the files are in none of the places, with the places.
        RuntimeError: In ``prepare_data``, if they are nowhere and cannot be downloaded either.
    """

    def __init__(
        self, batch_size: int = 10, eval_batch_size: int = 250, num_workers: int = 0, root: str | None = None
    ) -> None:
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=num_workers)
        self.root = root

    @property
    def _download_root(self) -> Path:
        return Path("data" if self.root is None else self.root).expanduser()

    @property
    def _places(self) -> list[Path]:
        root = self._download_root
        places = [root, root / "raw", root / "FashionMNIST" / "raw"]
        # A given root is meant: reading another folder instead would hide a mistyped one.
        return [Path(DEBIAN_FOLDER), *places] if self.root is None else places

    def _find(self) -> list[Path] | None:
        for place in self._places:
            files = [p for name in FILES for p in (place / name, place / f"{name}.gz") if p.is_file()]
            by_name = {p.name.removesuffix(".gz"): p for p in files}
            if len(by_name) == len(FILES):
                return [by_name[name] for name in FILES]
        return None

    def _ways_out(self) -> str:
        looked = ", ".join(str(place) for place in self._places)
        return (
            f"Fashion-MNIST was looked for in: {looked}. `apt-get install dataset-fashion-mnist` provides it, or give "
            f"`root=`, a folder with {FILES[0]}.gz and the three files beside it."
        )

    def prepare_data(self) -> None:
        """Download the files with torchvision, if they are nowhere."""
        if self._find() is not None:
            return
        try:
            from torchvision.datasets import FashionMNIST

            FashionMNIST(self._download_root, download=True)
        except ImportError as error:
            raise RuntimeError(
                f"Downloading Fashion-MNIST needs torchvision: `pip install lightning-al[vision]`. {self._ways_out()}"
            ) from error
        except (RuntimeError, OSError) as error:
            raise RuntimeError(f"Fashion-MNIST could not be downloaded ({error}). {self._ways_out()}") from error

    def read(self) -> Splits:
        """Read the four files."""
        paths = self._find()
        if paths is None:
            raise FileNotFoundError(self._ways_out())
        train_images, train_targets, test_images, test_targets = [read_idx(path) for path in paths]

        def part(images: Tensor, targets: Tensor) -> ImageDataset:
            return ImageDataset(images.unsqueeze(1), targets, mean=[255 * MEAN], std=[255 * STD])

        return Splits(train=part(train_images, train_targets), test=part(test_images, test_targets))
