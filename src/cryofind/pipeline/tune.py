"""Thresholds and calibration: from candidates and truth, never from runs that the model was trained on."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryofind.config import Config, ScoreConfig
from cryofind.errors import InSampleError, PicksError
from cryofind.io import open_project
from cryofind.locate import apply_calibration, find_picks, fit_calibration, fit_threshold
from cryofind.models import SeenRun, save_model
from cryofind.pipeline.corpus import find_annotated_runs, read_annotated, remember_run
from cryofind.pipeline.ensembles import write_ensemble
from cryofind.pipeline.inputs import InputSelection, choose_one_per_run
from cryofind.pipeline.picker import Picker
from cryofind.pipeline.selection import select_picks
from cryofind.preprocess import preprocess_tomogram
from cryofind.progress import report_progress
from cryofind.scoring import format_score_table, match_candidates, score
from cryofind.types import ParticleSpec, Picks, ScoreReport, Tomogram

logger = logging.getLogger("cryofind")


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

    thresholds: dict[str, float]
    calibration: dict[str, tuple[float, float]]
    f_beta: dict[str, float]

    @classmethod
    def none(cls) -> "Tuning":
        """Return the tuning that changes nothing."""
        return cls({}, {}, {})

    def select(self, candidates: Picks) -> Picks:
        """Return raw candidates with calibrated scores and `selected` set."""
        return select_picks(candidates, self.calibration, self.thresholds)


def fit_tuning(candidates: Picks, truth: Picks, specs: tuple[ParticleSpec, ...], config: Config) -> Tuning:
    """Choose thresholds and calibration that maximise each object's F-beta on candidates with raw scores.

    Objects with fewer than `config.tune.min_picks` annotated picks are left out, and keep their threshold; so do
    objects that no candidate hits, with an F-beta of 0.
    """
    thresholds, calibration, f_beta = {}, {}, {}
    for name, match in match_candidates(candidates, truth, specs, config=config.score).items():
        if match.reference_count < config.tune.min_picks:
            logger.info("%s: %d annotated picks are too few to tune on", name, match.reference_count)
            continue
        if not len(match.pairs):
            logger.warning("%s: no candidate hits an annotated pick, so there is nothing to tune", name)
            f_beta[name] = 0.0
            continue
        scores = match.scores
        if config.tune.calibrate:
            calibration[name] = fit_calibration(scores, match.candidate_is_hit)
            scores = apply_calibration(scores, calibration[name])
        best = fit_threshold(scores, match.pairs, match.reference_count, beta=config.score.beta)
        thresholds[name], f_beta[name] = best.value, best.f_beta
    return Tuning(thresholds, calibration, f_beta)


def best_f_beta(candidates: Picks, truth: Picks, specs: tuple[ParticleSpec, ...], config: Config) -> dict[str, float]:
    """Return the F-beta of every annotated object at its best threshold: what checkpoints are compared by."""
    return {
        name: fit_threshold(match.scores, match.pairs, match.reference_count, beta=config.score.beta).f_beta
        for name, match in match_candidates(candidates, truth, specs, config=config.score).items()
        if match.reference_count
    }


def describe_tuning(tuning: Tuning) -> list[str]:
    """Return a line for each object: its threshold and the F-beta it reached on what chose it."""
    return [
        f"{name}: threshold {threshold:.4f}, F-beta {tuning.f_beta[name]:.4f}"
        for name, threshold in tuning.thresholds.items()
    ]


def weigh_f_beta(f_beta: dict[str, float], specs: tuple[ParticleSpec, ...]) -> float:
    """Return the weighted mean of the objects' F-beta; objects without a value count as 0 if they have a weight."""
    divisor = sum(spec.score_weight for spec in specs) or 1.0
    return sum(spec.score_weight * f_beta.get(spec.name, 0.0) for spec in specs) / divisor


def score_left_out(
    candidates: Picks, truth: Picks, specs: tuple[ParticleSpec, ...], config: Config
) -> ScoreReport | None:
    """Score every run with thresholds from the *other* runs: what to expect of tuned thresholds on a new run.

    None when there are fewer than two runs.
    """
    runs = truth.run_names
    if len(runs) < 2:
        return None
    selected = []
    for run in runs:
        others_truth = truth.where(truth.runs != run)
        tuning = fit_tuning(candidates.where(candidates.runs != run), others_truth, specs, config)
        selected.append(tuning.select(candidates.of_run(run)))
    return score(Picks.concatenate(selected), truth, specs, config=ScoreConfig(beta=config.score.beta))


