"""`cryofind score`: two sets of picks, or of label volumes, against each other."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cryofind.config import ScoreConfig, load_config
from cryofind.errors import InSampleError, PicksError
from cryofind.io import OWN_SESSION, OWN_USER, open_project
from cryofind.pipeline.picked_runs import PICKS_NAME
from cryofind.pipeline.points import PointSource, choose_specs, find_result, read_points
from cryofind.pipeline.records import read_record
from cryofind.scoring import dice_from_overlaps, measure_overlaps, score, weighted_specs
from cryofind.scoring.f_beta import name_run
from cryofind.types import LabelVolume, ParticleSpec, Picks, ScoreReport, VoxelGrid

logger = logging.getLogger("cryofind")


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two sets of picks that may be compared, and by which rule.

    Parameters
    ----------
    picks, truth
        All candidates, and the true picks.
    specs
        The objects to score, with their weights.
    runs
        Runs that count.
    config
        The rule.
    grids
        Grid of a run's tomogram, where known.
    truth_path
        Where the truth is from.
    in_sample_runs
        Runs that the model has seen, by permission.
    """

    picks: Picks
    truth: Picks
    specs: tuple[ParticleSpec, ...]
    runs: tuple[str, ...]
    config: ScoreConfig
    grids: dict[str, VoxelGrid]
    truth_path: Path
    in_sample_runs: tuple[str, ...]


def read_comparison(
    predictions: Path,
    truth: Path,
    *,
    settings: Sequence[str] = (),
    runs: Sequence[str] = (),
    all_candidates: bool = False,
    in_sample: bool = False,
    predictions_uri: str = "",
    truth_uri: str = "",
) -> Comparison:
    """Return what two paths hold, ready to be compared.

    Raises
    ------
    InSampleError
        If the model of the predictions was trained or tuned on a scored run, unless `in_sample`.
    """
    predicted = read_points(predictions, picks_uri=predictions_uri)
    reference = read_points(truth, runs=runs, picks_uri=truth_uri)
    true_picks = reference.picks.only_selected()
    if not len(true_picks):
        raise PicksError(truth, "holds no picks of the runs asked for", "give the truth as the second argument")
    scored_runs = _choose_runs(predicted, reference, runs)
    seen = find_in_sample_runs(predicted, true_picks.where(np.isin(true_picks.runs, scored_runs)))
    if seen and not in_sample:
        advice = "score runs that it never saw, or say --in-sample"
        raise InSampleError(f"{predictions}: run {seen[0]}", "is one that the model was trained or tuned on", advice)
    picks = predicted.picks
    if all_candidates:
        picks = picks.selected_above({}, default=float("-inf"))
    config = load_config(settings=settings).score
    specs = weighted_specs(true_picks, choose_specs(reference, predicted), config)
    grids = {**predicted.grids, **reference.grids}
    picks = name_run(picks, scored_runs)
    return Comparison(picks, true_picks, specs, scored_runs, config, grids, truth, tuple(seen))


def score_comparison(comparison: Comparison) -> ScoreReport:
    """Score picks against the truth; see `cryofind.score` for the rule."""
    report = score(comparison.picks, comparison.truth, comparison.specs, config=comparison.config, runs=comparison.runs)
    return replace(report, in_sample_runs=comparison.in_sample_runs)


def score_paths(predictions: Path, truth: Path, **options: Any) -> ScoreReport:
    """Score what one path holds against what the other holds; options and errors as of `read_comparison`."""
    return score_comparison(read_comparison(predictions, truth, **options))


def _choose_runs(predicted: PointSource, reference: PointSource, runs: Sequence[str]) -> tuple[str, ...]:
    """Return the runs to score: all of the truth, or those that a result folder was asked to pick, failed ones too."""
    if not predicted.record:
        if len(predicted.picks) and not set(predicted.runs) & set(reference.runs):
            raise _nothing_shared(predicted, reference)
        return reference.runs
    asked = {*predicted.runs, *(item["run"] for item in predicted.record.get("failed", []))}
    chosen = tuple(run for run in reference.runs if run in asked)
    left_out = [run for run in reference.runs if run not in asked]
    if not chosen:
        raise _nothing_shared(predicted, reference)
    if left_out and runs:
        advice = "pick it, or leave it out of --run"
        raise PicksError(f"{predicted.path}: run {left_out[0]}", "was never picked", advice)
    if left_out:
        logger.warning("not scored, since never picked: %s", ", ".join(left_out))
    return chosen


def _nothing_shared(predicted: PointSource, reference: PointSource) -> PicksError:
    problem = f"shares no run with the truth (it has {', '.join(predicted.runs[:5])})"
    return PicksError(predicted.path, problem, f"the truth has: {', '.join(reference.runs[:5])}")


def find_in_sample_runs(predicted: PointSource, truth: Picks) -> list[str]:
    """Return the runs of the truth that the model behind a result folder has seen in training or tuning."""
    seen = {run["run"] for run in predicted.record.get("runs", []) if run.get("in_sample")}
    trained_on = [training for model in predicted.record.get("models", []) for training in model["training_runs"]]
    hashes = {training["picks_sha256"] for training in trained_on} - {""}
    found = [run for run in truth.run_names if run in seen or truth.of_run(run).fingerprint() in hashes]
    for run in sorted({training["run"] for training in trained_on} & set(truth.run_names) - set(found)):
        logger.warning("run %s has the name of a run that the model has seen, with other voxels and picks", run)
    return found


def score_segmentations(predictions: Path, truth: Path, *, runs: Sequence[str] = ()) -> dict[str, float]:
    """Return the Dice of the multilabel segmentations of two projects, by object, pooled over runs.

    Of a folder written by `cryofind pick` only its own segmentations count. Runs of the truth that were picked
    without a segmentation are refused, not left out.

    Raises
    ------
    PicksError
        If a side has no multilabel segmentation of a run, or several.
    """
    folder = find_result(predictions)
    record = (read_record(folder) or {}) if folder is not None else {}
    predicted = _find_segmentations(folder or predictions, runs)
    reference = _find_segmentations(find_result(truth) or truth, runs)
    asked = {item["run"] for key in ("runs", "failed") for item in record.get(key, [])} or set(predicted)
    for run in sorted(asked - set(reference)):
        logger.warning("no Dice of %s: the truth has no segmentation of it", run)
    scored = [run for run in reference if run in asked]
    missing = [run for run in scored if run not in predicted]
    if missing or not scored:
        problem = f"has no segmentation of run {missing[0]}" if missing else "shares no segmented run with the truth"
        raise PicksError(predictions, problem, "pick with --segmentation, or choose with --run")
    return dice_from_overlaps(measure_overlaps(predicted[run](), reference[run]()) for run in scored)


def _find_segmentations(path: Path, runs: Sequence[str]) -> dict[str, Callable[[], LabelVolume]]:
    """Return a reader of the multilabel segmentation of every run."""
    project = open_project(path)
    names = {spec.label: spec.name for spec in project.objects}
    readers: dict[str, Callable[[], LabelVolume]] = {}
    is_own = (path / PICKS_NAME).is_file()
    for entry in project.segmentations:
        if not entry.is_multilabel or (runs and entry.run not in runs):
            continue
        if is_own and (entry.user, entry.session) != (OWN_USER, OWN_SESSION):
            continue
        if entry.run in readers:
            problem = "has several multilabel segmentations"
            raise PicksError(f"{path}: run {entry.run}", problem, "keep one of them in the project")
        readers[entry.run] = partial(entry.read, names)
    if not readers:
        raise PicksError(path, "holds no multilabel segmentation", "pick with --segmentation")
    return readers
