"""Peaks and suppression against brute force and scikit-image."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import peak_local_max

from cryofind.locate import find_peaks, suppress_neighbours

Floats = NDArray[np.float64]

# Few distinct values, so that plateaus of all shapes occur.
VOLUMES = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5),
    elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]),
)


def find_maximal_plateaus(volume: NDArray[np.floating], floor: float) -> list[set[tuple[int, ...]]]:
    """Flood every region of equal value, cell by cell, and keep those with no higher neighbour."""
    seen: set[tuple[int, ...]] = set()
    found = []
    for start in np.ndindex(volume.shape):
        if start in seen or volume[start] < floor:
            continue
        plateau, queue, is_maximum = {start}, [start], True
        while queue:
            cell = queue.pop()
            for step in product((-1, 0, 1), repeat=3):
                other = tuple(c + s for c, s in zip(cell, step, strict=True))
                if any(c < 0 or c >= n for c, n in zip(other, volume.shape, strict=True)):
                    continue
                is_maximum &= bool(volume[other] <= volume[start])
                if volume[other] == volume[start] and other not in plateau:
                    plateau.add(other)
                    queue.append(other)
        seen |= plateau
        if is_maximum:
            found.append(plateau)
    return found


@settings(deadline=None, max_examples=100)
@given(VOLUMES, st.sampled_from([np.float16, np.float32]))
def test_every_maximal_plateau_has_exactly_one_winner(volume: NDArray[np.float32], dtype: type[np.floating]) -> None:
    peaks = find_peaks(volume.astype(dtype), floor=0.09)
    winners = {tuple(cell) for cell in peaks.cells_zyx.tolist()}
    plateaus = find_maximal_plateaus(volume, 0.09)
    assert len(winners) == len(peaks) == len(plateaus)
    for plateau in plateaus:
        assert len(winners & plateau) == 1
        mean = np.mean(sorted(plateau), axis=0)
        (winner,) = winners & plateau
        nearest = min(np.linalg.norm(np.array(cell) - mean) for cell in plateau)
        assert np.linalg.norm(np.array(winner) - mean) == pytest.approx(nearest)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_peaks_agree_with_scikit_image_on_smooth_noise(dtype: type[np.floating]) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(3).standard_normal((24, 40, 40)), 1.2)
    volume = (1 / (1 + np.exp(-2 * noise / noise.std() + 2))).astype(dtype)
    peaks = find_peaks(volume, floor=0.05)
    # Rounding to float16 makes plateaus, of which scikit-image reports every cell: compare the single cells.
    single = {tuple(cell) for cell in peaks.cells_zyx[~peaks.is_plateau].tolist()}
    theirs = peak_local_max(  # type: ignore[no-untyped-call]
        volume.astype(np.float32), min_distance=1, threshold_abs=0.05, exclude_border=False, p_norm=np.inf
    )
    assert len(single) > 50
    assert single <= {tuple(cell) for cell in theirs.tolist()}
    if dtype == np.float32:
        assert single == {tuple(cell) for cell in theirs.tolist()}


def suppress_one_by_one(positions: Floats, scores: Floats, channels: NDArray[np.int64], limits: Floats) -> list[int]:
    kept: list[int] = []
    for row in sorted(range(len(scores)), key=lambda row: (-scores[row], row)):
        distances = [np.linalg.norm(positions[row] - positions[other]) for other in kept]
        if all(d >= limits[channels[row], channels[o]] for d, o in zip(distances, kept, strict=True)):
            kept.append(row)
    return kept


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.floats(0, 60), st.floats(0, 40))
def test_suppression_equals_one_by_one(seed: int, count: int, within: float, across: float) -> None:
    random = np.random.default_rng(seed)
    positions = random.uniform(0, 120, (count, 3))
    scores = random.integers(0, 20, count) / 20
    channels = random.integers(0, 3, count)
    limits = np.where(np.eye(3, dtype=bool), within, across)
    kept = suppress_neighbours(positions, scores, channels, separations_angstrom=limits)
    assert kept.tolist() == suppress_one_by_one(positions, scores, channels, limits)
