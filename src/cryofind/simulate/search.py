"""Minimum of a sum of squares of numbers that are costly and noisy: a straight-line model, mended after each look.

A simulation gives many numbers at once, and each depends smoothly on the parameters. So a linear model of all of them
around the best point, weighted by nearness, says in which direction to go; every point that was looked at helps.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

Floats = NDArray[np.float64]
Evaluate = Callable[[Floats], Floats]

# Points looked at together. Not the number of cores, or the result would depend on the computer.
BATCH = 4
# How far the model is trusted, in widths of the unit cube, at first and at last.
REACH = (0.4, 0.12)
# A slope of 1 per width of the cube has to show in the rows to be believed; keeps what cannot be seen where it is.
SLOPE_PENALTY = 0.05
STEP_PENALTY = 0.05


@dataclass(frozen=True, eq=False)
class Trials:
    """Points that were looked at.

    Parameters
    ----------
    points
        In the unit cube, shape (N, D).
    rows
        What was found, shape (N, M), with noise; the sum of the squares of a row is to be small.
    """

    points: Floats
    rows: Floats

    def with_more(self, points: Floats, rows: Floats) -> "Trials":
        """Return these and more."""
        return Trials(np.concatenate([self.points, points]), np.concatenate([self.rows, rows]))

    def find_center(self, reach: float) -> tuple[Floats, float]:
        """Return the point whose neighbourhood is lowest, and the root of the sum of squares there.

        A single low row may be luck; the model around a point has seen its neighbours too.
        """
        costs = [float(np.linalg.norm(fit_lines(self, point, reach)[0])) for point in self.points]
        best = int(np.argmin(costs))
        return self.points[best], costs[best]


def spread_points(count: int, dimensions: int, random: np.random.Generator) -> Floats:
    """Return points that cover the unit cube evenly along each axis (a Latin hypercube), shape (count, dimensions)."""
    ranks = np.stack([random.permutation(count) for _ in range(dimensions)], axis=1)
    return np.asarray((ranks + random.random((count, dimensions))) / count)


def minimise(
    evaluate: Evaluate,
    trials: Trials,
    *,
    budget: int,
    random: np.random.Generator,
    reach: tuple[float, float] = REACH,
) -> Trials:
    """Look at more points, nearer and nearer to the minimum.

    Parameters
    ----------
    evaluate
        Points (N, D) -> rows (N, M).
    trials
        Points that were looked at before, at least one.
    budget
        Number of points in all.
    random
        Source of randomness.
    reach
        How far from the best place the model is trusted, at first and at last.

    Returns
    -------
    Trials
        Those given, and the new ones.
    """
    batches = max(1, -(-(budget - len(trials.points)) // BATCH))
    for distance in np.geomspace(*reach, batches):
        count = min(BATCH, budget - len(trials.points))
        if count <= 0:
            break
        points = propose_points(trials, count, float(distance), random)
        trials = trials.with_more(points, evaluate(points))
    return trials


def propose_points(trials: Trials, count: int, reach: float, random: np.random.Generator) -> Floats:
    """Return the minimum of the local model, and points scattered around it."""
    minimum = find_minimum(trials, reach)
    scatter = random.normal(0, reach / 2, (count, len(minimum)))
    scatter[0] = 0
    return np.asarray(np.clip(minimum + scatter, 0.0, 1.0))


def find_minimum(trials: Trials, reach: float) -> Floats:
    """Return the minimum of the model around the best neighbourhood, no farther from there than the reach, (D,)."""
    center, _ = trials.find_center(reach)
    level, slopes = fit_lines(trials, center, reach)
    dimensions = len(center)
    matrix = np.concatenate([slopes.T, STEP_PENALTY * np.eye(dimensions)])
    wanted = np.concatenate([-level, np.zeros(dimensions)])
    bounds = (np.maximum(-reach, -center) - 1e-9, np.minimum(reach, 1 - center) + 1e-9)
    return np.asarray(np.clip(center + lsq_linear(matrix, wanted, bounds).x, 0.0, 1.0))


def fit_lines(trials: Trials, center: Floats, reach: float) -> tuple[Floats, Floats]:
    """Return rows at a centre (M,) and their slopes (D, M), from the points around it.

    A point at distance d counts exp(-d^2 / (2 D reach^2)): about as much in one dimension as in many.
    """
    offsets = trials.points - center
    squares = np.square(offsets).sum(axis=1) / offsets.shape[1]
    weights = np.exp(-squares / (2 * reach**2))
    design = np.concatenate([np.ones((len(offsets), 1)), offsets], axis=1)
    penalty = np.diag([0.0] + [SLOPE_PENALTY] * offsets.shape[1])
    normal = design.T @ (weights[:, None] * design) + penalty
    coefficients = np.linalg.solve(normal, design.T @ (weights[:, None] * trials.rows))
    return coefficients[0], coefficients[1:]


def estimate_errors(trials: Trials, independent: int) -> Floats:
    """Return how well the minimum's coordinates are known, standard deviations, shape (D,).

    Parameters
    ----------
    trials
        All points that were looked at.
    independent
        How many numbers of standard deviation 1 a row stands for, were it not scaled to a mean.

    Notes
    -----
    From the slopes around the minimum; before anything is seen, a coordinate lies anywhere in the cube (standard
    deviation 0.29). A fit that leaves a cost above 1 is no more exact than that cost says.
    """
    center, cost = trials.find_center(REACH[1])
    slopes = fit_lines(trials, center, 2 * REACH[1])[1]
    information = independent / max(1.0, cost) ** 2 * slopes @ slopes.T + 12 * np.eye(len(slopes))
    return np.asarray(np.sqrt(np.diag(np.linalg.inv(information))))
