"""Gaussian beads of one width, fitted to weighted points or to a density on a grid.

Nothing here draws random numbers or calls threaded algebra: the same input gives the same beads.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]

KMEANS_ROUNDS = 20
MIXTURE_ROUNDS = 25
REFINE_ROUNDS = 60
# A point is shared among this many of its nearest beads; farther ones have next to none of it.
SHARING_BEADS = 10
# Beads reach this many sigma when a density is compared with them: 3e-4 of their height.
REACH_SIGMA = 4.0

# A hollow core is a sphere in whose inner half the mean density stays below the first share of the densest shell's; it
# ends where the second share is reached.
CORE_STEP_ANGSTROM = 1.0
LEAST_CORE_ANGSTROM = 20.0
EMPTY_SHARE, WALL_SHARE = 0.1, 0.5


@dataclass(frozen=True, eq=False)
class Beads:
    """Beads of one width.

    Parameters
    ----------
    centers_angstrom
        Shape (N, 3), in the order of the points' coordinates.
    masses
        Shape (N,), in the unit of the points' weights.
    sigma_angstrom
        Standard deviation of every bead, Angstrom.
    """

    centers_angstrom: Floats
    masses: Floats
    sigma_angstrom: float


def fit_mixture(
    points_angstrom: Floats, weights: Floats, bead_count: int, *, least_sigma_angstrom: float = 1.0
) -> Beads:
    """Return the Gaussian mixture of equal widths under which the weighted points are most likely.

    k-means from far-apart points, then expectation and maximisation (Dempster et al., J. R. Stat. Soc. B 39, 1, 1977),
    whose every round keeps the mean of the points and the trace of their covariance: the beads have the points' centre
    of mass and radius of gyration.

    Parameters
    ----------
    points_angstrom, weights
        Shapes (N, 3) and (N,), weights positive.
    bead_count
        Number of beads; at most one for each point.
    least_sigma_angstrom
        Sigma where the points would allow less, Angstrom.
    """
    bead_count = max(1, min(bead_count, len(points_angstrom)))
    centers = _find_clusters(points_angstrom, weights, _spread_centers(points_angstrom, weights, bead_count))
    distances, owners = cKDTree(centers).query(points_angstrom)
    masses = _sum_by_bead(owners, weights, bead_count)
    variance = (weights * np.square(distances)).sum() / weights.sum() / 3
    for _ in range(MIXTURE_ROUNDS):
        sigma = max(float(np.sqrt(variance)), least_sigma_angstrom)
        beads = Beads(centers, masses, sigma)
        centers, masses, variance = _share_points(points_angstrom, weights, beads)
    return Beads(centers, masses, max(float(np.sqrt(variance)), least_sigma_angstrom))


def refine_beads(beads: Beads, points_angstrom: Floats, values: Floats) -> Beads:
    """Return beads moved, weighed and widened together to the least squared difference from a density.

    Parameters
    ----------
    beads
        A good start, from `fit_mixture`.
    points_angstrom, values
        The density at voxel centres of an even grid, shapes (N, 3) and (N,), empty surroundings included: there the
        beads must not reach.
    """
    misfit = _Misfit(beads, points_angstrom, values)
    found = minimize(misfit, misfit.start, jac=True, method="L-BFGS-B", options={"maxiter": REFINE_ROUNDS})
    return misfit.beads(found.x)


def find_core_radius(beads: Beads) -> float:
    """Return the radius of the hollow core about the centre of mass, Angstrom; 0 if there is none of 20 Angstrom."""
    mean = np.average(beads.centers_angstrom, axis=0, weights=beads.masses)
    distances = np.linalg.norm(beads.centers_angstrom - mean, axis=1)
    radii = np.arange(CORE_STEP_ANGSTROM, distances.max() + beads.sigma_angstrom, CORE_STEP_ANGSTROM)
    profile = _average_over_spheres(beads, np.maximum(distances, 1e-3), radii)
    radius = float(radii[np.argmax(profile >= WALL_SHARE * profile.max())])
    is_empty = profile[radii <= radius / 2].max(initial=0.0) < EMPTY_SHARE * profile.max()
    return radius if radius >= LEAST_CORE_ANGSTROM and is_empty else 0.0


def _average_over_spheres(beads: Beads, distances: Floats, radii: Floats) -> Floats:
    # The mean over the sphere of radius r of a Gaussian at distance d is
    # exp(-(r^2 + d^2) / 2 s^2) sinh(r d / s^2) / (r d / s^2), up to a constant.
    r, d, variance = radii[:, None], distances[None, :], beads.sigma_angstrom**2
    means = (np.exp(-np.square(r - d) / (2 * variance)) - np.exp(-np.square(r + d) / (2 * variance))) / (r * d)
    return np.asarray((means * beads.masses).sum(axis=1))


def _spread_centers(points: Floats, weights: Floats, count: int) -> Floats:
    # The next centre is the point with the largest weight times squared distance from the centres so far.
    mean = np.average(points, axis=0, weights=weights)
    squares = np.square(points - mean).sum(axis=1)
    chosen = []
    for _ in range(count):
        chosen.append(int(np.argmax(squares * weights)))
        from_newest = np.square(points - points[chosen[-1]]).sum(axis=1)
        squares = from_newest if len(chosen) == 1 else np.minimum(squares, from_newest)
    return points[chosen].copy()


def _find_clusters(points: Floats, weights: Floats, centers: Floats) -> Floats:
    for _ in range(KMEANS_ROUNDS):
        _, owners = cKDTree(centers).query(points)
        masses = _sum_by_bead(owners, weights, len(centers))
        sums = np.stack([_sum_by_bead(owners, weights * x, len(centers)) for x in points.T], axis=1)
        centers = np.where(masses[:, None] > 0, sums / np.maximum(masses, 1e-300)[:, None], centers)
    return centers


def _share_points(points: Floats, weights: Floats, beads: Beads) -> tuple[Floats, Floats, float]:
    count = len(beads.masses)
    neighbours = np.arange(1, min(SHARING_BEADS, count) + 1)
    distances, owners = cKDTree(beads.centers_angstrom).query(points, k=neighbours)
    squares = np.square(distances)
    shares = beads.masses[owners] * np.exp((squares[:, :1] - squares) / (2 * beads.sigma_angstrom**2))
    shares *= (weights / np.maximum(shares.sum(axis=1), 1e-300))[:, None]
    masses = _sum_by_bead(owners, shares, count)
    sums = np.stack([_sum_by_bead(owners, shares * x[:, None], count) for x in points.T], axis=1)
    centers = np.where(masses[:, None] > 0, sums / np.maximum(masses, 1e-300)[:, None], beads.centers_angstrom)
    # The trace of the covariance: mean square of the points less that of the centres.
    spread = (weights * _sum_squares(points.T)).sum() - (masses * _sum_squares(centers.T)).sum()
    variance = max(float(spread / weights.sum() / 3), 0.0)
    return centers, masses, variance


def _sum_by_bead(owners: NDArray[np.int64], values: Floats, count: int) -> Floats:
    return np.bincount(owners.ravel(), values.ravel(), count).astype(np.float64)


def _sum_squares(offsets: Floats) -> Floats:
    z, y, x = offsets
    return np.asarray(z * z + y * y + x * x)


class _Misfit:
    """Relative squared difference between beads and a density, with its gradient.

    The variables are the centres in units of the first sigma, the logarithms of the masses relative to their mean and
    the logarithm of sigma relative to the first; so all are of order one and no mass turns negative.
    """

    def __init__(self, beads: Beads, points: Floats, values: Floats) -> None:
        self._values = values
        self._count, self._sigma = len(beads.masses), beads.sigma_angstrom
        near = cKDTree(beads.centers_angstrom).query_ball_point(points, REACH_SIGMA * self._sigma, return_sorted=True)
        self._of_bead = np.fromiter((bead for row in near for bead in row), dtype=np.int64)
        self._of_point = np.repeat(np.arange(len(points)), [len(row) for row in near])
        self._pair_points = points.T[:, self._of_point]
        self._norm = float(np.square(values).sum())
        # Any unit of mass will do: start from the heights that fit best.
        heights = self._draw(beads.centers_angstrom, beads.masses, self._sigma)[2]
        scale = float((heights * values).sum() / np.square(heights).sum())
        self._mass = float(beads.masses.mean()) * scale
        relative = np.maximum(beads.masses / beads.masses.mean(), 1e-3)
        self.start = np.concatenate([(beads.centers_angstrom / self._sigma).ravel(), np.log(relative), [0.0]])

    def beads(self, variables: Floats) -> Beads:
        """Return the beads that the variables stand for."""
        centers = variables[: 3 * self._count].reshape(-1, 3) * self._sigma
        masses = self._mass * np.exp(variables[3 * self._count : -1])
        return Beads(centers, masses, float(self._sigma * np.exp(variables[-1])))

    def __call__(self, variables: Floats) -> tuple[float, Floats]:
        """Return the misfit and its gradient."""
        beads = self.beads(variables)
        offsets, kernels, heights = self._draw(beads.centers_angstrom, beads.masses, beads.sigma_angstrom)
        difference = heights - self._values
        pulls = difference[self._of_point] * kernels * beads.masses[self._of_bead]
        by_mass = _sum_by_bead(self._of_bead, pulls, self._count)
        by_center = np.stack([_sum_by_bead(self._of_bead, pulls * row, self._count) for row in offsets], axis=1)
        by_center *= self._sigma / beads.sigma_angstrom**2
        by_sigma = (pulls * _sum_squares(offsets)).sum() / beads.sigma_angstrom**2 - 3 * by_mass.sum()
        gradient = np.concatenate([by_center.ravel(), by_mass, [by_sigma]])
        return float(np.square(difference).sum()) / self._norm, gradient * (2 / self._norm)

    def _draw(self, centers: Floats, masses: Floats, sigma: float) -> tuple[Floats, Floats, Floats]:
        # Of every pair of a point and a near bead: offsets of shape (3, pairs), which is much faster than (pairs, 3).
        offsets = self._pair_points - centers.T[:, self._of_bead]
        # The cube of sigma, without the constant, so that the mass of a bead stays when sigma changes.
        kernels = np.exp(_sum_squares(offsets) / (-2 * sigma**2)) / sigma**3
        heights = _sum_by_bead(self._of_point, kernels * masses[self._of_bead], len(self._values))
        return offsets, kernels, heights
