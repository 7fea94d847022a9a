"""Damaged or unsuitable tomograms are refused with a reason, or mended with a note."""

import numpy as np
import pytest

from cryofind.config import PreprocessConfig
from cryofind.errors import TomogramError
from cryofind.preprocess import detect_polarity, fill_nonfinite, match_spacing, normalize_volume, preprocess_tomogram
from cryofind.types import Tomogram, VoxelGrid


def draw_damaged(count: int, *, value: float = np.nan) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    volume = np.random.default_rng(0).normal(5.0, 2.0, size=(20, 20, 25))
    volume.ravel()[:count] = value
    return volume


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "f8"])
def test_nonfinite_voxels_are_refused_with_count_and_share(value: float, dtype: str) -> None:
    volume = draw_damaged(100, value=value)
    with np.errstate(over="ignore"):
        volume = volume.astype(dtype)
    with pytest.raises(TomogramError, match=r"run 'a': 100 of 10000 voxels \(0.01 of all\).*max_nonfinite_fraction"):
        preprocess_tomogram(Tomogram("a", volume, VoxelGrid.isotropic(volume.shape, 10.0)), PreprocessConfig())


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_few_nonfinite_voxels_become_the_median(value: float, caplog: pytest.LogCaptureFixture) -> None:
    normalized = normalize_volume(draw_damaged(100, value=value), PreprocessConfig(max_nonfinite_fraction=0.01))
    assert np.isfinite(normalized).all()
    np.testing.assert_allclose(normalized.ravel()[:100], 0.0, atol=0.05)
    assert "100 voxels (0.01 of all) were NaN or infinite and became the median" in caplog.text


def test_the_damaged_volume_itself_is_not_changed() -> None:
    volume = draw_damaged(3)
    filled, _ = fill_nonfinite(volume, PreprocessConfig(max_nonfinite_fraction=0.5))
    assert np.isnan(volume).sum() == 3
    assert np.isfinite(filled).all()


def test_a_sound_volume_is_not_copied() -> None:
    volume = draw_damaged(0)
    assert fill_nonfinite(volume, PreprocessConfig())[0] is volume


def test_nothing_but_nan_becomes_zeros_if_that_is_allowed() -> None:
    volume = np.full((5, 6, 7), np.nan, np.float32)
    assert not normalize_volume(volume, PreprocessConfig(max_nonfinite_fraction=1.0)).any()


@pytest.mark.parametrize(("spacing", "advice"), [(6.6, "bin or"), (15.1, "bin or"), (1.0, "nanometres")])
def test_spacings_too_far_from_the_models_are_refused(spacing: float, advice: str) -> None:
    tomogram = Tomogram("TS_1", np.zeros((8, 8, 8), np.float32), VoxelGrid.isotropic((8, 8, 8), spacing))
    with pytest.raises(TomogramError, match=rf"TS_1.*{spacing:g} Angstrom, the model's is 10.*{advice}"):
        match_spacing(tomogram, 10.0)


def test_polarity_looks_past_nonfinite_voxels() -> None:
    volume = np.random.default_rng(0).standard_normal((48, 48, 48))
    volume[::12, ::12, ::12] -= 400
    volume[3, :, 5] = np.nan
    volume[7, 9, 11] = np.inf
    assert detect_polarity(volume) == "dark"
    assert detect_polarity(np.full((8, 8, 8), np.nan)) == "unclear"
