"""Preprocessing in pieces, by threads and in place: the same numbers as in one go, and nobody's array changed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from cryofind.config import PreprocessConfig
from cryofind.preprocess import preprocess_tomogram
from cryofind.preprocess.contrast import BACKGROUND_BLOCKS, _average_blocks, _take_blocks_off_background
from cryofind.preprocess.normalize import apply_grey_scale, fill_nonfinite, measure_grey_scale, take_sample
from cryofind.preprocess.pieces import PIECE_VOXELS, map_pieces
from cryofind.types import Tomogram, VoxelGrid

# Several pieces a plane, the last of another size.
SHAPE = (5, 61, 5000)


def draw(number_type: str = "float32") -> NDArray[Any]:
    return np.random.default_rng(1).normal(100, 20, SHAPE).astype(number_type)


def tomogram_of(volume: NDArray[Any]) -> Tomogram:
    return Tomogram("TS_1", volume, VoxelGrid.isotropic(volume.shape, 10.0))


def normalize_in_one_go(volume: NDArray[Any], config: PreprocessConfig) -> NDArray[np.float32]:
    """As the definition says, in float64 throughout."""
    sample = take_sample(volume, config.statistics_stride)
    values = volume.astype(np.float64)
    if config.normalization != "zscore":
        limits = np.percentile(sample, config.clip_percentiles)
        sample, values = np.clip(sample, *limits), np.clip(values, *limits)
    center, scale = sample.mean(), sample.std()
    if config.normalization == "robust":
        center = np.median(sample)
        scale = 1.4826 * np.median(np.abs(sample - center))
    normalized: NDArray[np.float32] = ((values - center) / scale).astype(np.float32)
    return normalized


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 7, 11), SHAPE, (2, 3, PIECE_VOXELS + 1)])
def test_pieces_cover_every_voxel_once_and_come_in_order(shape: tuple[int, int, int]) -> None:
    count = np.zeros(shape, np.uint8)

    def visit(piece: tuple[int, slice]) -> tuple[int, int]:
        count[piece] += 1
        return piece[0], piece[1].start

    places = map_pieces(shape, visit)
    assert (count == 1).all()
    assert places == sorted(places)


def test_an_error_in_a_piece_is_raised() -> None:
    def fail(piece: tuple[int, slice]) -> None:
        if piece[0] == 3:
            raise ValueError("piece")

    with pytest.raises(ValueError, match="piece"):
        map_pieces(SHAPE, fail)


@pytest.mark.parametrize("may_overwrite", [False, True])
@pytest.mark.parametrize("number_type", ["float32", ">f4", "float16", "float64", "int8", "uint16", ">i2", "int32"])
@pytest.mark.parametrize("normalization", ["zscore", "percentile", "robust"])
def test_pieces_give_what_the_whole_gives(normalization: str, number_type: str, may_overwrite: bool) -> None:
    config = PreprocessConfig.model_validate({"normalization": normalization})
    volume = draw(number_type)
    expected = normalize_in_one_go(volume, config)
    prepared: NDArray[Any] = preprocess_tomogram(tomogram_of(volume), config, may_overwrite=may_overwrite).volume_zyx
    np.testing.assert_allclose(prepared, expected, rtol=1e-5, atol=2e-6)
    assert prepared.dtype == np.float32
    assert prepared.flags.c_contiguous
    assert (prepared is volume) == (may_overwrite and number_type == "float32")


@pytest.mark.parametrize("damage", [None, np.nan, np.inf])
@pytest.mark.parametrize("spacing_angstrom", [10.0, 12.0])
def test_by_default_the_given_voxels_stay_as_they_are(damage: float | None, spacing_angstrom: float) -> None:
    volume = np.random.default_rng(0).normal(100, 20, (12, 40, 50)).astype(np.float32)
    if damage is not None:
        volume[3, 4, 5] = damage
    before = volume.tobytes()
    config = PreprocessConfig(max_nonfinite_fraction=0.5)
    prepared = preprocess_tomogram(tomogram_of(volume), config, spacing_angstrom=spacing_angstrom, polarity="dark")
    assert volume.tobytes() == before
    assert not np.shares_memory(prepared.volume_zyx, volume)
    assert np.isfinite(prepared.volume_zyx).all()


def test_what_cannot_be_overwritten_is_copied(tmp_path: Path) -> None:
    volume = draw()
    expected = preprocess_tomogram(tomogram_of(volume), PreprocessConfig()).volume_zyx
    np.save(tmp_path / "a.npy", volume)
    read_only = np.load(tmp_path / "a.npy", mmap_mode="r")
    transposed = np.asfortranarray(volume)
    for given in (read_only, transposed):
        prepared = preprocess_tomogram(tomogram_of(given), PreprocessConfig(), may_overwrite=True).volume_zyx
        np.testing.assert_array_equal(prepared, expected)
        np.testing.assert_array_equal(given, volume)


def test_a_volume_on_an_extreme_scale_is_overwritten_without_loss() -> None:
    volume = np.random.default_rng(4).standard_normal((40, 50, 60), dtype=np.float32)
    grey_scale, _ = measure_grey_scale(volume * np.float32(1e-34), PreprocessConfig())
    scaled = apply_grey_scale(volume * np.float32(1e-34), grey_scale, may_overwrite=True)
    assert scaled.std() == pytest.approx(1, rel=0.01)


def test_damage_in_any_piece_is_counted() -> None:
    volume = draw()
    places = [(0, 0, 0), (2, 30, 4999), (4, 60, 4999)]
    for place in places:
        volume[place] = np.nan
    _, notes = fill_nonfinite(volume, PreprocessConfig(max_nonfinite_fraction=0.1))
    assert notes[0].startswith("3 voxels")


@pytest.mark.parametrize("shape", [(3, 5, 6), (9, 30, 31), (150, 36, 333)])
@pytest.mark.parametrize("number_type", ["float32", "float64", "int8", ">i2"])
def test_block_means_are_those_of_the_blocks(shape: tuple[int, int, int], number_type: str) -> None:
    volume = (np.random.default_rng(5).normal(0, 30, shape)).astype(number_type)
    z, y, x = (min(4, size) for size in shape)
    cut = volume[: shape[0] // z * z, : shape[1] // y * y, : shape[2] // x * x].astype(np.float64)
    split = cut.reshape(shape[0] // z, z, shape[1] // y, y, shape[2] // x, x)
    expected = split.mean(axis=(1, 3, 5)) / np.abs(volume.astype(np.float64)).max()
    np.testing.assert_allclose(_average_blocks(volume), expected, atol=1e-12)


def test_blocks_of_damaged_voxels_take_the_median() -> None:
    volume = np.random.default_rng(6).normal(5, 1, (16, 64, 64))
    volume[8, 8, 8] = np.nan
    mended = np.where(np.isnan(volume), np.nanmedian(volume), volume)
    found = _take_blocks_off_background(volume)
    means = mended.reshape(4, 4, 16, 4, 16, 4).mean(axis=(1, 3, 5)) / mended.max()
    contrast = means - ndimage.uniform_filter(means, BACKGROUND_BLOCKS, mode="nearest")
    np.testing.assert_allclose(found, contrast - contrast.mean(), atol=1e-12)
