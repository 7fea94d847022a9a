"""Drawing of bodies: every bead a Gaussian, integrated over each voxel, at its place between the voxels.

A three-dimensional Gaussian is a product of three one-dimensional ones, so the sum over the beads of a body is one
matrix product, and no density is interpolated, whatever the rotation.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from cryofind.simulate.body import CUBIC_ANGSTROM_PER_KILODALTON, Body
from cryofind.types import VoxelGrid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Gaussians are drawn to this many standard deviations at least; a body loses less than 0.02 % of its mass, ...
BODY_SIGMAS = 4.0
# ... a single point 0.14 %.
POINT_SIGMAS = 3.5

# A voxel belongs to a body where its own density is above this share of its own maximum.
LABEL_SHARE = 0.3

POINTS_AT_ONCE = 256

# OpenBLAS keeps products of matrices of up to this many multiplications to one thread. Beyond it, threads for so little
# work cost several times what they save, and the bits of the result would hang on how they share it out.
SERIAL_PRODUCT = 2**18


def render_body(
    density_zyx: NDArray[np.float32],
    labels_zyx: NDArray[np.uint8] | None,
    grid: VoxelGrid,
    body: Body,
    rotation_zyx: Floats,
    position_zyx_angstrom: Floats,
    *,
    label: int = 0,
) -> None:
    """Add a body to a volume, in place, and write its label.

    Parameters
    ----------
    density_zyx
        Mass density, 1 = solid protein, float32, in the shape of the grid.
    labels_zyx
        Label of the object that every voxel belongs to, in the shape of the grid; None: none are written. Voxels that
        have a label already keep it.
    grid
        Of both volumes.
    body, rotation_zyx, position_zyx_angstrom
        The body, how it is turned, shape (3, 3), and its place zyx, shape (3,), Angstrom. What lies outside of the box
        is cut off.
    label
        Of the voxels where the body's density is above `LABEL_SHARE` of its own maximum, and of its hollow core;
        0: none.
    """
    centers = grid.indices_from_positions(body.rotated_centers(rotation_zyx) + position_zyx_angstrom)
    sigmas = body.sigma_angstrom / np.asarray(grid.spacing_zyx_angstrom)
    starts = np.floor(centers.min(axis=0) - BODY_SIGMAS * sigmas).astype(np.int64)
    stops = np.ceil(centers.max(axis=0) + BODY_SIGMAS * sigmas).astype(np.int64) + 1
    inside, cut = _clip(starts, stops, grid.shape_zyx)
    if any(part.start >= part.stop for part in inside):
        return
    box = _sum_beads(centers - starts, sigmas, _solid_shares(body.masses_kilodalton, grid), stops - starts)
    density_zyx[inside] += box[cut]
    if label and labels_zyx is not None:
        is_body = (box > LABEL_SHARE * box.max())[cut]
        is_body |= _lies_in_core(grid, inside, position_zyx_angstrom, body.core_radius_angstrom)
        labels = labels_zyx[inside]
        labels[is_body & (labels == 0)] = label


def render_points(
    density_zyx: NDArray[np.float32],
    grid: VoxelGrid,
    positions_zyx_angstrom: Floats,
    masses_kilodalton: Floats,
    sigma_angstrom: float,
) -> None:
    """Add many single beads of one width to a volume, in place.

    Parameters
    ----------
    density_zyx
        Mass density, 1 = solid protein, float32, in the shape of the grid.
    grid
        Of the volume.
    positions_zyx_angstrom
        Shape (N, 3), Angstrom. What lies outside of the box is cut off.
    masses_kilodalton
        Shape (N,).
    sigma_angstrom
        Standard deviation of every bead, Angstrom.
    """
    shape = np.asarray(grid.shape_zyx)
    sigmas = sigma_angstrom / np.asarray(grid.spacing_zyx_angstrom)
    sizes = np.minimum(np.ceil(2 * POINT_SIGMAS * sigmas).astype(np.int64) + 1, shape)
    centers = grid.indices_from_positions(positions_zyx_angstrom)
    reaches = POINT_SIGMAS * sigmas
    is_near = np.all((centers > -reaches) & (centers < shape - 1 + reaches), axis=1)
    centers, shares = centers[is_near], _solid_shares(masses_kilodalton[is_near], grid)
    # A window at a face is moved inwards: its bead is then drawn off its middle, and correctly.
    starts = np.clip(np.rint(centers - (sizes - 1) / 2).astype(np.int64), 0, shape - sizes)
    a, b, c = sizes.tolist()
    for first in range(0, len(centers), POINTS_AT_ONCE):
        some = slice(first, first + POINTS_AT_ONCE)
        z, y, x = _profiles(centers[some] - starts[some], sigmas, sizes)
        z *= shares[some, None]
        windows = (z[:, :, None] * y[:, None, :])[..., None] * x[:, None, None, :]
        for (i, j, k), window in zip(starts[some].tolist(), windows, strict=True):
            density_zyx[i : i + a, j : j + b, k : k + c] += window


def _solid_shares(masses_kilodalton: Floats, grid: VoxelGrid) -> NDArray[np.float32]:
    """Return masses as the number of voxels that they would fill as solid protein."""
    voxel = float(np.prod(grid.spacing_zyx_angstrom))
    return np.asarray(masses_kilodalton * (CUBIC_ANGSTROM_PER_KILODALTON / voxel), np.float32)


def _clip(starts: Ints, stops: Ints, shape_zyx: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the part of a box that lies on a grid, in indices of the grid and of the box."""
    low, high = np.maximum(starts, 0), np.minimum(stops, shape_zyx)
    inside = tuple(slice(*ends) for ends in zip(low.tolist(), high.tolist(), strict=True))
    cut = tuple(slice(*ends) for ends in zip((low - starts).tolist(), (high - starts).tolist(), strict=True))
    return inside, cut


