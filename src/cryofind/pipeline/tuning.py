"""Thresholds and calibration from candidates and truth: numbers only, no files."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryofind.config import Config, LocateConfig, ScoreConfig
from cryofind.locate import apply_calibration, fit_calibration, fit_threshold, undo_calibration
from cryofind.scoring import match_candidates, score, weighted_specs
from cryofind.types import ParticleSpec, Picks, ScoreReport

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
        Slope and intercept of the logistic that turns an object's raw score into a probability.
    f_beta
        F-beta by object at its threshold, on the very candidates that chose it.
    """

    thresholds: Mapping[str, float]
    calibration: Mapping[str, tuple[float, float]]
    f_beta: Mapping[str, float]

    @classmethod
    def none(cls) -> "Tuning":
        """Return the tuning that changes nothing."""
        return cls({}, {}, {})

    def select(self, candidates: Picks) -> Picks:
        """Return candidates with raw scores, now calibrated, and `selected` where they reach the threshold."""
        scores = candidates.scores.copy()
        for name, (slope, intercept) in self.calibration.items():
            rows = candidates.objects == name
            scores[rows] = apply_calibration(scores[rows], (slope, intercept))
        return candidates.with_scores(scores).selected_above(dict(self.thresholds), default=DEFAULT_THRESHOLD)

    def with_floors(self, config: LocateConfig, objects: Sequence[str]) -> LocateConfig:
        """Return the options with floors that leave out what no reader of picks looks for.

        A soft network answers with a low probability nearly everywhere; to refine and weigh tens of thousands of such
        places takes longer than all else in location, and never changes the picks above. That holds while objects are
        not weighed against each other: raw scores of two objects are on two scales.
        """
        if config.floor_factor == 0 or config.cross_separation_factor > 0:
            return config
        return config.model_copy(update={"floors": {name: self._floor_of(name, config) for name in objects}})

    def _floor_of(self, name: str, config: LocateConfig) -> float:
        score = config.floor_factor * self.thresholds.get(name, DEFAULT_THRESHOLD)
        raw = undo_calibration(score, self.calibration[name]) if name in self.calibration else score
        return max(config.floor_of(name), float(raw))

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
        if config.tune.calibrate:
            calibration[name] = fit_calibration(scores, match.candidate_is_hit)
            scores = apply_calibration(scores, calibration[name])
        best = fit_threshold(scores, match.pairs, match.reference_count, beta=config.score.beta)
        thresholds[name], f_beta[name] = best.value, best.f_beta
    return Tuning(thresholds, calibration, f_beta)


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

    None when there are fewer than two runs.
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
