"""What calibrated candidates of one tomogram say without a truth: how many particles, and which picks are worth it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, gammaincinv, logit

from cryofind.types import CandidateCounts

Floats = NDArray[np.float64]

_INTERVAL = (0.025, 0.975)

# What is taken for the spread before a run is seen, and how many runs that is worth. Judged on simulated runs, each by
# the others: with less than this, fewer than 95 % of the intervals held.
USUAL_SPREAD = 0.65
RUNS_OF_USUAL_SPREAD = 3

# So rarely may more particles than the interval's upper end have no candidate, all of them.
UNSEEN_CHANCE = 0.05

# Factors of abundance are weighed to four standard deviations at this distance of their logarithms.
LOG_FACTOR_STEP = 0.05


@dataclass(frozen=True, eq=False)
class Abundance:
    """How many particles of one object a tomogram is expected to hold.

    Parameters
    ----------
    probabilities
        Of each candidate to be a new hit, shape (N,).
    factor
        Odds of a hit in this tomogram against those where the scores were calibrated; 1 where that is not asked for.
    expected
        Number of particles, those without a candidate included.
    low, high
        95 % interval of that number.
    """

    probabilities: Floats
    factor: float
    expected: float
    low: float
    high: float


def count_candidates(
    calibrated: ArrayLike,
    is_hit: ArrayLike,
    runs: ArrayLike,
    *,
    floor: float,
    references_by_run: Mapping[str, int],
) -> CandidateCounts:
    """Return what the candidates of a calibration add up to.

    Parameters
    ----------
    calibrated
        Calibrated scores of N candidates of one object, all runs pooled.
    is_hit
        Whether each is a new hit (`find_new_hits`), shape (N,).
    runs
        Run of each candidate, shape (N,).
    floor
        Probability below which candidates are left out, below 1.
    references_by_run
        Annotated particles of every run, one or more in all.
    """
    scores, hits, names = np.asarray(calibrated, dtype=np.float64), np.asarray(is_hit, dtype=bool), np.asarray(runs)
    counted = scores >= floor
    found, references = int(np.count_nonzero(hits & counted)), sum(references_by_run.values())
    counts = CandidateCounts(floor, int(np.count_nonzero(counted)), found, references, 0.0)
    estimates = [_estimate(scores[counted & (names == run)], counts) for run in references_by_run]
    return replace(counts, spread=_measure_spread(estimates, list(references_by_run.values())))


def _measure_spread(estimates: Sequence[tuple[float, float, float]], references: Sequence[int]) -> float:
    """Return the drift that explains how far numbers are off beyond their variance; few runs say little of it."""
    expected, variances, slopes = np.array(estimates).T
    degrees = len(references) - 1
    excess = ((np.array(references) - expected) ** 2 - variances).sum() / max((slopes**2).sum(), 1.0)
    known = max(float(excess), 0.0) * len(references) if degrees else 0.0
    return float(np.sqrt((known + RUNS_OF_USUAL_SPREAD * USUAL_SPREAD**2) / (degrees + RUNS_OF_USUAL_SPREAD)))


def estimate_abundance(calibrated: ArrayLike, counts: CandidateCounts, *, factor_spread: float = 0.0) -> Abundance:
    """Return how many particles there are by candidates whose scores were calibrated on other tomograms.

    The number is the sum of the probabilities over the share of particles that have a candidate. Its variance has four
    parts: which candidates are hits (Poisson-binomial), how many particles have no candidate, how well the share of
    those is known, and how scores drift from tomogram to tomogram (`counts.spread`). The interval is that of a gamma
    distribution of this mean and variance; it reaches at least as many particles as may well all be without a
    candidate, which is what few or no candidates leave open.

    With a `factor_spread` the odds of all candidates are multiplied by a factor, for particles that are rarer or more
    frequent than where scores were calibrated. Its likelihood is that of Saerens, Latinne & Decaestecker (2002, Neural
    Computation 14, 21-41), whose maximum is what their expectation maximisation climbs to; here it is weighed with a
    prior, and all factors are weighed, not the best one taken: a tomogram with few particles says little.

    Parameters
    ----------
    calibrated
        Calibrated scores of N candidates of one object and one tomogram, 0 to 1. Those below `counts.floor` have a
        probability, but are not counted.
    counts
        What is known of the candidates that the calibration was learnt from.
    factor_spread
        Standard deviation of the logarithm of the factor before anything is seen; 0: the factor is 1.
    """
    log_odds = np.asarray(logit(np.clip(np.asarray(calibrated, dtype=np.float64).reshape(-1), 1e-12, 1 - 1e-12)))
    counted = expit(log_odds) >= counts.floor
    log_factors, weights = _weigh_factors(log_odds[counted], counts, factor_spread)
    shifted = expit(log_odds[:, None] + log_factors)
    estimates = [_estimate(shifted[counted, column], counts) for column in range(len(weights))]
    numbers, variances, slopes = np.array(estimates).T
    expected = float(weights @ numbers)
    variance = float(weights @ (variances + (slopes * counts.spread) ** 2 + (numbers - expected) ** 2))
    factor = float(np.exp(weights @ log_factors))
    low, high = _interval(expected, variance)
    unseen = float(np.log(UNSEEN_CHANCE) / np.log1p(-counts.recall))
    return Abundance(shifted @ weights, factor, expected, low, max(high, unseen))


def _estimate(probabilities: Floats, counts: CandidateCounts) -> tuple[float, float, float]:
    """Return the number of particles of a tomogram, its variance by chance, and its slope over a shift of log-odds."""
    recall = counts.recall
    number, slope = float(probabilities.sum()) / recall, float((probabilities * (1 - probabilities)).sum()) / recall
    without_candidate = number * (1 - recall) / recall
    unknown_recall = number**2 * (1 - recall) / recall / (counts.references + 2)
    return number, slope / recall + without_candidate + unknown_recall, slope


def _weigh_factors(log_odds: Floats, counts: CandidateCounts, spread: float) -> tuple[Floats, Floats]:
    """Return logarithms of factors and their posterior weights, both of shape (F,); the sum of weights is 1.

    A candidate of calibrated odds o is, at a factor f, (1 + f o) / (1 + f o0) times as likely as where f is 0; o0 are
    the odds of all candidates together where scores were calibrated.
    """
    if spread == 0:
        return np.zeros(1), np.ones(1)
    reach = int(np.ceil(4 * spread / LOG_FACTOR_STEP))
    log_factors = LOG_FACTOR_STEP * np.arange(-reach, reach + 1, dtype=np.float64)
    posterior = np.logaddexp(0, log_odds[:, None] + log_factors).sum(axis=0)
    posterior -= len(log_odds) * np.logaddexp(0, np.log(counts.odds) + log_factors)
    posterior -= (log_factors / spread) ** 2 / 2
    weights = np.exp(posterior - posterior.max())
    return log_factors, np.asarray(weights / weights.sum())


def _interval(mean: float, variance: float) -> tuple[float, float]:
    if mean == 0:
        return 0.0, 0.0
    low, high = gammaincinv(mean**2 / variance, _INTERVAL) * variance / mean
    return float(low), float(high)


def count_expected_best(probabilities: ArrayLike, expected: float, *, beta: float) -> int:
    """Return how many of the best candidates to select for the highest expected F-beta.

    F-beta of the k best is taken to be (1 + beta^2) * (sum of their probabilities) / (beta^2 * expected + k).

    Parameters
    ----------
    probabilities
        Of N candidates to be new hits, in any order.
    expected
        Expected number of particles.
    beta
        Weight of recall against precision.
    """
    best_first = np.sort(np.asarray(probabilities, dtype=np.float64).reshape(-1))[::-1]
    if not len(best_first) or best_first[0] == 0:
        return 0
    ranks = np.arange(1, len(best_first) + 1)
    return int(np.argmax(np.cumsum(best_first) / (beta**2 * expected + ranks))) + 1
