"""Positions between the cells."""

import numpy as np
from numpy.typing import NDArray

from cryofind.locate.peaks import Peaks

Floats = NDArray[np.float64]
Triple = tuple[float, float, float]

# Probabilities nearer to 0 or 1 than this are rounding, not information: half a step of float16 below 1.
LEAST_PROBABILITY = 2.0**-12

MOST_OFFSET_CELLS = 0.75

# Smaller windows hold too few cells for a mean to better the parabola.
LEAST_WINDOW_CELLS = 2.5

RECENTRE_STEPS = 3

# Cells gathered at once, which bounds the memory to some tens of megabytes.
CELLS_AT_ONCE = 500_000


def refine_peaks(probability_zyx: NDArray[np.floating], peaks: Peaks) -> Floats:
    """Return fractional indices of maxima: the vertex of a parabola fitted to the log-odds along every axis.

    The parabola along an axis is the least-squares fit to all nine lines of the 3 x 3 x 3 neighbourhood, which is
    less moved by noise than the middle line alone, and lies exactly right for a Gaussian of log-odds. An axis along
    which a neighbour is missing (at a face) keeps the cell's index. A plateau is placed at its mean.

    Parameters
    ----------
    probability_zyx
        Floating array (z, y, x), values 0 to 1.
    peaks
        Its maxima, N of them.

    Returns
    -------
    ndarray of shape (N, 3)
        Indices zyx, at most 0.75 cells from the maximum's cell along every axis.
    """
    cells = peaks.cells_zyx
    log_odds = _log_odds_around(probability_zyx, cells)
    at_face = (cells == 0) | (cells == np.array(probability_zyx.shape) - 1)
    offsets = np.where(at_face, 0.0, _parabola_vertices(log_odds))
    offsets = np.where(peaks.is_plateau[:, None], peaks.centres_zyx - cells, offsets)
    return np.asarray(cells + np.clip(offsets, -MOST_OFFSET_CELLS, MOST_OFFSET_CELLS))


def _log_odds_around(probability_zyx: NDArray[np.floating], cells_zyx: NDArray[np.int64]) -> Floats:
    """Return the log-odds of the 3 x 3 x 3 cells around each of N cells, shape (N, 3, 3, 3), clipped at the faces."""
    steps = np.arange(-1, 2)
    z, y, x = (
        np.clip(cells_zyx[:, axis, None] + steps, 0, size - 1) for axis, size in enumerate(probability_zyx.shape)
    )
    around = probability_zyx[z[:, :, None, None], y[:, None, :, None], x[:, None, None, :]].astype(np.float64)
    bounded = np.clip(around, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.asarray(np.log(bounded / (1 - bounded)))


def _parabola_vertices(values: Floats) -> Floats:
    """Return the offset (N, 3) of the vertex of the parabola along each axis of values (N, 3, 3, 3); 0 where flat."""
    offsets = np.zeros((len(values), 3))
    for axis in range(3):
        others = tuple(other + 1 for other in range(3) if other != axis)
        low, middle, high = values.mean(axis=others).T
        slope, curvature = (high - low) / 2, high - 2 * middle + low
        is_peaked = curvature < -1e-9
        offsets[:, axis] = np.where(is_peaked, -slope / np.where(is_peaked, curvature, -1.0), 0.0)
    return offsets


def recentre_peaks(
    probability_zyx: NDArray[np.floating], indices_zyx: Floats, *, window_angstrom: float, spacing_zyx_angstrom: Triple
) -> Floats:
    """Move positions to the centre of mass of the squared probability in a ball around them, a few times over.

    A network that was taught balls answers with a flat top, on which noise puts the maximum anywhere; the mean of
    the whole ball is steadier. On simulated noisy balls of half the radius (20 Angstrom cells, a neighbour at 1.6
    radii) a window of 0.8 radii takes the mean error from 19-34 to 2-7 Angstrom for radii of 130-150, and changes
    nothing for 60. Squares count the low probabilities around the ball, and weaker neighbours, for less. Windows of
    less than 2.5 cells are left alone.

    Parameters
    ----------
    probability_zyx
        Floating array (z, y, x), values 0 to 1.
    indices_zyx
        Fractional indices, shape (N, 3).
    window_angstrom
        Radius of the ball; its edge is soft over one cell.
    spacing_zyx_angstrom
        Size of a cell.

    Returns
    -------
    ndarray of shape (N, 3)
        Indices zyx, at most one window away from where they were.
    """
    spacing = np.array(spacing_zyx_angstrom)
    if window_angstrom < LEAST_WINDOW_CELLS * spacing.max():
        return indices_zyx
    steps, kernel = draw_soft_ball(window_angstrom, spacing)
    reach = steps.max(axis=0)
    padded = np.pad(probability_zyx, [(int(cells), int(cells)) for cells in reach])
    moved, cells = indices_zyx.copy(), np.rint(indices_zyx).astype(np.int64)
    rows = np.arange(len(moved))
    for _ in range(RECENTRE_STEPS):
        masses, means = _mean_around(padded, cells[rows] + reach, steps, kernel)
        has_mass = masses > 0
        rows, means = rows[has_mass], means[has_mass]
        moved[rows] = cells[rows] + means
        nearest = np.rint(moved[rows]).astype(np.int64)
        has_moved = (nearest != cells[rows]).any(axis=1)
        cells[rows] = nearest
        rows = rows[has_moved]
    shifts = (moved - indices_zyx) * spacing
    lengths = np.linalg.norm(shifts, axis=1, keepdims=True)
    shortened = shifts * np.minimum(1.0, window_angstrom / np.maximum(lengths, 1e-9))
    return np.asarray(indices_zyx + shortened / spacing)


def draw_soft_ball(window_angstrom: float, spacing: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Return the cells (C, 3) of a ball around the origin and their weights (C,), falling to 0 over one cell."""
    reach = np.ceil(window_angstrom / spacing + 0.5).astype(int)
    cube = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    distances = np.linalg.norm(cube * spacing, axis=1)
    weights = np.clip((window_angstrom - distances) / spacing.mean() + 0.5, 0, 1)
    return cube[weights > 0], weights[weights > 0]


def _mean_around(
    padded_zyx: NDArray[np.floating], cells_zyx: NDArray[np.int64], steps_zyx: NDArray[np.int64], kernel: Floats
) -> tuple[Floats, Floats]:
    """Return the weighted sum (N,) of the squares around each cell (N, 3) and their mean offset (N, 3)."""
    flat = padded_zyx.reshape(-1)
    strides = np.array([padded_zyx.shape[1] * padded_zyx.shape[2], padded_zyx.shape[2], 1])
    places, flat_steps = cells_zyx @ strides, steps_zyx @ strides
    moments = (kernel[:, None] * np.column_stack([np.ones(len(kernel)), steps_zyx])).astype(np.float32)
    sums = np.zeros((len(cells_zyx), 4))
    block_size = max(1, CELLS_AT_ONCE // len(kernel))
    for start in range(0, len(sums), block_size):
        block = slice(start, start + block_size)
        values = flat[places[block, None] + flat_steps].astype(np.float32, copy=False)
        sums[block] = np.square(values) @ moments
    return sums[:, 0], sums[:, 1:] / np.maximum(sums[:, :1], 1e-12)
