"""Thresholds and calibration from candidates and truth: numbers only, no files."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cryofind.config import Config, LocateConfig, ScoreConfig
from cryofind.locate import (
    apply_calibration,
    count_candidates,
    find_new_hits,
    fit_calibration,
    fit_threshold,
    undo_calibration,
)
from cryofind.scoring import ObjectMatches, match_candidates, score, weighted_specs
from cryofind.types import Calibration, ParticleSpec, Picks, ScoreReport

logger = logging.getLogger("cryofind")

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Tuning:
    """What candidates with a truth teach.

    Parameters
    ----------
    thresholds
        Score (after calibration) from which an object's picks are selected.
    calibration
        How an object's raw scores become probabilities: that a pick is a *new* hit, one that no better pick has found.
    f_beta
        F-beta by object at its threshold, on the very candidates that chose it.
    """

    thresholds: Mapping[str, float]
    calibration: Mapping[str, Calibration]
    f_beta: Mapping[str, float]

    @classmethod
    def none(cls) -> "Tuning":
        """Return the tuning that changes nothing."""
        return cls({}, {}, {})

    def select(self, candidates: Picks) -> Picks:
        """Return candidates with raw scores, now calibrated, and `selected` where they reach the threshold."""
        scores = candidates.scores.copy()
        for name, calibration in self.calibration.items():
            rows = candidates.objects == name
            scores[rows] = apply_calibration(scores[rows], calibration)
        return candidates.with_scores(scores).selected_above(dict(self.thresholds), default=DEFAULT_THRESHOLD)

    def without_calibration(self) -> "Tuning":
        """Return the tuning that selects the same candidates by their raw scores."""
        raw = {
            name: float(undo_calibration(self.thresholds.get(name, DEFAULT_THRESHOLD), calibration))
            for name, calibration in self.calibration.items()
        }
        return Tuning({**self.thresholds, **raw}, {}, self.f_beta)

    def with_floors(self, config: LocateConfig, objects: Sequence[str]) -> LocateConfig:
        """Return the options with floors that leave out what no reader of picks looks for.

        A soft network answers with a low probability nearly everywhere; to refine and weigh tens of thousands of such
        places takes longer than all else in location, and never changes the picks above. That holds while objects are
        not weighed against each other: raw scores of two objects are on two scales. Candidates that a calibration
        counts stay, whatever the threshold: the expected number of particles is that of all of them.
        """
        if config.floor_factor == 0 or config.cross_separation_factor > 0:
            return config
        return config.model_copy(update={"floors": {name: self._floor_of(name, config) for name in objects}})

    def _floor_of(self, name: str, config: LocateConfig) -> float:
        score = config.floor_factor * self.thresholds.get(name, DEFAULT_THRESHOLD)
        calibration = self.calibration.get(name)
        if calibration is None:
            return max(config.floor_of(name), score)
        if calibration.counts is not None:
            score = min(score, calibration.counts.floor)
        return max(config.floor_of(name), float(undo_calibration(score, calibration)))

    def describe(self) -> list[str]:
        """Return a line for each tuned object: its threshold and the F-beta it reached on what chose it."""
        return [
            f"{name}: threshold {self.thresholds[name]:.4f}, F-beta {value:.4f}"
            if name in self.thresholds
            else f"{name}: default threshold {DEFAULT_THRESHOLD} (nothing to tune on)"
            for name, value in self.f_beta.items()
        ]


def fit_tuning(
    candidates: Picks,
    truth: Picks,
    specs: Sequence[ParticleSpec],
    config: Config,
    *,
    previous: Tuning | None = None,
) -> Tuning:
    """Choose thresholds and calibration that maximise each object's F-beta on candidates with raw scores.

    Objects with fewer than `config.tune.min_picks` annotated picks, and those that no candidate hits, keep what
    `previous` says of them.
    """
    previous = previous or Tuning.none()
    thresholds, calibration = dict(previous.thresholds), dict(previous.calibration)
    f_beta: dict[str, float] = {}
    for name, match in match_candidates(candidates, truth, specs, config=_tuning_rule(config)).items():
        if match.reference_count < config.tune.min_picks:
            logger.info("%s: %d annotated picks are too few to tune on", name, match.reference_count)
            continue
        if not len(match.pairs):
            logger.warning("%s: no candidate hits an annotated pick, so there is nothing to tune", name)
            f_beta[name] = 0.0
            continue
        scores = match.scores
        calibration.pop(name, None)
        if config.tune.calibrate and (fitted := _calibrate(match, candidates, truth, config)):
            calibration[name] = fitted
            scores = apply_calibration(scores, fitted)
        best = fit_threshold(scores, match.pairs, match.reference_count, beta=config.score.beta)
        thresholds[name], f_beta[name] = best.value, best.f_beta
    return Tuning(thresholds, calibration, f_beta)


def _calibrate(match: ObjectMatches, candidates: Picks, truth: Picks, config: Config) -> Calibration | None:
    """Return the calibration of one object, with what its candidates add up to; None if there is nothing to learn."""
    is_hit = find_new_hits(match.scores, match.pairs)
    calibration = fit_calibration(match.scores, is_hit)
    if calibration is None:
        return None
    reference_runs = truth.runs[match.reference_rows]
    counts = count_candidates(
        apply_calibration(match.scores, calibration),
        is_hit,
        candidates.runs[match.candidate_rows],
        # A further pick pays from F-beta / (1 + beta^2) on: far below that no candidate matters.
        floor=config.locate.floor_factor / (1 + config.score.beta**2),
        references_by_run={run: int(np.count_nonzero(reference_runs == run)) for run in truth.run_names},
    )
    return replace(calibration, counts=counts)


def best_f_beta(candidates: Picks, truth: Picks, specs: Sequence[ParticleSpec], config: Config) -> dict[str, float]:
    """Return the F-beta of every annotated object at its best threshold: what checkpoints are compared by."""
    matches = match_candidates(candidates, truth, specs, config=_tuning_rule(config))
    return {
        name: fit_threshold(match.scores, match.pairs, match.reference_count, beta=config.score.beta).curve.best
        for name, match in matches.items()
        if match.reference_count
    }


def weigh_f_beta(f_beta: Mapping[str, float], truth: Picks, specs: Sequence[ParticleSpec], config: Config) -> float:
    """Return the mean of F-beta by object, weighted as `score` weighs; objects without a value count as 0."""
    weighted = weighted_specs(truth, specs, _tuning_rule(config))
    total = sum(spec.score_weight * f_beta.get(spec.name, 0.0) for spec in weighted)
    return total / sum(spec.score_weight for spec in weighted)


def score_left_out(
    candidates: Picks,
    truth: Picks,
    specs: Sequence[ParticleSpec],
    config: Config,
    *,
    previous: Tuning | None = None,
) -> ScoreReport | None:
    """Score every run with thresholds from the *other* runs: what to expect of tuned thresholds on a new run.

    That leans high where all runs together chose how candidates are located (`choose_separations`). None when there are
    fewer than two runs.
    """
    runs = truth.run_names
    if len(runs) < 2:
        return None
    selected = []
    for run in runs:
        others = truth.where(truth.runs != run)
        tuning = fit_tuning(candidates.where(candidates.runs != run), others, specs, config, previous=previous)
        selected.append(tuning.select(candidates.of_run(run)))
    return score(Picks.concatenate(selected), truth, specs, config=_tuning_rule(config))


def _tuning_rule(config: Config) -> ScoreConfig:
    """Thresholds are fitted to the challenge's rule: its closed form is exact, that of other modes is not."""
    return config.score.model_copy(update={"mode": "kaggle"})
