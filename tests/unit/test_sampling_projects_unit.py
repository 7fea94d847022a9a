"""The crop sampler on several projects: shares, their schedule, and whose particles are drawn."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from cryofind.config import AugmentConfig, TargetConfig, TrainConfig
from cryofind.train.sampling import CropSampler, TrainingRun
from cryofind.types import ParticleSpec, VoxelGrid
from tests.tiny_models import Batch, sample
from tests.training_runs import CONFIG, PLAIN, POINTS, SPECS, assert_same, make_run


def make_even_run(project: int, counts: tuple[int, ...], *, shape: tuple[int, int, int] = (16, 16, 16)) -> TrainingRun:
    """Return a run whose voxels all hold its project's number, but for 100 + channel at every particle."""
    grid = VoxelGrid.isotropic(shape, 10.0)
    channels = np.repeat(np.arange(len(counts)), counts)
    voxels = np.random.default_rng(project).integers(0, shape, size=(len(channels), 3))
    volume = np.full(shape, project, np.float32)
    volume[tuple(voxels.T)] = 100 + channels
    return TrainingRun(f"run {project}", volume, grid, grid.positions_from_indices(voxels), channels, project=project)


def find_projects(batch: Batch) -> NDArray[np.int64]:
    """Return the project of every crop of runs of `make_even_run`."""
    projects: NDArray[np.int64] = batch.images.min(axis=(1, 2, 3, 4)).astype(np.int64)
    return projects


def test_batches_without_weights_are_those_of_all_runs_together() -> None:
    """The lowest voxel of every crop, as the sampler drew it before projects had weights."""

    def make(offset: int, shape: tuple[int, int, int], positions: list[list[int]], project: int) -> TrainingRun:
        volume = (offset + np.arange(np.prod(shape))).reshape(shape).astype(np.float32)
        grid = VoxelGrid.isotropic(shape, 10.0)
        channels = np.array([0, 0, 1][-len(positions) :])
        return TrainingRun("run", volume, grid, np.array(positions, dtype=np.float64), channels, project=project)

    config = TrainConfig(batch_size=6, crop_zyx=(8, 8, 8), background_fraction=0.3)
    augment = PLAIN.model_copy(update={"flip_probability": 0.5, "quarter_turn_probability": 0.75})
    for second_project in (0, 1):
        one = make(0, (32, 40, 48), [[100, 150, 200], [160, 200, 240], [50, 60, 300]], 0)
        other = make(100_000, (24, 24, 24), [[120, 110, 100]], second_project)
        sampler = CropSampler([one, other], config, augment, POINTS, SPECS)
        drawn = [sample(sampler, *key).images.min(axis=(1, 2, 3, 4)).tolist() for key in ((0, 0), (1, 1), (2999, 0))]
        assert drawn == [
            [13986, 10144, 105887, 107132, 15951, 29540],
            [15808, 10485, 22052, 12161, 24, 73],
            [2042, 8322, 15999, 25798, 21810, 105381],
        ]


def test_projects_give_their_shares_of_the_crops() -> None:
    config = TrainConfig(batch_size=100, crop_zyx=(4, 4, 4), steps=11, background_fraction=0.3)
    weights = {"project_weights": (8.0, 0.0, 2.0), "project_weights_end": (0.0, 3.0, 1.0)}
    runs = [make_even_run(0, (50, 50)), make_even_run(1, (1,)), make_even_run(2, (1, 1), shape=(40, 40, 40))]
    sampler = CropSampler(runs, config.model_copy(update=weights), PLAIN, POINTS, SPECS)

    def measure(step: int) -> NDArray[np.float64]:
        projects = np.concatenate([find_projects(sample(sampler, step, rank)) for rank in range(4)])
        return np.bincount(projects, minlength=3) / len(projects)

    np.testing.assert_allclose(measure(0), (0.8, 0, 0.2), atol=0.06)
    np.testing.assert_allclose(measure(5), (0.4, 0.375, 0.225), atol=0.06)
    np.testing.assert_allclose(measure(10), (0, 0.75, 0.25), atol=0.06)
    assert measure(0)[1] == measure(10)[0] == 0


