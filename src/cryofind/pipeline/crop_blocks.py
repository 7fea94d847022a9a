"""Small blocks of a tomogram around particles, large enough for a network to see what it needs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryofind.models import OUTPUT_STRIDE
from cryofind.types import Tomogram, VoxelGrid

Float32s = NDArray[np.float32]

SHOWN_RADII = 6.0  # side of a crop in radii of its particle
LEAST_SIDE, MOST_SIDE = 32, 64  # voxels
MARGIN = 16  # voxels around what is shown, that the network sees too
ALIGNED = 16  # blocks begin at multiples of so many voxels
USUAL_RADIUS_ANGSTROM = 100.0  # of an object without a radius


@dataclass(frozen=True, eq=False)
class CropBlock:
    """A part of a tomogram around a particle, and the window of it that is shown.

    Parameters
    ----------
    starts
        Its first voxel zyx in the tomogram.
    grid
        Where its voxels lie.
    values_zyx
        Grey values.
    rows, columns
        What is shown: even ends, so that it is made of whole cells.
    center
        The voxel zyx of the particle, in the block.
    """

    starts: tuple[int, int, int]
    grid: VoxelGrid
    values_zyx: Float32s
    rows: slice
    columns: slice
    center: tuple[int, int, int]


def cut_block(tomogram: Tomogram, position: NDArray[np.float64], radius_angstrom: float | None) -> CropBlock:
    """Return a block of a preprocessed tomogram around a position.

    Parameters
    ----------
    tomogram
        Where it is cut.
    position
        Centre of the particle, zyx, Angstrom; a block at the edge of the tomogram is cut off there.
    radius_angstrom
        Of the particle, which decides how much is shown; None for a usual one.
    """
    grid = tomogram.grid
    wanted = SHOWN_RADII * (radius_angstrom or USUAL_RADIUS_ANGSTROM) / grid.spacing_angstrom
    side = int(np.clip(np.ceil(wanted / 2) * 2, LEAST_SIDE, MOST_SIDE))
    shape = np.asarray(grid.shape_zyx)
    center = np.clip(grid.nearest_indices_from_positions(position), 0, shape - 1)
    # Blocks begin where the blocks of a whole tomogram may: the cells of all levels of the network are the same.
    reach = side // 2 + MARGIN
    starts = np.maximum(center - reach, 0) // ALIGNED * ALIGNED
    sizes = np.minimum(-(-(center + reach) // ALIGNED) * ALIGNED, shape) - starts
    window = tuple(slice(int(s), int(s + n)) for s, n in zip(starts, sizes, strict=True))
    inside = center - starts
    rows, columns = (_window(int(inside[axis]), side, int(sizes[axis])) for axis in (1, 2))
    depth, down, across = (int(size) for size in sizes)
    z, y, x = (float(value) for value in grid.positions_from_indices(starts))
    block_grid = VoxelGrid((depth, down, across), grid.spacing_zyx_angstrom, (z, y, x))
    first, second, third = (int(start) for start in starts)
    values = np.ascontiguousarray(tomogram.volume_zyx[window], dtype=np.float32)
    at_z, at_y, at_x = (int(index) for index in inside)
    return CropBlock((first, second, third), block_grid, values, rows, columns, (at_z, at_y, at_x))


def _window(center: int, side: int, size: int) -> slice:
    """Return what is shown of an axis of a block: even ends, so that it is made of whole cells."""
    length = min(side, size) // OUTPUT_STRIDE * OUTPUT_STRIDE
    start = int(np.clip(center - length // 2, 0, size - length)) // OUTPUT_STRIDE * OUTPUT_STRIDE
    return slice(start, start + length)


def halve(window: slice) -> slice:
    """Return the cells of a window of voxels."""
    return slice(window.start // OUTPUT_STRIDE, window.stop // OUTPUT_STRIDE)


def strongest_near(values: Float32s, center: tuple[int, int, int]) -> NDArray[np.float64]:
    """Return the highest value of every object in the cells around a voxel."""
    near = tuple(slice(max(index // OUTPUT_STRIDE - 1, 0), index // OUTPUT_STRIDE + 2) for index in center)
    return np.asarray(values[(slice(None), *near)].reshape(len(values), -1).max(axis=1), dtype=np.float64)
