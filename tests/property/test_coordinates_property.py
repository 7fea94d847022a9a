"""Geometry: round trips, involutions, coarser grids, rotations."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from cryofind.coordinates import (
    angstrom_from_indices,
    indices_from_angstrom,
    nearest_indices,
    rotations_xyz_from_zyx,
    rotations_zyx_from_xyz,
    xyz_from_zyx,
    zyx_from_xyz,
)
from cryofind.testing.strategies import grids, picks, positions, rotation_matrices
from cryofind.types import Picks, VoxelGrid

SETTINGS = settings(deadline=None, max_examples=50)
indices = st.tuples(*[st.integers(-50, 1000)] * 3)


@SETTINGS
@given(grids(has_origin=True), indices)
def test_index_to_angstrom_and_back(grid: VoxelGrid, index: tuple[int, int, int]) -> None:
    position = grid.positions_from_indices(index)
    assert grid.nearest_indices_from_positions(position).tolist() == list(index)
    np.testing.assert_allclose(grid.indices_from_positions(position), index, atol=1e-6)


@SETTINGS
@given(grids(), indices)
def test_index_survives_three_decimals(grid: VoxelGrid, index: tuple[int, int, int]) -> None:
    written = np.round(grid.positions_from_indices(index), 3)
    assert grid.nearest_indices_from_positions(written).tolist() == list(index)


@SETTINGS
@given(indices, st.floats(0.5, 50.0), st.floats(-1e4, 1e4))
def test_functions_are_inverses(index: tuple[int, int, int], spacing: float, origin: float) -> None:
    there = angstrom_from_indices(index, (spacing,) * 3, origin_zyx_angstrom=(origin,) * 3)
    back = indices_from_angstrom(there, (spacing,) * 3, origin_zyx_angstrom=(origin,) * 3)
    assert nearest_indices(back).tolist() == list(index)


@SETTINGS
@given(grids().flatmap(positions))
def test_flips_are_inverses(points: np.ndarray) -> None:
    np.testing.assert_array_equal(zyx_from_xyz(xyz_from_zyx(points)), points)
    np.testing.assert_array_equal(xyz_from_zyx(xyz_from_zyx(points)), points)
    assert xyz_from_zyx(points).shape == points.shape


@SETTINGS
@given(st.integers(0, 5).flatmap(lambda n: rotation_matrices(count=n)), st.tuples(*[st.floats(-100, 100)] * 3))
def test_rotating_commutes_with_flipping(rotations: np.ndarray, vector: tuple[float, float, float]) -> None:
    in_zyx = rotations @ np.asarray(vector)
    in_xyz = rotations_xyz_from_zyx(rotations) @ xyz_from_zyx(vector)
    np.testing.assert_allclose(xyz_from_zyx(in_zyx), in_xyz, atol=1e-9)
    np.testing.assert_array_equal(rotations_zyx_from_xyz(rotations_xyz_from_zyx(rotations)), rotations)
    np.testing.assert_allclose(np.linalg.det(rotations_xyz_from_zyx(rotations)), 1.0)


def test_a_turn_about_z_in_xyz_is_a_turn_of_y_and_x_in_zyx() -> None:
    turn = rotations_zyx_from_xyz(Rotation.from_euler("z", 90, degrees=True).as_matrix())
    np.testing.assert_allclose(turn @ [0, 0, 1], [0, 1, 0], atol=1e-12)  # x goes to y
    np.testing.assert_allclose(turn @ [1, 0, 0], [1, 0, 0], atol=1e-12)


@SETTINGS
@given(grids(max_size=40, has_origin=True), st.integers(1, 5))
def test_cells_of_a_coarser_grid_are_means_of_voxels(grid: VoxelGrid, stride: int) -> None:
    coarse = grid.coarsened(stride)
    last = np.array(coarse.shape_zyx) - 1
    voxels = last * stride + np.arange(stride)[:, None]
    np.testing.assert_allclose(
        coarse.positions_from_indices(last), grid.positions_from_indices(voxels).mean(axis=0), atol=1e-6
    )
    assert (last * stride < grid.shape_zyx).all()
    assert (np.array(coarse.shape_zyx) * stride >= grid.shape_zyx).all()


@SETTINGS
@given(grids(max_size=60), st.floats(0.5, 50.0))
def test_resampled_grid_covers_the_same_box(grid: VoxelGrid, spacing: float) -> None:
    resampled = grid.resampled(spacing)
    difference = np.subtract(resampled.extent_zyx_angstrom, grid.extent_zyx_angstrom)
    assert (np.abs(difference) <= np.maximum(spacing, 1e-6)).all()
    assert resampled.origin_zyx_angstrom == grid.origin_zyx_angstrom


@SETTINGS
@given(grids(has_origin=True), st.data())
def test_drawn_positions_are_inside(grid: VoxelGrid, data: st.DataObject) -> None:
    points = data.draw(positions(grid))
    assert grid.contains(points, margin_angstrom=-1e-6).all()
    beyond = points + np.array(grid.extent_zyx_angstrom) * 1.01 + 1e-3
    assert not grid.contains(beyond).any()


@SETTINGS
@given(picks())
def test_picks_survive_their_csv(tmp_path_factory, table: Picks) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path_factory.mktemp("picks") / "picks.csv"
    table.to_csv(path)
    back = Picks.from_csv(path)
    assert back.runs.tolist() == table.runs.tolist()
    assert back.objects.tolist() == table.objects.tolist()
    assert back.selected.tolist() == table.selected.tolist()
    np.testing.assert_allclose(back.positions_zyx_angstrom, table.positions_zyx_angstrom, atol=5.001e-4)
    np.testing.assert_allclose(back.scores, table.scores, atol=5.001e-7)


@SETTINGS
@given(picks(has_rotations=True))
def test_runs_and_objects_partition_picks(table: Picks) -> None:
    assert sum(len(table.of_run(run)) for run in table.run_names) == len(table)
    parts = [table.of_object(name) for name in table.object_names]
    assert sum(len(part) for part in parts) == len(table)
    joined = Picks.concatenate(parts)
    assert len(joined) == len(table)
    assert (joined.rotations_zyx is not None) == bool(len(table))