def test_batch_depends_on_seed_step_and_rank_alone_with_a_schedule() -> None:
    everything = AugmentConfig(mixup_probability=0.5, copy_paste_probability=0.5, rotate_z_probability=0.5)
    config = CONFIG.model_copy(
        update={"steps": 8, "project_weights": (1.0, 0.0), "project_weights_end": (0.2, 0.8), "seed": 5}
    )
    runs = [make_run(), replace(make_run("other", seed=1), project=1)]
    one = CropSampler(runs, config, everything, TargetConfig(), SPECS)
    uninterrupted = [sample(one, step) for step in range(8)]
    other = CropSampler(runs, config, everything, TargetConfig(), SPECS)
    for step in (7, 2, 5):
        assert_same(sample(other, step), uninterrupted[step])
    assert not np.array_equal(sample(one, 5, rank=1).images, uninterrupted[5].images)


def test_objects_are_drawn_among_those_of_the_project() -> None:
    config = TrainConfig(batch_size=50, crop_zyx=(4, 4, 4), background_fraction=0, project_weights=(1.0, 1.0))
    runs = [make_even_run(0, (0, 3)), make_even_run(1, (40, 1))]
    sampler = CropSampler(runs, config, PLAIN, POINTS, SPECS)
    batches = [sample(sampler, step) for step in range(8)]
    projects = np.concatenate([find_projects(batch) for batch in batches])
    present = np.concatenate([batch.values.max(axis=(2, 3, 4)) for batch in batches])
    assert (present[projects == 0, 1] == 1).all()
    assert (present[projects == 0, 0] == 0).all()
    assert present[projects == 1, 1].mean() == pytest.approx(0.5, abs=0.12)


def test_pasted_particles_come_from_the_project_of_the_crop() -> None:
    config = TrainConfig(batch_size=20, crop_zyx=(16, 16, 16), background_fraction=1, project_weights=(1.0, 1.0))
    shape = (40, 40, 40)
    grid = VoxelGrid.isotropic(shape, 10.0)
    runs = []
    for project in (0, 1):
        volume = np.full(shape, project, np.float32)
        volume[20, 20, 20] = 100 + project
        positions = grid.positions_from_indices([[20, 20, 20]])
        runs.append(TrainingRun(f"run {project}", volume, grid, positions, np.array([project]), project=project))
    specs = (ParticleSpec("one", 20.0, 1), ParticleSpec("other", 20.0, 2))
    augment = PLAIN.model_copy(update={"copy_paste_probability": 1.0})
    batch = sample(CropSampler(runs, config, augment, POINTS, specs), 0)
    projects = find_projects(batch)
    assert set(projects) == {0, 1}
    for project in (0, 1):
        values = batch.values[projects == project]
        assert values[:, project].sum() >= len(values)
        assert values[:, 1 - project].sum() == 0


def test_labels_stand_for_picks_in_the_project_that_has_none() -> None:
    picked = make_even_run(0, (3,))
    labels = np.zeros(picked.grid.shape_zyx, dtype=np.uint8)
    picked = replace(picked, labels_zyx=labels)
    labelled = labels.copy()
    labelled[4:8, 4:8, 4:8] = 1
    segmented = replace(make_even_run(1, ()), labels_zyx=labelled)
    config = TrainConfig(batch_size=20, crop_zyx=(8, 8, 8), background_fraction=0, project_weights=(0.5, 0.5))
    batch = sample(CropSampler([picked, segmented], config, PLAIN, TargetConfig(kind="labels"), SPECS), 0)
    assert (batch.values[find_projects(batch) == 1, 0].max(axis=(1, 2, 3)) > 0).all()
