"""Exclusive targets: every cell belongs to one object or to none."""

import numpy as np
from numpy.typing import NDArray

from cryofind.targets.boxes import Floats, iterate_boxes, nearest_cells
from cryofind.types import VoxelGrid

NOBODY = -1

Owners = NDArray[np.int16]


def own_points(positions_zyx_angstrom: Floats, channels: NDArray[np.int64], grid: VoxelGrid) -> Owners:
    """Return the owner of every cell, where a particle owns its nearest cell and nothing else.

    Returns
    -------
    ndarray of int16, shape `grid.shape_zyx`
        The channel of the owner, `NOBODY` elsewhere.
    """
    owners: Owners = np.full(grid.shape_zyx, NOBODY, dtype=np.int16)
    _own_nearest_cells(owners, positions_zyx_angstrom, channels, grid)
    return owners


def own_balls(
    positions_zyx_angstrom: Floats, channels: NDArray[np.int64], ball_radii_angstrom: Floats, grid: VoxelGrid
) -> Owners:
    """Return the owner of every cell, where a particle owns the cells whose centre lies within its ball.

    A cell in several balls goes to the centre that is nearest in units of the ball's radius. However small its ball, a
    particle owns its nearest cell.

    Returns
    -------
    ndarray of int16, shape `grid.shape_zyx`
        The channel of the owner, `NOBODY` elsewhere.
    """
    owners: Owners = np.full(grid.shape_zyx, NOBODY, dtype=np.int16)
    nearest = np.ones(grid.shape_zyx, dtype=np.float32)
    for particle, cells, squared_angstrom in iterate_boxes(positions_zyx_angstrom, ball_radii_angstrom, grid):
        relative = squared_angstrom / ball_radii_angstrom[particle] ** 2
        is_free = (owners[cells] == NOBODY) & (relative <= 1.0)
        is_won = is_free | (relative < nearest[cells])
        nearest[cells][is_won] = relative[is_won]
        owners[cells][is_won] = channels[particle]
    _own_nearest_cells(owners, positions_zyx_angstrom, channels, grid)
    return owners


def find_shells(
    owners: Owners, positions_zyx_angstrom: Floats, shell_radii_angstrom: Floats, grid: VoxelGrid
) -> NDArray[np.bool_]:
    """Return the cells within the shell radius (Angstrom, shape (N,)) of a particle that nobody owns."""
    is_shell = np.zeros(grid.shape_zyx, dtype=np.bool_)
    for particle, cells, squared_angstrom in iterate_boxes(positions_zyx_angstrom, shell_radii_angstrom, grid):
        is_shell[cells] |= squared_angstrom <= shell_radii_angstrom[particle] ** 2
    is_shell[owners != NOBODY] = False
    return is_shell


def _own_nearest_cells(
    owners: Owners, positions_zyx_angstrom: Floats, channels: NDArray[np.int64], grid: VoxelGrid
) -> None:
    particles, cells = nearest_cells(positions_zyx_angstrom, grid)
    owners[cells[:, 0], cells[:, 1], cells[:, 2]] = channels[particles]
