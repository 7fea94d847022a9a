"""Annotated runs of one or several projects: which there are, and how one is read."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from cryofind.errors import PicksError, ProjectError
from cryofind.io import Project, TomogramEntry
from cryofind.models import SeenRun
from cryofind.pipeline.inputs import InputSelection, choose_one_per_run, refuse_absent_runs
from cryofind.pipeline.seen import is_seen
from cryofind.types import Picks, Tomogram


class AnnotatedEntry(NamedTuple):
    """One tomogram of an annotated run: the number of its project, from 0, the project, and where it is."""

    number: int
    project: Project
    entry: TomogramEntry


def find_annotated_runs(project: Project, selection: InputSelection) -> set[str]:
    """Return the runs that have picks of the selection."""
    return {picks.run for picks in project.select_picks(selection.picks_uri)}


def choose_annotated(
    projects: Sequence[Project], selection: InputSelection, *, preferred_flavours: Sequence[str]
) -> list[AnnotatedEntry]:
    """Return one tomogram of every annotated run of a selection.

    Raises
    ------
    ProjectError
        If a run is not there or annotated in two projects, or the choice of its tomogram is ambiguous.
    PicksError
        If a run that is asked for is annotated nowhere, or, where all are, a project has none.
    """
    refuse_absent_runs(selection.runs, [run for project in projects for run in project.runs])
    found = [
        entry
        for number, project in enumerate(projects)
        for entry in _choose_of_project(number, project, selection, preferred_flavours)
    ]
    if bare := set(selection.runs) - {one.entry.run for one in found}:
        raise PicksError(f"run {min(bare)}", "has no annotated picks", "add picks, or leave it out")
    refuse_shared_names(found)
    return found


def _choose_of_project(
    number: int, project: Project, selection: InputSelection, preferred_flavours: Sequence[str]
) -> list[AnnotatedEntry]:
    chosen = choose_one_per_run(project, selection, preferred_flavours=preferred_flavours)
    annotated = find_annotated_runs(project, selection) if chosen else set()
    entries = [AnnotatedEntry(number, project, entry) for entry in chosen if entry.run in annotated]
    if not entries and not selection.runs:
        raise PicksError(project.path, "holds no annotated run with a tomogram", "add picks, or choose other runs")
    return entries


def refuse_shared_names(annotated: Sequence[AnnotatedEntry]) -> None:
    """Refuse runs of one name in two projects.

    Raises
    ------
    ProjectError
        If there are any.
    """
    owner: dict[str, AnnotatedEntry] = {}
    for one in annotated:
        other = owner.setdefault(one.entry.run, one)
        if other.number != one.number:
            problem = f"stands in {other.project.path} and in {one.project.path}"
            raise ProjectError(f"run {one.entry.run}", problem, "rename one, or name each project once")


def refuse_same_data(run: SeenRun, others: Iterable[SeenRun]) -> None:
    """Refuse a run that is there under another name: it would count twice, and be learnt from and judged by at once.

    Raises
    ------
    ProjectError
        If one of other name has the same voxels or picks.
    """
    for other in others:
        if other.run != run.run and is_seen(run, [other]):
            problem = f"has the same voxels or picks as run {other.run}"
            raise ProjectError(f"run {run.run}", problem, "leave one of them out with --run")


def read_annotated(project: Project, entry: TomogramEntry, selection: InputSelection) -> tuple[Tomogram, Picks]:
    """Return a run's tomogram as it is in the file, and its annotated picks.

    Raises
    ------
    PicksError
        If picks lie outside the tomogram.
    """
    tomogram = entry.read(
        voxel_spacing_angstrom=selection.voxel_spacing_angstrom, allow_missing_chunks=selection.allow_missing_chunks
    )
    picks = project.read_picks(selection.picks_uri, runs=(entry.run,))
    outside = ~tomogram.grid.contains(picks.positions_zyx_angstrom)
    if outside.any():
        worst = np.round(picks.positions_zyx_angstrom[outside][0], 1)
        problem = (
            f"{int(outside.sum())} of {len(picks)} picks lie outside the tomogram, such as z, y, x = {worst.tolist()} "
            f"in a box of {np.round(tomogram.grid.extent_zyx_angstrom, 1).tolist()} Angstrom"
        )
        raise PicksError(f"{project.path}: run {entry.run}", problem, "check unit, axis order and voxel spacing")
    return tomogram, picks
