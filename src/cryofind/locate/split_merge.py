"""Regions of high probability, merged neighbours split at seeds a radius apart."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from cryofind.config import TargetConfig
from cryofind.locate.peaks import find_candidate_cells, find_peaks
from cryofind.locate.suppress import suppress_neighbours

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Regions up to this many target balls are one particle and skip the distance transform.
LARGEST_SINGLE_BALLS = 1.25

# A seed must lie at least this deep, relative to the deepest of its region: shallower ones are bumps of the surface.
LEAST_SEED_DEPTH = 0.5

# What a probability of 1 adds to a depth: less than the step between two depths of any particle's size.
EQUAL_DEPTH_CELLS = 0.01

# Radius, in particle radii, of the ball that the limits of volume refer to: the training target by default.
TARGET_RADIUS_FACTOR = TargetConfig().radius_factor


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of one channel.

    Parameters
    ----------
    centroids_zyx
        Mean index weighted by probability, shape (N, 3).
    scores
        Highest probability in the region, float32, shape (N,).
    volumes_cells
        Number of cells, shape (N,).
    """

    centroids_zyx: Floats
    scores: NDArray[np.float32]
    volumes_cells: Ints

    def __len__(self) -> int:
        return len(self.scores)


def find_regions(
    probability_zyx: NDArray[np.floating],
    *,
    threshold: float,
    radius_angstrom: float,
    spacing_zyx_angstrom: tuple[float, float, float],
    subject: str = "probabilities",
) -> Regions:
    """Find connected regions (26 neighbours) of at least `threshold` and split those that hold several particles.

    A region is split at maxima of the distance to its surface that lie at least one radius apart; every cell goes to
    its nearest seed, which for balls that touch is the plane between them.

    Parameters
    ----------
    probability_zyx
        Floating array (z, y, x), values 0 to 1.
    threshold
        Least probability of a region's cells.
    radius_angstrom
        Radius of the particle.
    spacing_zyx_angstrom
        Size of a cell.
    subject
        What the volume is, for the error.

    Returns
    -------
    Regions

    Raises
    ------
    ModelError
        If a probability is NaN or infinite.
    """
    probability = np.ascontiguousarray(probability_zyx)
    cells = find_candidate_cells(probability, floor=threshold, subject=subject)
    is_inside = np.zeros(probability.shape, bool)
    is_inside.reshape(-1)[cells] = True
    labels, count = ndimage.label(is_inside, structure=np.ones((3, 3, 3), bool))
    region_of_cell = labels.reshape(-1)[cells].astype(np.int64) - 1
    cells_zyx = np.stack(np.unravel_index(cells, probability.shape), axis=1).astype(np.int64)
    ball_cells = volume_of_target_ball(radius_angstrom) / float(np.prod(spacing_zyx_angstrom))
    sizes = np.bincount(region_of_cell, minlength=count)
    boxes = ndimage.find_objects(labels)
    next_region = count
    for region in np.flatnonzero(sizes > LARGEST_SINGLE_BALLS * ball_cells):
        box = boxes[region]
        seeds = _find_seeds(labels[box] == region + 1, probability[box], radius_angstrom, spacing_zyx_angstrom)
        seeds += [axis.start for axis in box]
        members = np.flatnonzero(region_of_cell == region)
        nearest = _nearest_seeds(cells_zyx[members], seeds, spacing_zyx_angstrom)
        region_of_cell[members] = np.where(nearest == 0, region, next_region + nearest - 1)
        next_region += len(seeds) - 1
    return _measure_regions(cells_zyx, probability.reshape(-1)[cells], region_of_cell, next_region)


def volume_of_target_ball(radius_angstrom: float) -> float:
    """Return the volume, cubic Angstrom, of the ball that networks learn by default (`TargetConfig.radius_factor`)."""
    return float(4 / 3 * np.pi * (TARGET_RADIUS_FACTOR * radius_angstrom) ** 3)


def _find_seeds(
    is_region_zyx: NDArray[np.bool_],
    probability_zyx: NDArray[np.floating],
    radius_angstrom: float,
    spacing_zyx_angstrom: tuple[float, float, float],
) -> Floats:
    """Return indices (S, 3) of the deepest places of a region, at least one radius apart, deepest first."""
    padded = np.pad(is_region_zyx, 1)
    depths = ndimage.distance_transform_edt(padded, sampling=spacing_zyx_angstrom).astype(np.float32)
    # Depths take few values; of equally deep places the more probable leads.
    depths += EQUAL_DEPTH_CELLS * min(spacing_zyx_angstrom) * np.where(padded, np.pad(probability_zyx, 1), 0)
    peaks = find_peaks(depths, floor=LEAST_SEED_DEPTH * float(depths.max()))
    seeds = peaks.centres_zyx - 1
    kept = suppress_neighbours(
        seeds * np.array(spacing_zyx_angstrom),
        peaks.scores,
        np.zeros(len(seeds), np.int64),
        separations_angstrom=np.array([[radius_angstrom]]),
    )
    return np.asarray(seeds[kept])


def _nearest_seeds(cells_zyx: Ints, seeds_zyx: Floats, spacing_zyx_angstrom: tuple[float, float, float]) -> Ints:
    if len(seeds_zyx) == 1:
        return np.zeros(len(cells_zyx), np.int64)
    spacing = np.array(spacing_zyx_angstrom)
    _, nearest = KDTree(seeds_zyx * spacing).query(cells_zyx * spacing)
    return np.asarray(nearest, dtype=np.int64)


def _measure_regions(cells_zyx: Ints, probabilities: NDArray[np.floating], region_of_cell: Ints, count: int) -> Regions:
    volumes = np.bincount(region_of_cell, minlength=count)
    weights = probabilities.astype(np.float64)
    masses = np.bincount(region_of_cell, weights=weights, minlength=count)
    moments = [np.bincount(region_of_cell, weights=weights * axis, minlength=count) for axis in cells_zyx.T]
    scores = np.zeros(count, np.float32)
    np.maximum.at(scores, region_of_cell, probabilities.astype(np.float32))
    is_filled = volumes > 0
    centroids = np.stack(moments, axis=1)[is_filled] / masses[is_filled, None]
    return Regions(centroids, scores[is_filled], volumes[is_filled].astype(np.int64))
