import itertools

import numpy as np
import pytest
import torch

from lightning_al.zoo.tomograms.volumes import normalised_cube, read_volume, volume_shape
from tests.helpers.tomograms import save_volume


def volume(seed=0, shape=(5, 6, 7)):
    return np.random.default_rng(seed).standard_normal(shape) * 3 + 10


@pytest.mark.parametrize("suffix", [".mrc", ".rec", ".tif", ".TIFF"])
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint16, np.int8])
def test_what_was_written_is_read(tmp_path, suffix, dtype):
    path, written = tmp_path / f"a{suffix}", volume().astype(dtype)
    save_volume(written, path) if suffix != ".TIFF" else save_volume(written, path.with_suffix(".tiff"))
    if suffix == ".TIFF":
        path.with_suffix(".tiff").rename(path)
    assert volume_shape(str(path)) == (5, 6, 7)
    read = read_volume(str(path))
    assert isinstance(read, np.memmap)
    np.testing.assert_array_equal(read, written)


def test_compressed_tiff(tmp_path):
    tifffile = pytest.importorskip("tifffile", reason="writing TIFF tomograms needs tifffile")
    path, written = tmp_path / "a.tif", volume().astype(np.float32)
    tifffile.imwrite(path, written, compression="zlib", photometric="minisblack")
    assert volume_shape(str(path)) == written.shape
    np.testing.assert_array_equal(read_volume(str(path)), written)


@pytest.mark.parametrize("axes", list(itertools.permutations((1, 2, 3))))
def test_mrc_axes_in_another_order(tmp_path, axes):
    """Columns, rows and sections are the axes that the header says, 1 for x."""
    mrcfile = pytest.importorskip("mrcfile", reason="writing MRC tomograms needs mrcfile")
    path, zyx = tmp_path / "a.mrc", volume().astype(np.float32)
    columns, rows, sections = axes
    with mrcfile.new(path) as file:
        file.set_data(np.ascontiguousarray(zyx.transpose(3 - sections, 3 - rows, 3 - columns)))
        file.header.mapc, file.header.mapr, file.header.maps = axes
    np.testing.assert_array_equal(read_volume(str(path)), zyx)
    assert volume_shape(str(path)) == zyx.shape


@pytest.mark.parametrize("suffix", [".mrc", ".tif"])
def test_what_is_no_volume_is_named(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    save_volume(volume(shape=(5, 6)).astype(np.float32), path)
    with pytest.raises(ValueError, match=rf"a\{suffix} holds an array of shape \(5, 6\), not one volume"):
        volume_shape(str(path))
    path.write_bytes(b"no tomogram")
    for read in (volume_shape, read_volume):
        with pytest.raises(OSError, match=rf"a\{suffix} cannot be read as a tomogram"):
            read(str(path))
    save_volume(volume().astype(np.complex64), path)
    with pytest.raises(ValueError, match="holds complex64 numbers"):
        volume_shape(str(path))
    save_volume(volume().astype(np.float32), path)
    path.write_bytes(path.read_bytes()[: {".mrc": 1500, ".tif": 500}[suffix]])  # ends among the voxels
    with pytest.raises(OSError, match="cannot be read as a tomogram"):
        read_volume(str(path))


def test_colours_are_no_volume(tmp_path):
    tifffile = pytest.importorskip("tifffile", reason="writing TIFF tomograms needs tifffile")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 6, 3), np.uint8), photometric="rgb")
    with pytest.raises(ValueError, match="holds colours of shape"):
        volume_shape(str(tmp_path / "a.tif"))


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_cubes_by_a_loop(size):
    """At borders, corners and between them, voxel by voxel."""
    voxels = volume()
    for centre in itertools.product((0, 1, 4), (0, 3, 5), (0, 2, 6)):
        values = {}
        for place in np.ndindex((size,) * 3):
            at = tuple(c - size // 2 + p for c, p in zip(centre, place, strict=True))
            if all(0 <= a < n for a, n in zip(at, voxels.shape, strict=True)):
                values[place] = voxels[at]
        inside = np.array(list(values.values()))
        expected = np.zeros((size,) * 3)
        for place, value in values.items():
            expected[place] = (value - inside.mean()) / (inside.std() or 1)  # there may be one voxel
        cube = normalised_cube(voxels, centre, size)
        assert cube.dtype == torch.float32
        np.testing.assert_allclose(cube.numpy(), expected, atol=1e-6)


def test_a_constant_cube_is_0():
    for snr in (None, 0.05):
        cube = normalised_cube(np.full((5, 5, 5), 0.1, np.float32), (2, 2, 2), 4, snr=snr)
        assert torch.equal(cube, torch.zeros(4, 4, 4))


@pytest.mark.parametrize("snr", [0.05, 1.0, 20.0])
def test_noise_has_the_ratio_of_variances(snr):
    """What is left over after the best multiple of the clean cube is taken off has 1 / SNR of its variance."""
    voxels = volume(shape=(40, 40, 40))
    clean = normalised_cube(voxels, (20, 20, 20), 40).double().flatten()
    noisy = normalised_cube(voxels, (20, 20, 20), 40, snr=snr, generator=torch.Generator().manual_seed(0)).double()
    assert abs(noisy.mean()) < 1e-6
    assert float(noisy.std(correction=0)) == pytest.approx(1, abs=1e-6)
    share = float(clean @ noisy.flatten()) / len(clean)
    assert share**2 / (1 - share**2) == pytest.approx(snr, rel=0.05)


def test_beyond_the_border_there_is_no_noise():
    cube = normalised_cube(volume(), (0, 0, 0), 4, snr=0.05, generator=torch.Generator().manual_seed(0))
    assert cube[2:, 2:, 2:].ne(0).all()
    cube[2:, 2:, 2:] = 0
    assert not cube.any()
