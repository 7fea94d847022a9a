"""Scores that mean what they say: of picks scored 0.3, three in ten are real."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, log_expit, logit

Floats = NDArray[np.float64]
Calibration = tuple[float, float]

IDENTITY: Calibration = (1.0, 0.0)

# Scores nearer to 0 or 1 than this are treated as if they were this far, so that log-odds stay finite.
LEAST_SCORE = 1e-6

# Strength of the pull towards (slope 1, intercept 0): that of about one observation.
PRIOR_PRECISION = 1.0


def fit_calibration(scores: ArrayLike, is_hit: ArrayLike) -> Calibration:
    """Fit the slope and intercept of calibrated log-odds = slope * log-odds of the score + intercept.

    Platt scaling (Platt 1999, "Probabilistic outputs for support vector machines") on log-odds by maximum likelihood
    with a weak pull towards the identity. The slope is positive, so the order of candidates stays.

    Parameters
    ----------
    scores
        Scores of N candidates of one object, 0 to 1.
    is_hit
        Whether each is real, shape (N,).

    Returns
    -------
    tuple of float
        Slope and intercept; (1, 0) if all candidates are of one kind, real or not.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    log_odds = _log_odds(np.asarray(scores, dtype=np.float64).reshape(-1))
    hits = np.asarray(is_hit, dtype=bool).reshape(-1)
    if len(hits) != len(log_odds):
        raise ValueError(f"{len(log_odds)} scores but {len(hits)} answers")
    if hits.all() or not hits.any():
        return IDENTITY
    signs = np.where(hits, 1.0, -1.0)

    def cost_and_gradient(parameters: Floats) -> tuple[float, Floats]:
        slope, intercept = np.exp(parameters[0]), parameters[1]
        margins = signs * (slope * log_odds + intercept)
        residuals = -signs * expit(-margins)
        cost = -log_expit(margins).sum() + PRIOR_PRECISION * (parameters**2).sum() / 2
        gradient = np.array([(residuals * log_odds).sum() * slope, residuals.sum()])
        return float(cost), gradient + PRIOR_PRECISION * parameters

    from scipy.optimize import minimize  # slow to import, and picking does without

    # The logarithm of the slope is fitted, which keeps the slope positive; bounds keep the line search sane.
    result = minimize(cost_and_gradient, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-5, 3), (-30, 30)])
    return float(np.exp(result.x[0])), float(result.x[1])


def apply_calibration(scores: ArrayLike, calibration: Calibration) -> Floats:
    """Return calibrated scores, 0 to 1, in the shape of `scores`; (1, 0) leaves them as they are."""
    raw = np.asarray(scores, dtype=np.float64)
    slope, intercept = calibration
    if (slope, intercept) == IDENTITY:
        return raw
    return np.asarray(expit(slope * _log_odds(raw) + intercept))


def undo_calibration(scores: ArrayLike, calibration: Calibration) -> Floats:
    """Return the raw scores, 0 to 1, that `apply_calibration` turns into these, 0 to 1."""
    slope, intercept = calibration
    return np.asarray(expit((_log_odds(np.asarray(scores, dtype=np.float64)) - intercept) / slope))


def _log_odds(scores: Floats) -> Floats:
    return np.asarray(logit(np.clip(scores, LEAST_SCORE, 1 - LEAST_SCORE)))
