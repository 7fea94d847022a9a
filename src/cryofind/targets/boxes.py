"""The part of a grid that one particle can touch, so that drawing a particle costs its own volume only."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryofind.types import VoxelGrid

Floats = NDArray[np.float64]


class ParticleBox(NamedTuple):
    """Cells round one particle: its row, their slices, and their squared distance to its centre.

    `squared_angstrom` has the shape of the box (z, y, x), in square Angstrom.
    """

    particle: int
    cells: tuple[slice, slice, slice]
    squared_angstrom: Floats


def iterate_boxes(positions_zyx_angstrom: Floats, reaches_angstrom: Floats, grid: VoxelGrid) -> Iterator[ParticleBox]:
    """Yield the box of cells within reach of each particle, clipped to the grid; particles out of reach are skipped.

    Parameters
    ----------
    positions_zyx_angstrom
        Shape (N, 3), zyx, Angstrom; may lie outside the grid.
    reaches_angstrom
        Shape (N,): half the edge of each box, Angstrom.
    grid
        The grid that is drawn on.
    """
    centres = grid.indices_from_positions(positions_zyx_angstrom)
    reaches = reaches_angstrom[:, None] / np.asarray(grid.spacing_zyx_angstrom)
    starts = np.maximum(np.ceil(centres - reaches), 0).astype(np.int64)
    stops = np.minimum(np.floor(centres + reaches) + 1, grid.shape_zyx).astype(np.int64)
    for particle in np.flatnonzero((starts < stops).all(axis=1)):
        start, stop = starts[particle], stops[particle]
        z, y, x = (
            np.square((np.arange(start[axis], stop[axis]) - centres[particle, axis]) * grid.spacing_zyx_angstrom[axis])
            for axis in range(3)
        )
        cells = (slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2]))
        yield ParticleBox(int(particle), cells, z[:, None, None] + y[:, None] + x)


def nearest_cells(positions_zyx_angstrom: Floats, grid: VoxelGrid) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the particles whose nearest cell lies on the grid, and those cells.

    Returns
    -------
    particles, cells_zyx
        Rows, shape (M,), and cell indices, shape (M, 3), ordered from the particle farthest from its cell's centre to
        the nearest one, so that in an assignment with repeated cells the nearest particle wins.
    """
    indices = grid.indices_from_positions(positions_zyx_angstrom)
    cells = grid.nearest_indices_from_positions(positions_zyx_angstrom)
    on_grid: NDArray[np.bool_] = np.all((cells >= 0) & (cells < np.asarray(grid.shape_zyx)), axis=1)
    offsets_angstrom = np.linalg.norm((indices - cells) * np.asarray(grid.spacing_zyx_angstrom), axis=1)
    order = np.argsort(-offsets_angstrom, kind="stable")
    particles = order[on_grid[order]]
    return particles, cells[particles]
