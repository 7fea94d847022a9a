"""Which voxels are taken: a collision test by the beads of a body."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cryofind.simulate.body import Body
from cryofind.types import VoxelGrid

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# A bead takes the voxels within this many of its standard deviations: a Gaussian has fallen to a third there, and the
# beads of a body that was fitted by k-means, about two standard deviations apart, leave no holes between them.
TAKEN_SIGMAS = 1.5

# Probes of a hollow core lie this far apart, as a share of its radius (about 500 in all).
CORE_PROBE_SHARE = 0.2


class Occupancy:
    """The voxels of a box that something lies in.

    Parameters
    ----------
    grid
        Of the box.

    Attributes
    ----------
    taken_zyx
        Whether a voxel is taken, bool, in the shape of the grid; may be written to.
    """

    def __init__(self, grid: VoxelGrid) -> None:
        self.grid = grid
        self.taken_zyx: NDArray[np.bool_] = np.zeros(grid.shape_zyx, np.bool_)

    def overlap(self, body: Body, rotation_zyx: Floats, positions_zyx_angstrom: Floats) -> Floats:
        """Return how much of a body would lie within what is there, for each of several places.

        Parameters
        ----------
        body, rotation_zyx
            The body and how it is turned, shape (3, 3).
        positions_zyx_angstrom
            Places to try, shape (T, 3), Angstrom. What lies outside of the box is free.

        Returns
        -------
        ndarray of shape (T,)
            Share of its mass or, if greater, of its hollow core, 0 to 1.
        """
        positions = positions_zyx_angstrom.reshape(-1, 3)
        taken = self._look_up(body.rotated_centers(rotation_zyx), positions)
        # A sum, not a product of matrices: its bits do not hang on the number of threads.
        share = np.asarray((taken * (body.masses_kilodalton / body.mass_kilodalton)).sum(axis=1))
        if body.core_radius_angstrom > 0:
            probes = _fill_ball(body.core_radius_angstrom, body.core_radius_angstrom * CORE_PROBE_SHARE)
            share = np.maximum(share, self._look_up(probes, positions).mean(axis=1))
        return share

    def mark(self, body: Body, rotation_zyx: Floats, position_zyx_angstrom: Floats) -> None:
        """Take the voxels of a body, its hollow core included; parts outside of the box are left out."""
        centers = body.rotated_centers(rotation_zyx) + position_zyx_angstrom
        self._take(centers, TAKEN_SIGMAS * body.sigma_angstrom)
        if body.core_radius_angstrom > 0:
            self._take(np.asarray(position_zyx_angstrom).reshape(1, 3), body.core_radius_angstrom)

    def _look_up(self, offsets_zyx_angstrom: Floats, positions_zyx_angstrom: Floats) -> NDArray[np.bool_]:
        """Return whether the voxel nearest to each offset (N, 3) from each position (T, 3) is taken; shape (T, N)."""
        starts = self.grid.indices_from_positions(positions_zyx_angstrom)
        steps = offsets_zyx_angstrom / np.asarray(self.grid.spacing_zyx_angstrom)
        is_inside = np.ones((len(starts), len(steps)), np.bool_)
        flat = np.zeros(is_inside.shape, np.int64)
        for axis, size in enumerate(self.grid.shape_zyx):
            cells = np.rint(starts[:, axis, None] + steps[:, axis]).astype(np.int64)
            is_inside &= (cells >= 0) & (cells < size)
            flat *= size
            flat += np.clip(cells, 0, size - 1)
        return np.asarray(self.taken_zyx.reshape(-1)[flat] & is_inside)

    def _take(self, centers_zyx_angstrom: Floats, radius_angstrom: float) -> None:
        """Take the voxels whose centre lies within a radius of any of the points (N, 3), and the nearest to each."""
        spacing = np.asarray(self.grid.spacing_zyx_angstrom)
        places = self.grid.indices_from_positions(centers_zyx_angstrom)
        nearest = np.rint(places).astype(np.int64)
        # As seen from the nearest voxel, a point lies up to half of a voxel's diagonal away.
        stencil = _stencil(self.grid.spacing_zyx_angstrom, radius_angstrom + float(np.linalg.norm(spacing)) / 2)
        squares = np.zeros((len(places), len(stencil)))
        for axis, from_point in enumerate(((nearest - places) * spacing).T):
            squares += np.square(from_point[:, None] + stencil[:, axis] * spacing[axis])
        points, steps = np.nonzero(squares <= radius_angstrom**2)
        found = np.concatenate([nearest[points] + stencil[steps], nearest])
        found = found[np.all((found >= 0) & (found < self.grid.shape_zyx), axis=1)]
        self.taken_zyx[tuple(found.T)] = True


@lru_cache(maxsize=64)
def _stencil(spacing_zyx_angstrom: tuple[float, float, float], radius_angstrom: float) -> Ints:
    """Return the voxels within a radius of a voxel, as index offsets (S, 3)."""
    reaches = np.array([int(radius_angstrom / spacing) for spacing in spacing_zyx_angstrom])
    offsets = np.indices((2 * reaches + 1).tolist()).reshape(3, -1).T - reaches
    squares = np.square(offsets * np.asarray(spacing_zyx_angstrom)).sum(axis=1)
    return np.asarray(offsets[squares <= radius_angstrom**2])


@lru_cache(maxsize=64)
def _fill_ball(radius_angstrom: float, spacing_angstrom: float) -> Floats:
    """Return points (N, 3) on a cubic lattice within a ball about 0, Angstrom."""
    return np.asarray(_stencil((spacing_angstrom,) * 3, radius_angstrom) * spacing_angstrom, np.float64)
