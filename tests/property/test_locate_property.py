"""Symmetries of locating: transposed, flipped or shifted volumes give transposed, flipped or shifted picks."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from cryofind.config import LocateConfig
from cryofind.locate import find_picks
from cryofind.types import ParticleSpec, ProbabilityVolume, VoxelGrid

SPEC = ParticleSpec("ribosome", 40.0, 1)


def draw_probabilities(seed: int, shape_zyx: tuple[int, int, int]) -> NDArray[np.float32]:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape_zyx), 1.5)
    return np.asarray(1 / (1 + np.exp(-3 * noise / noise.std() + 2)), dtype=np.float32)


def locate(volume: NDArray[np.float32], method: str, origin: float = 0.0) -> NDArray[np.float64]:
    grid = VoxelGrid(volume.shape, (10.0, 10.0, 10.0), (origin,) * 3)
    probabilities = ProbabilityVolume("TS_1", volume[None], grid, ("ribosome",))
    config = LocateConfig.model_validate({"method": method})
    picks = find_picks(probabilities, [SPEC], config, grid=grid)
    return picks.positions_zyx_angstrom


@pytest.mark.parametrize("method", ["peaks", "watershed"])
@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000), st.permutations([0, 1, 2]))
def test_transposing_the_volume_transposes_the_picks(method: str, seed: int, axes: list[int]) -> None:
    volume = draw_probabilities(seed, (12, 14, 16))
    transposed = locate(np.ascontiguousarray(volume.transpose(axes)), method)
    np.testing.assert_allclose(transposed, locate(volume, method)[:, axes], atol=1e-6)
    assert axes in [list(order) for order in permutations(range(3))]


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000))
def test_flipping_the_volume_flips_the_picks(seed: int) -> None:
    volume = draw_probabilities(seed, (12, 14, 16))
    flipped = locate(np.ascontiguousarray(volume[:, ::-1]), "peaks")
    expected = locate(volume, "peaks") * (1, -1, 1) + (0, 10.0 * 13, 0)
    np.testing.assert_allclose(flipped, expected, atol=1e-6)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000))
def test_the_origin_of_the_grid_moves_the_picks(seed: int) -> None:
    volume = draw_probabilities(seed, (12, 14, 16))
    np.testing.assert_allclose(locate(volume, "peaks", 35.0), locate(volume, "peaks") + 35.0, atol=1e-6)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 1000))
def test_picks_of_one_object_keep_their_distance(seed: int) -> None:
    positions = locate(draw_probabilities(seed, (16, 16, 16)), "peaks")
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    assert (distances >= 1.2 * 40.0).all()
