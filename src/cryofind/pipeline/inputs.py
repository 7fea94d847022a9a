"""Which tomograms a command works on."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryofind.errors import CryofindError, ProjectError, advise_known_names
from cryofind.io import Project, TomogramEntry, open_project

logger = logging.getLogger("cryofind")


@dataclass(frozen=True)
class InputSelection:
    """Which tomograms to take from the inputs.

    Parameters
    ----------
    tomogram_uri
        `type` or `type@spacing` in copick's grammar; empty for the only one, or the model's.
    runs
        Names of the runs to take; empty for all.
    voxel_spacing_angstrom
        Overrides what the files say.
    allow_missing_chunks
        Accept zarr arrays with absent chunks.
    picks_uri
        `object:user/session` in copick's grammar: whose picks are the truth; empty where there is only one.
    """

    tomogram_uri: str = ""
    runs: tuple[str, ...] = ()
    voxel_spacing_angstrom: float | None = None
    allow_missing_chunks: bool = False
    picks_uri: str = ""


@dataclass(frozen=True)
class FailedItem:
    """An input that could not be worked on, and why; `run` is empty when not even its name is known."""

    item: str
    error: CryofindError
    run: str = ""


@dataclass(frozen=True)
class CollectedInputs:
    """What was found: projects, one tomogram per run, and what failed."""

    projects: tuple[Project, ...]
    entries: tuple[TomogramEntry, ...]
    failed: tuple[FailedItem, ...]


def collect_tomograms(
    inputs: Sequence[Path], selection: InputSelection, *, preferred_flavours: Sequence[str] = ()
) -> CollectedInputs:
    """Find one tomogram per run in the inputs; inputs that cannot be opened are listed, not raised.

    Raises
    ------
    ProjectError
        If two inputs hold the same run, a named run is missing, or a run has several tomograms and none is chosen.
    """
    projects: list[Project] = []
    entries: list[TomogramEntry] = []
    failed: list[FailedItem] = []
    for path in inputs:
        try:
            project = open_project(path)
            chosen = choose_one_per_run(project, selection, preferred_flavours=preferred_flavours)
            entries.extend(chosen)
            failed.extend(_name_runs_left_out(project, selection, chosen))
        except CryofindError as error:
            failed.append(FailedItem(str(path), error))
        else:
            projects.append(project)
    _refuse_repeated_runs(entries)
    if projects:
        refuse_absent_runs(selection.runs, [run for project in projects for run in project.runs])
    return CollectedInputs(tuple(projects), tuple(entries), tuple(failed))


def choose_one_per_run(
    project: Project, selection: InputSelection, *, preferred_flavours: Sequence[str] = ()
) -> tuple[TomogramEntry, ...]:
    """Return one tomogram for each run of a project that has any.

    A run with several takes the first of `preferred_flavours` that it has.

    Raises
    ------
    ProjectError
        If nothing matches, or the choice stays open.
    """
    runs = tuple(run for run in selection.runs if run in project.runs)
    if selection.runs and not runs:
        return ()
    entries = project.select_tomograms(selection.tomogram_uri, runs=runs)
    if not entries:
        found = ", ".join(sorted({entry.flavour for entry in project.tomograms})) or "none"
        asked = f" that matches '{selection.tomogram_uri}'" if selection.tomogram_uri else ""
        raise ProjectError(project.path, f"holds no tomogram{asked} (found: {found})", "check the path and --tomogram")
    by_run: dict[str, list[TomogramEntry]] = {}
    for entry in entries:
        by_run.setdefault(entry.run, []).append(entry)
    return tuple(_choose(project, candidates, preferred_flavours) for candidates in by_run.values())


def _choose(project: Project, entries: list[TomogramEntry], preferred: Sequence[str]) -> TomogramEntry:
    if len(entries) == 1:
        return entries[0]
    for flavour in preferred:
        matching = [entry for entry in entries if entry.flavour == flavour]
        if len(matching) == 1:
            return matching[0]
    described = ", ".join(_describe(entry) for entry in entries)
    raise ProjectError(
        f"{project.path}: run {entries[0].run}", f"has several tomograms: {described}", "choose one with --tomogram"
    )


def _describe(entry: TomogramEntry) -> str:
    return entry.flavour if entry.spacing_angstrom is None else f"{entry.flavour}@{entry.spacing_angstrom:.3f}"


def _refuse_repeated_runs(entries: Sequence[TomogramEntry]) -> None:
    seen: dict[str, TomogramEntry] = {}
    for entry in entries:
        other = seen.setdefault(entry.run.casefold(), entry)
        if other is not entry:
            problem = f"stands for two tomograms: {other.path} and {entry.path}"
            raise ProjectError(f"run {entry.run}", problem, "pick them into two folders, or rename one")


def refuse_absent_runs(asked: Sequence[str], known: Sequence[str]) -> None:
    """Refuse runs that are asked for and not there.

    Raises
    ------
    ProjectError
        With the nearest known run.
    """
    for run in asked:
        if run not in known:
            raise ProjectError(f"--run {run}", "is not in the input", advise_known_names(run, sorted(known)[:20]))


def _name_runs_left_out(
    project: Project, selection: InputSelection, chosen: Sequence[TomogramEntry]
) -> list[FailedItem]:
    """Return the runs that lack the tomogram asked for; those without any are only mentioned if none was."""
    found = {entry.run for entry in chosen}
    left_out = [run for run in project.runs if run not in found and (not selection.runs or run in selection.runs)]
    if not (selection.tomogram_uri or selection.runs):
        if left_out:
            logger.warning("no tomogram of %s", ", ".join(left_out))
        return []
    asked = f" '{selection.tomogram_uri}'" if selection.tomogram_uri else ""
    return [
        FailedItem(
            str(project.path),
            ProjectError(f"{project.path}: run {run}", f"has no tomogram{asked}", "check --tomogram and --run"),
            run,
        )
        for run in left_out
    ]
