"""Raw candidates -> calibrated scores and a selection."""

from collections.abc import Mapping

from cryofind.locate import apply_calibration
from cryofind.types import Picks


def select_picks(
    candidates: Picks, calibration: Mapping[str, tuple[float, float]], thresholds: Mapping[str, float]
) -> Picks:
    """Return the candidates with calibrated scores, and `selected` where they reach their object's threshold.

    Parameters
    ----------
    candidates
        Picks with raw scores.
    calibration
        Slope and intercept by object; an object without keeps its scores.
    thresholds
        Least calibrated score by object; an object without uses 0.5.
    """
    scores = candidates.scores.copy()
    for name, (slope, intercept) in calibration.items():
        rows = candidates.objects == name
        scores[rows] = apply_calibration(scores[rows], (slope, intercept))
    return candidates.with_scores(scores).selected_above(dict(thresholds))
