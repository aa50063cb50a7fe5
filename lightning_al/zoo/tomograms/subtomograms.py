"""Subtomograms, cubes of voxels around picked particles, clean or with noise, and their data module."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_al.checks import Findings, check_choice, check_count, check_number
from lightning_al.words import cut
from lightning_al.zoo.own_files import NO_LABEL
from lightning_al.zoo.parts import NamedClassesDataModule
from lightning_al.zoo.segmentation.images import folder_found
from lightning_al.zoo.tomograms.picks import Pick, class_indices, read_picks, tomograms_in
from lightning_al.zoo.tomograms.volumes import normalised_cube, read_volume

Sample = tuple[Tensor, int]

_MOST_OPEN = 16  # volumes that a dataset holds open


class Subtomograms(Dataset[Sample]):
    """Cubes around picks, cut out when they are asked for, see :func:`~.tomograms.volumes.normalised_cube`.

    A sample is a cube, floats (1, cube, cube, cube) with the axes z, y, x, and its class index. Files are mapped into
    memory, and only what is cut out is read; compressed TIFF files are read whole. Up to 16 volumes stay open.

    Args:
        picks: The particles.
        labels: Their class indices.
        classes: Names, by class index.
        cube: Voxels along each axis.
        snr: Signal-to-noise ratio of the Gaussian noise that is added, a ratio of variances; None: none is. The noise
            of a sample is drawn by a hash of ``noise_seed`` and its key, so that it is the same whenever it is read.
        noise_seed: Another gives other noise.

    Raises:
        OSError: Of a file that cannot be read, with its path.
        ValueError: Of a cube with a NaN or infinite voxel, with its key.
    """

    def __init__(
        self,
        picks: Sequence[Pick],
        labels: Sequence[int],
        *,
        classes: Sequence[str],
        cube: int,
        snr: float | None = None,
        noise_seed: int = 0,
    ) -> None:
        self.picks = list(picks)
        self.labels = list(labels)
        self.classes = list(classes)
        self.cube = cube
        self.snr = snr
        self.noise_seed = noise_seed
        self._volumes: OrderedDict[str, np.ndarray] = OrderedDict()

    def __len__(self) -> int:
        return len(self.picks)

    def __getitem__(self, index: int) -> Sample:
        pick = self.picks[index]
        try:
            cube = normalised_cube(
                self._volume(pick.path), pick.centre, self.cube, snr=self.snr, generator=self._noise(pick.key)
            )
        except ValueError as error:
            raise ValueError(f"{pick.path}, the cube of {pick.key!r}: {cut(error, 200)}.") from None
        return cube[None], self.labels[index]

    def __getstate__(self) -> dict[str, Any]:
        # Loader processes open files themselves: pickled, a mapped file would be sent whole.
        return {**self.__dict__, "_volumes": OrderedDict()}

    def sample_key(self, index: int) -> str:
        """Return the file and the coordinates of a pick."""
        return self.picks[index].key

    def _volume(self, path: str) -> np.ndarray:
        if path not in self._volumes:
            self._volumes[path] = read_volume(path)
        self._volumes.move_to_end(path)
        if len(self._volumes) > _MOST_OPEN:
            self._volumes.popitem(last=False)
        return self._volumes[path]

    def _noise(self, key: str) -> torch.Generator | None:
        if self.snr is None:
            return None
        seed = hashlib.sha256(f"{self.noise_seed} {key}".encode()).digest()[:8]
        return torch.Generator().manual_seed(int.from_bytes(seed, "big", signed=True))


def turned(cube: Tensor, *, mirrored: bool) -> Tensor:
    """Return a cube turned at random, onto itself: one of 24 rotations, or of 48 if it may be mirrored too.

    Args:
        cube: (C, D, H, W) with D = H = W. Draws from torch's global generator.
        mirrored: Whether mirror images are drawn too. Particles are chiral, and their mirror images are not in nature.
    """
    axes = torch.randperm(3).tolist()
    flips = torch.randint(2, (3,)).tolist()
    swaps = sum(axes[i] > axes[j] for i in range(3) for j in range(i + 1, 3))
    if not mirrored and (swaps + sum(flips)) % 2:
        flips[0] = 1 - flips[0]
    return cube.permute(0, *(axis + 1 for axis in axes)).flip([axis + 1 for axis in range(3) if flips[axis]])


class SubtomogramDataModule(NamedClassesDataModule):
    """Subtomograms around the picks of tomograms, to be trained on and to be tested on.

    .. code-block:: text

        root/train/tomo_01.mrc     root/train/tomo_01.csv     and so on, also in folders below; with test

        x,y,z,class                places in voxels from 0, columns, rows and sections of the file
        128,40,63,ribosome
        77,201,30,

    Tomograms are MRC (``.mrc``, ``.rec``, ``.map``) or TIFF files; ``pip install 'lightning-al[tomography]'``
    brings what reads them. A class that is blank in ``train`` is one that nobody has said yet, for
    ``oracle=AwaitTell``. Rows may be sorted anew, and files and rows may join, between two starts.

    Args:
        root: Folder of the data.
        cube: Voxels along each axis of a subtomogram. Cubes at a border are filled up with their mean.
        snr: Signal-to-noise ratio of Gaussian noise that is added to each cube, to train, to score and to test on: the
            variance of its voxels by that of the noise. None: none is added.
        noise_seed: Another gives other noise.
        voxel_size: In the unit of the coordinates; 1: they are voxels.
        classes: Names of the classes, in order. Default: those of the picks in ``train``, sorted.
        augmentation: How training cubes are moved at random: ``"rotate"`` turns them by right angles,
            ``"rotate and flip"`` makes mirror images too, None leaves them. The wedge of directions that a tomogram
            lacks turns with them.
        batch_size: Cubes per training batch.
        eval_batch_size: Cubes per test batch.
        num_workers: Loader processes.

    Raises:
        TypeError: If an option has the wrong type.
        ValueError: If an option is out of range; in ``setup`` if a volume is smaller than a cube, a pick is outside, a
            table has none, a class is unknown or, in ``test``, blank.
        FileNotFoundError: In ``setup``, if a folder, the tomogram of a table or the table of a tomogram is missing.
        ImportError: In ``setup``, if the package is missing that reads a tomogram.
    """

    def __init__(
        self,
        root: str = "data/tomograms",
        *,
        cube: int = 32,
        snr: float | None = None,
        noise_seed: int = 0,
        voxel_size: float = 1.0,
        classes: list[str] | None = None,
        augmentation: Literal["rotate", "rotate and flip"] | None = None,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        num_workers: int = 0,
    ) -> None:
        with Findings() as findings:
            with findings.of_block():
                super().__init__(batch_size=batch_size, eval_batch_size=eval_batch_size, num_workers=num_workers)
            findings.of(check_count, "cube", cube, 2)
            findings.of(check_number, "snr", snr, above=0, optional=True)
            findings.of(check_count, "noise_seed", noise_seed, 0)
            findings.of(check_number, "voxel_size", voxel_size, above=0)
            if augmentation is not None:
                findings.of(check_choice, "augmentation", augmentation, ("rotate", "rotate and flip"), or_else="None")
        self.root = root
        self.cube = cube
        self.snr = snr
        self.noise_seed = noise_seed
        self.voxel_size = voxel_size
        self.named_classes = classes
        self.augmentation = augmentation

    def read_sets(self) -> dict[str, Subtomograms]:
        """List tomograms and picks, and check them; no voxel is read."""
        root = folder_found(self.root, "train", "test", what="`train` and `test`, tomograms with their tables of picks")
        picks: dict[str, list[Pick]] = {"train": [], "test": []}
        with Findings() as findings:
            for part, found in picks.items():
                with findings.of_block():
                    for tomogram, table in tomograms_in(root / part):
                        with findings.of_block():
                            found += read_picks(
                                tomogram, table, root=root / part, cube=self.cube, voxel_size=self.voxel_size
                            )
        classes = self.named_classes or sorted({pick.class_name for pick in picks["train"]} - {""})
        if not classes:
            raise ValueError(
                f"No pick in {root / 'train'} has a class, so say their names: `--data.classes=[ribosome,proteasome]`."
            )
        blank = next((pick.key for pick in picks["test"] if not pick.class_name), None)
        if blank is not None:
            raise ValueError(
                f"{root / 'test'}: {blank} has no class. What is tested on needs one; or take the row out."
            )
        return {
            part: Subtomograms(
                found,
                class_indices(found, classes, no_label=NO_LABEL),
                classes=classes,
                cube=self.cube,
                snr=self.snr,
                noise_seed=self.noise_seed,
            )
            for part, found in picks.items()
        }

    def pool_dataset(self) -> Subtomograms:
        """The training cubes, as they are; with their noise."""
        return self.sets["train"]

    def augment(self, sample: Any) -> Any:
        """Return a training sample turned at random, its label as it is."""
        if self.augmentation is None:
            return sample
        cube, *others = sample
        return (turned(cube, mirrored=self.augmentation == "rotate and flip"), *others)

    def test_dataloader(self) -> DataLoader[Sample]:
        """In order, as they are."""
        return self.loader("test")
