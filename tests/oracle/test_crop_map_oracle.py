"""Cropping against scipy and numpy."""

import math

import numpy as np
import pytest
from scipy import ndimage

from cryofind.config import AugmentConfig
from cryofind.train.augment import draw_matrix
from cryofind.train.crop_map import CropMap, cut_crop, find_outside, read_box

VOLUME = np.random.default_rng(0).standard_normal((50, 60, 70)).astype(np.float32)


@pytest.mark.parametrize("tilt_degrees", [0.0, 10.0])
@pytest.mark.parametrize("seed", range(6))
def test_rotated_crop_equals_scipy_on_the_whole_volume(seed: int, tilt_degrees: float) -> None:
    config = AugmentConfig(rotate_z_probability=1, scale_probability=1, scale_range=0.2, tilt_degrees=tilt_degrees)
    matrix = draw_matrix(config, np.random.default_rng(seed))
    crop_map = CropMap(matrix, np.array([24.3, 31.7, 33.1]), (16, 18, 20))
    assert not crop_map.is_lattice
    expected = ndimage.affine_transform(
        VOLUME, matrix, offset=crop_map.source_from_crop(np.zeros(3)), output_shape=(16, 18, 20), order=1
    )
    np.testing.assert_allclose(cut_crop(VOLUME, crop_map), expected, atol=2e-5)


@pytest.mark.parametrize("seed", range(8))
def test_lattice_crop_equals_resampling(seed: int) -> None:
    matrix = draw_matrix(AugmentConfig(rotate_z_probability=0, scale_probability=0), np.random.default_rng(seed))
    size = np.abs(matrix) @ (8, 10, 12)
    crop_map = CropMap(matrix, np.array([20, 21, 22]) + (size - 1) / 2, (8, 10, 12))
    assert crop_map.is_lattice
    first = crop_map.source_from_crop(np.zeros(3))
    expected = ndimage.affine_transform(VOLUME, matrix, offset=first, output_shape=(8, 10, 12), order=1)
    np.testing.assert_allclose(cut_crop(VOLUME, crop_map), expected, atol=1e-6)


def test_labels_and_masks_take_the_nearest_voxel() -> None:
    labels = (np.abs(VOLUME) * 3).astype(np.uint8)
    matrix = draw_matrix(AugmentConfig(rotate_z_probability=1), np.random.default_rng(3))
    crop_map = CropMap(matrix, np.array([24.3, 31.7, 33.1]), (16, 18, 20))
    first = crop_map.source_from_crop(np.zeros(3))
    expected = ndimage.affine_transform(labels, matrix, offset=first, output_shape=(16, 18, 20), order=0)
    np.testing.assert_array_equal(cut_crop(labels, crop_map, order=0), expected)
    mask = cut_crop(labels == 2, crop_map, order=0)
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, expected == 2)


def test_box_beyond_the_edges_is_reflected_as_numpy_does() -> None:
    padded = np.pad(VOLUME, ((7, 9), (5, 80), (100, 3)), mode="reflect")
    np.testing.assert_array_equal(read_box(VOLUME, (-7, -5, -100), (59, 140, 73)), padded)
    np.testing.assert_array_equal(read_box(VOLUME, (55, 0, 0), (58, 2, 2)), padded[62:65, 5:7, 100:102])
    np.testing.assert_array_equal(read_box(VOLUME[:1], (-2, 0, 0), (3, 4, 4)), np.repeat(VOLUME[:1, :4, :4], 5, axis=0))


def test_cells_outside_are_those_whose_centre_is_outside() -> None:
    angle = math.radians(30)
    matrix = np.array([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])
    crop_map = CropMap(matrix, np.array([45.0, 8.0, 35.0]), (16, 16, 16))
    cells = np.moveaxis(np.indices((8, 8, 8)), 0, -1) * 2 + 0.5
    source = crop_map.source_from_crop(cells)
    expected = ((source < -0.5) | (source > np.array(VOLUME.shape) - 0.5)).any(axis=-1)
    found = find_outside(crop_map, (50, 60, 70))
    assert found is not None
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(found, expected)
    assert find_outside(CropMap(matrix, np.array([25.0, 30.0, 35.0]), (16, 16, 16)), (50, 60, 70)) is None
