"""Which voxel spacing a tomogram has: what its file says, checked, or what the user says."""

import math
from pathlib import Path

import numpy as np

from cryofind.errors import TomogramError, VoxelSizeError
from cryofind.types.grid import FloatTriple

# Axes that differ by less than this are equal up to the rounding of float32 headers (13.279999, 13.28, 13.28).
ANISOTROPY_TOLERANCE = 1e-3
# Reconstructions lie between one and some tens of Angstrom per voxel; anything beyond these is another unit.
PLAUSIBLE_ANGSTROM = (0.05, 2000.0)
ADVICE = "give it in Angstrom with --voxel-size (voxel_spacing_angstrom in Python)"


def choose_spacing(
    path: Path, found_zyx_angstrom: FloatTriple | None, given_angstrom: float | None, *, one_means_unknown: bool
) -> tuple[FloatTriple, tuple[str, ...]]:
    """Return the voxel spacing zyx, Angstrom, to use, and what the user should know about it.

    Parameters
    ----------
    path
        The file, for messages.
    found_zyx_angstrom
        What the file says; None if it says nothing.
    given_angstrom
        What the user says, for all axes; it wins.
    one_means_unknown
        Whether exactly 1.0 on all axes is a writer's default rather than a measurement (as in MRC headers).

    Raises
    ------
    VoxelSizeError
        If the file says nothing usable.
    TomogramError
        If what is given is no voxel spacing.
    """
    if given_angstrom is not None:
        return _given_spacing(path, found_zyx_angstrom, given_angstrom)
    if found_zyx_angstrom is None:
        raise VoxelSizeError(f"{path}: voxel size", "is not in the file", ADVICE)
    problem = _find_problem(found_zyx_angstrom, one_means_unknown=one_means_unknown)
    if problem is not None:
        raise VoxelSizeError(f"{path}: voxel size", problem, ADVICE)
    return found_zyx_angstrom, ()


def _given_spacing(path: Path, found: FloatTriple | None, given_angstrom: float) -> tuple[FloatTriple, tuple[str, ...]]:
    if not (math.isfinite(given_angstrom) and given_angstrom > 0):
        raise TomogramError(f"{path}: --voxel-size", f"is {given_angstrom}", "give a positive number of Angstrom")
    spacing = (float(given_angstrom),) * 3
    if found is None or np.allclose(found, spacing, rtol=ANISOTROPY_TOLERANCE, atol=0):
        return spacing, ()
    return spacing, (f"voxel spacing {given_angstrom:g} A as given; the file says {_show(found)} A",)


def _find_problem(spacing: FloatTriple, *, one_means_unknown: bool) -> str | None:
    if not all(math.isfinite(value) and value > 0 for value in spacing):
        return f"is {_show(spacing)} A (z, y, x), expected positive numbers"
    if one_means_unknown and max(abs(value - 1.0) for value in spacing) < 1e-6:
        return "is exactly 1 A, which writers put there when they do not know it"
    if not all(PLAUSIBLE_ANGSTROM[0] <= value <= PLAUSIBLE_ANGSTROM[1] for value in spacing):
        return f"is {_show(spacing)} A (z, y, x), which no volume has"
    if max(spacing) - min(spacing) > ANISOTROPY_TOLERANCE * min(spacing):
        return f"differs between the axes: {_show(spacing)} A (z, y, x)"
    return None


def _show(spacing: FloatTriple) -> str:
    if len(set(spacing)) == 1:
        return f"{spacing[0]:g}"
    return ", ".join(f"{value:g}" for value in spacing)
