"""Picks from whatever a user names: a result folder, a table, a project, a folder of picks JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cryofind.errors import OutputError, PicksError
from cryofind.io import Project, TomogramEntry, open_project, read_picks_json, read_points_table
from cryofind.pipeline.inputs import refuse_absent_runs
from cryofind.pipeline.picked_runs import MADE_BY, PICKS_NAME
from cryofind.pipeline.records import RECORD_NAME, read_record
from cryofind.types import ParticleSpec, Picks, VoxelGrid

_KINDS_OF_FIELDS: dict[str, type[list[Any] | dict[str, Any]]] = {
    "runs": list,
    "objects": list,
    "models": list,
    "failed": list,
    "thresholds": dict,
    "config": dict,
    "environment": dict,
}


@dataclass(frozen=True, eq=False)
class PointSource:
    """Picks and what is known around them.

    Parameters
    ----------
    path
        What the user named.
    picks
        All rows.
    objects
        What the source says about its objects; empty when it says nothing (a table).
    runs
        Runs that the source covers, also those without picks.
    grids
        Grid of a run's tomogram, where known.
    record
        `run.json` of a result folder, else empty.
    is_project
        Whether picks of several users may have been there to choose from.
    """

    path: Path
    picks: Picks
    objects: tuple[ParticleSpec, ...]
    runs: tuple[str, ...]
    grids: dict[str, VoxelGrid]
    record: dict[str, Any]
    is_project: bool = False


def read_points(path: Path, *, runs: Sequence[str] = (), picks_uri: str = "") -> PointSource:
    """Read picks from a result folder, a CSV table, a picks JSON, a project or a folder of picks JSON.

    Parameters
    ----------
    path
        What to read.
    runs
        Keep only these; empty for all.
    picks_uri
        Of a project: whose picks, `object:user/session` in copick's grammar.

    Raises
    ------
    PicksError
        If nothing there can be understood as picks.
    """
    source = _read_any(path, picks_uri)
    if picks_uri and not source.is_project:
        problem = f"is no project, so '{picks_uri}' chooses nothing in it"
        raise PicksError(path, problem, "leave the URI out, or give a project")
    if not runs:
        return source
    refuse_absent_runs(runs, source.runs)
    return _of_runs(source, runs)


def find_result(path: Path) -> Path | None:
    """Return the folder written by `cryofind pick` that a path is or belongs to; None if there is none."""
    if not (path.is_dir() or path.name in {PICKS_NAME, "copick.json"}):
        return None
    folder = path if path.is_dir() else path.parent
    if folder.parent.name == "runs":
        folder = folder.parent.parent
    record = read_record(folder) if (folder / PICKS_NAME).is_file() else None
    return folder if record is not None and record.get("made_by") == MADE_BY else None


def _of_runs(source: PointSource, runs: Sequence[str]) -> PointSource:
    keep = [run for run in source.runs if run in set(runs)]
    kept = source.picks.where(np.isin(source.picks.runs, list(runs)))
    record = source.record
    if "failed" in record:
        # A tomogram that failed and was not asked for must not count as one that was picked without a hit.
        record = {**record, "failed": [item for item in record["failed"] if item.get("run") in runs]}
    return replace(source, picks=kept, runs=tuple(keep), record=record)


def is_points(path: Path) -> bool:
    """Say whether a path is a table of points, a picks JSON, or a folder of nothing but picks JSON."""
    if path.is_dir():
        return _holds_only_picks_json(path)
    return path.suffix.lower() == ".csv" or (path.suffix.lower() == ".json" and _looks_like_picks_json(path))


def _read_any(path: Path, picks_uri: str) -> PointSource:
    if not path.exists():
        raise PicksError(path, "does not exist", "give a result folder, a CSV, a project or a folder of picks JSON")
    folder = find_result(path)
    if folder is not None and not picks_uri:
        # Also for a file or a run's folder inside a result: its record knows which runs the model has seen.
        result = _read_result(folder)
        run = (path if path.is_dir() else path.parent).name
        return _of_runs(result, (run,)) if (folder / "runs" / run).is_dir() else result
    if path.is_dir() and (path / PICKS_NAME).is_file():
        return _from_table(path, Picks.from_csv(path / PICKS_NAME))
    if is_points(path):
        return _from_table(path, _read_table(path))
    source = _from_project(open_project(path), picks_uri)
    return source if folder is None else replace(source, record=read_record(folder) or {})


def _read_result(folder: Path) -> PointSource:
    record = read_record(folder) or {}
    _check_record(folder, record)
    grids = {_name_of_record(folder, run): grid_of_record(folder, run) for run in record.get("runs", [])}
    objects = tuple(spec_of_record(document) for document in record.get("objects", []))
    picks = Picks.from_csv(folder / PICKS_NAME)
    return PointSource(folder, picks, objects, tuple(grids) or picks.run_names, grids, record)


def _check_record(folder: Path, record: dict[str, Any]) -> None:
    """Refuse a record whose tables and lists are none: files that are damaged or of something else."""
    for name, kind in _KINDS_OF_FIELDS.items():
        found = record.get(name, kind())
        if not isinstance(found, kind) or (kind is list and not all(isinstance(item, dict) for item in found)):
            raise OutputError(f"{folder / RECORD_NAME}: {name}", f"is {json.dumps(found)[:60]}", "pick again")


def _name_of_record(folder: Path, run: dict[str, Any]) -> str:
    if not isinstance(run.get("run"), str):
        raise OutputError(f"{folder / RECORD_NAME}: runs", "one of them has no name", "pick again")
    return str(run["run"])


def tomogram_of_record(folder: Path, run: dict[str, Any]) -> TomogramEntry:
    """Return the tomogram of a run, where its record in `run.json` states that it was."""
    try:
        return TomogramEntry(_name_of_record(folder, run), run.get("flavour", ""), None, Path(run["path"]))
    except (KeyError, TypeError) as error:
        raise OutputError(f"{folder / RECORD_NAME}: runs", f"cannot be read ({error!r})", "pick again") from error


def grid_of_record(folder: Path, run: dict[str, Any]) -> VoxelGrid:
    """Return the grid of a run as its record in `run.json` states it."""
    try:
        return VoxelGrid(run["shape_zyx"], run["spacing_zyx_angstrom"], run["origin_zyx_angstrom"])
    except (KeyError, TypeError, ValueError) as error:
        raise OutputError(f"{folder / RECORD_NAME}: runs", f"cannot be read ({error!r})", "pick again") from error


def spec_of_record(document: dict[str, Any]) -> ParticleSpec:
    """Return an object as `run.json` states it."""
    try:
        red, green, blue, alpha = document["color"]
        return ParticleSpec(**{**document, "color": (red, green, blue, alpha)})
    except (KeyError, TypeError, ValueError) as error:
        raise OutputError(f"{RECORD_NAME}: objects", f"cannot be read ({error!r})", "pick again") from error


def _read_table(path: Path) -> Picks:
    if path.is_dir():
        return Picks.concatenate(read_picks_json(file) for file in sorted(path.glob("*.json")))
    return read_points_table(path) if path.suffix.lower() == ".csv" else read_picks_json(path)


def _from_table(path: Path, picks: Picks) -> PointSource:
    return PointSource(path, picks, (), picks.run_names, {}, {})


def _from_project(project: Project, picks_uri: str) -> PointSource:
    picks = project.read_picks(picks_uri)
    annotated = {entry.run for entry in project.select_picks(picks_uri)}
    runs = tuple(run for run in project.runs if run in annotated)
    grids = {run: grid for run in runs if (grid := project.grid_of_run(run)) is not None}
    return PointSource(project.path, picks, project.objects, runs, grids, {}, is_project=True)


def _holds_only_picks_json(folder: Path) -> bool:
    files = sorted(folder.glob("*.json"))
    return bool(files) and all(_looks_like_picks_json(file) for file in files)


def _looks_like_picks_json(path: Path) -> bool:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and "points" in document


def choose_specs(*sources: PointSource) -> tuple[ParticleSpec, ...] | None:
    """Return the objects of the first source that states them; None leaves the choice to the scorer."""
    return next((source.objects for source in sources if source.objects), None)
