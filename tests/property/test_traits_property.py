"""How a tomogram looks does not depend on the units of its grey values."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofind.config import PreprocessConfig
from cryofind.preprocess import measure_traits, place_blocks, preprocess_tomogram
from cryofind.types import Tomogram, VoxelGrid

SHAPE = (12, 40, 40)


def measure(volume: np.ndarray[Any, Any], normalization: Any) -> dict[str, np.ndarray[Any, Any]]:
    grid = VoxelGrid.isotropic(SHAPE, 10.0)
    config = PreprocessConfig(normalization=normalization)
    prepared = preprocess_tomogram(Tomogram("A", volume, grid), config).volume_zyx
    traits = measure_traits([prepared[place] for place in place_blocks(SHAPE)])
    assert traits is not None
    return traits


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 1000),
    scale=st.floats(-6, 6).map(lambda power: 10**power),
    offset=st.floats(-5, 5),
    normalization=st.sampled_from(["zscore", "percentile", "robust"]),
)
def test_scale_and_offset_do_not_matter(seed: int, scale: float, offset: float, normalization: str) -> None:
    volume = np.random.default_rng(seed).gamma(2.0, size=SHAPE)
    plain, changed = measure(volume, normalization), measure(scale * (volume + offset), normalization)
    for name, values in plain.items():
        assert changed[name] == pytest.approx(values, abs=2e-2), name


@settings(deadline=None, max_examples=30)
@given(shape=st.tuples(st.integers(1, 9), st.integers(1, 40), st.integers(2, 40)), seed=st.integers(0, 1000))
def test_every_shape_has_finite_numbers(shape: tuple[int, int, int], seed: int) -> None:
    volume = np.random.default_rng(seed).normal(size=shape)
    traits = measure_traits([volume[place] for place in place_blocks(shape)])
    assert traits is not None
    assert all(np.isfinite(values).all() for values in traits.values())
