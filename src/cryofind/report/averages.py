"""Means of the sub-volumes around picks, and cut-outs around single positions."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryofind.types import ParticleSpec, Picks, VoxelGrid
from cryofind.types.grid import FloatTriple, IntTriple

Float32s = NDArray[np.float32]
Float64s = NDArray[np.float64]

# Returns the voxels from a first one zyx up to, not including, a last one; asked within the tomogram only.
ReadBox = Callable[[IntTriple, IntTriple], NDArray[Any]]

HALF_WIDTH_RADII = 1.75  # of the cubes around picks: the particle and what surrounds it
SLAB_RADII = 0.5  # thickness of their slices: one plane alone shows little but noise
MOST_AVERAGED = 500  # picks of one object in one run, the best: more would change nothing that can be seen


@dataclass(frozen=True, eq=False)
class CentralSlices:
    """Three slabs through the middle of a box of voxels, an odd number along every axis.

    The middle pixel is the voxel nearest to the position. Voxels outside of the tomogram have the mean of the others.

    Parameters
    ----------
    xy, xz, yz
        Rows by columns: y by x, z by x, and y by z: each the mean of the slab's planes.
    spacing_zyx_angstrom
        Size of a voxel along z, y and x.
    count
        Sub-volumes in the mean; 1 for a cut-out; 0 where nothing lies in the tomogram, and then all is 0.
    """

    xy: Float32s
    xz: Float32s
    yz: Float32s
    spacing_zyx_angstrom: FloatTriple
    count: int


def average_by_object(
    read_box: ReadBox, grid: VoxelGrid, picks: Picks, specs: Sequence[ParticleSpec]
) -> dict[str, CentralSlices]:
    """Return the mean sub-volume around the selected picks of one run, for each object that has any.

    Parameters
    ----------
    read_box
        Reads voxels of the run's tomogram.
    grid
        Its grid.
    picks
        Picks of this run; the best `MOST_AVERAGED` selected ones of each object count.
    specs
        The objects; their radii give the size of the boxes.
    """
    selected = picks.only_selected()
    means = {}
    for spec in specs:
        mine = selected.of_object(spec.name)
        if not spec.is_particle or not len(mine):
            continue
        best = np.argsort(-mine.scores, kind="stable")[:MOST_AVERAGED]
        means[spec.name] = average_slices(
            read_box, grid, mine.positions_zyx_angstrom[best], spec.particle_radius_angstrom
        )
    return means


def average_slices(
    read_box: ReadBox, grid: VoxelGrid, positions_zyx_angstrom: ArrayLike, radius_angstrom: float
) -> CentralSlices:
    """Return the mean sub-volume around positions, which need not lie inside.

    Each sub-volume is centred on the nearest voxel: to interpolate would blur as much as rounding does (0.29 voxels
    r.m.s.), and rounding leaves the mean where the positions are on average, so that a common shift shows.

    Parameters
    ----------
    read_box
        Reads voxels of the tomogram.
    grid
        Its grid.
    positions_zyx_angstrom
        Shape (N, 3).
    radius_angstrom
        Radius of the particle; see `HALF_WIDTH_RADII` and `SLAB_RADII`.
    """
    half = _half_width(grid, radius_angstrom)
    shape = tuple(2 * n + 1 for n in half)
    total, weight = np.zeros(shape), np.zeros(shape)
    count = 0
    for voxels in _cut(read_box, grid, positions_zyx_angstrom, half):
        known = np.isfinite(voxels)
        total += np.where(known, voxels, 0.0)
        weight += known
        count += bool(known.any())
    mean = np.divide(total, weight, out=np.full(shape, np.nan), where=weight > 0)
    return _slice(mean, grid, radius_angstrom, count)


def cut_slices(
    read_box: ReadBox, grid: VoxelGrid, positions_zyx_angstrom: ArrayLike, radius_angstrom: float
) -> list[CentralSlices]:
    """Return slices around each of the positions, shape (N, 3); arguments as of `average_slices`."""
    half = _half_width(grid, radius_angstrom)
    return [
        _slice(voxels, grid, radius_angstrom, int(np.isfinite(voxels).any()))
        for voxels in _cut(read_box, grid, positions_zyx_angstrom, half)
    ]


def _half_width(grid: VoxelGrid, radius_angstrom: float) -> IntTriple:
    z, y, x = (max(1, round(HALF_WIDTH_RADII * radius_angstrom / spacing)) for spacing in grid.spacing_zyx_angstrom)
    return z, y, x


def _cut(read_box: ReadBox, grid: VoxelGrid, positions_zyx_angstrom: ArrayLike, half: IntTriple) -> Iterator[Float64s]:
    """Yield the box around each position, NaN outside of the tomogram."""
    positions = np.asarray(positions_zyx_angstrom, dtype=np.float64).reshape(-1, 3)
    for center in grid.nearest_indices_from_positions(positions):
        start, stop = center - half, center + half + 1
        first, last = np.clip(start, 0, grid.shape_zyx), np.clip(stop, 0, grid.shape_zyx)
        box = np.full(stop - start, np.nan)
        if (last > first).all():
            inside = tuple(slice(a, b) for a, b in zip(first - start, last - start, strict=True))
            box[inside] = read_box(_triple(first), _triple(last))
        yield box


def _triple(indices: NDArray[np.int64]) -> IntTriple:
    z, y, x = indices.tolist()
    return z, y, x


def _slice(voxels: Float64s, grid: VoxelGrid, radius_angstrom: float, count: int) -> CentralSlices:
    known = np.isfinite(voxels)
    filled = np.where(known, voxels, voxels[known].mean() if known.any() else 0.0)
    middle = []
    for axis, spacing in enumerate(grid.spacing_zyx_angstrom):
        center = filled.shape[axis] // 2
        reach = min(center, round(SLAB_RADII * radius_angstrom / 2 / spacing))
        planes = np.arange(center - reach, center + reach + 1)
        middle.append(filled.take(planes, axis=axis).mean(axis=axis).astype(np.float32))
    xy, xz, zy = middle
    return CentralSlices(xy, xz, np.ascontiguousarray(zy.T), grid.spacing_zyx_angstrom, count)
