"""CIFAR-10 (Krizhevsky, 2009): 50,000 + 10,000 colour images of 32x32 pixels, ten classes."""

import logging
from pathlib import Path

import torch
from torch import Tensor

from lightning_al.zoo.images import ImageDataModule, ImageDataset, Splits, crop_and_flip

_log = logging.getLogger(__name__)

# Of the training pixels / 255.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2470, 0.2435, 0.2616)
SUFFIXES = (".jpg", ".jpeg", ".png")


def read_image_folder(folder: Path) -> tuple[Tensor, Tensor, list[tuple[str, int]]]:
    """Decode a folder of class folders, all images of one size, into one tensor.

    Classes and files are taken in the order of their names, as torchvision's ``ImageFolder`` does.

    Args:
        folder: Holds one folder per class, each with .jpg, .jpeg or .png files.

    Returns:
        Images, uint8 (N, 3, H, W); targets (N,), the position of the class folder's name in sorted order; and
        ``(path, label)`` of each image.

    Raises:
        ImportError: If Pillow (a dependency of torchvision) is missing.
        ValueError: If a class folder is empty or the images differ in size, naming the first such.
    """
    try:
        import numpy as np
        from PIL import Image
    except ImportError as error:
        raise ImportError("Reading image files needs Pillow: `pip install lightning-al[vision]`.") from error

    samples: list[tuple[str, int]] = []
    for label, class_folder in enumerate(sorted(p for p in folder.iterdir() if p.is_dir())):
        files = sorted(p for p in class_folder.iterdir() if p.suffix.lower() in SUFFIXES)
        if not files:
            raise ValueError(f"{class_folder} holds no image ({', '.join(SUFFIXES)}).")
        samples += [(str(file), label) for file in files]

    _log.info("Decoding %d images below %s, once.", len(samples), folder)
    images: Tensor | None = None
    for row, (path, _) in enumerate(samples):
        with Image.open(path) as file:
            pixels = torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1)
        if images is None:
            images = torch.empty((len(samples), *pixels.shape), dtype=torch.uint8)
        if pixels.shape != images.shape[1:]:
            raise ValueError(
                f"{path} has the shape {tuple(pixels.shape)}, the images before it {tuple(images.shape[1:])}: "
                "images of one size are needed."
            )
        images[row] = pixels
    if images is None:
        raise ValueError(f"{folder} holds no class folders.")
    return images, torch.tensor([label for _, label in samples]), samples


class CIFAR10DataModule(ImageDataModule):
    """CIFAR-10 as (3, 32, 32) floats, normalised; random crop (padding 4) and mirror on the training set only.

    Labels are what active learning spends, so no validation set is carved out: there is a ``test_dataloader`` and no
    ``val_dataloader``. Run the loop with ``evaluate="test"``.

    ``root`` holds either ``cifar-10-batches-py`` (the original batches, read and, if absent, downloaded through
    torchvision) or an image folder: ``train`` and ``test``, each with the same ten class folders. Files are decoded
    once, in ``setup`` (60,000 JPEGs: some ten seconds), and then carry their path in ``samples``.

    Args:
        batch_size: Images per training batch.
        eval_batch_size: Images per test batch.
        num_workers: Loader processes.
        root: Folder of the data.

    Raises:
        FileNotFoundError: In ``setup``, if neither form is in ``root``.
        RuntimeError: In ``prepare_data``, if neither is there and the batches cannot be downloaded.
        ValueError: If the image folder has not the same ten classes in ``train`` and ``test``.
    """

    def __init__(
        self, batch_size: int = 10, eval_batch_size: int = 250, num_workers: int = 0, root: str = "data"
    ) -> None:
        super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=num_workers)
        self.root = root

    @property
    def _root(self) -> Path:
        return Path(self.root).expanduser()

    @property
    def _is_image_folder(self) -> bool:
        return all((self._root / split).is_dir() for split in ("train", "test"))

    @property
    def _is_batches(self) -> bool:
        return (self._root / "cifar-10-batches-py").is_dir()

    def _ways_out(self) -> str:
        return (
            f"`root={self.root!r}` must hold either `cifar-10-batches-py` (the original archive, unpacked) or an image "
            "folder: `train` and `test`, each with ten class folders of images."
        )

    def prepare_data(self) -> None:
        """Download the original batches with torchvision, if ``root`` holds neither form."""
        if self._is_batches or self._is_image_folder:
            return
        try:
            from torchvision.datasets import CIFAR10

            CIFAR10(self._root, download=True)
        except ImportError as error:
            raise RuntimeError(
                f"Downloading CIFAR-10 needs torchvision: `pip install lightning-al[vision]`. {self._ways_out()}"
            ) from error
        except (RuntimeError, OSError) as error:
            raise RuntimeError(f"CIFAR-10 could not be downloaded ({error}). {self._ways_out()}") from error

    def read(self) -> Splits:
        """Read the batches, else decode the image folder."""
        if self._is_batches:
            return Splits(train=self._read_batches(train=True), test=self._read_batches(train=False))
        if self._is_image_folder:
            return self._read_image_folder()
        raise FileNotFoundError(f"No CIFAR-10 found. {self._ways_out()}")

    def _dataset(
        self,
        images: Tensor,
        targets: Tensor,
        *,
        train: bool,
        samples: list[tuple[str, int]] | None = None,
        root: Path | None = None,
    ) -> ImageDataset:
        return ImageDataset(
            images,
            targets,
            mean=[255 * m for m in MEAN],
            std=[255 * s for s in STD],
            augment=crop_and_flip if train else None,
            samples=samples,
            root=None if root is None else str(root),
        )

    def _read_batches(self, train: bool) -> ImageDataset:
        try:
            from torchvision.datasets import CIFAR10
        except ImportError as error:
            raise ImportError(
                "Reading the CIFAR-10 batches needs torchvision: `pip install lightning-al[vision]`."
            ) from error
        data = CIFAR10(self._root, train=train)
        images = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
        return self._dataset(images, torch.tensor(data.targets), train=train)

    def _read_image_folder(self) -> Splits:
        classes = {
            split: sorted(p.name for p in (self._root / split).iterdir() if p.is_dir()) for split in ("train", "test")
        }
        if classes["train"] != classes["test"] or len(classes["train"]) != 10:
            raise ValueError(
                f"CIFAR-10 has the same ten classes in {self._root}/train and /test, found {classes['train']} and "
                f"{classes['test']}."
            )
        parts = []
        for split in ("train", "test"):
            images, targets, samples = read_image_folder(self._root / split)
            train, root = split == "train", self._root / split
            parts.append(self._dataset(images, targets, train=train, samples=samples, root=root))
        return Splits(*parts)
