"""Orientations of templates: all of them covered evenly, those that a particle's symmetry makes alike only once."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from cryofind.simulate.body import Body

Floats = NDArray[np.float64]

# Orientations from which those of a cover are chosen: a random one lies 5 degrees from the nearest on average.
POOL = 40_000
# Steps of the search for the axes of a body. Beads break a symmetry at their own scale, so they are blurred for it.
FRAME_STEP_DEGREES = 15.0
FRAME_BLUR_ANGSTROM = 15.0
# Frames that differ by these are as good as each other: an axis of two does not say what turns about it, ...
ALIKE_FRAMES = {"C2": "D6", "D2": "O", "O": "O", "I": "I"}
# ... and so many operations of a group stand for all of them: they generate it.
OPERATIONS = 3


def cover_rotations(group: str, step_degrees: float) -> Floats:
    """Return rotations (N, 3, 3) that cover all orientations of a particle of a point group.

    No orientation is farther from the nearest one than the middle of the cells of a cubic grid of that step, which is
    sqrt(3) / 2 of it, plus the unevenness of the pool. They are chosen one by one, always the one that is farthest
    from those chosen before (Gonzalez, Theoretical Computer Science 38, 293 (1985)), by the least angle over the
    operations of the group.

    Parameters
    ----------
    group
        `C1`, `C2`, `D2`, `O`, `I`, or another that SciPy names. Operations act in the particle's frame.
    step_degrees
        Above 0.
    """
    pool, operations = spread_quaternions(POOL), Rotation.create_group(group)
    farthest_cosine = np.cos(np.deg2rad(step_degrees) * np.sqrt(3) / 4)
    nearest = np.zeros(POOL, np.float32)
    chosen = [0]
    while True:
        alike = (Rotation.from_quat(pool[chosen[-1]]) * operations).as_quat().astype(np.float32)
        np.maximum(nearest, np.abs(pool @ alike.T).max(axis=1), out=nearest)
        farthest = int(nearest.argmin())
        if nearest[farthest] >= farthest_cosine:
            return np.asarray(Rotation.from_quat(pool[chosen]).as_matrix())
        chosen.append(farthest)


def spread_quaternions(count: int) -> NDArray[np.float32]:
    """Return unit quaternions (count, 4) on a super-Fibonacci spiral, which covers all rotations evenly.

    Alexa, Proc. IEEE/CVF CVPR, 8291 (2022).
    """
    turns = np.arange(count) + 0.5
    inner, outer = np.sqrt(turns / count), np.sqrt(1 - turns / count)
    first, second = 2 * np.pi * turns / np.sqrt(2), 2 * np.pi * turns / 1.533751168755204288118041
    columns = (inner * np.sin(first), inner * np.cos(first), outer * np.sin(second), outer * np.cos(second))
    return np.stack(columns, axis=1).astype(np.float32)


def angle_degrees(one: Floats, others: Floats, group: str) -> Floats:
    """Return the least angle (N,) between a rotation (3, 3) and others (N, 3, 3) of a particle of a point group."""
    alike = one @ Rotation.create_group(group).as_matrix()
    traces = np.einsum("gij,nij->ng", alike, others)
    return np.asarray(np.rad2deg(np.arccos(np.clip((traces.max(axis=1) - 1) / 2, -1, 1))))


def find_frame(body: Body, group: str) -> Floats:
    """Return the rotation (3, 3) that turns the axes of a point group into those of a body.

    It is the frame in which the body changes least under the group, by `share_left`.
    """
    if group == "C1":
        return np.eye(3)
    operations = Rotation.create_group(group).as_matrix()
    some = operations[np.linspace(1, len(operations) - 1, min(OPERATIONS, len(operations) - 1)).astype(int)]

    def loss(vector: Floats) -> float:
        return -share_left(body, some, Rotation.from_rotvec(vector).as_matrix())

    starts = Rotation.from_matrix(cover_rotations(ALIKE_FRAMES[group], FRAME_STEP_DEGREES)).as_rotvec()
    best = minimize(loss, min(starts, key=loss), method="Nelder-Mead", options={"xatol": 1e-2, "fatol": 1e-5})
    return np.asarray(Rotation.from_rotvec(best.x).as_matrix())


def share_left(body: Body, operations: Floats, frame: Floats) -> float:
    """Return the mean overlap, 0 to 1, of a blurred body with itself after operations (G, 3, 3) about a frame."""
    centers, masses = body.centers_zyx_angstrom, body.masses_kilodalton
    width = 4 * FRAME_BLUR_ANGSTROM**2

    def overlap(turned: Floats) -> float:
        products = centers @ turned.T
        squares = np.square(centers).sum(axis=1)[:, None] + np.square(turned).sum(axis=1) - 2 * products
        return float(masses @ np.exp(-squares / width) @ masses)

    whole = overlap(centers)
    return float(np.mean([overlap(body.rotated_centers(frame @ turn @ frame.T)) for turn in operations]) / whole)
