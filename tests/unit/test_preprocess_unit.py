"""Grey values, contrast and voxel spacing of tomograms: what comes out for inputs whose answer is known."""

import logging
from pathlib import Path

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from cryofind.config import PreprocessConfig
from cryofind.preprocess import (
    Polarity,
    detect_polarity,
    match_spacing,
    normalize_volume,
    preprocess_tomogram,
    resample_volume,
)
from cryofind.types import Tomogram, VoxelGrid

Floats = NDArray[np.float32]


def draw_noise(shape: tuple[int, ...] = (24, 30, 28), *, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def draw_phantom(*, sign: float, noise: float = 1.0, count: int = 60) -> Floats:
    """Balls of 5 voxels radius and contrast 1 in white noise."""
    random = np.random.default_rng(3)
    volume = noise * random.standard_normal((64, 128, 128), dtype=np.float32)
    z, y, x = np.mgrid[-5:6, -5:6, -5:6]
    ball = (z**2 + y**2 + x**2 <= 25).astype(np.float32)
    for center in random.integers(6, (58, 122, 122), size=(count, 3)):
        box = tuple(slice(c - 5, c + 6) for c in center)
        volume[box] += sign * ball
    return volume


def test_zscore_gives_zero_mean_and_unit_deviation() -> None:
    normalized = normalize_volume(draw_noise() * 40 + 7000, PreprocessConfig())
    assert normalized.dtype == np.float32
    assert normalized.flags.c_contiguous
    assert normalized.mean() == pytest.approx(0, abs=1e-4)
    assert normalized.std() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("normalization", ["zscore", "percentile", "robust"])
@pytest.mark.parametrize("scale", [7e-6, 1e-34, 1.0, 1e33])
def test_any_scale_of_grey_values_gives_the_same_volume(normalization: str, scale: float) -> None:
    config = PreprocessConfig.model_validate({"normalization": normalization})
    volume = draw_noise().astype(np.float64)
    expected = normalize_volume(volume, config)
    np.testing.assert_allclose(normalize_volume(volume * scale, config), expected, rtol=1e-4, atol=1e-4)


def test_percentile_clips_before_it_scales() -> None:
    volume = draw_noise()
    volume[3, 4, 5] = 1e6
    normalized = normalize_volume(volume, PreprocessConfig(normalization="percentile", clip_percentiles=(1, 99)))
    assert normalized.max() < 4
    assert normalized.std() == pytest.approx(1, abs=1e-4)
    assert normalized.mean() == pytest.approx(0, abs=1e-4)


def test_robust_takes_median_and_median_deviation() -> None:
    volume = draw_noise((32, 32, 32))
    volume[:3] = 50.0  # a tenth of outliers, which mean and standard deviation would follow
    normalized = normalize_volume(volume, PreprocessConfig(normalization="robust", clip_percentiles=(0, 100)))
    assert np.median(normalized) == pytest.approx(0, abs=1e-5)
    assert normalized[3:].std() == pytest.approx(0.9, abs=0.1)


def test_mostly_equal_voxels_are_scaled_without_clipping(caplog: pytest.LogCaptureFixture) -> None:
    volume = np.zeros((16, 16, 16), np.int16)
    volume[8, 8, 8] = 100
    normalized = normalize_volume(volume, PreprocessConfig(normalization="robust"))
    assert normalized[8, 8, 8] > 10
    assert "most voxels are equal" in caplog.text


@pytest.mark.parametrize("value", [0.0, 0.1, -3e30])
def test_a_constant_volume_becomes_zeros_and_a_warning(value: float, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="cryofind"):
        normalized = normalize_volume(np.full((9, 10, 11), value, np.float32), PreprocessConfig(), subject="TS_1")
    assert not normalized.any()
    assert "TS_1: all voxels are equal" in caplog.text


def test_a_volume_that_varies_only_between_sampled_voxels_is_not_constant() -> None:
    volume = np.zeros((100, 100, 100), np.uint8)
    volume[1, 1, 1] = 1
    config = PreprocessConfig(statistics_stride=2)
    assert normalize_volume(volume, config)[1, 1, 1] > 100


@pytest.mark.parametrize("dtype", ["int8", "uint8", "<i2", ">i2", "<u2", "i4", "f2", ">f4", "<f8", ">f8", "i8"])
def test_every_number_type_and_byte_order_gives_the_same(dtype: str) -> None:
    volume = np.clip(np.round(draw_noise() * 20 + 60), 0, 120)
    expected = normalize_volume(volume, PreprocessConfig())
    normalized = normalize_volume(volume.astype(dtype), PreprocessConfig())
    assert normalized.dtype == np.dtype(np.float32)
    np.testing.assert_allclose(normalized, expected, atol=1e-5)


def test_a_read_only_big_endian_memory_map_is_left_alone(tmp_path: Path) -> None:
    volume = draw_noise()
    volume.astype(">f4").tofile(tmp_path / "volume.raw")
    mapped = np.memmap(tmp_path / "volume.raw", dtype=">f4", mode="r", shape=volume.shape)
    np.testing.assert_allclose(
        normalize_volume(mapped, PreprocessConfig()), normalize_volume(volume, PreprocessConfig()), atol=1e-6
    )


@pytest.mark.parametrize(("sign", "expected"), [(-1.0, "dark"), (1.0, "bright")])
@pytest.mark.parametrize("noise", [0.3, 1.0, 2.0])
def test_polarity_of_a_phantom_is_found(sign: float, expected: str, noise: float) -> None:
    assert detect_polarity(draw_phantom(sign=sign, noise=noise)) == expected


@pytest.mark.parametrize(
    "volume",
    [
        draw_noise((40, 90, 90)),
        draw_noise((3, 40, 40)),
        np.zeros((20, 20, 20), np.float32),
        draw_phantom(sign=-1.0, noise=8.0),
        draw_noise((48, 112, 112)) + np.linspace(-9, 9, 112, dtype=np.float32),
    ],
    ids=["noise", "thin", "constant", "buried", "gradient"],
)
def test_polarity_is_unclear_where_nothing_stands_out(volume: Floats) -> None:
    assert detect_polarity(volume) == "unclear"


def test_one_stray_voxel_does_not_decide_the_polarity() -> None:
    volume = draw_noise((40, 90, 90))
    volume[20, 40, 40] = -1e4
    assert detect_polarity(volume) == "unclear"


@pytest.mark.parametrize("flavour", ["denoised", "wbp", "filtered"])
def test_polarity_of_an_independent_simulation_is_dark(shared_data: Path, flavour: str) -> None:
    folder = shared_data / "external/ExperimentRuns/EXT_1/VoxelSpacing10.000" / f"{flavour}.zarr/0"
    if not folder.is_dir():
        pytest.skip("the external tomogram is not there")
    volume = np.asarray(zarr.open_array(folder, mode="r")[:])
    assert detect_polarity(volume) == "dark"
    assert detect_polarity(-volume) == "bright"


def test_a_spacing_within_one_percent_is_used_as_it_is() -> None:
    tomogram = Tomogram("a", draw_noise(), VoxelGrid.isotropic((24, 30, 28), 10.012))
    assert match_spacing(tomogram, 10.0) is tomogram


@pytest.mark.parametrize("spacing", [6.8, 8.0, 13.48, 14.9])
def test_other_spacings_are_resampled_with_a_note(spacing: float) -> None:
    tomogram = Tomogram("a", draw_noise(), VoxelGrid.isotropic((24, 30, 28), spacing), notes=("first",))
    matched = match_spacing(tomogram, 10.0)
    assert matched.grid == tomogram.grid.resampled(10.0)
    assert matched.volume_zyx.dtype == np.float32
    assert matched.notes == ("first", f"resampled from {spacing:g} to 10 Angstrom per voxel")


def test_unequal_spacings_are_named_in_the_note() -> None:
    tomogram = Tomogram("a", draw_noise(), VoxelGrid((24, 30, 28), (12.0, 10.0, 10.0)))
    assert "12 x 10 x 10 (z, y, x)" in match_spacing(tomogram, 10.0).notes[0]


def test_detail_finer_than_the_coarser_grid_does_not_fold_back() -> None:
    stripes = np.zeros((60, 8, 8), np.float32)
    stripes[::2] = 1.0
    coarse = VoxelGrid.isotropic(stripes.shape, 10.0).resampled(14.0)
    resampled = resample_volume(stripes, VoxelGrid.isotropic(stripes.shape, 10.0), coarse)
    np.testing.assert_allclose(resampled[3:-3], 0.5, atol=0.12)


def test_preprocessing_mends_resamples_inverts_and_normalizes() -> None:
    volume = draw_phantom(sign=1.0)
    volume[1, 2, 3] = np.nan
    tomogram = Tomogram("TS_1", volume, VoxelGrid.isotropic(volume.shape, 12.0), flavour="wbp")
    config = PreprocessConfig(polarity="match", max_nonfinite_fraction=0.01)
    prepared = preprocess_tomogram(tomogram, config, spacing_angstrom=10.0, polarity="dark")
    assert [note.split()[0] for note in prepared.notes] == ["1", "resampled", "particles"]
    assert "inverted" in prepared.notes[-1]
    assert prepared.flavour == "wbp"
    assert detect_polarity(prepared.volume_zyx) == "dark"
    assert np.asarray(prepared.volume_zyx, np.float64).std() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("wanted", ["bright", "unclear", None])
def test_the_same_or_an_unknown_polarity_is_left_alone(wanted: Polarity | None) -> None:
    volume = draw_phantom(sign=1.0)
    tomogram = Tomogram("TS_1", volume, VoxelGrid.isotropic(volume.shape, 10.0))
    prepared = preprocess_tomogram(tomogram, PreprocessConfig(polarity="match"), polarity=wanted)
    assert prepared.notes == ()
    assert np.corrcoef(np.ravel(prepared.volume_zyx), volume.ravel())[0, 1] > 0.99


def test_another_polarity_is_only_reported_unless_asked_to_match() -> None:
    volume = draw_phantom(sign=1.0)
    tomogram = Tomogram("TS_1", volume, VoxelGrid.isotropic(volume.shape, 10.0))
    prepared = preprocess_tomogram(tomogram, PreprocessConfig(), polarity="dark")
    assert "set preprocess.polarity to match" in prepared.notes[0]
    assert detect_polarity(prepared.volume_zyx) == "bright"
