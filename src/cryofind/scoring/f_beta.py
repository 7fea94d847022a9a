"""The weighted F-beta of picks, as the CZII challenge defines it, and two variants."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cryofind import czii
from cryofind.config import ScoreConfig
from cryofind.errors import ConfigError
from cryofind.scoring.match import DEFAULT_CONFIG, ObjectMatches, match_candidates
from cryofind.types import UNNAMED_RUN, ObjectScore, ParticleSpec, Picks, ScoreReport

Counts = NDArray[np.int64]  # true positives, false positives, false negatives


def score(
    predictions: Picks,
    truth: Picks,
    specs: Sequence[ParticleSpec] | None = None,
    *,
    config: ScoreConfig = DEFAULT_CONFIG,
    runs: Sequence[str] | None = None,
) -> ScoreReport:
    """Compare the selected predictions with the truth.

    Mode `kaggle` follows the metric of the CZII challenge to the letter: predictions of runs that are not counted
    are dropped first; then an unknown object is an error. TP is the number of distinct references with a prediction
    at most half a radius away, FP the predictions less TP (negative when one prediction hits two references), FN the
    references less TP, summed over runs. The total is the sum of weight times F-beta over the objects that occur in
    the truth, divided by the sum of all weights, whether the object occurs or not: 7 for the challenge, the sum of
    the specs' weights for other objects; the report's `divisor` says which.

    Mode `one-to-one` is the same after a one-to-one assignment. Mode `octopi` follows that program's evaluator: less
    than 0.8 radii away, TP is the number of predictions with a reference in reach, and the divisor is the sum of the
    weights of the objects in the truth.

    Parameters
    ----------
    predictions
        Picks; rows that are not selected do not count. Picks of a tomogram without a name (`Picker.pick` without
        `run`) are taken for those of the only run, if there is just one.
    truth
        True picks; all rows count.
    specs
        Objects with radius and weight; the challenge's when None. In mode `kaggle`, specs with the names and radii
        of the challenge's objects get the challenge's weights.
    config
        Mode, beta and match radius.
    runs
        Runs that count; those of the truth when None. Name them when a run without a single true pick counts too.

    Returns
    -------
    ScoreReport
        With `in_sample_runs` empty: what a model was trained on is not known here.

    Raises
    ------
    PicksError
        If a prediction is of an unknown object, or the truth has two picks of one run at the same place.
    ConfigError
        If the truth holds an object that the specs (or the challenge) do not know, or no object has a weight.
    """
    specs = weighted_specs(truth, specs, config)
    counted_runs = truth.run_names if runs is None else tuple(dict.fromkeys(runs))
    selected = name_run(predictions.only_selected(), counted_runs)
    matches = match_candidates(selected, truth, specs, config=config, runs=counted_runs)
    counts_by_object = {
        spec.name: _count_by_run(matches[spec.name], selected, truth, counted_runs, config.mode)
        for spec in specs
        if spec.name in matches and matches[spec.name].reference_count
    }
    scored = [spec for spec in specs if spec.name in counts_by_object]
    objects = {spec.name: _rate(counts_by_object[spec.name].sum(axis=0), spec, config.beta) for spec in scored}
    by_run = {
        run: {spec.name: _rate(counts_by_object[spec.name][row], spec, config.beta) for spec in scored}
        for row, run in enumerate(counted_runs)
    }
    divisor = sum(spec.score_weight for spec in (scored if config.mode == "octopi" else specs))
    total = sum(rated.weight * rated.f_beta for rated in objects.values())
    f_beta = float(total / divisor) if divisor > 0 else 0.0
    return ScoreReport(f_beta, config.beta, config.mode, float(divisor), objects, by_run)


def name_run(predictions: Picks, runs: Sequence[str]) -> Picks:
    """Return picks of a tomogram without a name as those of the only run, if there is just one; else as they are."""
    if len(runs) != 1 or predictions.run_names != (UNNAMED_RUN,):
        return predictions
    return replace(predictions, runs=np.full(len(predictions), runs[0]))


def weighted_specs(truth: Picks, specs: Sequence[ParticleSpec] | None, config: ScoreConfig) -> tuple[ParticleSpec, ...]:
    """Return the particles to score, with the weights that the mode asks for; see `score`."""
    if specs is None:
        strangers = [name for name in truth.object_names if name not in czii.OBJECT_NAMES]
        if strangers:
            problem = f"is '{strangers[0]}', which is not an object of the challenge, and no objects were given"
            raise ConfigError("truth: object", problem, "give the objects with their radii, e.g. --object NAME:RADIUS")
        return czii.OBJECTS
    particles = tuple(spec for spec in specs if spec.is_particle)
    if config.mode == "kaggle" and particles and all(_is_of_challenge(spec) for spec in particles):
        return czii.OBJECTS
    if not sum(spec.score_weight for spec in particles) > 0:
        raise ConfigError("score_weight", "is 0 for every object", "give at least one object a weight above 0")
    return particles


def _is_of_challenge(spec: ParticleSpec) -> bool:
    return any((known.name, known.radius_angstrom) == (spec.name, spec.radius_angstrom) for known in czii.OBJECTS)


def _count_by_run(matches: ObjectMatches, predictions: Picks, truth: Picks, runs: Sequence[str], mode: str) -> Counts:
    """Return TP, FP, FN of one object by run, shape (R, 3)."""
    candidate_runs = predictions.runs[matches.candidate_rows]
    reference_runs = truth.runs[matches.reference_rows]
    candidate_is_hit, reference_is_hit = matches.candidate_is_hit, matches.reference_is_hit
    rows = []
    for run in runs:
        of_candidates, of_references = candidate_runs == run, reference_runs == run
        hit_references = np.count_nonzero(reference_is_hit & of_references)
        tp = np.count_nonzero(candidate_is_hit & of_candidates) if mode == "octopi" else hit_references
        rows.append((tp, np.count_nonzero(of_candidates) - tp, np.count_nonzero(of_references) - hit_references))
    return np.array(rows, dtype=np.int64)


def _rate(counts: Counts, spec: ParticleSpec, beta: float) -> ObjectScore:
    tp, fp, fn = (int(count) for count in counts)
    precision = tp / (tp + fp) if tp + fp > 0 else 0.0
    recall = tp / (tp + fn) if tp + fn > 0 else 0.0
    f_beta = 0.0
    if precision + recall > 0:
        f_beta = (1 + beta**2) * (precision * recall) / (beta**2 * precision + recall)
    return ObjectScore(tp, fp, fn, precision, recall, f_beta, spec.score_weight)
