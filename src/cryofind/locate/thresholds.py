"""The score above which picks are worth submitting."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Selections whose F-beta differs by less than this many hits count as equally good. Judged on simulated recipes that a
# network had not learnt: half a hit was better than none on all of them, and cost nothing where it had.
EQUAL_HITS = 0.5


@dataclass(frozen=True, eq=False)
class ThresholdCurve:
    """What every distinct score would give as threshold, highest first; arrays of shape (T,).

    Parameters
    ----------
    thresholds
        The distinct scores: candidates at or above are selected.
    true_positives
        Distinct references hit.
    candidate_counts
        Candidates selected.
    f_beta
        F-beta of the selection.
    """

    thresholds: Floats
    true_positives: NDArray[np.int64]
    candidate_counts: NDArray[np.int64]
    f_beta: Floats

    @property
    def best(self) -> float:
        """The highest F-beta of all; 0 without candidates."""
        return float(self.f_beta.max(initial=0.0))


@dataclass(frozen=True, eq=False)
class Threshold:
    """The threshold of one object.

    Parameters
    ----------
    value
        Candidates with at least this score are selected.
    f_beta
        F-beta of that selection, at most half a hit below the best; 0 if no candidate hits a reference, and then
        `value` says nothing.
    curve
        F-beta of all thresholds.
    """

    value: float
    f_beta: float
    curve: ThresholdCurve


def fit_threshold(scores: ArrayLike, pairs: ArrayLike, reference_count: int, *, beta: float) -> Threshold:
    """Return a threshold of (nearly) the highest F-beta over candidates of which it is known what they hit.

    F-beta = (1 + beta^2) TP / (beta^2 reference_count + selected candidates), where TP counts the distinct references
    hit by a selected candidate (the challenge's rule in closed form).

    Any value down to the next lower score selects the same, and selections whose F-beta differs by less than half of
    what one hit is worth are taken as equally good: another tomogram would have ordered them otherwise. Of all equally
    good values the nearest is taken to the probability from which on a further pick raises the expected F-beta, best
    F-beta / (1 + beta^2) (Lipton et al. 2014, arXiv:1402.1892, for beta 1), but it stays 1 / (1 + beta^2) of the way
    above a score that is too low: a pick too few costs beta^2 times as much as one too many.

    Parameters
    ----------
    scores
        Scores of N candidates of one object, all runs pooled.
    pairs
        Shape (P, 2): index of a candidate and index of a reference in its reach. A candidate may hit several
        references, a reference may be hit by several candidates. A row's reference -1 stands for none.
    reference_count
        Number of references, missed ones included, at least 1.
    beta
        Weight of recall against precision.

    Returns
    -------
    Threshold

    Raises
    ------
    ValueError
        If there is no reference, a score is not finite, or an index is out of range.
    """
    score_array = np.asarray(scores, dtype=np.float64).reshape(-1)
    pair_array = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    pair_array = pair_array[pair_array[:, 1] >= 0]
    _check(score_array, pair_array, reference_count)
    curve = _trace_curve(score_array, pair_array, reference_count, beta)
    if not len(curve.f_beta) or curve.f_beta.max() == 0:
        return Threshold(1.0, 0.0, curve)
    value, f_beta = _choose_value(curve, beta, reference_count)
    return Threshold(value, f_beta, curve)


def _check(scores: Floats, pairs: NDArray[np.int64], reference_count: int) -> None:
    if reference_count < 1:
        raise ValueError("a threshold needs at least one reference")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    if len(pairs) and (pairs[:, 0].min() < 0 or (pairs.max(axis=0) >= (len(scores), reference_count)).any()):
        raise ValueError(f"pairs name candidates or references beyond {len(scores)} and {reference_count}")


def _trace_curve(scores: Floats, pairs: NDArray[np.int64], reference_count: int, beta: float) -> ThresholdCurve:
    thresholds = np.unique(scores)[::-1]
    best_hit = np.full(reference_count, -np.inf)
    np.maximum.at(best_hit, pairs[:, 1], scores[pairs[:, 0]])
    candidate_counts = _count_at_least(scores, thresholds)
    true_positives = _count_at_least(best_hit, thresholds)
    f_beta = (1 + beta**2) * true_positives / (beta**2 * reference_count + candidate_counts)
    return ThresholdCurve(thresholds, true_positives, candidate_counts, f_beta)


def _count_at_least(values: Floats, thresholds: Floats) -> NDArray[np.int64]:
    return np.asarray(len(values) - np.searchsorted(np.sort(values), thresholds, side="left"), dtype=np.int64)


def _choose_value(curve: ThresholdCurve, beta: float, reference_count: int) -> tuple[float, float]:
    """Return the chosen value and its F-beta."""
    best = int(np.argmax(curve.f_beta))
    share = 1 / (1 + beta**2)
    worth_of_a_hit = 1 / (share * (beta**2 * reference_count + curve.candidate_counts[best]))
    equal = np.flatnonzero(curve.f_beta >= curve.f_beta[best] - EQUAL_HITS * worth_of_a_hit)
    next_lower = np.append(curve.thresholds[1:], curve.thresholds[-1])[equal]
    highest = curve.thresholds[equal]
    worth_picking = curve.f_beta[best] * share
    values = np.clip(worth_picking, next_lower + share * (highest - next_lower), highest)
    chosen = int(np.argmin(np.abs(values - worth_picking)))
    return float(values[chosen]), float(curve.f_beta[equal[chosen]])
