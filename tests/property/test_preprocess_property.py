"""Positions survive resampling, and grey values survive any change of scale."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofind.config import PreprocessConfig
from cryofind.preprocess import detect_polarity, match_spacing, normalize_volume, resample_volume
from cryofind.types import Tomogram, VoxelGrid

SPACINGS = st.floats(6.75, 14.9)


def draw_blob(grid: VoxelGrid, center_zyx_angstrom: list[float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    indices = np.moveaxis(np.indices(grid.shape_zyx), 0, -1)
    distances = np.linalg.norm(grid.positions_from_indices(indices) - center_zyx_angstrom, axis=-1)
    return np.asarray(np.exp(-((distances / 22.0) ** 2) / 2), dtype=np.float32)


def find_center(tomogram: Tomogram) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    volume = np.asarray(tomogram.volume_zyx, np.float64)
    volume = np.where(volume > 0.05, volume, 0.0)
    indices = np.moveaxis(np.indices(volume.shape), 0, -1)
    mean = (indices * volume[..., None]).sum(axis=(0, 1, 2)) / volume.sum()
    return tomogram.grid.positions_from_indices(mean)


@settings(deadline=None, max_examples=30)
@given(spacings=st.tuples(SPACINGS, SPACINGS, SPACINGS), center=st.lists(st.floats(90, 130), min_size=3, max_size=3))
def test_a_blob_keeps_its_place_in_angstrom(spacings: tuple[float, float, float], center: list[float]) -> None:
    z, y, x = (round(220 / spacing) for spacing in spacings)
    grid = VoxelGrid((z, y, x), spacings)
    matched = match_spacing(Tomogram("a", draw_blob(grid, center), grid), 10.0)
    assert np.abs(find_center(matched) - center).max() < 0.1 * 10.0


@settings(deadline=None, max_examples=30)
@given(spacing=SPACINGS, value=st.floats(-1e6, 1e6, width=32))
def test_a_constant_stays_constant(spacing: float, value: float) -> None:
    grid = VoxelGrid.isotropic((7, 9, 8), spacing)
    resampled = resample_volume(np.full(grid.shape_zyx, value, np.float32), grid, grid.resampled(10.0))
    np.testing.assert_allclose(resampled, value, rtol=1e-5, atol=1e-37)  # below that digits are lost


@settings(deadline=None, max_examples=30)
@given(
    factor=st.floats(1e-6, 1e6),
    shift=st.floats(-10, 10),
    normalization=st.sampled_from(["zscore", "percentile", "robust"]),
    shape=st.tuples(*[st.integers(2, 12)] * 3),
)
def test_scale_and_shift_of_grey_values_do_not_matter(
    factor: float, shift: float, normalization: str, shape: tuple[int, int, int]
) -> None:
    config = PreprocessConfig.model_validate({"normalization": normalization})
    volume = np.random.default_rng(0).standard_normal(shape)
    expected = normalize_volume(volume, config)
    np.testing.assert_allclose(normalize_volume((volume + shift) * factor, config), expected, atol=1e-3)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000), width=st.integers(1, 3))
def test_noise_has_no_polarity(seed: int, width: int) -> None:
    noise = np.random.default_rng(seed).standard_normal((48, 64, 64))
    smooth = sum(np.roll(noise, shift, axis=axis) for axis in range(3) for shift in range(width))
    assert detect_polarity(np.asarray(smooth)) == "unclear"
