"""Tomograms in files, MRC by ``mrcfile`` and TIFF by ``tifffile``, and the cubes that are cut out of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from lightning_al.extras import needs
from lightning_al.words import cut

_PACKAGES = {".mrc": "mrcfile", ".rec": "mrcfile", ".map": "mrcfile", ".tif": "tifffile", ".tiff": "tifffile"}

SUFFIXES = tuple(_PACKAGES)
"""Of files that are read, in small letters or capitals; ``.rec`` and ``.map`` are MRC too."""

UNCOMPRESSED = 1
"""TIFF's number of it."""


def volume_shape(path: str) -> tuple[int, int, int]:
    """Return how many voxels a tomogram has along z, y and x; its voxels are not read.

    Raises:
        ImportError: If the package is missing that reads such files.
        OSError: If the file cannot be read, with its path.
        ValueError: If it holds no volume of real numbers.
    """
    if not _is_tiff(path):
        return cast(tuple[int, int, int], read_volume(path).shape)
    with _reading(path) as tifffile, tifffile.TiffFile(path) as file:
        series = file.series[0]
        if file.pages[0].compression != UNCOMPRESSED:
            file.pages[0].asarray()  # is there a package that decodes it?
        shape = _checked(path, series.shape, series.axes)
        _check_real(path, series.dtype)
        return shape


def read_volume(path: str) -> np.ndarray:
    """Return a tomogram (Z, Y, X): mapped into memory, or all of it where the file is compressed.

    An MRC file whose columns, rows and sections are not x, y and z is turned so that they are.

    Raises:
        ImportError: If the package is missing that reads such files.
        OSError: If the file cannot be read, with its path.
        ValueError: If it holds no volume of real numbers.
    """
    with _reading(path) as package:
        voxels = _read_tiff(path, package) if _is_tiff(path) else _read_mrc(path, package)
        _check_real(path, voxels.dtype)
        return voxels


def _is_tiff(path: str) -> bool:
    return _PACKAGES[Path(path).suffix.lower()] == "tifffile"


@contextmanager
def _reading(path: str) -> Iterator[Any]:
    """Import what reads a file, and name the file in what it refuses."""
    package = _PACKAGES[Path(path).suffix.lower()]
    with needs(f"Reading {path}", package, "tomography"):
        if package == "mrcfile":
            import mrcfile as reader
        else:
            import tifffile as reader
    try:
        yield reader
    except _NotAVolume as error:
        raise ValueError(str(error)) from None
    except Exception as error:  # of a damaged file, whatever the package stumbles over
        raise OSError(f"{path} cannot be read as a tomogram: {cut(error, 200)}") from None


class _NotAVolume(Exception):
    """The file is whole, and holds something else."""


def _read_mrc(path: str, mrcfile: Any) -> np.ndarray:
    with mrcfile.mmap(path, mode="r") as file:
        voxels: np.ndarray = file.data
        axes = [int(file.header.maps), int(file.header.mapr), int(file.header.mapc)]
    _checked(path, voxels.shape, "")
    # Old programs leave the numbers of the axes at 0, and mean the usual order.
    return voxels.transpose([axes.index(axis) for axis in (3, 2, 1)]) if sorted(axes) == [1, 2, 3] else voxels


def _read_tiff(path: str, tifffile: Any) -> np.ndarray:
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        _checked(path, series.shape, series.axes)
        whole: np.ndarray = tifffile.memmap(path, mode="r") if series.dataoffset is not None else series.asarray()
    return whole


def _checked(path: str, shape: tuple[int, ...], axes: str) -> tuple[int, int, int]:
    if len(shape) != 3 or "S" in axes:  # samples: colours
        raise _NotAVolume(
            f"{path} holds {'colours' if 'S' in axes else 'an array'} of shape {tuple(shape)}, not one volume of "
            "(sections, rows, columns). Save each tomogram as a file of its own, in grey."
        )
    depth, height, width = map(int, shape)
    return depth, height, width


def _check_real(path: str, dtype: np.dtype) -> None:
    if dtype.kind not in "iuf":
        raise _NotAVolume(
            f"{path} holds {dtype} numbers: a tomogram has real ones. Save its density, not its transform."
        )


# -- cubes -------------------------------------------------------------------------------------------------------------


def normalised_cube(
    volume: np.ndarray,
    centre: tuple[int, int, int],
    size: int,
    *,
    snr: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Return the cube around a voxel, with the mean 0 and the deviation 1.

    Along each axis it begins ``size // 2`` voxels before the centre. What reaches beyond the volume is 0, the mean;
    mean and deviation are those of the voxels inside. Where these are all equal, the cube is 0.

    Noise is Gaussian, independent in every voxel inside, of the variance

    .. math:: \sigma^2_{\text{noise}} = \sigma^2_{\text{cube}} / \text{SNR}

    the ratio of variances, as cryo-electron microscopy defines the signal-to-noise ratio; after it the cube is
    normalised again.

    Args:
        volume: (Z, Y, X).
        centre: Its voxel z, y, x, inside the volume.
        size: Voxels along each axis.
        snr: Signal-to-noise ratio of the noise that is added; None: none is.
        generator: Draws it.

    Returns:
        (size, size, size), float32.

    Raises:
        ValueError: If a voxel is NaN or infinite.

    Example:
        >>> cube = normalised_cube(np.arange(27.0).reshape(3, 3, 3), (1, 1, 2), 2)
        >>> cube[0].tolist()
        [[-1.362..., -1.153...], [-0.733..., -0.524...]]
    """
    spans = [(middle - size // 2, middle - size // 2 + size) for middle in centre]
    inside = tuple(
        slice(max(first, 0), min(last, most)) for (first, last), most in zip(spans, volume.shape, strict=True)
    )
    place = tuple(slice(part.start - first, part.stop - first) for part, (first, _) in zip(inside, spans, strict=True))
    voxels = _standardised(torch.from_numpy(volume[inside].astype(np.float64)))
    if snr is not None and voxels.any():
        noise = torch.randn(voxels.shape, generator=generator, dtype=torch.float64)
        voxels = _standardised(voxels + noise / snr**0.5)
    cube = torch.zeros(size, size, size)
    cube[place] = voxels.float()
    return cube


def _standardised(voxels: Tensor) -> Tensor:
    if not voxels.isfinite().all():
        raise ValueError("there are NaN or infinite voxels")
    if voxels.min() == voxels.max():
        return torch.zeros_like(voxels)
    return (voxels - voxels.mean()) / voxels.std(correction=0)
