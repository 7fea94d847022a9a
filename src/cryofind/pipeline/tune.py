"""`cryofind tune`: thresholds and calibration from annotated runs, never from runs that the model was trained on."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryofind.errors import InSampleError, OutputError, PicksError
from cryofind.io import open_project
from cryofind.models import SeenRun, save_model
from cryofind.pipeline.annotated import AnnotatedEntry, choose_annotated, read_annotated, refuse_same_data
from cryofind.pipeline.conditions import Conditions, describe_conditions, find_differences
from cryofind.pipeline.ensembles import write_ensemble
from cryofind.pipeline.familiarity import Look, look_at_volume, summarize_looks
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.picker import Picker
from cryofind.pipeline.seen import is_seen, remember_run
from cryofind.pipeline.tune_location import choose_separations, find_in_ways
from cryofind.pipeline.tuning import Tuning, fit_tuning, score_left_out, weigh_f_beta
from cryofind.progress import report_progress
from cryofind.scoring import format_score_table
from cryofind.types import Picks
from cryofind.types.particles import find_spec

logger = logging.getLogger("cryofind")


@dataclass(frozen=True, eq=False)
class _Evidence:
    """Candidates and truth of the runs to tune on, and what these look like, with their flavour, to each member."""

    candidates: Picks
    truth: Picks
    runs: tuple[SeenRun, ...]
    in_sample_runs: tuple[str, ...]
    looks: tuple[list[tuple[str, Look | None]], ...]


def tune_model(
    picker: Picker,
    project_paths: Sequence[Path],
    out: Path,
    *,
    selection: InputSelection = InputSelection(),
    in_sample: bool = False,
) -> list[str]:
    """Write a copy of a model whose thresholds and calibration fit the annotated runs of projects; return a summary.

    Raises
    ------
    InSampleError
        If the model has seen one of the runs, unless `in_sample`.
    ProjectError
        If a run is not there, in two projects, or there under two names; or the choice of its tomogram is ambiguous.
    PicksError
        If a run that is asked for is not annotated, or a project holds no annotated run.
    OutputError
        If `out` is not a new or empty folder.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(out, "is there already", "choose a new folder for --out")
    projects = [open_project(path) for path in project_paths]
    annotated = choose_annotated(projects, selection, preferred_flavours=picker.card.flavours)
    located, evidence = _gather(picker, annotated, selection, in_sample=in_sample)
    _warn_of_partly_annotated(annotated, evidence.truth)
    return _write_tuned(located, out, evidence, given=picker)


def _gather(
    picker: Picker, annotated: Sequence[AnnotatedEntry], selection: InputSelection, *, in_sample: bool
) -> tuple[Picker, _Evidence]:
    """Return the picker with the least distances that suit the runs, and what it finds in them."""
    runs: list[SeenRun] = []
    candidates, truths, seen, looks = [], [], [], []
    with report_progress("tuning", len(annotated)) as progress:
        for _, project, entry in annotated:
            tomogram, truth = read_annotated(project, entry, selection)
            run = remember_run(tomogram, truth, role="tune")
            if is_seen(run, picker.seen_runs):
                seen.append(entry.run)
            if seen and not in_sample:
                problem = "is one that the model was trained or tuned on"
                raise InSampleError(f"{project.path}: run {seen[0]}", problem, "leave it out, or say --in-sample")
            refuse_same_data(run, runs)
            for name in truth.object_names:
                find_spec(picker.specs, name)  # one that is unknown ends it now, not after the last prediction
            prepared = picker.prepare(tomogram)
            candidates.append(find_in_ways(picker, prepared))
            looks.append([(prepared.flavour, look_at_volume(prepared.volume_zyx, one)) for one in picker.networks])
            truths.append(truth)
            runs.append(run)
            progress.advance(note=entry.run)
    picker, found = choose_separations(picker, candidates, truths)
    pooled, truth = Picks.concatenate(found), Picks.concatenate(truths)
    return picker, _Evidence(pooled, truth, tuple(runs), tuple(seen), tuple(looks))


