"""Where the annotation is complete enough that an unmarked cell means background."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryofind.targets.boxes import iterate_boxes
from cryofind.types import VoxelGrid


def mark_near_picks(positions_zyx_angstrom: ArrayLike, grid: VoxelGrid, distance_angstrom: float) -> NDArray[np.bool_]:
    """Return the cells of a grid that lie within a distance (Angstrom) of any pick.

    Parameters
    ----------
    positions_zyx_angstrom
        Shape (N, 3), zyx, Angstrom; picks outside the grid count.
    grid
        The grid of the result.
    distance_angstrom
        Largest distance from a pick to the centre of a marked cell.

    Returns
    -------
    ndarray of bool, shape `grid.shape_zyx`
    """
    positions = np.asarray(positions_zyx_angstrom, dtype=np.float64).reshape(-1, 3)
    is_near = np.zeros(grid.shape_zyx, dtype=np.bool_)
    reaches = np.full(len(positions), distance_angstrom, dtype=np.float64)
    for _, cells, squared_angstrom in iterate_boxes(positions, reaches, grid):
        is_near[cells] |= squared_angstrom <= distance_angstrom**2
    return is_near
