"""Scores that mean what they say: of picks scored 0.3, three in ten find a particle that no better pick has found."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit, logit

from cryofind.types import Calibration

Floats = NDArray[np.float64]

# Scores nearer to 0 or 1 than this are treated as if they were this far, so that log-odds stay finite.
LEAST_SCORE = 1e-6

# From so many hits on there are more than two parameters to be had from them.
HITS_FOR_A_CURVE = 200

# Knots of a curve, and the strength with which the logarithms of neighbouring slopes are held together; the strength
# of the pull towards height 0 and slope 1, that of about one observation, is 1.
KNOTS = 8
SMOOTHNESS = 4.0


def find_new_hits(scores: ArrayLike, pairs: ArrayLike) -> NDArray[np.bool_]:
    """Say which candidates find a particle that no candidate with a higher score reaches.

    Parameters
    ----------
    scores
        Scores of N candidates of one object, all runs pooled.
    pairs
        Shape (P, 2): index of a candidate and index of a reference in its reach.

    Returns
    -------
    ndarray of bool
        Shape (N,). Of several candidates in reach of one reference only the best is a hit, the first of equal ones;
        one that is the best for two references counts once.
    """
    score_array = np.asarray(scores, dtype=np.float64).reshape(-1)
    candidates, references = np.asarray(pairs, dtype=np.int64).reshape(-1, 2).T
    best_first = np.lexsort((candidates, -score_array[candidates]))
    _, first = np.unique(references[best_first], return_index=True)
    is_new = np.zeros(len(score_array), bool)
    is_new[candidates[best_first[first]]] = True
    return is_new


def fit_calibration(scores: ArrayLike, is_hit: ArrayLike) -> Calibration | None:
    """Return how the scores of one object become probabilities: a line between log-odds, from 200 hits on a curve.

    The line is Platt scaling (Platt 1999, "Probabilistic outputs for support vector machines") on log-odds by maximum
    likelihood with a weak pull towards the identity. The curve is isotonic regression made smooth: straight pieces
    between a few knots, each with a positive slope, fitted likewise, with a pull that holds the slopes of neighbours
    together. Both ascend strictly, so the order of candidates stays.

    Parameters
    ----------
    scores
        Scores of N candidates of one object, 0 to 1.
    is_hit
        Whether each is a new hit (`find_new_hits`), shape (N,).

    Returns
    -------
    Calibration or None
        None if all candidates are of one kind, so that nothing can be learnt.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    raw = to_log_odds(np.asarray(scores, dtype=np.float64).reshape(-1))
    hits = np.asarray(is_hit, dtype=bool).reshape(-1)
    if len(hits) != len(raw):
        raise ValueError(f"{len(raw)} scores but {len(hits)} answers")
    if hits.all() or not hits.any():
        return None
    line = _fit_pieces(raw, hits, np.array([-1.0, 1.0]))
    if np.count_nonzero(hits) < HITS_FOR_A_CURVE:
        return line
    knots = _place_knots(raw, line)
    return _fit_pieces(raw, hits, knots) if len(knots) > 2 else line


def _place_knots(raw: Floats, line: Calibration) -> Floats:
    """Return raw log-odds between which the candidates tell equally much of the curve, by the variance of hits."""
    ascending = np.sort(raw)
    probabilities = expit(_follow(ascending, *np.array(line.knots).T))
    told = np.cumsum(probabilities * (1 - probabilities))
    return np.unique(np.round(np.interp(np.linspace(0, 1, KNOTS) * told[-1], told, ascending), 3))


def _fit_pieces(raw: Floats, hits: NDArray[np.bool_], knots: Floats) -> Calibration:
    """Return the likeliest curve with these knots, ascending raw log-odds: with two of them a line.

    The parameters are its height at raw log-odds 0 and the logarithms of its slopes, which keeps these positive.
    """
    parts, parts_at_knots = _split_at(raw, knots), _split_at(knots, knots)
    signs = np.where(hits, 1.0, -1.0)

    def cost_and_gradient(parameters: Floats) -> tuple[float, Floats]:
        height, log_slopes = parameters[0], parameters[1:]
        slopes, bends, mean = np.exp(log_slopes), np.diff(log_slopes), log_slopes.mean()
        margins = signs * (height + parts @ slopes)
        residuals = -signs * expit(-margins)
        cost = -log_expit(margins).sum() + (height**2 + mean**2 + SMOOTHNESS * (bends**2).sum()) / 2
        slope_pull = mean / len(slopes) - SMOOTHNESS * np.diff(bends, prepend=0, append=0)
        gradient = [[residuals.sum() + height], slopes * (residuals @ parts) + slope_pull]
        return float(cost), np.concatenate(gradient)

    from scipy.optimize import minimize  # slow to import, and picking does without

    # Bounds keep the line search sane.
    bounds = [(-30.0, 30.0), *[(-5.0, 3.0)] * parts.shape[1]]
    result = minimize(cost_and_gradient, np.zeros(len(bounds)), jac=True, method="L-BFGS-B", bounds=bounds)
    calibrated = result.x[0] + parts_at_knots @ np.exp(result.x[1:])
    return Calibration(tuple(zip(knots.tolist(), calibrated.tolist(), strict=True)))


def _split_at(raw: Floats, knots: Floats) -> Floats:
    """Return how much of the way from 0 to each value lies in each piece, shape (N, pieces); the outer ones go on."""
    edges = np.concatenate([[-np.inf], knots[1:-1], [np.inf]])
    return np.asarray(np.clip(raw[:, None], edges[:-1], edges[1:]) - np.clip(0.0, edges[:-1], edges[1:]))


def apply_calibration(scores: ArrayLike, calibration: Calibration) -> Floats:
    """Return calibrated scores, 0 to 1, in the shape of `scores`."""
    raw, calibrated = np.array(calibration.knots).T
    return np.asarray(expit(_follow(to_log_odds(np.asarray(scores, dtype=np.float64)), raw, calibrated)))


def undo_calibration(scores: ArrayLike, calibration: Calibration) -> Floats:
    """Return the raw scores, 0 to 1, that `apply_calibration` turns into these, 0 to 1."""
    raw, calibrated = np.array(calibration.knots).T
    log_odds = logit(np.clip(np.asarray(scores, dtype=np.float64), np.finfo(float).eps, 1 - np.finfo(float).eps))
    return np.asarray(expit(_follow(log_odds, calibrated, raw)))


def _follow(values: Floats, starts: Floats, ends: Floats) -> Floats:
    """Return where straight lines between knots, the first and last of which go on, lead from these values."""
    segments = np.clip(np.searchsorted(starts, values, side="right") - 1, 0, len(starts) - 2)
    slopes = np.diff(ends) / np.diff(starts)
    return np.asarray(ends[segments] + slopes[segments] * (values - starts[segments]))


def to_log_odds(scores: Floats) -> Floats:
    """Return the log-odds of scores, which stay a little away from 0 and 1."""
    return np.asarray(logit(np.clip(scores, LEAST_SCORE, 1 - LEAST_SCORE)))