def _warn_of_partly_annotated(annotated: Sequence[AnnotatedEntry], truth: Picks) -> None:
    """Say which projects spoil the threshold of an object that they may hold without saying where."""
    for name in truth.object_names:
        with_picks = set(truth.of_object(name).run_names)
        for path in dict.fromkeys(one.project.path for one in annotated):
            if not with_picks & {one.entry.run for one in annotated if one.project.path == path}:
                logger.warning(
                    "%s: not annotated in %s, where all that is found of it counts as false; "
                    "if it occurs there, annotate it or leave that project out",
                    name,
                    path,
                )


def _write_tuned(picker: Picker, out: Path, evidence: _Evidence, *, given: Picker) -> list[str]:
    """Write the picker, with its distances chosen, tuned; `given` has those of the recipe."""
    config, specs = picker.config, picker.specs
    engine = picker.ready_networks.choice.as_record()
    conditions = describe_conditions(engine, config, member_count=len(picker.networks))
    # Objects that are not tuned keep the distances of the recipe.
    differences = find_differences(picker.card, given.config.locate, conditions)
    previous = picker.tuning.without_calibration() if differences else picker.tuning
    tuning = fit_tuning(evidence.candidates, evidence.truth, specs, config, previous=previous)
    if not any(tuning.f_beta.values()):
        problem = f"gives nothing to tune on: no object has {config.tune.min_picks} annotated picks and a hit"
        raise PicksError("tune", problem, "give more runs, lower tune.min_picks, or use another model")
    lost = [name for name in picker.card.calibration if differences and not tuning.f_beta.get(name)]
    if lost:
        problem = "too little to tune on, and the old calibration is for"
        logger.warning("%s: %s %s: scores are left as they are", ", ".join(lost), problem, "; ".join(differences))
    honest = score_left_out(evidence.candidates, evidence.truth, specs, config, previous=previous)
    _write_members(picker, out, tuning, evidence, conditions)
    mark = f" (IN-SAMPLE: {', '.join(evidence.in_sample_runs)})" if evidence.in_sample_runs else ""
    total = weigh_f_beta(tuning.f_beta, evidence.truth, specs, config)
    lines = [line + mark for line in tuning.describe()]
    lines.append(f"F-beta of the runs that chose the thresholds: {total:.4f}{mark}")
    if honest is not None:
        distances = "" if config.locate == given.config.locate else ", distances from all, so it leans high"
        lines += [f"Each run with thresholds from the others{distances}{mark}:", format_score_table(honest)]
    return [*lines, f"tuned model -> {out}"]


def _write_members(picker: Picker, out: Path, tuning: Tuning, evidence: _Evidence, conditions: Conditions) -> None:
    """Write every member of a model into `out` with the new thresholds on its card."""
    single = len(picker.networks) == 1
    members = [out] if single else [out / f"member_{number + 1}" for number in range(len(picker.networks))]
    looks = zip(*evidence.looks, strict=True)
    for member, network, card, seen in zip(members, picker.networks, picker.cards, looks, strict=True):
        changes: dict[str, Any] = {
            "thresholds": dict(tuning.thresholds),
            "calibration": dict(tuning.calibration),
            "calibrated_for": conditions,
            "preprocess": picker.config.preprocess,
            "locate": picker.config.locate,
            "training_runs": (*card.training_runs, *evidence.runs),
            # Where nothing is known of the training, these runs alone would make all others look strange.
            "familiar": (*card.familiar, *summarize_looks(seen)) if card.familiar else (),
            "metrics": {
                **card.metrics,
                "tuned_f_beta": dict(tuning.f_beta),
                "tuned_in_sample": list(evidence.in_sample_runs),
            },
        }
        save_model(member, network, card.model_copy(update=changes))
    if not single:
        write_ensemble(out, members)
