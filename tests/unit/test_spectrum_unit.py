"""The random change of a crop's spectrum: what it keeps and what it changes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryofind.train.spectrum import change_spectra, draw_gains

Volume = NDArray[np.float32]


def draw_crop(shape_zyx: tuple[int, int, int] = (16, 16, 16), seed: int = 0) -> Volume:
    return np.random.default_rng(seed).standard_normal(shape_zyx, dtype=np.float32) * 3 + 100


def change(crop: Volume, strength: float, seed: int = 1) -> Volume:
    gains = torch.from_numpy(draw_gains(strength, np.random.default_rng(seed)))
    changed: Volume = change_spectra(torch.from_numpy(crop)[None, None], gains[None])[0, 0].numpy()
    return changed


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
    together = change_spectra(torch.from_numpy(np.stack(crops))[:, None], torch.from_numpy(np.stack(gains)))
    for found, crop, seed in zip(together[:, 0], crops, range(3), strict=True):
        np.testing.assert_allclose(found.numpy(), change(crop, 0.6, seed), atol=1e-4)


def test_what_is_read_stays() -> None:
    crop = draw_crop()
    before = crop.copy()
    change(crop, 0.5)
    np.testing.assert_array_equal(crop, before)
