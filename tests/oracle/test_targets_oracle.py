"""Targets against brute force over the whole grid and against scikit-image."""

from typing import Any

import numpy as np
import pytest
from skimage.measure import block_reduce

from cryofind.config import TargetConfig
from cryofind.targets import average_blocks, draw_targets, targets_from_labels
from cryofind.types import VoxelGrid

FINE = VoxelGrid((40, 48, 52), (10.0, 9.9, 10.1), (30.0, -20.0, 5.0))
COARSE = FINE.coarsened(2)


def test_balls_and_shell_equal_brute_force_over_all_cells() -> None:
    random = np.random.default_rng(1)
    positions = random.uniform(0, 450, (15, 3))
    channels = random.integers(0, 4, 15)
    radii = random.uniform(60, 150, 15)
    target = draw_targets(positions, channels, radii, COARSE, object_count=4, config=TargetConfig())
    centres = COARSE.positions_from_indices(np.moveaxis(np.indices(COARSE.shape_zyx), 0, -1))
    distances = np.linalg.norm(centres[None] - positions[:, None, None, None], axis=-1) / radii[:, None, None, None]
    winner = distances.argmin(axis=0)
    is_target = distances.min(axis=0) <= 0.5
    expected = np.stack([is_target & (channels[winner] == channel) for channel in range(4)])
    np.testing.assert_array_equal(target.values > 0, expected)
    np.testing.assert_array_equal(target.weights == 0, (distances.min(axis=0) <= 0.8) & ~is_target)


def test_gaussians_equal_brute_force_over_all_cells() -> None:
    random = np.random.default_rng(2)
    positions = random.uniform(0, 450, (6, 3))
    config = TargetConfig(kind="gaussian", radius_factor=0.3)
    target = draw_targets(positions, [0] * 6, 100.0, COARSE, object_count=1, config=config)
    centres = COARSE.positions_from_indices(np.moveaxis(np.indices(COARSE.shape_zyx), 0, -1))
    nearest = np.linalg.norm(centres[None] - positions[:, None, None, None], axis=-1).min(axis=0)
    expected = np.where(nearest <= 120, np.exp(-(nearest**2) / (2 * 30**2)), 0)
    np.testing.assert_allclose(target.values[0], expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_coarse_ball_is_the_block_mean_of_a_fine_ball(seed: int) -> None:
    position = FINE.positions_from_indices(np.random.default_rng(seed).uniform(16, 24, 3))
    config = TargetConfig(radius_factor=1, ignore_shell_factor=0)
    fine = draw_targets(position, [0], [110.0], FINE, object_count=1, config=config)
    coarse = draw_targets(position, [0], [110.0], COARSE, object_count=1, config=config)
    share = targets_from_labels(fine.values[0].astype(np.uint8), {1: 0}, object_count=1).values[0]
    assert share.shape == COARSE.shape_zyx
    is_clear = np.abs(share - 0.5) > 0.3
    np.testing.assert_array_equal(coarse.values[0][is_clear] > 0, share[is_clear] > 0.5)
    assert coarse.values.sum() == pytest.approx(share.sum(), rel=0.03)
    cells = np.moveaxis(np.indices(share.shape), 0, -1)
    centroids = [np.average(cells.reshape(-1, 3), axis=0, weights=w.reshape(-1)) for w in (share, coarse.values[0])]
    assert np.abs(centroids[0] - centroids[1]).max() < 0.1
    assert np.abs(COARSE.positions_from_indices(centroids[0]) - position).max() < 1.0  # of 20 Angstrom


def test_block_means_equal_scikit_image_on_even_sizes() -> None:
    volume = np.random.default_rng(3).random((8, 12, 6))
    expected: Any = block_reduce(volume, 2, np.mean)  # type: ignore[no-untyped-call]
    assert np.allclose(average_blocks(volume, 2), expected, rtol=1e-5)
