"""Calibration against known odds, and what a card may say of it."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit

from cryofind.errors import ModelError
from cryofind.locate import apply_calibration, find_new_hits, fit_calibration, undo_calibration
from cryofind.models.card import parse_card
from cryofind.types import Calibration, CandidateCounts
from tests.tiny_models import tiny_card

COUNTS = {"floor": 0.003, "candidates": 40, "found": 9, "references": 10, "spread": 0.3}


def draw(count: int, *, seed: int = 0, mean: float = -3.0) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return probabilities of candidates, most of them low, and whether each is a hit."""
    random = np.random.default_rng(seed)
    probabilities = expit(random.normal(mean, 2.0, count))
    return probabilities, random.uniform(size=count) < probabilities


def fit(scores: NDArray[np.float64], hits: NDArray[np.bool_]) -> Calibration:
    calibration = fit_calibration(scores, hits)
    assert calibration is not None
    return calibration


def bent(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores that no line between log-odds undoes."""
    log_odds = logit(probabilities)
    return np.asarray(expit(np.where(log_odds < -2, 0.5 * log_odds, 1.5 * log_odds + 2)))


def test_few_hits_give_the_line_of_known_odds() -> None:
    probabilities, hits = draw(2600)
    assert hits.sum() < 400
    few = np.flatnonzero(hits)[199:]
    kept = np.setdiff1d(np.arange(len(hits)), few)
    overconfident = expit((logit(probabilities) + 0.8) * 2.0)
    calibration = fit(overconfident[kept], hits[kept])
    ((x0, y0), (x1, y1)) = calibration.knots
    assert (y1 - y0) / (x1 - x0) == pytest.approx(0.5, abs=0.08)


def test_many_hits_give_a_curve_where_a_line_is_wrong() -> None:
    probabilities, hits = draw(20000)
    calibration = fit(bent(probabilities), hits)
    assert len(calibration.knots) > 2
    unseen, unseen_hits = draw(20000, seed=1)
    calibrated = apply_calibration(bent(unseen), calibration)
    for low, high in ((0.01, 0.03), (0.03, 0.08), (0.08, 0.2), (0.2, 0.5), (0.5, 1.0)):
        inside = (calibrated >= low) & (calibrated < high)
        assert unseen_hits[inside].sum() / calibrated[inside].sum() == pytest.approx(1.0, abs=0.2)
        assert unseen[inside].mean() == pytest.approx(calibrated[inside].mean(), rel=0.15)


def test_a_curve_tells_more_than_a_line_of_the_same_scores() -> None:
    probabilities, hits = draw(20000)
    scores = bent(probabilities)
    slope, intercept = np.polyfit(logit(scores), logit(probabilities), 1)
    line = apply_calibration(scores, Calibration.line(float(slope), float(intercept)))
    curve = apply_calibration(scores, fit(scores, hits))
    assert np.abs(curve - probabilities).mean() < 0.5 * np.abs(line - probabilities).mean()


@pytest.mark.parametrize("answer", [True, False])
def test_calibration_needs_both_kinds(answer: bool) -> None:
    assert fit_calibration([0.1, 0.9], [answer, answer]) is None
    assert fit_calibration([], []) is None


def test_equal_scores_and_many_hits_give_a_line() -> None:
    calibration = fit(np.full(1000, 0.3), np.arange(1000) < 400)
    assert len(calibration.knots) == 2
    assert apply_calibration(0.3, calibration) == pytest.approx(0.4, abs=0.01)


def test_separable_and_saturated_scores_stay_finite() -> None:
    calibration = fit(np.array([0.0, 0.1, 0.9, 1.0]), np.array([False, False, True, True]))
    assert ((apply_calibration([0.0, 1.0], calibration) >= 0) & (apply_calibration([0.0, 1.0], calibration) <= 1)).all()


def test_calibration_refuses_unequal_lengths() -> None:
    with pytest.raises(ValueError, match="2 scores but 1 answers"):
        fit_calibration([0.1, 0.2], [True])


def test_of_several_candidates_of_one_particle_the_best_is_the_hit() -> None:
    pairs = [(0, 0), (1, 0), (2, 1), (2, 2), (4, 3), (3, 3)]
    assert find_new_hits([0.2, 0.9, 0.5, 0.4, 0.4, 0.8], pairs).tolist() == [False, True, True, True, False, False]


def test_a_candidate_that_is_best_for_one_of_two_particles_is_a_hit_once() -> None:
    assert find_new_hits([0.9, 0.5], [(0, 0), (1, 0), (1, 1)]).tolist() == [True, True]
    assert find_new_hits([0.5], []).tolist() == [False]


def test_an_older_card_with_slope_and_intercept_is_read_as_a_line() -> None:
    document = {**tiny_card().model_dump(mode="json"), "calibration": {"ribosome": [1.5, -0.25]}}
    del document["calibrated_for"]
    calibration = parse_card(document, "model.json").calibration["ribosome"]
    assert calibration == Calibration.line(1.5, -0.25)
    scores = np.array([0.02, 0.3, 0.9])
    np.testing.assert_allclose(apply_calibration(scores, calibration), expit(1.5 * logit(scores) - 0.25))
    np.testing.assert_allclose(undo_calibration(apply_calibration(scores, calibration), calibration), scores)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([1.0, 2.0, 3.0], r"calibration\.ribosome: value error, is \[1.0, 2.0, 3.0\], expected \[slope, intercept\]"),
        ([-1.0, 0.0], r"slope is -1.0, expected a positive number"),
        ({"knots": [[0.0, 0.0]]}, "1 knots, expected two or more"),
        ({"knots": [[0.0, 1.0], [1.0, 1.0]]}, "knots must ascend"),
        ({"knots": [[1.0, 0.0], [0.0, 1.0]]}, "knots must ascend"),
        ({"knots": [[0.0, 0.0], [1.0, 1.0]], "bends": 3}, r"calibration\.ribosome\.bends: unexpected"),
        ({"knots": [[0.0, 0.0], [1.0, 1.0]], "counts": {**COUNTS, "found": 11}}, "11 of 40 candidates cannot have"),
        ({"knots": [[0.0, 0.0], [1.0, 1.0]], "counts": {**COUNTS, "floor": 1.0}}, "floor is 1.0"),
        ({"knots": [[0.0, 0.0], [1.0, 1.0]], "counts": {**COUNTS, "spread": -1.0}}, "spread is -1.0"),
    ],
)
def test_a_damaged_calibration_is_named(found: Any, message: str) -> None:
    document = {**tiny_card().model_dump(mode="json"), "calibration": {"ribosome": found}}
    with pytest.raises(ModelError, match=message):
        parse_card(document, "model.json")


def test_counts_never_promise_everything() -> None:
    counts = CandidateCounts(0.003, 300, 100, 100, 0.3)
    assert 0.99 < counts.recall < 1
    assert CandidateCounts(0.003, 300, 0, 100, 0.3).recall > 0
    assert counts.odds == pytest.approx(100.5 / 200.5)
