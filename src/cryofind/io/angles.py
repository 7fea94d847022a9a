"""Euler angles of other programs <-> rotation matrices; the conventions are in `conventions.md`.

All functions take and return angles in degrees, shape (N, 3), in the order that the program writes them, and matrices
(N, 3, 3) that take the particle's frame to the tomogram's and act on zyx column vectors.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryofind.coordinates import rotations_xyz_from_zyx, rotations_zyx_from_xyz

Floats = NDArray[np.float64]

_GIMBAL_SINE = 1e-8  # below it the first and third angle turn about one axis, and all is given to the first


def rotations_zyx_from_relion(angles_degrees: ArrayLike) -> Floats:
    """Return rotations from RELION's rot, tilt, psi: `(Rz(rot) Ry(tilt) Rz(psi))^-1`."""
    rot, tilt, psi = _columns(angles_degrees)
    return rotations_zyx_from_xyz(_transposed(_about_z(rot) @ _about_y(tilt) @ _about_z(psi)))


def relion_from_rotations_zyx(rotations_zyx: ArrayLike) -> Floats:
    """Return RELION's rot, tilt, psi; tilt lies in 0..180."""
    matrix = _transposed(rotations_xyz_from_zyx(rotations_zyx))
    sine = np.hypot(matrix[:, 0, 2], matrix[:, 1, 2])
    tilt = np.arctan2(sine, matrix[:, 2, 2])
    free = sine > _GIMBAL_SINE
    rot = np.where(free, np.arctan2(matrix[:, 1, 2], matrix[:, 0, 2]), np.arctan2(-matrix[:, 0, 1], matrix[:, 1, 1]))
    psi = np.where(free, np.arctan2(matrix[:, 2, 1], -matrix[:, 2, 0]), 0.0)
    return _in_degrees([rot, tilt, psi])


def rotations_zyx_from_dynamo(angles_degrees: ArrayLike) -> Floats:
    """Return rotations from Dynamo's tdrot, tilt, narot: `(Rz(narot) Rx(tilt) Rz(tdrot))^-1`."""
    tdrot, tilt, narot = _columns(angles_degrees)
    return rotations_zyx_from_xyz(_transposed(_about_z(narot) @ _about_x(tilt) @ _about_z(tdrot)))


def dynamo_from_rotations_zyx(rotations_zyx: ArrayLike) -> Floats:
    """Return Dynamo's tdrot, tilt, narot; tilt lies in 0..180."""
    narot, tilt, tdrot = _zxz_angles(_transposed(rotations_xyz_from_zyx(rotations_zyx)))
    return _in_degrees([tdrot, tilt, narot])


def rotations_zyx_from_tom(angles_degrees: ArrayLike) -> Floats:
    """Return rotations from TOM's phi, psi, theta (the order of an `.em` list): `Rz(psi) Rx(theta) Rz(phi)`."""
    phi, psi, theta = _columns(angles_degrees)
    return rotations_zyx_from_xyz(_about_z(psi) @ _about_x(theta) @ _about_z(phi))


def tom_from_rotations_zyx(rotations_zyx: ArrayLike) -> Floats:
    """Return TOM's phi, psi, theta, in the order of an `.em` list; theta lies in 0..180."""
    psi, theta, phi = _zxz_angles(rotations_xyz_from_zyx(rotations_zyx))
    return _in_degrees([phi, psi, theta])


def _in_degrees(columns: list[Floats]) -> Floats:
    return np.rad2deg(np.stack(columns, axis=1))


def _columns(angles_degrees: ArrayLike) -> tuple[Floats, Floats, Floats]:
    first, second, third = np.radians(np.asarray(angles_degrees, dtype=np.float64).reshape(-1, 3)).T
    return first, second, third


def _zxz_angles(matrix: Floats) -> tuple[Floats, Floats, Floats]:
    """Return a, b, c in radians of `Rz(a) Rx(b) Rz(c)`."""
    sine = np.hypot(matrix[:, 0, 2], matrix[:, 1, 2])
    free = sine > _GIMBAL_SINE
    first = np.where(free, np.arctan2(matrix[:, 0, 2], -matrix[:, 1, 2]), np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0]))
    third = np.where(free, np.arctan2(matrix[:, 2, 0], matrix[:, 2, 1]), 0.0)
    return first, np.arctan2(sine, matrix[:, 2, 2]), third


def _transposed(matrices: Floats) -> Floats:
    return np.ascontiguousarray(np.swapaxes(matrices, -1, -2))


def _about_x(angles: Floats) -> Floats:
    return _turn(angles, 1, 2)


def _about_y(angles: Floats) -> Floats:
    return _turn(angles, 2, 0)


def _about_z(angles: Floats) -> Floats:
    return _turn(angles, 0, 1)


def _turn(angles: Floats, first: int, second: int) -> Floats:
    """Return matrices that turn axis `first` towards axis `second` (xyz, column vectors)."""
    matrices = np.tile(np.eye(3), (len(angles), 1, 1))
    matrices[:, first, first] = matrices[:, second, second] = np.cos(angles)
    matrices[:, second, first] = np.sin(angles)
    matrices[:, first, second] = -np.sin(angles)
    return matrices
