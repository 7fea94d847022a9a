"""Whether picks lie in their tomograms, and what went wrong if they do not."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryofind.coordinates import xyz_from_zyx
from cryofind.errors import PicksError, advise_known_names
from cryofind.types import Picks, VoxelGrid

Floats = NDArray[np.float64]

_ROUNDING_ANGSTROM = 0.01  # a pick on a face, written with 3 decimals in pixels, may lie this far outside
_ENOUGH_PICKS = 8  # fewer may well all lie in one corner of the tomogram


def describe_extent(positions_zyx_angstrom: Floats) -> str:
    """Return the range of positions as `x 1.0..2.0, y ..., z ... A`."""
    if not len(positions_zyx_angstrom):
        return "no points"
    points_xyz = xyz_from_zyx(positions_zyx_angstrom)
    ranges = zip("xyz", points_xyz.min(axis=0), points_xyz.max(axis=0), strict=True)
    return ", ".join(f"{axis} {low:.1f}..{high:.1f}" for axis, low, high in ranges) + " A"


def describe_box(grid: VoxelGrid) -> str:
    """Return the size of a tomogram as `6307.8 x 6307.8 x 1842.3 A`, x, y, z."""
    return " x ".join(f"{size:.1f}" for size in xyz_from_zyx(grid.extent_zyx_angstrom)) + " A"


def check_picks_inside(picks: Picks, grids: Mapping[str, VoxelGrid], *, subject: str | Path) -> None:
    """Refuse picks outside their tomogram.

    Parameters
    ----------
    picks
        Picks of any runs.
    grids
        Grid of the tomogram by run.
    subject
        The file to name in errors.

    Raises
    ------
    PicksError
        With the number of picks outside, the extents of picks and tomogram, and a guess at the cause; also if a run has
        no tomogram.
    """
    for run in picks.run_names:
        if run not in grids:
            raise PicksError(subject, f"run '{run}' has no tomogram here", advise_known_names(run, grids))
        positions = picks.of_run(run).positions_zyx_angstrom
        outside = ~grids[run].contains(positions, margin_angstrom=-_ROUNDING_ANGSTROM)
        if outside.any():
            problem = (
                f"{int(outside.sum())} of {len(positions)} picks of run '{run}' lie outside the tomogram: picks "
                f"{describe_extent(positions)}, tomogram {describe_box(grids[run])}"
            )
            raise PicksError(subject, problem, guess_wrong_frame(positions, grids[run]))


def check_picks_not_in_voxels(picks: Picks, grids: Mapping[str, VoxelGrid], *, subject: str | Path) -> None:
    """Refuse picks in Angstrom that all lie where voxel indices would.

    Raises
    ------
    PicksError
        If a run has many picks and each of them is a valid voxel index, in one corner of the box.
    """
    for run in picks.run_names:
        positions = picks.of_run(run).positions_zyx_angstrom
        if len(positions) >= _ENOUGH_PICKS and look_like_voxels(positions, grids[run]):
            problem = (
                f"the {len(positions)} picks of run '{run}' are read as Angstrom, but look like voxels: picks "
                f"{describe_extent(positions)}, tomogram {describe_box(grids[run])}"
            )
            raise PicksError(subject, problem, "give the pixel size, or force the reading as Angstrom")


def look_like_voxels(positions_zyx_angstrom: Floats, grid: VoxelGrid) -> bool:
    """Say whether positions in Angstrom would all be indices of the grid; never for voxels of 3 Angstrom or less."""
    if min(grid.spacing_zyx_angstrom) <= 3:
        return False
    inside = (positions_zyx_angstrom >= 0) & (positions_zyx_angstrom <= np.array(grid.shape_zyx))
    return bool(inside.all())


def guess_wrong_frame(positions_zyx_angstrom: Floats, grid: VoxelGrid) -> str:
    """Return advice for positions outside the grid: what they may be instead."""
    origin = np.array(grid.origin_zyx_angstrom)
    extent = np.array(grid.extent_zyx_angstrom)
    offset = positions_zyx_angstrom - origin
    if _fits(grid, xyz_from_zyx(offset) + origin):
        return "they look like z,y,x order: write x,y,z"
    if _fits(grid, positions_zyx_angstrom + extent / 2):
        return "they look as if counted from the centre of the tomogram: count from its corner"
    if _fits(grid, offset / grid.spacing_zyx_angstrom + origin):
        return "they look as if multiplied by the voxel spacing twice: check their unit and the pixel size"
    return "check that the picks belong to this tomogram, their unit and the pixel size"


def _fits(grid: VoxelGrid, positions_zyx_angstrom: Floats) -> bool:
    return bool(grid.contains(positions_zyx_angstrom, margin_angstrom=-_ROUNDING_ANGSTROM).all())