def _profiles(centers: Floats, sigmas: Floats, sizes: Ints) -> list[NDArray[np.float32]]:
    """Return the integrals of one-dimensional Gaussians over the voxels of a box, for each axis, shape (N, size).

    Voxel i reaches from i - 0.5 to i + 0.5; the integral of a normal density is a difference of error functions.
    """
    profiles = []
    for axis, size in enumerate(sizes.tolist()):
        edges = (np.arange(size + 1) - 0.5 - centers[:, axis, None]) / (np.sqrt(2.0) * sigmas[axis])
        profiles.append((0.5 * np.diff(erf(edges), axis=1)).astype(np.float32))
    return profiles


def _sum_beads(centers: Floats, sigmas: Floats, shares: NDArray[np.float32], sizes: Ints) -> NDArray[np.float32]:
    """Return the density of beads in a box: the sum over beads of share * z profile * y profile * x profile.

    For each z one product of matrices, (y, beads) times (beads, x).
    """
    z, y, x = _profiles(centers, sigmas, sizes)
    z *= shares[:, None]
    box = np.zeros(sizes, np.float32)
    at_once = max(1, SERIAL_PRODUCT // int(sizes[1] * sizes[2]))
    for first in range(0, len(centers), at_once):
        some = slice(first, first + at_once)
        box += (z[some].T[:, None, :] * y[some].T) @ x[some]
    return box


def _lies_in_core(
    grid: VoxelGrid, box: tuple[slice, ...], position_zyx_angstrom: Floats, radius_angstrom: float
) -> NDArray[np.bool_]:
    """Return the voxels of a part of the grid whose centre lies within a ball."""
    place = grid.indices_from_positions(position_zyx_angstrom)
    z, y, x = (
        np.square((np.arange(part.start, part.stop) - middle) * spacing)
        for part, middle, spacing in zip(box, place, grid.spacing_zyx_angstrom, strict=True)
    )
    return np.asarray(z[:, None, None] + y[:, None] + x < radius_angstrom**2)
