"""Positions between the cells."""

import numpy as np
from numpy.typing import NDArray

from cryofind.locate.peaks import Peaks

Floats = NDArray[np.float64]

# Probabilities nearer to 0 or 1 than this are rounding, not information: half a step of float16 below 1.
LEAST_PROBABILITY = 2.0**-12

MOST_OFFSET_CELLS = 0.75


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
