"""Runs and options for tests of the crop sampler."""

import numpy as np

from cryofind.config import AugmentConfig, TargetConfig, TrainConfig
from cryofind.train.sampling import TrainingRun
from cryofind.types import ParticleSpec, VoxelGrid
from tests.tiny_models import Batch

SPECS = (
    ParticleSpec("small", 40.0, 1),
    ParticleSpec("large", 80.0, 2),
    ParticleSpec("absent", 60.0, 3),
)
PLAIN = AugmentConfig(
    flip_probability=0,
    quarter_turn_probability=0,
    rotate_z_probability=0,
    scale_probability=0,
    intensity_scale=0,
    intensity_shift=0,
    noise_sigma=0,
)
CONFIG = TrainConfig(batch_size=3, crop_zyx=(16, 24, 32))
POINTS = TargetConfig(kind="point", ignore_shell_factor=0)


def make_run(
    name: str = "run",
    shape: tuple[int, int, int] = (40, 60, 64),
    *,
    counts: tuple[int, ...] = (20, 2),
    seed: int = 0,
) -> TrainingRun:
    """Return a run of noise with a bright voxel (100 + channel) at every particle, on whole voxels."""
    random = np.random.default_rng(seed)
    channels = np.repeat(np.arange(len(counts)), counts)
    voxels = random.integers(0, shape, size=(len(channels), 3))
    volume = random.standard_normal(shape).astype(np.float32)
    volume[tuple(voxels.T)] = 100 + channels
    grid = VoxelGrid.isotropic(shape, 10.0)
    return TrainingRun(name, volume, grid, grid.positions_from_indices(voxels), channels)


def assert_same(one: Batch, other: Batch) -> None:
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.weights, other.weights)
