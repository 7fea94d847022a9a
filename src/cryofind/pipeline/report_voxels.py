"""The voxels of a report: read once, and only what is shown where the whole is too large."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofind.errors import TomogramError
from cryofind.io import TomogramEntry, TomogramSource, open_source
from cryofind.io.tomograms import is_mrc
from cryofind.memory import read_free_bytes
from cryofind.report.averages import ReadBox
from cryofind.report.slabs import XY_SLABS, XZ_SLABS, PictureStack, average_planes, draw_stack, plan_slabs
from cryofind.types import VoxelGrid
from cryofind.types.grid import IntTriple

# Of the free memory that one tomogram may take; a larger one is read box by box.
MEMORY_SHARE = 0.3


@dataclass(frozen=True, eq=False)
class Voxels:
    """A tomogram whose boxes can be read.

    Parameters
    ----------
    grid
        Where they lie: as the file says.
    read_box
        Returns the voxels from a first one zyx up to, not including, a last one.
    volume_zyx
        All of them, if they are in memory or mapped; None if that would be too large.
    notes
        What had to be assumed.
    """

    grid: VoxelGrid
    read_box: ReadBox
    volume_zyx: NDArray[Any] | None
    notes: tuple[str, ...]


def open_voxels(entry: TomogramEntry, *, spacing_angstrom: float | None = None, sharers: int = 1) -> Voxels:
    """Return the voxels of a tomogram.

    An MRC file is mapped: only what is looked at is read. A zarr array is read as a whole, chunk by chunk once, unless
    that takes too much of the memory.

    Parameters
    ----------
    entry
        Where it is; chunks that are missing are read as empty, with a note.
    spacing_angstrom
        Voxel spacing for a file that does not say one.
    sharers
        Processes that read tomograms at the same time.

    Raises
    ------
    TomogramError
        If it is not there, damaged, or no volume.
    """
    try:
        source = open_source(entry, allow_missing_chunks=True)
    except TomogramError:
        if spacing_angstrom is None:
            raise
        source = open_source(entry, voxel_spacing_angstrom=spacing_angstrom, allow_missing_chunks=True)
    if is_mrc(entry.path) or _fits(source, sharers):
        return _read_whole(entry, source)
    return Voxels(source.grid, source.read_box, None, source.notes)


def _fits(source: TomogramSource, sharers: int) -> bool:
    size_bytes = math.prod(source.grid.shape_zyx) * source.dtype.itemsize
    return size_bytes <= MEMORY_SHARE * read_free_bytes() / sharers


def _read_whole(entry: TomogramEntry, source: TomogramSource) -> Voxels:
    volume = entry.read(voxel_spacing_angstrom=source.grid.spacing_angstrom, allow_missing_chunks=True).volume_zyx

    def read_box(start_zyx: IntTriple, stop_zyx: IntTriple) -> NDArray[Any]:
        box = tuple(slice(start, stop) for start, stop in zip(start_zyx, stop_zyx, strict=True))
        return np.asarray(volume[box])

    return Voxels(source.grid, read_box, volume, source.notes)


def draw_pictures(voxels: Voxels) -> tuple[PictureStack, ...]:
    """Return the pictures along z, and along y."""
    stacks = []
    for axis, count in ((0, XY_SLABS), (1, XZ_SLABS)):
        plans = plan_slabs(voxels.grid, axis, count)
        planes = [average_planes(voxels.read_box(*plan.box(voxels.grid)), axis) for plan in plans]
        stacks.append(draw_stack(plans, planes, voxels.grid))
    return tuple(stacks)
