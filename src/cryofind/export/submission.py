"""The submission file of the CZII challenge: written exactly, and checked for all that its scorer hides."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryofind import czii
from cryofind.atomic import write_text
from cryofind.coordinates import xyz_from_zyx, zyx_from_xyz
from cryofind.errors import CryofindError, PicksError, SubmissionError, advise_known_names, nearest_name
from cryofind.io.extent import describe_box, describe_extent, guess_wrong_frame, look_like_voxels
from cryofind.io.tables import CsvTable, read_csv_table
from cryofind.io.text import advise_number, parse_number, read_bytes
from cryofind.types import ParticleSpec, Picks, VoxelGrid, check_run_name

Floats = NDArray[np.float64]

HEADER = ("id", "experiment", "particle_type", "x", "y", "z")

_LOG = logging.getLogger("cryofind")
_UTF8_BOM = b"\xef\xbb\xbf"


def write_submission(
    path: str | Path,
    picks: Picks,
    *,
    runs: Sequence[str] | None = None,
    objects: Sequence[ParticleSpec] = czii.OBJECTS,
) -> int:
    """Write `id,experiment,particle_type,x,y,z`: Angstrom with 3 decimals, id from 0; the header alone when empty.

    All rows are written, so choose (`Picks.only_selected`) before; rows that are equal in writing are written once.

    Parameters
    ----------
    path
        Where to write.
    picks
        Picks of any runs.
    runs
        The runs of the task; others are refused. None allows any.
    objects
        The objects of the task.

    Returns
    -------
    int
        The number of rows.

    Raises
    ------
    SubmissionError
        If a run or object is none of the task's.
    NameRefused
        If a run name is not safe.
    """
    for run in picks.run_names:
        check_run_name(run)
        if runs is not None and run not in runs:
            raise SubmissionError(f"run '{run}'", "is not one of the task", advise_known_names(run, runs))
    names = [spec.name for spec in objects]
    for name in picks.object_names:
        if name not in names:
            raise SubmissionError(f"object '{name}'", "is not one of the task", _advise_object(name, names))
    # Adding 0.0 turns -0.0, which prints as -0.000, into 0.0.
    points_xyz = np.round(xyz_from_zyx(picks.positions_zyx_angstrom), 3) + 0.0
    rows = [
        f"{run},{name},{x:.3f},{y:.3f},{z:.3f}"
        for run, name, (x, y, z) in zip(picks.runs, picks.objects, points_xyz, strict=True)
    ]
    distinct = list(dict.fromkeys(rows))
    if len(distinct) < len(rows):
        _LOG.info("%s: %d rows that repeat another were left out", path, len(rows) - len(distinct))
    lines = [",".join(HEADER), *(f"{number},{row}" for number, row in enumerate(distinct))]
    write_text(Path(path), "\n".join(lines) + "\n")
    return len(distinct)


def validate_submission(
    path: str | Path,
    *,
    runs: Sequence[str] | None = None,
    grid: VoxelGrid = czii.TOMOGRAM_GRID,
    objects: Sequence[ParticleSpec] = czii.OBJECTS,
    force: bool = False,
) -> tuple[str, ...]:
    """Check a submission file for everything that would be refused or would silently lose points.

    Parameters
    ----------
    path
        The file.
    runs
        The experiments of the task; None allows any.
    grid
        Grid of all its tomograms.
    objects
        Its particle types; those of weight 0 are noted as having no effect.
    force
        Accept coordinates that look like voxels, with a note.

    Returns
    -------
    tuple of str
        Notes on what is allowed but may be a mistake.

    Raises
    ------
    SubmissionError
        At the first thing that is wrong, with line and column.
    """
    path = Path(path)
    table = _read_table(path)
    _check_ids(table)
    _check_experiments(table, runs)
    _check_particle_types(table, [spec.name for spec in objects])
    positions = _read_positions(table)
    notes = _check_frame(table, positions, grid, force=force)
    _check_repeats(table)
    return tuple(notes + _note_rows(table, positions, runs, objects))


def _read_table(path: Path) -> CsvTable:
    content = read_bytes(path, error=SubmissionError)
    if content.startswith(_UTF8_BOM):
        raise SubmissionError(f"{path}: byte 0", "begins with a byte order mark", "save it as UTF-8 without it")
    try:
        table = read_csv_table(path)
    except PicksError as error:
        raise SubmissionError(error.subject, error.problem, error.advice) from error
    first_line = content.split(b"\n", 1)[0].rstrip(b"\r").decode("utf-8")
    if first_line != ",".join(HEADER):
        missing = [name for name in HEADER if name not in table.header]
        extra = [name for name in table.header if name not in HEADER]
        parts = [f"lacks {', '.join(missing)}"] if missing else []
        parts += [f"has {', '.join(extra)[:60]} too"] if extra else []
        difference = " and ".join(parts) or "has another order or spelling"
        raise SubmissionError(f"{path}: header", f"{difference} ({first_line[:80]!r})", f"write {','.join(HEADER)}")
    return table


def _check_ids(table: CsvTable) -> None:
    seen: set[int] = set()
    count = len(table.rows)
    for line, text in zip(table.lines, table.texts("id"), strict=True):
        # Very long digit strings are refused before they are turned into numbers.
        is_number = re.fullmatch(r"0|[1-9]\d{0,11}", text, re.ASCII) is not None
        if not is_number or int(text) >= count:
            found = f"is {text[:40]!r}, expected a whole number from 0 to {count - 1}"
            raise _error(table, line, "id", found, "number the rows from 0")
        if int(text) in seen:
            raise _error(table, line, "id", f"is {text}, which an earlier row has", "number the rows from 0")
        seen.add(int(text))


def _check_experiments(table: CsvTable, runs: Sequence[str] | None) -> None:
    for line, text in zip(table.lines, table.texts("experiment"), strict=True):
        try:
            check_run_name(text)
        except CryofindError as error:
            raise _error(table, line, "experiment", f"is {text[:60]!r}: {error.problem}", error.advice) from error
        if runs is not None and text not in runs:
            problem = f"is {text[:60]!r}, which is not one of the {len(runs)} experiments"
            raise _error(table, line, "experiment", problem, advise_known_names(text, runs))


def _check_particle_types(table: CsvTable, names: Sequence[str]) -> None:
    for line, text in zip(table.lines, table.texts("particle_type"), strict=True):
        if text not in names:
            raise _error(table, line, "particle_type", f"is {text[:60]!r}", _advise_object(text, names))


def _read_positions(table: CsvTable) -> Floats:
    """Return positions zyx in Angstrom; only plain decimal numbers are taken."""
    columns = []
    for column in ("x", "y", "z"):
        numbers = []
        for line, text in zip(table.lines, table.texts(column), strict=True):
            number = parse_number(text)
            if number is None or text != text.strip() or "e" in text.lower():
                raise _error(table, line, column, f"is {text[:40]!r}", advise_number(text))
            numbers.append(number)
        columns.append(numbers)
    return zyx_from_xyz(np.array(columns, dtype=np.float64).T)


def _check_frame(table: CsvTable, positions: Floats, grid: VoxelGrid, *, force: bool) -> list[str]:
    outside = ~grid.contains(positions)
    if outside.any():
        row = int(np.argmax(outside))
        problem = (
            f"is one of {int(outside.sum())} rows outside the tomogram: picks {describe_extent(positions)}, "
            f"tomogram {describe_box(grid)}"
        )
        raise _error(table, table.lines[row], "x, y, z", problem, guess_wrong_frame(positions, grid))
    if len(positions) and look_like_voxels(positions, grid):
        size = " x ".join(f"{count:g}" for count in xyz_from_zyx(grid.shape_zyx))
        problem = f"all coordinates lie within {size}, the size of the tomogram in voxels"
        if not force:
            advice = "multiply by the voxel spacing to get Angstrom, or force it"
            raise SubmissionError(f"{table.path}: x, y, z", problem, advice)
        return [f"{problem}: are they voxels?"]
    return []


def _check_repeats(table: CsvTable) -> None:
    seen: dict[tuple[str, str, float, float, float], int] = {}
    for line, (_, experiment, particle_type, x, y, z) in zip(table.lines, table.rows, strict=True):
        key = (experiment, particle_type, float(x), float(y), float(z))
        if key in seen:
            advice = "remove it: every copy counts as a false positive"
            raise SubmissionError(f"{table.path}: line {line}", f"repeats line {seen[key]}", advice)
        seen[key] = line


def _note_rows(
    table: CsvTable, positions: Floats, runs: Sequence[str] | None, objects: Sequence[ParticleSpec]
) -> list[str]:
    notes = [] if table.rows else ["the file holds no picks, which is valid and scores 0"]
    empty = sorted(set(runs or ()) - set(table.texts("experiment")))
    if empty and table.rows:
        shown = ", ".join(empty[:5]) + (", ..." if len(empty) > 5 else "")
        notes.append(f"{len(empty)} experiments have no picks: {shown}")
    types = table.texts("particle_type")
    without_effect = [spec.name for spec in objects if spec.score_weight == 0 and spec.name in types]
    notes += [f"{types.count(name)} rows of {name} have no effect on the score" for name in without_effect]
    return notes + _note_close_pairs(table, positions, objects)


def _note_close_pairs(table: CsvTable, positions: Floats, objects: Sequence[ParticleSpec]) -> list[str]:
    reach = {spec.name: czii.MATCH_RADIUS_FACTOR * spec.particle_radius_angstrom for spec in objects}
    rows: dict[tuple[str, str], list[int]] = {}
    for index, key in enumerate(zip(table.texts("experiment"), table.texts("particle_type"), strict=True)):
        rows.setdefault(key, []).append(index)
    pairs = dict.fromkeys(reach, 0)
    for (_, name), members in rows.items():
        pairs[name] += len(cKDTree(positions[members]).query_pairs(reach[name]))
    return [
        f"{count} pairs of {name} are closer than the match radius of {reach[name]:g} A: at least one pick of most "
        "such pairs is a false positive"
        for name, count in pairs.items()
        if count
    ]


def _advise_object(name: str, names: Sequence[str]) -> str:
    known = [*names, *(alias for alias, target in czii.ALIASES.items() if target in names)]
    nearest = nearest_name(name, known)
    if nearest is None:
        return f"known: {', '.join(names)}"
    return f"did you mean '{czii.ALIASES.get(nearest, nearest)}'?"


def _error(table: CsvTable, line: int, column: str, problem: str, advice: str) -> SubmissionError:
    return SubmissionError(f"{table.path}: line {line}: {column}", problem, advice)
