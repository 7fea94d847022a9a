"""The random change of a crop's spectrum: what it keeps and what it changes."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryofind.config import AugmentConfig
from cryofind.train.augment import draw_matrix
from cryofind.train.crop_map import CropMap, cut_crop
from cryofind.train.spectrum import (
    GAIN_STEPS,
    change_spectra,
    draw_gains,
    draw_low_pass,
    draw_spectrum_change,
    draw_wedge,
)

Volume = NDArray[np.float32]
ALL_GAINS, ALL_TILTS = np.ones(GAIN_STEPS, np.float32), np.zeros((2, 3), np.float32)


def draw_crop(shape_zyx: tuple[int, int, int] = (16, 16, 16), seed: int = 0) -> Volume:
    return np.random.default_rng(seed).standard_normal(shape_zyx, dtype=np.float32) * 3 + 100


def apply(crop: Volume, *, gains: Volume = ALL_GAINS, wedge: Volume = ALL_TILTS) -> Volume:
    changed = change_spectra(
        torch.from_numpy(crop)[None, None], *(torch.from_numpy(part)[None] for part in (gains, wedge))
    )
    found: Volume = changed[0, 0].numpy()
    return found


def change(crop: Volume, strength: float, seed: int = 1) -> Volume:
    return apply(crop, gains=draw_gains(strength, np.random.default_rng(seed)))


def measure_power(crop: Volume, shape_zyx: tuple[int, int, int] = (32, 32, 32)) -> tuple[Volume, list[Volume]]:
    """Return the power of every frequency, and the frequencies along z, y, x."""
    power = np.abs(np.fft.fftn(crop.astype(np.float64) - crop.mean())) ** 2
    axes = np.meshgrid(*[np.fft.fftfreq(size) for size in shape_zyx], indexing="ij")
    return power.astype(np.float32), [axis.astype(np.float32) for axis in axes]


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(2, 12), st.integers(2, 12), st.integers(2, 12)),
    strength=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_mean_and_deviation_stay(shape: tuple[int, int, int], strength: float, seed: int) -> None:
    crop = draw_crop(shape, seed)
    changed = change(crop, strength, seed)
    assert changed.mean() == pytest.approx(crop.mean(), rel=1e-4)
    assert changed.std() == pytest.approx(crop.std(), rel=1e-3)


def test_no_strength_changes_nothing() -> None:
    crop = draw_crop()
    np.testing.assert_allclose(change(crop, 0.0), crop, atol=1e-3)


def test_a_uniform_crop_stays_uniform() -> None:
    crop = np.full((8, 8, 8), 5, np.float32)
    np.testing.assert_array_equal(change(crop, 1.0), crop)


def test_the_gain_depends_on_resolution_alone() -> None:
    crop = draw_crop((32, 32, 32))
    gain = np.abs(np.fft.rfftn(change(crop, 0.7))) / np.abs(np.fft.rfftn(crop))
    axis = np.fft.fftfreq(32)
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[None, :, None] ** 2 + np.fft.rfftfreq(32) ** 2)
    shells = np.rint(radius * 200).astype(int)
    for shell in np.unique(shells[(radius > 0.1) & (radius < 0.45)]):
        inside = gain[shells == shell]
        assert inside.std() < 0.05 * inside.mean()
    assert gain[radius > 0.05].std() > 0.05


def test_the_same_seed_gives_the_same_and_another_another() -> None:
    crop = draw_crop()
    np.testing.assert_array_equal(change(crop, 0.5, 3), change(crop, 0.5, 3))
    assert np.abs(change(crop, 0.5, 3) - change(crop, 0.5, 4)).max() > 0.1


def test_crops_of_a_batch_change_as_they_would_alone() -> None:
    crops = [draw_crop((12, 16, 10), seed) for seed in range(3)]
    gains = [draw_gains(0.6, np.random.default_rng(seed)) for seed in range(3)]
    wedges = [draw_wedge(40.0, np.random.default_rng(seed), matrix_zyx=np.eye(3)) for seed in range(3)]
    parts = [torch.from_numpy(np.stack(part)) for part in (crops, gains, wedges)]
    together = change_spectra(parts[0][:, None], *parts[1:])
    for found, crop, gain, wedge in zip(together[:, 0], crops, gains, wedges, strict=True):
        np.testing.assert_allclose(found.numpy(), apply(crop, gains=gain, wedge=wedge), atol=1e-4)


def test_what_is_read_stays() -> None:
    crop = draw_crop()
    before = crop.copy()
    change(crop, 0.5)
    np.testing.assert_array_equal(crop, before)


def test_a_low_pass_keeps_what_is_coarse_and_takes_what_is_fine() -> None:
    random = np.random.default_rng(2)
    for gains in [draw_low_pass(6.0, random) for _ in range(20)]:
        assert gains.shape == (GAIN_STEPS,)
        assert (np.diff(gains) <= 0).all()
        assert gains[0] > 0.99
        periods = np.geomspace(64, 2, GAIN_STEPS)
        half_power_voxels = periods[np.argmin(np.abs(gains - math.sqrt(0.5)))]
        assert 1.99 <= half_power_voxels <= 6.1
    # Where the longest period is below two voxels nothing is left to choose.
    np.testing.assert_array_equal(draw_low_pass(1.0, random), draw_low_pass(2.0, random))


def test_low_passed_crops_have_no_detail_left() -> None:
    drawn = [draw_low_pass(8.0, np.random.default_rng(seed)) for seed in range(20)]
    gains = min(drawn, key=lambda gain: gain[-1])
    power, axes = measure_power(apply(draw_crop((32, 32, 32)), gains=gains))
    radius = np.sqrt(sum(axis**2 for axis in axes))
    assert power[radius > 0.45].mean() < 1e-3 * power[(radius > 0) & (radius < 0.06)].mean()


@pytest.mark.parametrize("seed", range(4))
def test_a_wedge_takes_the_tilts_beyond_its_ends_alone(seed: int) -> None:
    wedge = draw_wedge(30.0, np.random.default_rng(seed), matrix_zyx=np.eye(3))
    power, (z, _, x) = measure_power(apply(draw_crop((32, 32, 32)), wedge=wedge))
    tilts = np.degrees(np.arctan2(z, x))
    tilts = (tilts + 90) % 180 - 90  # of a plane, not of a direction
    ends = np.degrees(np.arctan2(-wedge[:, 2], wedge[:, 0]))
    assert -60 <= ends[0] <= -30
    assert 30 <= ends[1] <= 60
    # Of frequencies at the edge of the half spectrum z and -z are one.
    is_inner = (np.abs(z) < 0.5) & (np.abs(x) < 0.5) & ((z != 0) | (x != 0))
    stays = (tilts > ends[0] + 0.1) & (tilts < ends[1] - 0.1)
    goes = (tilts < ends[0] - 0.1) | (tilts > ends[1] + 0.1)
    scale = power[is_inner & stays].mean()
    assert power[is_inner & goes].max() < 1e-6 * scale
    assert power[is_inner & stays].min() > 1e-6 * scale


@pytest.mark.parametrize("seed", range(6))
def test_a_wedge_turns_with_the_crop(seed: int) -> None:
    """A tomogram whose tilts are cut and a crop cut out of it agree: nothing more is lost by the crop's own wedge."""
    random = np.random.default_rng(seed)
    matrix = draw_matrix(AugmentConfig(rotate_z_probability=0, scale_probability=0), random)
    volume = draw_crop((31, 31, 31), seed)  # odd: the highest frequency of an even size is that of both signs
    source = draw_wedge(45.0, np.random.default_rng(seed), matrix_zyx=np.eye(3))
    turned = draw_wedge(45.0, np.random.default_rng(seed), matrix_zyx=matrix)
    crop_map = CropMap(matrix, np.full(3, 15.0), (31, 31, 31))
    before = cut_crop(apply(volume, wedge=source), crop_map)
    np.testing.assert_allclose(before, apply(cut_crop(volume, crop_map).copy(), wedge=turned), atol=2e-3)
    if not np.array_equal(np.abs(matrix), np.eye(3)):  # turned by 90 degrees, the tomogram's own wedge is another
        assert np.abs(before - apply(cut_crop(volume, crop_map).copy(), wedge=source)).max() > 0.5


