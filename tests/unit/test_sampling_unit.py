"""The crop sampler: repeatable, balanced, and right at edges and in its options."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cryofind.config import AugmentConfig, TargetConfig, TrainConfig
from cryofind.targets import draw_targets
from cryofind.train.sampling import CropSampler, TrainingRun
from cryofind.types import VoxelGrid
from tests.tiny_models import Batch, sample
from tests.training_runs import CONFIG, PLAIN, POINTS, SPECS, assert_same, make_run

GEOMETRY = PLAIN.model_copy(
    update={"flip_probability": 0.5, "quarter_turn_probability": 0.75, "rotate_z_probability": 0.4,
            "scale_probability": 0.4}
)  # fmt: skip


def test_batch_has_its_shapes_and_types() -> None:
    batch = sample(CropSampler([make_run()], CONFIG, AugmentConfig(), TargetConfig(), SPECS), 0)
    assert batch.images.shape == (3, 1, 16, 24, 32)
    assert batch.values.shape == (3, 3, 8, 12, 16)
    assert batch.weights.shape == (3, 8, 12, 16)
    assert {batch.images.dtype, batch.values.dtype, batch.weights.dtype} == {np.dtype(np.float32)}
    assert np.isfinite(batch.images).all()


def test_batch_depends_on_seed_step_and_rank_alone() -> None:
    everything = AugmentConfig(mixup_probability=0.5, copy_paste_probability=0.5, rotate_z_probability=0.5)
    runs = [make_run(), make_run("other", seed=1)]
    one = CropSampler(runs, CONFIG, everything, TargetConfig(), SPECS, seed=5)
    other = CropSampler(runs, CONFIG.model_copy(update={"seed": 5}), everything, TargetConfig(), SPECS)
    uninterrupted = [sample(one, step) for step in range(6)]
    assert_same(sample(other, 5), uninterrupted[5])
    assert_same(sample(other, 2), uninterrupted[2])
    reseeded = CropSampler(runs, CONFIG, everything, TargetConfig(), SPECS, seed=6)
    different = [sample(one, 5, rank=1), sample(reseeded, 5)]
    for batch in [*different, uninterrupted[4]]:
        assert not np.array_equal(batch.images, uninterrupted[5].images)


def test_objects_are_equally_likely_however_rare() -> None:
    config = CONFIG.model_copy(update={"background_fraction": 0.0, "batch_size": 8, "crop_zyx": (4, 4, 4)})
    sampler = CropSampler([make_run(counts=(60, 3))], config, PLAIN, POINTS, SPECS)
    present = np.mean([sample(sampler, step).values.max(axis=(2, 3, 4)) for step in range(60)], axis=(0, 1))
    assert present[0] == pytest.approx(0.5, abs=0.08)
    assert present[1] == pytest.approx(0.5, abs=0.08)
    assert present[2] == 0


@pytest.mark.parametrize("augment", [PLAIN, GEOMETRY], ids=["plain", "geometry"])
def test_every_crop_shows_a_particle_unless_it_is_background(augment: AugmentConfig) -> None:
    config = CONFIG.model_copy(update={"background_fraction": 0.0})
    sampler = CropSampler([make_run(counts=(4, 2))], config, augment, POINTS, SPECS)
    for step in range(40):
        assert (sample(sampler, step).values.sum(axis=(1, 2, 3, 4)) >= 1).all()


def test_particles_lie_all_over_the_central_part() -> None:
    shape = (200, 200, 200)
    grid = VoxelGrid.isotropic(shape, 10.0)
    run = TrainingRun("run", np.zeros(shape, np.float16), grid, np.full((1, 3), 1000.0), np.zeros(1, np.int64))
    config = TrainConfig(batch_size=8, crop_zyx=(32, 32, 32), background_fraction=0)
    sampler = CropSampler([run], config, PLAIN, POINTS, SPECS)
    cells = np.concatenate([np.argwhere(sample(sampler, step).values[:, 0])[:, 1:] for step in range(60)])
    assert len(cells) == 480
    assert cells.min(axis=0).max() <= 3
    assert cells.max(axis=0).min() >= 12
    assert cells.min() >= 2
    assert cells.max() <= 13
    assert np.abs(cells.mean(axis=0) - 7.5).max() < 0.6


def test_background_crops_are_anywhere() -> None:
    config = CONFIG.model_copy(update={"background_fraction": 1.0, "batch_size": 8, "crop_zyx": (8, 8, 8)})
    volume = np.arange(40 * 60 * 64, dtype=np.float32).reshape(40, 60, 64)
    run = make_run()
    sampler = CropSampler(
        [TrainingRun("run", volume, run.grid, run.positions_zyx_angstrom, run.channels)], config, PLAIN, POINTS, SPECS
    )
    firsts = np.concatenate([sample(sampler, step).images[:, 0, 0, 0, 0] for step in range(40)]).astype(int)
    starts = np.stack(np.unravel_index(firsts, volume.shape), axis=1)
    assert (starts.min(axis=0) <= (2, 3, 3)).all()
    assert (starts.max(axis=0) >= (30, 49, 53)).all()


@pytest.mark.parametrize("augment", [PLAIN, GEOMETRY], ids=["plain", "geometry"])
@pytest.mark.parametrize("shape", [(40, 60, 64), (9, 20, 31), (1, 64, 64)], ids=["large", "small", "flat"])
def test_targets_lie_on_the_bright_voxels(augment: AugmentConfig, shape: tuple[int, int, int]) -> None:
    sampler = CropSampler([make_run(shape=shape)], CONFIG, augment, POINTS, SPECS)
    seen = 0
    for step in range(10):
        batch = sample(sampler, step)
        for crop, channel, z, y, x in np.argwhere((batch.values > 0) & (batch.weights[:, None] > 0)):
            cell = batch.images[crop, 0, 2 * z : 2 * z + 2, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            if augment is PLAIN:
                # another particle may share the cell
                assert 100 + channel in cell
            assert cell.max() > 8
            seen += 1
    assert seen > 20


def test_volume_smaller_than_the_crop_is_reflected_without_weight() -> None:
    run = make_run(shape=(8, 10, 12), counts=(1,))
    sampler = CropSampler([run], CONFIG, PLAIN, POINTS, SPECS)
    batch = sample(sampler, 0)
    for image, weights in zip(batch.images[:, 0], batch.weights, strict=True):
        inside = np.argwhere(weights > 0)
        start, stop = 2 * inside.min(axis=0), 2 * inside.max(axis=0) + 2
        np.testing.assert_allclose(stop - start, run.grid.shape_zyx, atol=2)
        # the whole volume is there once, and nothing but its own values
        assert set(np.unique(image)) == set(np.unique(run.volume_zyx))
        assert weights.sum() <= 5 * 6 * 7


def test_half_precision_and_read_only_volumes_work() -> None:
    run = make_run()
    half = run.volume_zyx.astype(np.float16)
    half.setflags(write=False)
    same = TrainingRun("run", half, run.grid, run.positions_zyx_angstrom, run.channels)
    one = sample(CropSampler([run], CONFIG, GEOMETRY, TargetConfig(), SPECS), 3)
    other = sample(CropSampler([same], CONFIG, GEOMETRY, TargetConfig(), SPECS), 3)
    np.testing.assert_allclose(one.images, other.images, atol=5e-3)
    np.testing.assert_array_equal(one.values, other.values)


def test_plain_target_equals_the_target_of_the_whole_volume() -> None:
    run = make_run(counts=(5, 3))
    config = CONFIG.model_copy(update={"background_fraction": 0.0, "batch_size": 1})
    target = TargetConfig(annotated_region="near-picks", annotated_distance_angstrom=150)
    coarse = run.grid.coarsened(2)
    radii = np.array([40.0, 80.0])[run.channels]
    whole = draw_targets(run.positions_zyx_angstrom, run.channels, radii, coarse, object_count=3, config=target)
    matched = 0
    for step in range(20):
        batch = sample(CropSampler([run], config, PLAIN, target, SPECS), step)
        start = find_start(run.volume_zyx, batch.images[0, 0])
        if (start % 2 == 0).all():
            z, y, x = (slice(s // 2, (s + n) // 2) for s, n in zip(start, config.crop_zyx, strict=True))
            np.testing.assert_array_equal(batch.values[0], whole.values[:, z, y, x])
            np.testing.assert_array_equal(batch.weights[0], whole.weights[z, y, x])
            matched += 1
    assert matched


def find_start(volume: NDArray[np.floating], crop: NDArray[np.float32]) -> NDArray[np.int64]:
    return next(
        start
        for start in np.argwhere(volume == crop[0, 0, 0])
        if np.array_equal(volume[tuple(slice(s, s + n) for s, n in zip(start, crop.shape, strict=True))], crop)
    )


def test_scaled_crops_scale_the_target() -> None:
    shape = (96, 96, 96)
    grid = VoxelGrid.isotropic(shape, 10.0)
    run = TrainingRun("run", np.zeros(shape, np.float32), grid, np.full((1, 3), 480.0), np.ones(1, np.int64))
    config = TrainConfig(batch_size=8, crop_zyx=(48, 48, 48), background_fraction=0)
    augment = PLAIN.model_copy(update={"scale_probability": 1.0, "scale_range": 0.4})
    values = sample(CropSampler([run], config, augment, TargetConfig(radius_factor=1), SPECS), 0).values[:, 1]
    volumes = values.sum(axis=(1, 2, 3))
    assert volumes.max() / volumes.min() > 3


@pytest.mark.parametrize("augment", [PLAIN, GEOMETRY], ids=["plain", "geometry"])
def test_labels_follow_the_voxels(augment: AugmentConfig) -> None:
    grid = VoxelGrid.isotropic((40, 60, 64), 10.0)
    labels = np.zeros(grid.shape_zyx, dtype=np.uint8)
    labels[10:30, 20:40, 20:40] = 2
    labels[5:8, 50:55, 50:60] = 3
    run = TrainingRun("run", labels.astype(np.float32), grid, np.empty((0, 3)), np.empty(0, np.int64), labels)
    config = CONFIG.model_copy(update={"background_fraction": 0.0})
    sampler = CropSampler([run], config, augment, TargetConfig(kind="labels"), SPECS)
    shown = np.zeros(3)
    for step in range(20):
        batch = sample(sampler, step)
        means = batch.images[:, 0].reshape(3, 8, 2, 12, 2, 16, 2).mean(axis=(2, 4, 6))
        found = 2 * batch.values[:, 1] + 3 * batch.values[:, 2]
        # linear grey values and nearest labels differ at surfaces
        assert np.abs(means - found).mean() < 0.05
        if augment is PLAIN:
            np.testing.assert_allclose(means, found, atol=1e-6)
        shown += batch.values.max(axis=(2, 3, 4)).sum(axis=0) > 0
    assert shown[0] == 0
    assert shown[1:].min() >= 10


def test_labels_with_picks_are_sampled_at_the_picks() -> None:
    run = make_run(counts=(3,))
    labels = np.zeros(run.grid.shape_zyx, dtype=np.int32)
    labels[tuple(run.grid.nearest_indices_from_positions(run.positions_zyx_angstrom).T)] = 1
    both = TrainingRun("run", run.volume_zyx, run.grid, run.positions_zyx_angstrom, run.channels, labels)
    config = CONFIG.model_copy(update={"background_fraction": 0.0})
    batch = sample(CropSampler([both], config, PLAIN, TargetConfig(kind="labels"), SPECS), 0)
    assert (batch.values[:, 0].max(axis=(1, 2, 3)) >= 0.125).all()


def test_annotated_mask_is_cropped_like_the_volume() -> None:
    run = make_run()
    mask = np.zeros(run.grid.shape_zyx, dtype=np.bool_)
    mask[:, :30, 20:] = True
    masked = TrainingRun(
        "run", mask.astype(np.float32), run.grid, run.positions_zyx_angstrom, run.channels, annotated_mask_zyx=mask
    )
    config = TargetConfig(annotated_region="mask", ignore_shell_factor=0)
    batch = sample(CropSampler([masked], CONFIG, PLAIN, config, SPECS), 1)
    means = batch.images[:, 0].reshape(3, 8, 2, 12, 2, 16, 2).mean(axis=(2, 4, 6))
    np.testing.assert_array_equal(batch.weights > 0, means >= 0.5)


def test_pasted_particles_come_with_their_target_and_voxels() -> None:
    shape = (64, 64, 64)
    grid = VoxelGrid.isotropic(shape, 10.0)
    empty = TrainingRun("empty", np.zeros(shape, np.float32), grid, np.empty((0, 3)), np.empty(0, np.int64))
    volume = np.zeros(shape, np.float32)
    volume[32, 32, 32] = 100
    position = grid.positions_from_indices([[32.3, 31.8, 32.0]])
    donor = TrainingRun("donor", volume, grid, position, np.zeros(1, np.int64))
    config = TrainConfig(batch_size=8, crop_zyx=(32, 32, 32), background_fraction=1.0)
    augment = PLAIN.model_copy(update={"copy_paste_probability": 1.0, "flip_probability": 0.5})
    sampler = CropSampler([empty, donor], config, augment, POINTS, SPECS)
    pasted = 0
    for step in range(10):
        batch = sample(sampler, step)
        for image, values in zip(batch.images[:, 0], batch.values[:, 0], strict=True):
            bright = {tuple(voxel // 2) for voxel in np.argwhere(image > 99)}
            # the fractional part of the position may move the cell by one
            for cell in np.argwhere(values):
                assert min(np.abs(np.array(other) - cell).max() for other in bright) <= 1
            pasted += int(values.sum())
    assert pasted >= 70


def test_pasted_particle_keeps_its_place_between_voxels() -> None:
    shape = (64, 64, 64)
    grid = VoxelGrid.isotropic(shape, 10.0)
    empty = TrainingRun("empty", np.zeros(shape, np.float32), grid, np.empty((0, 3)), np.empty(0, np.int64))
    volume = np.zeros(shape, np.float32)
    volume[32, 32, 32] = 100
    offset = np.array([0.4, -0.3, 0.2])
    donor = TrainingRun("donor", volume, grid, grid.positions_from_indices([32 + offset]), np.zeros(1, np.int64))
    config = TrainConfig(batch_size=8, crop_zyx=(32, 32, 32), background_fraction=1.0)
    augment = PLAIN.model_copy(update={"copy_paste_probability": 1.0})
    heatmap = TargetConfig(kind="gaussian", radius_factor=0.5)
    batch = sample(CropSampler([empty, donor], config, augment, heatmap, SPECS), 0)
    compared = 0
    for image, values in zip(batch.images[:, 0], batch.values[:, 0], strict=True):
        bright, cells = np.argwhere(image > 99), np.argwhere(values > 0)
        is_complete = len(cells) and cells.min() > 0 and cells.max() < 15
        if len(bright) == 1 and is_complete:
            centroid = 2 * np.average(cells, axis=0, weights=values[values > 0]) + 0.5
            np.testing.assert_allclose(centroid - bright[0], offset, atol=0.05)
            compared += 1
    assert compared


def test_crowded_or_narrow_crops_are_left_as_they_are() -> None:
    run = make_run(counts=(300,))
    augment = PLAIN.model_copy(update={"copy_paste_probability": 1.0})
    without = sample(CropSampler([run], CONFIG, augment, TargetConfig(), SPECS), 0)
    assert set(np.unique(without.images)) <= set(np.unique(run.volume_zyx))


def test_mixup_mixes_images_values_and_weights() -> None:
    augment = PLAIN.model_copy(update={"mixup_probability": 1.0})
    mixed = sample(CropSampler([make_run()], CONFIG, augment, POINTS, SPECS), 0)
    shares = np.unique(mixed.values)
    assert ((shares > 0) & (shares < 1)).any()
    assert mixed.values.max() <= 1


@pytest.mark.parametrize("change", ["spectrum", "low_pass", "wedge"])
def test_the_spectrum_changes_only_where_it_is_asked_for(change: str) -> None:
    def draw(**settings: float) -> Batch:
        augment = PLAIN.model_copy(update=settings)
        return sample(CropSampler([make_run()], CONFIG, augment, POINTS, SPECS), 0)

    plain = draw()
    changed = draw(**{f"{change}_probability": 1.0})
    assert np.array_equal(draw(**{f"{change}_probability": 0.0}).images, plain.images)
    assert not np.allclose(changed.images[0], plain.images[0], atol=0.1)
    assert changed.images[0].std() == pytest.approx(plain.images[0].std(), rel=1e-3)
    assert np.array_equal(changed.values[0], plain.values[0])
