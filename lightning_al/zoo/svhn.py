"""SVHN (Netzer et al., 2011): 73,257 + 26,032 colour images of 32x32 pixels, the digits of house numbers."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from lightning_al.words import cut
from lightning_al.zoo.published import Pixels, PublishedImages, Split

FILES: dict[Split, str] = {"train": "train_32x32.mat", "test": "test_32x32.mat"}


class SVHNDataModule(PublishedImages):
    """SVHN, the cropped digits: ten classes of unequal size, images (3, 32, 32), normalised; not augmented by default.

    From http://ufldl.stanford.edu/housenumbers, 182 MB + 64 MB (MD5 e26dedcc434d2e4c54c9b2d4a06d8373 of
    train_32x32.mat, eb5a983be6a315427106f1b164d9cef3 of test_32x32.mat). Licence: for non-commercial use only. The
    531,131 extra images are not used, as in the papers on gradient norms and LPLgrad.

    ``root`` holds the two files, or a folder ``svhn`` with them. Label 10 in them is the digit 0. They are MATLAB's, of
    version 5, and read by SciPy.

    SAAL's code augments CIFAR alone, and the papers say nothing of augmentation; ``augmentation=True`` for crops and
    mirrors.

    Options: those of :class:`PublishedImages`.
    """

    title: ClassVar[str] = "SVHN"
    augmented: ClassVar[bool] = False
    pixel_mean: ClassVar[tuple[float, ...]] = (0.4377, 0.4438, 0.4728)
    pixel_std: ClassVar[tuple[float, ...]] = (0.1980, 0.2010, 0.1970)

    def find(self) -> Path | None:
        """Return the folder that has both files."""
        for folder in (self.folder, self.folder / "svhn"):
            if all((folder / name).is_file() for name in FILES.values()):
                return folder
        return None

    def where_from(self) -> str:
        """The files."""
        return (
            f"`root={str(self.folder)!r}`, or `svhn` in it, must hold {' and '.join(FILES.values())}, from "
            "http://ufldl.stanford.edu/housenumbers."
        )

    def fetch(self, datasets: Any) -> None:
        """Download the two files."""
        for split in FILES:
            datasets.SVHN(self.folder, split=split, download=True)

    def read_split(self, folder: Path, split: Split) -> Pixels:
        """Read one of the files."""
        return _read_mat(folder / FILES[split])


def _read_mat(path: Path) -> Pixels:
    from scipy.io import loadmat

    try:
        content = loadmat(path, variable_names=("X", "y"))
    # SciPy names no common error of files that are of another format, cut short, or changed.
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as SVHN's ({cut(error, 200)}): was it cut short? The MD5 sums are in the "
            "docstring of `SVHNDataModule`."
        ) from error
    missing = [name for name in ("X", "y") if name not in content]
    if missing:
        raise ValueError(f"{path} has no variable {missing[0]!r}: SVHN's cropped digits have `X` and `y`.")
    images, labels = content["X"], content["y"].ravel()
    if (
        images.dtype != np.uint8
        or images.ndim != 4
        or images.shape[:3] != (32, 32, 3)
        or images.shape[3] != len(labels)
    ):
        raise ValueError(
            f"{path} must hold `X`, bytes (32, 32, 3, N), and `y`, N labels; got {images.dtype} {images.shape} and "
            f"{len(labels)} labels."
        )
    wrong = labels[(labels < 1) | (labels > 10)]
    if len(wrong):
        raise ValueError(f"{path} must hold the labels 1 to 10, of which 10 is the digit 0; got {wrong[0]}.")
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(3, 2, 0, 1)))
    return Pixels(pixels, torch.from_numpy(labels.astype(np.int64) % 10), [str(digit) for digit in range(10)])
