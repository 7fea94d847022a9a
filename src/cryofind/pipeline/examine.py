"""`cryofind info` and `cryofind doctor`: what is there, what is wrong with it, what this computer can do."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import cryofind
from cryofind.config import PredictConfig
from cryofind.errors import CryofindError
from cryofind.io import (
    Project,
    TomogramEntry,
    describe_path,
    diagnose_tomogram,
    format_description,
    open_project,
)
from cryofind.pipeline.ensembles import has_model, member_folders
from cryofind.pipeline.picked_runs import PICKS_NAME
from cryofind.pipeline.points import is_points, read_points
from cryofind.pipeline.records import read_record
from cryofind.pipeline.tuning import DEFAULT_THRESHOLD
from cryofind.preprocess import detect_polarity, match_spacing
from cryofind.types import Picks, Tomogram

if TYPE_CHECKING:
    from cryofind.models import ModelCard


@dataclass(frozen=True)
class Findings:
    """What `doctor` has to say about an input.

    Parameters
    ----------
    lines
        To be shown, in order.
    has_problems
        Whether something needs mending.
    """

    lines: tuple[str, ...]
    has_problems: bool


def describe(path: Path) -> Findings:
    """Say what a path holds: a model, a result, points, or anything that `cryofind.io.describe_path` knows.

    Raises
    ------
    CryofindError
        If nothing there can be understood.
    """
    if has_model(path):
        return Findings(tuple(line for member in member_folders(path) for line in _describe_model(member)), False)
    if (path / PICKS_NAME).is_file():
        return Findings(tuple(_describe_result(path)), False)
    if is_points(path):
        return Findings(tuple(_describe_points(path)), False)
    description = describe_path(path)
    return Findings(tuple(format_description(description)), bool(description["problems"]))


def _describe_model(folder: Path) -> list[str]:
    from cryofind.models import load_model_folder

    card = load_model_folder(folder).card
    lines = [
        f"model {card.name}: {card.network.network}, {card.activation}, {card.voxel_spacing_angstrom:.3f} A per voxel,"
        f" trained on {', '.join(card.flavours) or 'unnamed'} tomograms with {card.polarity} particles"
    ]
    for spec in card.specs():
        threshold = card.thresholds.get(spec.name)
        chosen = f"default threshold {DEFAULT_THRESHOLD}" if threshold is None else f"threshold {threshold:.4f}"
        lines.append(f"  {spec.name}: radius {spec.radius_angstrom} A, {chosen}")
    if card.averaged_from:
        lines.append(f"averaged from: {', '.join(model.name for model in card.averaged_from)}")
    lines.append(f"seen runs: {', '.join(f'{run.run} ({run.role})' for run in card.training_runs) or 'none'}")
    return lines


def _describe_points(path: Path) -> list[str]:
    picks = read_points(path).picks
    return [f"{len(picks)} picks in {len(picks.run_names)} runs", *_count_by_run(picks, picks.run_names)]


def _count_by_run(picks: Picks, runs: Sequence[str]) -> list[str]:
    lines = []
    for run in runs:
        of_run = picks.of_run(run)
        counts = ", ".join(f"{len(of_run.of_object(name))} {name}" for name in of_run.object_names)
        lines.append(f"  {run}: {counts or 'none'}")
    return lines


def _describe_result(folder: Path) -> list[str]:
    picks = Picks.from_csv(folder / PICKS_NAME)
    record = read_record(folder) or {}
    models = ", ".join(model["name"] for model in record.get("models", [])) or "unknown model"
    chosen = picks.only_selected()
    lines = [f"{len(picks)} candidates in {len(picks.run_names)} runs by {models}; selected: {len(chosen)}"]
    return [*lines, *_count_by_run(chosen, picks.run_names)]


def examine_computer() -> list[str]:
    """Say what this computer can do."""
    import torch

    from cryofind.predict import choose_engine

    lines = [
        f"cryofind {cryofind.__version__}, torch {torch.__version__}",
        f"cores: {os.cpu_count()}; memory: {_memory_gigabytes():.1f} GB; "
        f"free disk here: {shutil.disk_usage(Path.cwd()).free / 1e9:.0f} GB",
        choose_engine([], PredictConfig()).describe(),
    ]
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        lines.append(f"GPUs: {', '.join(names)}")
    else:
        lines.append("no GPU found: everything runs on the CPU")
    return lines


def _memory_gigabytes() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


def examine_input(path: Path, model: str | None = None) -> Findings:
    """Read every tomogram and pick of an input and say what is wrong with it, and with a model on it.

    Raises
    ------
    CryofindError
        If the input cannot be opened at all.
    """
    project = open_project(path)
    card = None
    if model is not None:
        from cryofind.pipeline.loading import load_model

        card = load_model(model).card
    lines: list[str] = []
    problems = 0
    for entry in project.tomograms:
        findings = _examine_tomogram(project, entry, card)
        problems += sum(1 for finding in findings if finding.startswith("problem"))
        lines += [f"{entry.run} {entry.flavour}".strip() + f": {finding}" for finding in findings]
    lines.append(f"problems found: {problems}")
    return Findings(tuple(lines), problems > 0)


def _examine_tomogram(project: Project, entry: TomogramEntry, card: "ModelCard | None") -> list[str]:
    try:
        return examine_voxels(project, entry.read(), card)
    except CryofindError as error:
        return [f"problem: {error}"]


def examine_voxels(project: Project, tomogram: Tomogram, card: "ModelCard | None" = None) -> list[str]:
    """Return the findings about a tomogram that has been read, its picks in the project, and a model on it.

    Raises
    ------
    CryofindError
        If its picks cannot be read.
    """
    findings = [*tomogram.notes, *diagnose_tomogram(tomogram)]
    findings.append(f"particles look {detect_polarity(tomogram.volume_zyx)}")
    findings += _examine_picks(project, tomogram)
    return findings + _examine_fit(tomogram, card)


def _examine_picks(project: Project, tomogram: Tomogram) -> list[str]:
    owners = sorted({f"{entry.user}/{entry.session}" for entry in project.select_picks(runs=(tomogram.run,))})
    if not owners:
        return ["no picks"]
    return [line for owner in owners for line in _examine_picks_of(owner, project, tomogram)]


def _examine_picks_of(owner: str, project: Project, tomogram: Tomogram) -> list[str]:
    picks = project.read_picks(f"*:{owner}", runs=(tomogram.run,))
    if not len(picks):
        return [f"no picks of {owner}"]
    outside = int((~tomogram.grid.contains(picks.positions_zyx_angstrom)).sum())
    if outside:
        return [
            f"problem: {outside} of {len(picks)} picks of {owner} lie outside the tomogram; check unit and axis order"
        ]
    depth = np.percentile(picks.positions_zyx_angstrom[:, 0], [2, 98])
    return [f"{len(picks)} picks of {owner}, at z {depth[0]:.0f} to {depth[1]:.0f} A"]


def _examine_fit(tomogram: Tomogram, card: "ModelCard | None") -> list[str]:
    if card is None:
        return []
    findings: list[str] = []
    if tomogram.flavour and card.flavours and tomogram.flavour not in card.flavours:
        findings.append(f"the model was trained on {', '.join(card.flavours)}, not on {tomogram.flavour}")
    try:
        notes = match_spacing(tomogram, card.voxel_spacing_angstrom).notes[len(tomogram.notes) :]
        findings += notes or [f"the model's voxel spacing fits: {card.voxel_spacing_angstrom:.3f} A"]
    except CryofindError as error:
        findings.append(f"problem: {error}")
    polarity = detect_polarity(tomogram.volume_zyx)
    if {polarity, card.polarity} == {"dark", "bright"}:
        findings.append(
            f"problem: particles look {polarity}, the model expects {card.polarity}; set preprocess.polarity=match"
        )
    return findings
