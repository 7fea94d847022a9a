"""Resampling against scipy's splines on band-limited volumes."""

import numpy as np
import pytest
from scipy import ndimage

from cryofind.preprocess import resample_volume
from cryofind.types import VoxelGrid


@pytest.mark.parametrize("spacing", [7.0, 9.0, 12.0])
def test_resampling_agrees_with_cubic_splines_away_from_the_faces(spacing: float) -> None:
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal((30, 32, 34)), 3.0)
    source = VoxelGrid.isotropic(smooth.shape, spacing)
    target = source.resampled(10.0)
    indices = source.indices_from_positions(
        target.positions_from_indices(np.moveaxis(np.indices(target.shape_zyx), 0, -1))
    )
    expected = ndimage.map_coordinates(smooth, np.moveaxis(indices, -1, 0), order=3)
    inner = (slice(4, -4),) * 3
    found = resample_volume(smooth, source, target)
    np.testing.assert_allclose(found[inner], expected[inner], atol=0.06 * smooth.std())