def find_raw_candidates(picker: Picker, tomogram: Tomogram) -> Picks:
    """Return a model's candidates with raw scores: before calibration and thresholds."""
    prepared = preprocess_tomogram(
        tomogram, picker.config.preprocess, spacing_angstrom=picker.card.voxel_spacing_angstrom
    )
    return find_picks(picker.predict(prepared), picker.specs, picker.config.locate, grid=prepared.grid)


def tune_model(
    picker: Picker,
    project_path: Path,
    out: Path,
    *,
    selection: InputSelection = InputSelection(),
    in_sample: bool = False,
) -> list[str]:
    """Write a copy of a model whose thresholds and calibration fit the annotated runs of a project; return a summary.

    Raises
    ------
    InSampleError
        If the model has seen one of the runs, unless `in_sample`.
    PicksError
        If no run is annotated.
    """
    project = open_project(project_path)
    annotated = find_annotated_runs(project, selection)
    chosen = choose_one_per_run(project, selection, preferred_flavours=picker.card.flavours)
    entries = [entry for entry in chosen if entry.run in annotated]
    if not entries:
        raise PicksError(project.path, "holds no annotated run with a tomogram", "add picks, or choose other runs")
    candidates, truths, seen = [], [], []
    with report_progress("tuning", len(entries)) as progress:
        for entry in entries:
            tomogram, truth = read_annotated(project, entry, selection)
            record = remember_run(tomogram, truth, role="tune")
            if _is_seen(picker, record) and not in_sample:
                problem = "is one that the model was trained or tuned on"
                raise InSampleError(f"{project.path}: run {entry.run}", problem, "leave it out, or say --in-sample")
            candidates.append(find_raw_candidates(picker, tomogram))
            truths.append(truth)
            seen.append(record)
            progress.advance(note=entry.run)
    return _write_tuned(picker, out, Picks.concatenate(candidates), Picks.concatenate(truths), seen, in_sample)


def _is_seen(picker: Picker, record: SeenRun) -> bool:
    return any(
        run.picks_sha256 == record.picks_sha256 or set(run.volume_sha256) & set(record.volume_sha256)
        for card in picker.cards
        for run in card.training_runs
    )


def _write_tuned(
    picker: Picker, out: Path, candidates: Picks, truth: Picks, seen: list[SeenRun], in_sample: bool
) -> list[str]:
    tuning = fit_tuning(candidates, truth, picker.specs, picker.config)
    honest = score_left_out(candidates, truth, picker.specs, picker.config)
    changes: dict[str, Any] = {
        "thresholds": {**picker.card.thresholds, **tuning.thresholds},
        "calibration": {**picker.card.calibration, **tuning.calibration},
        "locate": picker.config.locate,
        "training_runs": [*picker.card.training_runs, *seen],
        "metrics": {**picker.card.metrics, "tuned_f_beta": tuning.f_beta, "tuned_in_sample": in_sample},
    }
    write_members(picker, out, changes)
    lines = describe_tuning(tuning)
    lines.append(f"F-beta of the runs that chose the thresholds: {weigh_f_beta(tuning.f_beta, picker.specs):.4f}")
    if in_sample:
        lines.append("IN-SAMPLE: the model was trained on some of these runs; the numbers above are too good")
    if honest is not None:
        lines += ["Each run with thresholds from the others:", format_score_table(honest)]
    return [*lines, f"tuned model -> {out}"]


def write_members(picker: Picker, out: Path, changes: dict[str, Any]) -> None:
    """Write every member of a model into `out` with the same changes to its card."""
    if len(picker.networks) == 1:
        save_model(out, picker.networks[0], picker.card.model_copy(update=changes))
        return
    members = [out / f"member_{number}" for number in range(1, len(picker.networks) + 1)]
    for member, network, card in zip(members, picker.networks, picker.cards, strict=True):
        save_model(member, network, card.model_copy(update=changes))
    write_ensemble(out, members)
