"""Drawing of bodies against the sum over every bead and every voxel."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from cryofind.simulate.body import CUBIC_ANGSTROM_PER_KILODALTON, Body
from cryofind.simulate.layout import random_rotations
from cryofind.simulate.render import LABEL_SHARE, render_body, render_points
from cryofind.types import VoxelGrid

Floats = NDArray[np.float64]

CUBIC = VoxelGrid.isotropic((24, 26, 28), 10.012)
OBLONG = VoxelGrid((30, 22, 16), (7.0, 10.0, 14.0), (-20.0, 0.0, 35.0))


def make_body(seed: int, count: int = 20, *, core_radius_angstrom: float = 0.0) -> Body:
    random = np.random.default_rng(seed)
    centers = random.normal(0, 25, (count, 3))
    masses = random.uniform(2, 9, count)
    return Body.centered("blob", centers, masses, 11.0, core_radius_angstrom=core_radius_angstrom)


def sum_over_voxels(grid: VoxelGrid, centers: Floats, masses: Floats, sigma: float) -> Floats:
    """Return the mean density of Gaussian beads in every voxel, bead after bead."""
    density = np.zeros(grid.shape_zyx)
    for center, mass in zip(centers, masses, strict=True):
        shares = []
        for axis in range(3):
            spacing, origin = grid.spacing_zyx_angstrom[axis], grid.origin_zyx_angstrom[axis]
            middles = origin + np.arange(grid.shape_zyx[axis]) * spacing
            shares.append(
                norm.cdf(middles + spacing / 2, center[axis], sigma)
                - norm.cdf(middles - spacing / 2, center[axis], sigma)
            )
        density += mass * np.einsum("z,y,x->zyx", *shares)
    return np.asarray(density * CUBIC_ANGSTROM_PER_KILODALTON / np.prod(grid.spacing_zyx_angstrom))


@pytest.mark.parametrize("grid", [CUBIC, OBLONG])
@pytest.mark.parametrize("place", [(0.5, 0.5, 0.5), (0.43, 0.52, 0.55), (0.02, 0.5, 0.9), (1.1, 0.5, 0.5)])
def test_body_is_the_sum_of_its_beads(grid: VoxelGrid, place: tuple[float, float, float]) -> None:
    body, rotation = make_body(1), random_rotations(1, np.random.default_rng(2))[0]
    position = np.asarray(grid.origin_zyx_angstrom) + np.array(place) * grid.extent_zyx_angstrom
    density = np.full(grid.shape_zyx, 0.25, np.float32)
    labels = np.zeros(grid.shape_zyx, np.uint8)
    render_body(density, labels, grid, body, rotation, position, label=3)
    expected = sum_over_voxels(
        grid, body.centers_zyx_angstrom @ rotation.T + position, body.masses_kilodalton, body.sigma_angstrom
    )
    np.testing.assert_allclose(density - 0.25, expected, atol=2e-5)
    assert set(np.unique(labels)) <= {0, 3}


def test_labels_are_where_the_body_is_dense_and_in_its_core() -> None:
    body, position = make_body(3, core_radius_angstrom=30.0), np.array([120.0, 125.0, 131.0])
    density, labels = np.zeros(CUBIC.shape_zyx, np.float32), np.zeros(CUBIC.shape_zyx, np.uint8)
    render_body(density, labels, CUBIC, body, np.eye(3), position, label=7)
    voxels = CUBIC.positions_from_indices(np.moveaxis(np.indices(CUBIC.shape_zyx), 0, -1))
    in_core = np.linalg.norm(voxels - position, axis=-1) < 30.0
    np.testing.assert_array_equal(labels == 7, (density > LABEL_SHARE * density.max()) | in_core)
    assert (in_core & (density < LABEL_SHARE * density.max())).any()


def test_points_are_the_sum_of_single_beads() -> None:
    random = np.random.default_rng(4)
    for grid in (CUBIC, OBLONG):
        low = np.asarray(grid.origin_zyx_angstrom)
        # Some lie beyond the box, some far beyond.
        positions = random.uniform(low - 60, low + np.asarray(grid.extent_zyx_angstrom) + 60, (300, 3))
        masses = random.uniform(20, 66, 300)
        density = np.zeros(grid.shape_zyx, np.float32)
        render_points(density, grid, positions, masses, 15.0)
        expected = sum_over_voxels(grid, positions, masses, 15.0)
        np.testing.assert_allclose(density, expected, atol=2e-3 * expected.max())
        assert density.sum() == pytest.approx(expected.sum(), rel=3e-3)


def test_points_in_a_box_that_is_smaller_than_a_point() -> None:
    grid = VoxelGrid.isotropic((3, 40, 5), 10.0)
    positions = np.array([[12.0, 200.0, 20.0], [-15.0, 390.0, 44.0]])
    density = np.zeros(grid.shape_zyx, np.float32)
    render_points(density, grid, positions, np.array([66.0, 66.0]), 20.0)
    expected = sum_over_voxels(grid, positions, np.array([66.0, 66.0]), 20.0)
    np.testing.assert_allclose(density, expected, atol=1e-3 * expected.max())
