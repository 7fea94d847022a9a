"""`cryofind score`: two sets of picks, or of label volumes, against each other."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cryofind.config import load_config
from cryofind.errors import InSampleError, PicksError
from cryofind.io import Project, open_project
from cryofind.pipeline.points import PointSource, choose_specs, read_points
from cryofind.scoring import dice_from_overlaps, measure_overlaps, score
from cryofind.types import LabelVolume, Picks, ScoreReport

logger = logging.getLogger("cryofind")


def score_paths(
    predictions: Path,
    truth: Path,
    *,
    settings: Sequence[str] = (),
    runs: Sequence[str] = (),
    all_candidates: bool = False,
    in_sample: bool = False,
    predictions_uri: str = "",
    truth_uri: str = "",
) -> ScoreReport:
    """Score what one path holds against what the other holds; see `cryofind.score` for the rule.

    Raises
    ------
    InSampleError
        If the model of the predictions was trained or tuned on a scored run, unless `in_sample`.
    """
    predicted = read_points(predictions, picks_uri=predictions_uri)
    reference = read_points(truth, runs=runs, picks_uri=truth_uri)
    if not len(reference.picks):
        raise PicksError(truth, "holds no picks of the runs asked for", "give the truth as the second argument")
    scored_runs = _choose_runs(predicted, reference)
    seen = find_in_sample_runs(predicted, reference.picks.where(np.isin(reference.picks.runs, scored_runs)))
    if seen and not in_sample:
        advice = "score runs that it never saw, or say --in-sample"
        raise InSampleError(f"{predictions}: run {seen[0]}", "is one that the model was trained or tuned on", advice)
    picks = predicted.picks
    if all_candidates:
        picks = picks.selected_above({}, default=float("-inf"))
    config = load_config(settings=settings).score
    report = score(picks, reference.picks, choose_specs(reference, predicted), config=config, runs=scored_runs)
    return replace(report, in_sample_runs=tuple(seen))


def _choose_runs(predicted: PointSource, reference: PointSource) -> tuple[str, ...]:
    """Return the runs to score: all of the truth, or those that a result folder was asked to pick, failed ones too."""
    if not predicted.record:
        return reference.runs
    asked = {*predicted.runs, *(item["run"] for item in predicted.record.get("failed", []))}
    chosen = tuple(run for run in reference.runs if run in asked)
    left_out = [run for run in reference.runs if run not in asked]
    if not chosen:
        advice = f"the truth has: {', '.join(reference.runs[:10])}"
        raise PicksError(predicted.path, "shares no run with the truth", advice)
    if left_out:
        logger.info("not scored, since never picked: %s", ", ".join(left_out))
    return chosen


def find_in_sample_runs(predicted: PointSource, truth: Picks) -> list[str]:
    """Return the runs of the truth that the model behind a result folder has seen in training or tuning."""
    seen = {run["run"] for run in predicted.record.get("runs", []) if run.get("in_sample")}
    hashes = {
        training["picks_sha256"] for model in predicted.record.get("models", []) for training in model["training_runs"]
    }
    return [run for run in truth.run_names if run in seen or truth.of_run(run).fingerprint() in hashes]


def score_segmentations(predictions: Path, truth: Path, *, runs: Sequence[str] = ()) -> dict[str, float]:
    """Return the Dice of the multilabel segmentations of two projects, by object, pooled over runs.

    Raises
    ------
    PicksError
        If a side has no multilabel segmentation, or none for the same run.
    """
    predicted, reference = (_read_label_volumes(open_project(path), runs) for path in (predictions, truth))
    shared = [run for run in reference if run in predicted]
    if not shared:
        raise PicksError(predictions, "shares no segmented run with the truth", "pick with --segmentation")
    return dice_from_overlaps(measure_overlaps(predicted[run], reference[run]) for run in shared)


def _read_label_volumes(project: Project, runs: Sequence[str]) -> dict[str, LabelVolume]:
    names = {spec.label: spec.name for spec in project.objects}
    entries = [entry for entry in project.segmentations if entry.is_multilabel and (not runs or entry.run in runs)]
    if not entries:
        raise PicksError(project.path, "holds no multilabel segmentation", "pick with --segmentation")
    return {entry.run: entry.read(names) for entry in entries}
