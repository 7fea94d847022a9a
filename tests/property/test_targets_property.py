"""Targets lie where the particles are: no half-voxel error, no dependence on order or on the grid's place."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryofind.config import TargetConfig
from cryofind.targets import draw_targets
from cryofind.types import VoxelGrid

SPACING_ANGSTROM = 10.012
GRID = VoxelGrid.isotropic((64, 64, 64), SPACING_ANGSTROM).coarsened(2)

seeds = st.integers(0, 2**32 - 1)


def find_centroid(values: NDArray[np.float32], grid: VoxelGrid) -> NDArray[np.float64]:
    cells = np.argwhere(values > 0)
    return grid.positions_from_indices(np.average(cells, axis=0, weights=values[values > 0]))


@settings(deadline=None, max_examples=50)
@given(st.tuples(*[st.floats(11, 20)] * 3), st.floats(0.8, 2.5))
def test_centroid_of_a_gaussian_is_the_particle(cell: tuple[float, ...], sigma_cells: float) -> None:
    position = GRID.positions_from_indices(cell)
    sigma_angstrom = sigma_cells * 2 * SPACING_ANGSTROM
    config = TargetConfig(kind="gaussian", radius_factor=1)
    target = draw_targets(position, [0], [sigma_angstrom], GRID, object_count=1, config=config)
    error_cells = (find_centroid(target.values[0], GRID) - position) / GRID.spacing_angstrom
    assert np.abs(error_cells).max() < 0.05


def test_centroid_of_a_large_ball_is_the_particle() -> None:
    random = np.random.default_rng(0)
    config = TargetConfig(radius_factor=1)
    for cell in random.uniform(13, 18, (100, 3)):
        position = GRID.positions_from_indices(cell)
        ball_angstrom = random.uniform(9.5, 12) * GRID.spacing_angstrom
        target = draw_targets(position, [0], [ball_angstrom], GRID, object_count=1, config=config)
        error_cells = (find_centroid(target.values[0], GRID) - position) / GRID.spacing_angstrom
        assert np.abs(error_cells).max() < 0.05


def test_centroids_of_small_balls_are_not_shifted() -> None:
    random = np.random.default_rng(0)
    errors = []
    for cell in random.uniform(10, 20, (300, 3)):
        position = GRID.positions_from_indices(cell)
        target = draw_targets(position, [0], [60.0], GRID, object_count=1, config=TargetConfig())
        errors.append((find_centroid(target.values[0], GRID) - position) / GRID.spacing_angstrom)
    assert np.abs(np.mean(errors, axis=0)).max() < 0.02


@settings(deadline=None, max_examples=50)
@given(seeds, st.sampled_from(["point", "ball", "gaussian"]), st.tuples(*[st.integers(-3, 3)] * 3))
def test_moving_grid_and_particles_together_changes_nothing(seed: int, kind: str, shift: tuple[int, ...]) -> None:
    random = np.random.default_rng(seed)
    positions = random.uniform(-50, 700, (6, 3))
    channels = random.integers(0, 3, 6)
    radii = random.uniform(30, 150, 6)
    config = TargetConfig.model_validate({"kind": kind, "annotated_region": "near-picks"})
    z, y, x = GRID.positions_from_indices(shift).tolist()
    moved = replace(GRID, origin_zyx_angstrom=(z, y, x))
    step = GRID.positions_from_indices(shift) - GRID.positions_from_indices((0, 0, 0))
    here = draw_targets(positions, channels, radii, GRID, object_count=3, config=config)
    there = draw_targets(positions + step, channels, radii, moved, object_count=3, config=config)
    np.testing.assert_allclose(here.values, there.values, atol=1e-5)
    np.testing.assert_array_equal(here.weights, there.weights)


@settings(deadline=None, max_examples=50)
@given(seeds, st.sampled_from(["point", "ball"]))
def test_cells_are_exclusive_and_every_lonely_particle_has_its_own(seed: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    positions = random.uniform(0, 600, (20, 3))
    channels = random.integers(0, 6, 20)
    radii = random.uniform(5, 150, 20)
    config = TargetConfig.model_validate({"kind": kind})
    target = draw_targets(positions, channels, radii, GRID, object_count=6, config=config)
    assert target.values.sum(axis=0).max() <= 1
    assert set(np.unique(target.values)) <= {0.0, 1.0}
    assert (target.weights[target.values.max(axis=0) > 0] == 1).all()
    cells = GRID.nearest_indices_from_positions(positions)
    unique, counts = np.unique(cells, axis=0, return_counts=True)
    for cell, channel in zip(cells, channels, strict=True):
        if counts[(unique == cell).all(axis=1)][0] == 1:
            assert target.values[channel, cell[0], cell[1], cell[2]] == 1


@settings(deadline=None, max_examples=30)
@given(seeds, st.sampled_from(["ball", "gaussian"]))
def test_order_of_particles_does_not_matter(seed: int, kind: str) -> None:
    random = np.random.default_rng(seed)
    positions, channels = random.uniform(0, 600, (12, 3)), random.integers(0, 3, 12)
    radii, order = random.uniform(30, 150, 12), random.permutation(12)
    config = TargetConfig.model_validate({"kind": kind})
    one = draw_targets(positions, channels, radii, GRID, object_count=3, config=config)
    other = draw_targets(positions[order], channels[order], radii[order], GRID, object_count=3, config=config)
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.weights, other.weights)