def test_rotated_crops_have_rotated_wedges() -> None:
    angle = math.radians(30)
    rotation = np.array([[1, 0, 0], [0, math.cos(angle), -math.sin(angle)], [0, math.sin(angle), math.cos(angle)]])
    plain, turned = (draw_wedge(45.0, np.random.default_rng(0), matrix_zyx=m) for m in (np.eye(3), rotation / 1.05))
    directions = np.random.default_rng(1).normal(size=(100, 3))
    # A wave along k in the crop is one along matrix^-T k in the tomogram.
    there = directions @ np.linalg.inv(rotation / 1.05)
    assert np.array_equal((directions @ turned.T).prod(axis=1) > 0, (there @ plain.T).prod(axis=1) > 0)


def draw_change(seed: int, **settings: float) -> Volume | None:
    random = np.random.default_rng(seed)
    change = draw_spectrum_change(AugmentConfig(**settings), random, matrix_zyx=np.eye(3), spacing_angstrom=10.0)
    return None if change is None else np.concatenate([change.gains, change.wedge_normals_zyx.ravel()])


def test_nothing_is_drawn_for_what_is_not_asked_for() -> None:
    random = np.random.default_rng(0)
    assert draw_spectrum_change(AugmentConfig(), random, matrix_zyx=np.eye(3), spacing_angstrom=10.0) is None
    assert random.random() == np.random.default_rng(0).random()


@pytest.mark.parametrize("kind", ["spectrum", "low_pass", "wedge"])
def test_changes_come_as_often_as_asked_for(kind: str) -> None:
    count = sum(draw_change(seed, **{f"{kind}_probability": 0.3}) is not None for seed in range(400))
    assert 80 < count < 160


def test_the_period_of_the_filter_is_in_angstrom() -> None:
    found = draw_change(3, low_pass_probability=1, low_pass_angstrom=60)
    assert found is not None
    random = np.random.default_rng(3)
    random.random()  # whether
    np.testing.assert_array_equal(found[:GAIN_STEPS], draw_low_pass(6.0, random))
    assert not found[GAIN_STEPS:].any()
