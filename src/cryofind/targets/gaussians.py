"""Heatmaps: one Gaussian per particle."""

import numpy as np
from numpy.typing import NDArray

from cryofind.targets.boxes import Floats, iterate_boxes
from cryofind.types import VoxelGrid

TRUNCATION_SIGMAS = 4.0  # the Gaussian is 3e-4 there


def draw_gaussians(
    positions_zyx_angstrom: Floats,
    channels: NDArray[np.int64],
    sigmas_angstrom: Floats,
    grid: VoxelGrid,
    *,
    object_count: int,
) -> NDArray[np.float32]:
    """Return one heatmap per object: exp(-d^2 / 2 sigma^2), the highest where particles meet.

    Parameters
    ----------
    positions_zyx_angstrom, channels, sigmas_angstrom
        Centre, channel and sigma (Angstrom) of each particle, shapes (N, 3), (N,), (N,).
    grid
        The grid that is drawn on.
    object_count
        Number of channels K.

    Returns
    -------
    ndarray of float32, shape (K, z, y, x)
        Values 0 to 1; zero beyond 4 sigma.
    """
    values = np.zeros((object_count, *grid.shape_zyx), dtype=np.float32)
    for particle, cells, squared_angstrom in iterate_boxes(
        positions_zyx_angstrom, TRUNCATION_SIGMAS * sigmas_angstrom, grid
    ):
        squared_sigmas = (squared_angstrom / sigmas_angstrom[particle] ** 2).astype(np.float32)
        height = np.where(squared_sigmas <= TRUNCATION_SIGMAS**2, np.exp(-squared_sigmas / 2), np.float32(0))
        heatmap = values[channels[particle]][cells]
        np.maximum(heatmap, height, out=heatmap)
    return values
