"""Whatever is written comes back, in every format."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofind.io import fingerprint_volume, read_tomogram, read_tomogram_grid, write_mrc, write_tomogram_zarr
from cryofind.io.ome_zarr_write import halve_by_mean
from cryofind.types import Tomogram, VoxelGrid

shapes = st.tuples(*[st.integers(2, 9)] * 3)
spacings = st.floats(0.5, 200.0)
number_types = st.sampled_from(["f4", "f8", "f2", "i1", ">i2", "u2"])


@settings(deadline=None, max_examples=15)
@given(shape=shapes, spacing=spacings, number_type=number_types, seed=st.integers(0, 99), levels=st.integers(1, 3))
def test_tomograms_survive_every_format(
    shape: tuple[int, int, int], spacing: float, number_type: str, seed: int, levels: int
) -> None:
    values = np.random.default_rng(seed).integers(0, 100, shape).astype(number_type)
    tomogram = Tomogram("a", values, VoxelGrid.isotropic(shape, spacing))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, name) for name in ("a.zarr", "b.zarr", "c.mrc")]
        write_tomogram_zarr(paths[0], tomogram, levels=levels)
        write_tomogram_zarr(paths[1], tomogram, levels=levels, zarr_format=3)
        write_mrc(paths[2], tomogram)
        for path in paths:
            override = spacing if spacing == 1.0 else None
            found = read_tomogram(path, voxel_spacing_angstrom=override)
            np.testing.assert_array_equal(found.volume_zyx, values)
            np.testing.assert_allclose(found.grid.spacing_zyx_angstrom, spacing, rtol=1e-6)
            assert read_tomogram_grid(path, voxel_spacing_angstrom=override) == found.grid
            assert fingerprint_volume(found.volume_zyx) == fingerprint_volume(values)


@settings(deadline=None, max_examples=50)
@given(shape=st.tuples(*[st.integers(1, 9)] * 3), seed=st.integers(0, 99))
def test_halving_agrees_with_the_grid_of_the_library(shape: tuple[int, int, int], seed: int) -> None:
    volume = np.random.default_rng(seed).normal(size=shape)
    halved = halve_by_mean(volume)
    grid = VoxelGrid.isotropic(shape, 10.0)
    assert halved.shape == grid.coarsened(2).shape_zyx
    # A linear ramp is kept: the mean of a whole block is the value at its centre.
    ramp = grid.positions_from_indices(np.moveaxis(np.indices(shape), 0, -1))
    centres = grid.coarsened(2).positions_from_indices(np.moveaxis(np.indices(halved.shape), 0, -1))
    whole = tuple(slice(0, n // 2) for n in shape)
    for axis in range(3):
        np.testing.assert_allclose(halve_by_mean(ramp[..., axis])[whole], centres[whole][..., axis])
