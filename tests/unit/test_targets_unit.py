"""Targets: the size, the ignored shell, who owns a cell, where there is no loss."""

import numpy as np
import pytest

from cryofind.config import TargetConfig
from cryofind.targets import average_blocks, draw_targets, mark_near_picks, targets_from_labels
from cryofind.types import VoxelGrid

GRID = VoxelGrid.isotropic((32, 32, 32), 10.0).coarsened(2)
MIDDLE_ANGSTROM = GRID.positions_from_indices([8, 8, 8])


def test_point_is_one_cell() -> None:
    config = TargetConfig(kind="point", ignore_shell_factor=0)
    target = draw_targets(MIDDLE_ANGSTROM + 9.0, [1], [60.0], GRID, object_count=3, config=config)
    assert target.values.sum() == 1
    assert target.values[1, 8, 8, 8] == 1
    assert (target.weights == 1).all()


@pytest.mark.parametrize("kind", ["point", "ball"])
def test_two_particles_in_one_cell_give_it_to_the_nearer(kind: str) -> None:
    config = TargetConfig.model_validate({"kind": kind})
    positions = [MIDDLE_ANGSTROM + 1.0, MIDDLE_ANGSTROM + 6.0]
    for order in ([0, 1], [1, 0]):
        target = draw_targets(np.array(positions)[order], order, [5.0, 5.0], GRID, object_count=2, config=config)
        assert target.values[:, 8, 8, 8].tolist() == [1, 0]


def test_ball_smaller_than_a_cell_is_its_nearest_cell() -> None:
    target = draw_targets(MIDDLE_ANGSTROM + 9.0, [0], [1.0], GRID, object_count=1, config=TargetConfig())
    assert np.argwhere(target.values[0]).tolist() == [[8, 8, 8]]


def test_ball_and_shell_have_the_radii_of_the_configuration() -> None:
    config = TargetConfig(radius_factor=0.5, ignore_shell_factor=0.8)
    target = draw_targets(MIDDLE_ANGSTROM, [0], [100.0], GRID, object_count=1, config=config)
    along_x = slice(8, 16)
    # cells are 20 Angstrom apart: 0, 20, 40 in the ball of 50; 60 and 80 in the shell of 80
    assert target.values[0, 8, 8, along_x].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert target.weights[8, 8, along_x].tolist() == [1, 1, 1, 0, 0, 1, 1, 1]


def test_cells_at_exactly_the_radius_belong_to_the_ball() -> None:
    config = TargetConfig(radius_factor=1, ignore_shell_factor=0)
    unit = VoxelGrid.isotropic((9, 9, 9), 1.0)
    target = draw_targets([4.0, 4.0, 4.0], [0], [2.0], unit, object_count=1, config=config)
    assert target.values[0, 4, 4].tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0]
    assert target.values.sum() == 33  # lattice points with z^2 + y^2 + x^2 <= 4


def test_radius_factors_are_by_channel() -> None:
    positions = GRID.positions_from_indices([[8, 8, 4], [8, 8, 12]])
    target = draw_targets(
        positions, [0, 1], 60.0, GRID, object_count=2, config=TargetConfig(), radius_factors=[0.4, 0.8]
    )
    assert target.values[0].sum() < target.values[1].sum()


def test_shell_does_not_silence_the_target_of_another() -> None:
    positions = [MIDDLE_ANGSTROM, MIDDLE_ANGSTROM + np.array([0, 0, 60.0])]
    target = draw_targets(positions, [0, 1], [100.0, 30.0], GRID, object_count=2, config=TargetConfig())
    assert target.values[1, 8, 8, 11] == 1
    assert target.weights[8, 8, 11] == 1
    assert (target.weights[target.values.sum(axis=0) > 0] == 1).all()


def test_shared_cell_goes_to_the_nearest_centre_relative_to_radius() -> None:
    positions = [MIDDLE_ANGSTROM, MIDDLE_ANGSTROM + np.array([0, 0, 100.0])]
    target = draw_targets(positions, [0, 1], [200.0, 60.0], GRID, object_count=2, config=TargetConfig(radius_factor=1))
    # 60 Angstrom from the large centre (0.30 radii), 40 from the small one (0.67 radii)
    assert target.values[:, 8, 8, 11].tolist() == [1, 0]
    # 80 from the large one (0.40 radii), 20 from the small one (0.33 radii)
    assert target.values[:, 8, 8, 12].tolist() == [0, 1]


def test_gaussian_has_its_sigma_and_an_end() -> None:
    config = TargetConfig(kind="gaussian", radius_factor=0.2)
    target = draw_targets(MIDDLE_ANGSTROM, [0], [100.0], GRID, object_count=2, config=config)
    along_x = target.values[0, 8, 8, 8:14]
    np.testing.assert_allclose(along_x[:5], np.exp(-(np.arange(5.0) ** 2) / 2), rtol=1e-5)
    assert along_x[5] == 0
    assert (target.weights == 1).all()
    assert not target.values[1].any()


def test_gaussians_of_one_object_take_the_highest() -> None:
    config = TargetConfig(kind="gaussian", radius_factor=0.5)
    positions = [MIDDLE_ANGSTROM, MIDDLE_ANGSTROM + np.array([0, 20.0, 0])]
    target = draw_targets(positions, [0, 0], 60.0, GRID, object_count=1, config=config)
    assert target.values.max() == 1


