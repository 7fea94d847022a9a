"""Curves over the threshold: thinned for plots, and one with the thresholds that tuning chooses."""

import json

import numpy as np

from cryofind.locate import fit_threshold
from cryofind.scoring import match_candidates, trace_curves
from cryofind.types import ParticleSpec, Picks

SPECS = (ParticleSpec("ball", 50.0, 1), ParticleSpec("rod", 80.0, 2))


def draw(seed: int, count: int) -> tuple[Picks, Picks]:
    random = np.random.default_rng(seed)
    truth = Picks.build("A", "ball", random.uniform(0, 900, (count // 3, 3)))
    picks = Picks.build("A", "ball", random.uniform(0, 900, (count, 3)), scores=random.random(count))
    return picks.selected_above({}, default=0.4), truth


def test_the_best_point_is_what_tuning_finds() -> None:
    picks, truth = draw(1, 300)
    curve = trace_curves(picks, truth, SPECS)["ball"]
    match = match_candidates(picks, truth, SPECS)["ball"]
    fitted = fit_threshold(match.scores, match.pairs, match.reference_count, beta=4.0).curve
    np.testing.assert_array_equal(curve.true_positives, fitted.true_positives)
    np.testing.assert_allclose(curve.f_beta, fitted.f_beta)
    assert curve.best.f_beta == fitted.best


def test_a_thinned_curve_keeps_its_ends_its_best_and_what_was_chosen() -> None:
    picks, truth = draw(2, 3000)
    curve = trace_curves(picks, truth, SPECS)["ball"]
    thin = curve.thinned(50)
    assert 45 <= len(thin.thresholds) <= 50
    assert (thin.best, thin.chosen) == (curve.best, curve.chosen)
    assert (thin.thresholds[0], thin.thresholds[-1]) == (curve.thresholds[0], curve.thresholds[-1])
    rows = np.searchsorted(-curve.thresholds, -thin.thresholds)
    np.testing.assert_array_equal(curve.recall[rows], thin.recall)
    assert curve.thinned(len(curve.thresholds)) is curve
    assert json.loads(json.dumps(thin.to_dict(), allow_nan=False))["chosen"]["threshold"] >= 0.4


def test_an_object_without_candidates_has_an_empty_curve_and_one_without_a_truth_none() -> None:
    truth = Picks.build("A", "rod", [(0, 0, 0)])
    curves = trace_curves(Picks.build("A", "ball", [(0, 0, 0)]), truth, SPECS)
    assert list(curves) == ["rod"]
    assert (len(curves["rod"].thresholds), curves["rod"].best.f_beta, curves["rod"].chosen.threshold) == (0, 0.0, None)
