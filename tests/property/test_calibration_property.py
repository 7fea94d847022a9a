"""Calibration keeps the order and can be undone; the expected selection is the best of all."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryofind.locate import apply_calibration, count_expected_best, fit_calibration, undo_calibration
from cryofind.types import Calibration

SCORES = st.floats(0.001, 0.999)


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    count = draw(st.integers(2, 8))
    steps = st.lists(st.floats(0.2, 3.0), min_size=count, max_size=count)
    raw, calibrated = np.cumsum(draw(steps)) - 6, np.cumsum(draw(steps)) - 8
    return Calibration(tuple(zip(raw.tolist(), calibrated.tolist(), strict=True)))


@given(calibrations(), SCORES)
def test_a_calibration_is_undone(calibration: Calibration, score: float) -> None:
    calibrated = apply_calibration(score, calibration)
    if 1e-12 < calibrated < 1 - 1e-9:
        assert undo_calibration(calibrated, calibration) == pytest.approx(score, rel=1e-4)


@given(calibrations(), st.lists(SCORES, min_size=2, max_size=20, unique=True))
def test_the_order_of_scores_stays(calibration: Calibration, scores: list[float]) -> None:
    ascending = apply_calibration(sorted(scores), calibration)
    assert (np.diff(ascending) >= 0).all()
    apart = [low for low, high in pairwise(sorted(scores)) if high - low > 1e-6]
    strictly = apply_calibration(apart, calibration)
    assert (np.diff(strictly[strictly < 0.999999]) > 0).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(2, 600), st.floats(0.05, 0.95), st.floats(-3, 3))
def test_a_fitted_calibration_ascends_strictly(seed: int, count: int, share: float, gain: float) -> None:
    random = np.random.default_rng(seed)
    hits = random.random(count) < share
    scores = random.random(count) ** np.exp(gain * hits)
    calibration = fit_calibration(scores, hits)
    if hits.all() or not hits.any():
        assert calibration is None
        return
    assert calibration is not None
    grid = np.linspace(-6, 6, 200)
    calibrated = apply_calibration(1 / (1 + np.exp(-grid)), calibration)
    inside = (calibrated > 1e-12) & (calibrated < 1 - 1e-12)
    assert (np.diff(calibrated[inside]) > 0).all()


@given(st.lists(st.floats(0.0, 1.0), max_size=30), st.floats(0.0, 50.0), st.sampled_from([0.5, 1.0, 4.0]))
def test_no_number_of_best_candidates_is_expected_to_be_better(
    probabilities: list[float], missed: float, beta: float
) -> None:
    expected = sum(probabilities) + missed
    best_first = sorted(probabilities, reverse=True)

    def f_beta(count: int) -> float:
        hits = sum(best_first[:count])
        return (1 + beta**2) * hits / (beta**2 * expected + count) if hits else 0.0

    count = count_expected_best(probabilities, expected, beta=beta)
    assert f_beta(count) == pytest.approx(max(map(f_beta, range(len(probabilities) + 1))), abs=1e-12)
