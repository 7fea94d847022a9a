"""Mean sub-volumes and cut-outs: what is at the position is in the middle, at the edges too."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cryofind.report.averages import HALF_WIDTH_RADII, ReadBox, average_by_object, average_slices, cut_slices
from cryofind.types import ParticleSpec, Picks, VoxelGrid
from cryofind.types.grid import IntTriple

GRID = VoxelGrid.isotropic((40, 60, 70), 10.0)
SPEC = ParticleSpec("ball", 40.0, 1)


def reader(volume: NDArray[np.float64]) -> ReadBox:
    def read(start: IntTriple, stop: IntTriple) -> NDArray[np.float64]:
        assert all(0 <= a < b <= n for a, b, n in zip(start, stop, volume.shape, strict=True))
        return volume[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]

    return read


def draw_blobs(positions_zyx_angstrom: NDArray[np.float64], seed: int = 0) -> NDArray[np.float64]:
    """Return noise with a Gaussian blob, stretched along x, at every position."""
    indices = np.moveaxis(np.indices(GRID.shape_zyx), 0, -1) * 10.0
    volume = np.random.default_rng(seed).normal(0, 0.5, GRID.shape_zyx)
    for position in positions_zyx_angstrom:
        volume += np.exp(-(((indices - position) / (15.0, 15.0, 25.0)) ** 2).sum(axis=-1) / 2)
    return volume


def center_of_mass(plane: NDArray[np.float32]) -> tuple[float, float]:
    """Return the row and column of the mass, from the middle pixel."""
    rows, columns = np.indices(plane.shape)
    mass = np.clip(plane - 0.3 * plane.max(), 0, None)
    middle = (np.array(plane.shape) - 1) / 2
    return float((rows * mass).sum() / mass.sum() - middle[0]), float((columns * mass).sum() / mass.sum() - middle[1])


def test_the_mean_of_centred_picks_is_centred_and_shows_the_shape() -> None:
    positions = np.random.default_rng(1).uniform(80.0, (310.0, 510.0, 610.0), (40, 3))
    volume = draw_blobs(positions)
    mean = average_slices(reader(volume), GRID, positions, 40.0)
    size = 2 * round(HALF_WIDTH_RADII * 4) + 1
    assert (mean.count, mean.xy.shape, mean.xz.shape, mean.yz.shape) == (40, *((size, size),) * 3)
    for plane in (mean.xy, mean.xz, mean.yz):
        assert center_of_mass(plane) == pytest.approx((0.0, 0.0), abs=0.3)
    # Long along x: the columns of xy and xz. In yz both axes are short.
    middle = size // 2
    assert mean.xy[middle, middle + 3] > 2 * mean.xy[middle + 3, middle]
    assert mean.xz[middle, middle + 3] > 2 * mean.xz[middle + 3, middle]


def test_a_common_shift_of_half_a_voxel_shows() -> None:
    positions = np.random.default_rng(2).uniform(80.0, (310.0, 510.0, 610.0), (60, 3))
    volume = draw_blobs(positions)
    shifted = average_slices(reader(volume), GRID, positions + np.array([0.0, 5.0, -10.0]), 40.0)
    down, across = center_of_mass(shifted.xy)
    assert (down, across) == pytest.approx((-0.5, 1.0), abs=0.25)


def test_cut_outs_are_planes_of_the_volume_with_their_axes_in_order() -> None:
    volume = np.arange(np.prod(GRID.shape_zyx), dtype=np.float64).reshape(GRID.shape_zyx)
    (cut,) = cut_slices(reader(volume), GRID, [(203.0, 296.0, 404.0)], 15.0)
    rows = slice(30 - 3, 30 + 4)
    np.testing.assert_array_equal(cut.xy, volume[20, rows, 37:44].astype(np.float32))
    np.testing.assert_array_equal(cut.xz, volume[17:24, 30, 37:44].astype(np.float32))
    np.testing.assert_array_equal(cut.yz, volume[17:24, rows, 40].T.astype(np.float32))
    assert (cut.count, cut.spacing_zyx_angstrom) == (1, (10.0, 10.0, 10.0))


def test_outside_of_the_tomogram_is_the_mean_of_what_is_inside() -> None:
    volume = np.full(GRID.shape_zyx, 7.0)
    volume[0, 0, 0] = 9.0
    corner, outside = cut_slices(reader(volume), GRID, [(0, 0, 0), (-5000, 0, 1e9)], 15.0)
    assert corner.xy[3, 3] == 9.0
    assert np.ptp(corner.xy[:3]) == 0
    assert corner.xy[0, 0] == pytest.approx(7.0, abs=0.1)
    assert outside.count == 0
    assert not outside.xy.any()
    # In a mean each voxel counts where it is known: 9 and 7 at the middle, and only the second pick beyond the corner.
    mean = average_slices(reader(volume), GRID, [(0, 0, 0), (100, 100, 100), (-900, 0, 0)], 15.0)
    assert (mean.count, mean.xy[3, 3], mean.xy[0, 0]) == (2, 8.0, 7.0)


def test_voxels_that_are_no_numbers_are_left_out() -> None:
    volume = np.ones(GRID.shape_zyx)
    volume[20, 30, 41] = np.nan
    (cut,) = cut_slices(reader(volume), GRID, [(200, 300, 400)], 15.0)
    assert np.isfinite(cut.xy).all()
    assert cut.xy.max() == 1.0


def test_voxels_that_are_no_cubes_keep_their_size() -> None:
    grid = VoxelGrid((30, 60, 60), (20.0, 10.0, 10.0))
    mean = average_slices(reader(np.ones(grid.shape_zyx)), grid, [(300, 300, 300)], 40.0)
    assert mean.xz.shape == (2 * round(HALF_WIDTH_RADII * 2) + 1, 2 * round(HALF_WIDTH_RADII * 4) + 1)
    assert mean.yz.shape == mean.xz.shape[::-1]
    assert mean.spacing_zyx_angstrom == (20.0, 10.0, 10.0)


def test_means_are_of_the_selected_picks_of_each_object() -> None:
    positions = np.array([(200.0, 300.0, 300.0), (200.0, 100.0, 100.0)])
    picks = Picks.build("A", ["ball", "ball"], positions, scores=[0.9, 0.1], selected=[True, False])
    specs = (SPEC, ParticleSpec("rod", 60.0, 2), ParticleSpec("membrane", None, 3, is_particle=False))
    means = average_by_object(reader(draw_blobs(positions)), GRID, picks, specs)
    assert {name: mean.count for name, mean in means.items()} == {"ball": 1}
