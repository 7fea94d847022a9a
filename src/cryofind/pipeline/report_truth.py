"""The truth that a result is compared with: named, or found in the project that was picked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from cryofind import czii
from cryofind.config import ScoreConfig
from cryofind.errors import CryofindError, PicksError
from cryofind.io import OWN_USER, Project, open_project
from cryofind.io.layout import RUNS_FOLDER
from cryofind.pipeline.points import PointSource, choose_specs, read_points
from cryofind.pipeline.scoring import find_in_sample_runs
from cryofind.scoring import score
from cryofind.types import ParticleSpec, Picks, ScoreReport

# From the folder of runs upwards: `overlay/ExperimentRuns` and the configuration beside `overlay`, at most.
_LEVELS_ABOVE_RUNS = 3


@dataclass(frozen=True, eq=False)
class Reference:
    """True picks, and how a result compares with them.

    Parameters
    ----------
    picks
        The true picks of the runs that are scored.
    runs
        These runs; some may have no true pick.
    specs
        Objects to score, with their weights.
    report
        The score, pooled over runs.
    origin
        Where the truth is from, for people.
    """

    picks: Picks
    runs: tuple[str, ...]
    specs: tuple[ParticleSpec, ...]
    report: ScoreReport
    origin: str


def compare_with_truth(
    source: PointSource, truth: Path | None, config: ScoreConfig, *, truth_uri: str = ""
) -> tuple[Reference | None, tuple[str, ...]]:
    """Return the truth of a result and its score, or None, and what to say about that.

    Parameters
    ----------
    source
        The result.
    truth
        What the user named; None to look into the project that was picked.
    config
        How to score.
    truth_uri
        Whose picks of the truth: `object:user/session`.

    Raises
    ------
    CryofindError
        If a truth was named and cannot be read or compared; one that was only found is left out, with a note.
    """
    if truth is not None:
        reference = read_points(truth, picks_uri=truth_uri)
        return _compare(source, reference, config, str(truth)), ()
    try:
        found = find_truth(source, truth_uri)
        return (None if found is None else _compare(source, found, config, str(found.path))), ()
    except CryofindError as error:
        return None, (f"the project's picks are not taken for a truth: {error}",)


def _compare(source: PointSource, reference: PointSource, config: ScoreConfig, origin: str) -> Reference:
    true_picks = reference.picks.only_selected()
    asked = {*source.runs, *(item["run"] for item in source.record.get("failed", []))}
    runs = tuple(run for run in reference.runs if run in asked)
    if not runs or not np.isin(true_picks.runs, runs).any():
        has = ", ".join(reference.runs[:5]) or "none"
        raise PicksError(origin, f"shares no annotated run with the result (it has: {has})", "name another --truth")
    true_picks = true_picks.where(np.isin(true_picks.runs, runs))
    specs = _join_specs(choose_specs(reference, source), source.objects)
    report = score(source.picks, true_picks, specs, config=config, runs=runs)
    seen = find_in_sample_runs(source, true_picks)
    report = replace(report, in_sample_runs=tuple(seen))
    return Reference(true_picks, runs, czii.OBJECTS if specs is None else specs, report, origin)


def _join_specs(
    first: Sequence[ParticleSpec] | None, second: Sequence[ParticleSpec]
) -> tuple[ParticleSpec, ...] | None:
    """Return the objects of the first, then those that only the second has."""
    if first is None:
        return None
    names = {spec.name for spec in first}
    labels = {spec.label for spec in first}
    others = [spec for spec in second if spec.name not in names and spec.label not in labels]
    return (*first, *others)


def find_truth(source: PointSource, truth_uri: str = "") -> PointSource | None:
    """Return the annotations in the project that a result folder was picked from, other than cryofind's; None if none.

    Raises
    ------
    PicksError
        If several people annotated the same object of a run, and no URI says whose annotations count.
    """
    _open_quietly.cache_clear()  # somebody may have annotated since an earlier call
    picks: list[Picks] = []
    objects: list[ParticleSpec] = []
    annotated: list[str] = []
    path: Path | None = None
    for run in source.record.get("runs", []):
        project = find_project(Path(run.get("path", "")))
        if project is None:
            continue
        of_run = _annotations_of(project, run["run"], truth_uri)
        if of_run is None:
            continue
        picks.append(of_run)
        annotated.append(run["run"])
        path = path or project.path
        objects = objects or list(project.objects)
    if path is None:
        return None
    return PointSource(path, Picks.concatenate(picks), tuple(objects), tuple(annotated), {}, {}, is_project=True)


def _annotations_of(project: Project, run: str, truth_uri: str) -> Picks | None:
    """Return the picks of a run that people made; None without a file of them."""
    if run not in project.runs:
        return None
    if truth_uri:
        return project.read_picks(truth_uri, runs=(run,))
    theirs = [entry for entry in project.select_picks(runs=(run,)) if entry.user != OWN_USER]
    owners = sorted({f"{entry.user}/{entry.session}" for entry in theirs})
    by_object = {entry.object: entry for entry in theirs}
    if len(by_object) < len(theirs):
        advice = f"say whose, e.g. --truth-uri '*:{owners[0]}'"
        raise PicksError(f"{project.path}: run {run}", f"has annotations by {', '.join(owners)}", advice)
    return Picks.concatenate(entry.read() for entry in theirs) if theirs else None


def find_project(tomogram: Path) -> Project | None:
    """Return the project that a tomogram in copick's or Kaggle's layout belongs to; None if it lies loose."""
    folders = [parent for parent in tomogram.parents if parent.name == RUNS_FOLDER]
    if not folders:
        return None
    above = list(folders[-1].parents)[:_LEVELS_ABOVE_RUNS]
    projects = [found[0] for folder in above if (found := _open_quietly(folder)) and tomogram.resolve() in found[1]]
    # The nearest folder may hold tomograms alone; the configuration or the annotations lie higher up.
    return next((project for project in projects if project.picks_entries), projects[0] if projects else None)


@cache
def _open_quietly(folder: Path) -> tuple[Project, frozenset[Path]] | None:
    """Return a project and its tomograms; None if there is none."""
    try:
        project = open_project(folder)
    except CryofindError:
        return None
    return project, frozenset(entry.path.resolve() for entry in project.tomograms)


def describe_in_sample(runs: Sequence[str]) -> tuple[str, ...]:
    """Return a warning if the model has seen some of the runs."""
    if not runs:
        return ()
    named = ", ".join(runs[:8]) + (f" and {len(runs) - 8} more" if len(runs) > 8 else "")
    return (f"in-sample: the model was trained or tuned on {named}; scores there say little about new tomograms",)
