"""Small tomograms with particles in them, as files beside the tables of their picks."""

import numpy as np
import pytest

CLASSES = ("ball", "rod")


def particle(name, size=7):
    """A solid ball, or a rod along z."""
    z, y, x = np.indices((size,) * 3) - size // 2
    return {"ball": z**2 + y**2 + x**2 <= 6, "rod": y**2 + x**2 <= 1}[name].astype(np.float32)


def paint(seed, shape, count, *, margin=4, noise=0.2):
    """A volume (Z, Y, X) with particles of both classes, and their places (x, y, z) and classes."""
    rng = np.random.default_rng(seed)
    volume = (noise * rng.standard_normal(shape)).astype(np.float32)
    step, picks = 2 * margin, []
    cells = rng.permutation(np.stack(np.meshgrid(*(np.arange(n // step) for n in shape)), -1).reshape(-1, 3))
    for n, cell in enumerate(cells[:count]):
        z, y, x = cell * step + margin
        volume[z - 3 : z + 4, y - 3 : y + 4, x - 3 : x + 4] += particle(CLASSES[n % 2])
        picks.append((x, y, z, CLASSES[n % 2]))
    assert len(picks) == count
    return volume, picks


def save_volume(volume, path):
    """MRC or TIFF, by the suffix; the test is skipped where the package is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.startswith(".tif"):
        tifffile = pytest.importorskip("tifffile", reason="writing TIFF tomograms needs tifffile")
        tifffile.imwrite(path, volume, photometric="minisblack")
    else:
        mrcfile = pytest.importorskip("mrcfile", reason="writing MRC tomograms needs mrcfile")
        with mrcfile.new(path, overwrite=True) as file:
            file.set_data(volume)


def save_picks(picks, path):
    path.write_text("x,y,z,class\n" + "".join(f"{x},{y},{z},{name}\n" for x, y, z, name in picks))


def fill(root, *, suffix=".mrc", shape=(16, 24, 32), count=8):
    """Two tomograms to train and one to test on; returns volumes and picks by the names of the files."""
    made = {}
    for seed, name in enumerate(("train/a", "train/deep/b", "test/c")):
        made[name] = paint(seed, shape, count)
        save_volume(made[name][0], root / f"{name}{suffix}")
        save_picks(made[name][1], root / f"{name}.csv")
    return made
