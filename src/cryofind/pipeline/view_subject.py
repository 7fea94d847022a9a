"""Which run `cryofind view` shows, and where its tomogram is."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cryofind.errors import CryofindError, ProjectError, VoxelSizeError
from cryofind.io import Project, TomogramEntry, open_project
from cryofind.pipeline.inputs import InputSelection, choose_one_per_run, refuse_absent_runs
from cryofind.pipeline.points import (
    PointSource,
    find_result,
    grid_of_record,
    is_points,
    read_points,
    tomogram_of_record,
)
from cryofind.types import VoxelGrid

logger = logging.getLogger("cryofind")

_MOST_RUNS_NAMED = 5


@dataclass(frozen=True, eq=False)
class Subject:
    """One run and what it belongs to.

    Parameters
    ----------
    run
        Its name.
    tomogram
        Where the voxels are.
    selection
        How to read them.
    project
        What else there may be of the run; None for a single tomogram.
    result
        What `cryofind pick` found, where a result folder was named.
    """

    run: str
    tomogram: TomogramEntry
    selection: InputSelection
    project: Project | None
    result: PointSource | None = None


def find_subject(path: Path, selection: InputSelection) -> Subject:
    """Return the run of a result folder, a project or a single tomogram to look at: the one asked for, or the first.

    Raises
    ------
    CryofindError
        If there is none, or its tomogram cannot be told.
    """
    if not path.exists():
        raise ProjectError(path, "does not exist", "give a result folder, a project, an MRC file or an OME-Zarr folder")
    folder = find_result(path)
    if folder is not None:
        return _find_in_result(folder, selection)
    if is_points(path):
        raise ProjectError(path, "holds picks, no tomogram", f"give the tomogram, and these as --picks {path}")
    project = open_project(path)
    if project.kind == "tomogram":  # its run is the file's name; --run then says what the picks call it
        run = selection.runs[0] if selection.runs else project.runs[0]
        (entry,) = choose_one_per_run(project, replace(selection, runs=()))
        return Subject(run, entry, selection, None)
    run = _choose_run(path, selection, sorted({entry.run for entry in project.tomograms}), project.runs)
    entries = choose_one_per_run(project, replace(selection, runs=(run,)))
    return Subject(run, entries[0], selection, project)


def _choose_run(path: Path, selection: InputSelection, runs: Sequence[str], known: Sequence[str]) -> str:
    refuse_absent_runs(selection.runs, known)
    if selection.runs:
        return selection.runs[0]
    if not runs:
        raise ProjectError(path, "holds no tomogram", "give a result folder, a project or a tomogram")
    if len(runs) > 1:
        others = ", ".join(runs[1 : 1 + _MOST_RUNS_NAMED]) + (", ..." if len(runs) > 1 + _MOST_RUNS_NAMED else "")
        logger.info("shows run %s, the first of %d; --run chooses another: %s", runs[0], len(runs), others)
    return runs[0]


def _find_in_result(folder: Path, selection: InputSelection) -> Subject:
    """Return the tomogram that was picked, to be read with the voxel spacing that it was picked with."""
    if selection.tomogram_uri:
        advice = f"leave it out, or give the project, with --picks {folder}"
        raise ProjectError(f"--tomogram {selection.tomogram_uri}", "is not asked for: a result has its own", advice)
    result = read_points(folder)
    run = _choose_run(folder, selection, result.runs, result.runs)
    record = next((item for item in result.record.get("runs", []) if item["run"] == run), None)
    if record is None:
        raise ProjectError(f"{folder}: run {run}", "is not in run.json", "pick it again")
    entry = tomogram_of_record(folder, record)
    if not entry.path.exists():
        advice = f"give the tomogram itself, with --picks {folder} --run {run}"
        raise ProjectError(f"{folder}: run {run}", f"its tomogram {entry.path} is not there any more", advice)
    spacing = selection.voxel_spacing_angstrom or _spacing_as_picked(entry, grid_of_record(folder, record))
    return Subject(run, entry, replace(selection, voxel_spacing_angstrom=spacing), _open_if_possible(folder), result)


def _spacing_as_picked(entry: TomogramEntry, picked: VoxelGrid) -> float | None:
    """Return the voxel spacing to read with; None if the file's own is the one."""
    try:
        found = entry.read_grid()
    except VoxelSizeError:
        return picked.spacing_angstrom
    if found.shape_zyx != picked.shape_zyx:
        logger.warning("%s has another shape than when it was picked", entry.path)
    is_same = np.allclose(found.spacing_zyx_angstrom, picked.spacing_zyx_angstrom, rtol=1e-4)
    return None if is_same else picked.spacing_angstrom


def _open_if_possible(folder: Path) -> Project | None:
    """Return a result folder as the project that it is; None, with a word, if what that refers to has moved away."""
    try:
        return open_project(folder)
    except CryofindError as error:
        logger.warning("neither truth nor segmentations are shown: %s", error)
        return None