def test_nothing_to_draw() -> None:
    for kind in ("point", "ball", "gaussian"):
        target = draw_targets(np.empty((0, 3)), [], [], GRID, object_count=2, config=TargetConfig(kind=kind))
        assert target.values.shape == (2, *GRID.shape_zyx)
        assert not target.values.any()
        assert (target.weights == 1).all()


def test_particle_outside_draws_what_reaches_in() -> None:
    outside = GRID.positions_from_indices([-2, 8, 8])
    config = TargetConfig(radius_factor=1)
    target = draw_targets(outside, [0], [100.0], GRID, object_count=1, config=config)
    assert target.values[0, 0, 8, 8] == 1
    far = draw_targets(outside - 1000.0, [0], [100.0], GRID, object_count=1, config=config)
    assert not far.values.any()


def test_annotated_near_picks() -> None:
    config = TargetConfig(annotated_region="near-picks", annotated_distance_angstrom=90, ignore_shell_factor=0)
    target = draw_targets(MIDDLE_ANGSTROM, [0], [40.0], GRID, object_count=1, config=config)
    assert target.weights[8, 8].sum() == 9  # 4 cells to either side of the middle one
    np.testing.assert_array_equal(target.weights > 0, mark_near_picks(MIDDLE_ANGSTROM, GRID, 90.0))


def test_annotated_mask() -> None:
    config = TargetConfig(annotated_region="mask", ignore_shell_factor=0)
    mask = np.zeros(GRID.shape_zyx, dtype=np.bool_)
    mask[:5] = True
    target = draw_targets(MIDDLE_ANGSTROM, [0], 40.0, GRID, object_count=1, config=config, annotated_zyx=mask)
    np.testing.assert_array_equal(target.weights > 0, mask)


def test_wrong_arguments_are_refused() -> None:
    config = TargetConfig()
    with pytest.raises(ValueError, match="1 positions but 2 channels"):
        draw_targets(MIDDLE_ANGSTROM, [0, 1], 40.0, GRID, object_count=2, config=config)
    with pytest.raises(ValueError, match=r"channels must lie in 0 \.\.\. 1"):
        draw_targets(MIDDLE_ANGSTROM, [2], 40.0, GRID, object_count=2, config=config)
    with pytest.raises(ValueError, match="radius must be positive"):
        draw_targets(MIDDLE_ANGSTROM, [0], np.nan, GRID, object_count=2, config=config)
    with pytest.raises(ValueError, match="labels"):
        draw_targets(MIDDLE_ANGSTROM, [0], 40.0, GRID, object_count=2, config=TargetConfig(kind="labels"))
    with pytest.raises(ValueError, match="needs annotated_zyx"):
        draw_targets(MIDDLE_ANGSTROM, [0], 40.0, GRID, object_count=2, config=TargetConfig(annotated_region="mask"))
    mask = np.ones((2, 2, 2), dtype=np.bool_)
    with pytest.raises(ValueError, match="annotated region has shape"):
        draw_targets(MIDDLE_ANGSTROM, [0], 40.0, GRID, object_count=2, config=config, annotated_zyx=mask)


def test_labels_become_shares_and_odd_ends_count_what_is_there() -> None:
    labels = np.zeros((4, 4, 5), dtype=np.uint8)
    labels[:2, :2, 0] = 7
    labels[:, :, 4] = 9
    labels[2:, 2:, 2:4] = 3
    target = targets_from_labels(labels, {7: 0, 9: 1}, object_count=2)
    assert target.values.shape == (2, 2, 2, 3)
    assert target.values[0, 0, 0].tolist() == [0.5, 0, 0]
    assert (target.values[1, :, :, 2] == 1).all()
    assert target.values.sum() == 0.5 + 4  # label 3 is background
    assert (target.weights == 1).all()


def test_labels_outside_the_annotated_region_carry_no_loss() -> None:
    labels = np.ones((4, 4, 4), dtype=np.int32)
    annotated = np.zeros((4, 4, 4), dtype=np.bool_)
    annotated[:, :, :3] = True
    target = targets_from_labels(labels, {1: 0}, object_count=1, annotated_zyx=annotated)
    assert (target.weights == 1).all()
    annotated[:2, :2, 2] = False
    target = targets_from_labels(labels, {1: 0}, object_count=1, annotated_zyx=annotated)
    assert target.weights[0, 0].tolist() == [1, 0]
    assert target.weights.sum() == 7


def test_wrong_labels_are_refused() -> None:
    labels = np.ones((4, 4, 4), dtype=np.uint8)
    with pytest.raises(ValueError, match="not among the 1 objects"):
        targets_from_labels(labels, {1: 1}, object_count=1)
    with pytest.raises(ValueError, match="annotated region has shape"):
        targets_from_labels(labels, {1: 0}, object_count=1, annotated_zyx=np.ones((2, 2, 2), dtype=np.bool_))


def test_average_of_blocks_keeps_the_mean() -> None:
    volume = np.random.default_rng(0).random((6, 8, 4))
    assert average_blocks(volume, 2).mean() == pytest.approx(volume.mean())
    assert average_blocks(np.ones((3, 5, 1)), 2).tolist() == np.ones((2, 3, 1)).tolist()
