"""Augmentation moves voxels and particles alike."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofind.config import AugmentConfig
from cryofind.train.augment import draw_intensity, draw_lattice_matrix, draw_matrix, draw_mixing, find_free_place
from cryofind.train.crop_map import CropMap, cut_crop, place_crop

SHAPE = (24, 28, 32)
seeds = st.integers(0, 2**32 - 1)


def draw_map(seed: int, config: AugmentConfig, point: np.ndarray) -> CropMap:
    random = np.random.default_rng(seed)
    matrix = draw_matrix(config, random)
    middle = (np.array(SHAPE) - 1) / 2
    within = middle + random.uniform(-0.3, 0.3, 3) * np.array(SHAPE)
    return place_crop(matrix, SHAPE, (50, 60, 70), point_zyx=point, point_in_crop_zyx=within)


@settings(deadline=None, max_examples=100)
@given(seeds, st.tuples(st.integers(0, 49), st.integers(0, 59), st.integers(0, 69)), st.sampled_from([0.0, 10.0]))
def test_bright_voxel_stays_at_the_particle(seed: int, voxel: tuple[int, int, int], tilt_degrees: float) -> None:
    config = AugmentConfig(rotate_z_probability=0.7, scale_probability=0.7, scale_range=0.1, tilt_degrees=tilt_degrees)
    crop_map = draw_map(seed, config, np.array(voxel, dtype=np.float64))
    volume = np.zeros((50, 60, 70), dtype=np.float32)
    volume[voxel] = 1
    crop = cut_crop(volume, crop_map)
    place = crop_map.crop_from_source(voxel)
    assert ((place > -0.5) & (place < np.array(SHAPE) - 0.5)).all()
    nearest = tuple(np.rint(place).astype(int))
    assert crop[nearest] > 0.05
    if crop_map.is_lattice:
        assert crop[nearest] == 1
    if min(*voxel, 49 - voxel[0], 59 - voxel[1], 69 - voxel[2]) < 4:
        return  # reflection shows a voxel at the edge twice
    around = tuple(slice(max(0, at - 1), at + 2) for at in nearest)
    brightest = np.argwhere(crop[around] == crop[around].max())[0] + [part.start for part in around]
    assert np.abs(brightest - place).max() <= 1.0


@settings(deadline=None, max_examples=50)
@given(seeds)
def test_positions_return_and_sizes_follow_the_map(seed: int) -> None:
    config = AugmentConfig(rotate_z_probability=1, scale_probability=1, scale_range=0.3, tilt_degrees=15)
    crop_map = draw_map(seed, config, np.array([25.0, 30.0, 35.0]))
    points = np.random.default_rng(seed).uniform(-10, 80, (7, 3))
    there = crop_map.crop_from_source(points)
    np.testing.assert_allclose(crop_map.source_from_crop(there), points, atol=1e-9)
    distances = np.linalg.norm(points[1:] - points[:-1], axis=1)
    np.testing.assert_allclose(np.linalg.norm(there[1:] - there[:-1], axis=1), distances * crop_map.magnification)
    assert 0.7 <= crop_map.magnification <= 1.3


@settings(deadline=None, max_examples=50)
@given(seeds)
def test_flips_and_turns_of_volume_and_picks_commute(seed: int) -> None:
    random = np.random.default_rng(seed)
    volume = random.standard_normal((50, 60, 70)).astype(np.float32)
    matrix = draw_lattice_matrix(AugmentConfig(flip_probability=0.5), random)
    crop_map = place_crop(
        matrix, SHAPE, (50, 60, 70), point_zyx=np.array([25.0, 30, 35]), point_in_crop_zyx=np.array([12.0, 14, 16])
    )
    crop = cut_crop(volume, crop_map)
    starts, stops = crop_map.source_bounds
    voxels = random.integers(starts, stops, size=(20, 3))
    places = crop_map.crop_from_source(voxels)
    np.testing.assert_array_equal(places, np.rint(places))
    z, y, x = places.astype(int).T
    np.testing.assert_array_equal(crop[z, y, x], volume[tuple(voxels.T)])


@settings(deadline=None, max_examples=50)
@given(seeds)
def test_without_tilts_z_stays_z(seed: int) -> None:
    matrix = draw_matrix(AugmentConfig(rotate_z_probability=1), np.random.default_rng(seed))
    assert not matrix[0, 1:].any()
    assert not matrix[1:, 0].any()


@settings(deadline=None, max_examples=50)
@given(seeds)
def test_crop_inside_a_large_volume_stays_inside_unless_turned(seed: int) -> None:
    point = np.random.default_rng(seed).uniform(0, (49, 59, 69))
    crop_map = draw_map(seed, AugmentConfig(rotate_z_probability=0, scale_probability=0), point)
    starts, stops = crop_map.source_bounds
    assert (starts >= 0).all()
    assert (stops <= (50, 60, 70)).all()


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(2, 9))
def test_every_crop_is_mixed_with_another_one(seed: int, count: int) -> None:
    partners, shares = draw_mixing(count, 1.0, np.random.default_rng(seed))
    assert (partners != np.arange(count)).all()
    assert partners.min() >= 0
    assert partners.max() < count
    assert ((shares >= 0) & (shares <= 1)).all()
    _, half = draw_mixing(count, 0.5, np.random.default_rng(seed))
    assert np.isin(half, [*shares, 1.0]).all()


def test_nothing_is_mixed_without_need() -> None:
    for count, probability in ((5, 0.0), (1, 1.0)):
        assert [len(part) for part in draw_mixing(count, probability, np.random.default_rng(0))] == [0, 0]


def test_intensity_changes_have_their_size() -> None:
    random = np.random.default_rng(0)
    none = AugmentConfig(intensity_scale=0, intensity_shift=0, noise_sigma=0)
    assert draw_intensity(none, random, deviation=3.0) == (1, 0, 0)
    factors, shifts, deviations = np.array(
        [draw_intensity(AugmentConfig(), random, deviation=10.0) for _ in range(300)]
    ).T
    for found, low, high in ((factors, 0.85, 1.15), (shifts, -1.5, 1.5), (deviations, 0, 1.5)):
        assert low <= found.min() < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < found.max() <= high


def test_free_place_is_free_or_none() -> None:
    random = np.random.default_rng(0)
    taken = random.uniform(0, 40, (6, 3))
    place = find_free_place(
        (40, 40, 40), 6, taken_zyx=taken, taken_reaches_voxels=np.full(6, 4.0), reach_voxels=5, random=random
    )
    assert place is not None
    assert (np.linalg.norm(taken - place, axis=1) > 9).all()
    assert (place >= 6).all()
    assert (place < 34).all()
    crowded = find_free_place(
        (40, 40, 40), 6, taken_zyx=taken, taken_reaches_voxels=np.full(6, 99.0), reach_voxels=5, random=random
    )
    too_large = find_free_place(
        (40, 40, 40), 20, taken_zyx=taken, taken_reaches_voxels=np.full(6, 1.0), reach_voxels=5, random=random
    )
    assert crowded is None
    assert too_large is None
