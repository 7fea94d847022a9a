"""Index <-> Angstrom and zyx <-> xyz: the only file that flips axes. The statement is in `conventions.md`."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def angstrom_from_indices(
    indices_zyx: ArrayLike,
    spacing_zyx_angstrom: ArrayLike,
    *,
    origin_zyx_angstrom: ArrayLike = (0.0, 0.0, 0.0),
) -> Floats:
    """Return the positions of array indices: `origin + index * spacing`, without a half-voxel term.

    Parameters
    ----------
    indices_zyx
        Array of shape (..., 3), integer or fractional.
    spacing_zyx_angstrom, origin_zyx_angstrom
        Voxel spacing and position of index (0, 0, 0), Angstrom.

    Returns
    -------
    ndarray of shape (..., 3)
        Positions zyx in Angstrom.
    """
    indices = np.asarray(indices_zyx, dtype=np.float64)
    return np.asarray(origin_zyx_angstrom, dtype=np.float64) + indices * np.asarray(spacing_zyx_angstrom, np.float64)


def indices_from_angstrom(
    positions_zyx_angstrom: ArrayLike,
    spacing_zyx_angstrom: ArrayLike,
    *,
    origin_zyx_angstrom: ArrayLike = (0.0, 0.0, 0.0),
) -> Floats:
    """Return fractional array indices zyx of positions zyx in Angstrom; the inverse of `angstrom_from_indices`."""
    positions = np.asarray(positions_zyx_angstrom, dtype=np.float64)
    offset = positions - np.asarray(origin_zyx_angstrom, dtype=np.float64)
    return offset / np.asarray(spacing_zyx_angstrom, dtype=np.float64)


def nearest_indices(indices_zyx: ArrayLike) -> NDArray[np.int64]:
    """Round fractional indices to the nearest voxel centre.

    `rint`, never `floor`: positions stored with three decimals lose one voxel in half of all cases under `floor`.
    """
    return np.rint(np.asarray(indices_zyx, dtype=np.float64)).astype(np.int64)


def zyx_from_xyz(points_xyz: ArrayLike) -> Floats:
    """Reverse the last axis of points (..., 3) from a file's x, y, z to the library's z, y, x."""
    return np.ascontiguousarray(np.asarray(points_xyz, dtype=np.float64)[..., ::-1])


def xyz_from_zyx(points_zyx: ArrayLike) -> Floats:
    """Reverse the last axis of points (..., 3) from the library's z, y, x to a file's x, y, z."""
    return np.ascontiguousarray(np.asarray(points_zyx, dtype=np.float64)[..., ::-1])


def rotations_zyx_from_xyz(rotations_xyz: ArrayLike) -> Floats:
    """Turn rotation matrices (..., 3, 3) that act on xyz column vectors into ones that act on zyx vectors."""
    return np.ascontiguousarray(np.asarray(rotations_xyz, dtype=np.float64)[..., ::-1, ::-1])


def rotations_xyz_from_zyx(rotations_zyx: ArrayLike) -> Floats:
    """Turn rotation matrices (..., 3, 3) that act on zyx column vectors into ones that act on xyz vectors."""
    return np.ascontiguousarray(np.asarray(rotations_zyx, dtype=np.float64)[..., ::-1, ::-1])
