"""Picks of other programs, for tomograms that the caller knows: one reader for every format, told by the extension."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryofind.coordinates import xyz_from_zyx, zyx_from_xyz
from cryofind.errors import PicksError, advise_known_names
from cryofind.io.angles import rotations_zyx_from_dynamo, rotations_zyx_from_tom
from cryofind.io.dynamo import read_dynamo_table
from cryofind.io.em import read_em
from cryofind.io.extent import check_picks_inside, check_picks_not_in_voxels, describe_extent
from cryofind.io.picks_json import read_picks_json
from cryofind.io.relion import (
    RelionParticles,
    TomogramGeometry,
    read_index_star,
    read_relion_particles,
    tomogram_centre_xyz_angstrom,
)
from cryofind.io.run_names import match_run, require_run
from cryofind.io.tables import is_plain_points_table, read_points_table
from cryofind.io.text import advise_number, parse_number, read_text
from cryofind.types import Picks, VoxelGrid, check_name

Floats = NDArray[np.float64]

_CORNER_ANGSTROM = "Angstrom from the corner"
_OTHER_EXTENSIONS = {
    ".cbox": "export .coords or .star from crYOLO instead",
    ".mod": "run IMOD's model2point and save x y z as .coords",
    ".txt": "rename it to .coords if it holds x y z in voxels, or to .csv with the header x,y,z if in Angstrom",
}


@dataclass(frozen=True)
class _Context:
    """What a file of points may leave out; the fields are the options of `read_loose_picks`."""

    grids: Mapping[str, VoxelGrid]
    object_name: str | None
    run: str | None
    pixel_size_angstrom: float | None
    tomogram_names: Mapping[int, str] | None
    geometries: Mapping[str, TomogramGeometry]


@dataclass(frozen=True, eq=False)
class LoosePicks:
    """Picks read from another program's file, and how they were understood.

    Parameters
    ----------
    picks
        Positions in Angstrom from the corner.
    unit
        Unit and origin of the file, for the user.
    pixel_size_angstrom
        What pixel coordinates were multiplied by; None for coordinates in Angstrom, and where it differs by run.
    extent
        One line for the user: how many picks, where they lie, and what was assumed.
    notes
        What was left out.
    """

    picks: Picks
    unit: str
    pixel_size_angstrom: float | None
    extent: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Reading:
    picks: Picks
    unit: str
    pixel_size_angstrom: float | None = None
    notes: tuple[str, ...] = ()


def read_loose_picks(
    path: str | Path,
    *,
    grids: Mapping[str, VoxelGrid],
    object_name: str | None = None,
    run: str | None = None,
    pixel_size_angstrom: float | None = None,
    tomogram_names: Mapping[int, str] | None = None,
    geometries: Mapping[str, TomogramGeometry] | None = None,
    force: bool = False,
) -> LoosePicks:
    """Read picks from `.star`, `.coords`, `.tbl`, `.em`, `.csv` or copick `.json`.

    Parameters
    ----------
    path
        The file; its extension says the format.
    grids
        Grid of the tomogram by run. Tomograms that a file names are matched to these (see `match_run`).
    object_name
        Object of files that name none; of tables that name objects, the one to keep (None keeps all).
    run
        Run of files that name no tomogram.
    pixel_size_angstrom
        Pixel size of coordinates in pixels, Angstrom; files that state Angstrom ignore it. Without it STAR files must
        hold it themselves, and `.coords`, `.tbl` and `.em` are taken as voxels of the tomogram.
    tomogram_names
        Tomogram by its number, for `.em` and `.tbl` of several tomograms.
    geometries
        What `tomograms.star` says, for STAR files.
    force
        Accept coordinates in Angstrom that look like voxels.

    Raises
    ------
    PicksError
        If the file cannot be read, a name or the pixel size is missing, a pick lies outside its tomogram, or
        coordinates in Angstrom look like voxels.
    """
    path = Path(path)
    reader = _READERS.get(path.suffix.casefold())
    if reader is None:
        advice = _OTHER_EXTENSIONS.get(path.suffix.casefold(), f"known: {', '.join(_READERS)}")
        raise PicksError(path, f"is of no known format ('{path.suffix}')", advice)
    context = _Context(grids, object_name, run, pixel_size_angstrom, tomogram_names, geometries or {})
    _check_context(context)
    reading = reader(path, context)
    check_picks_inside(reading.picks, grids, subject=path)
    if reading.unit == _CORNER_ANGSTROM and not force:
        check_picks_not_in_voxels(reading.picks, grids, subject=path)
    extent = _describe(reading)
    return LoosePicks(reading.picks, reading.unit, reading.pixel_size_angstrom, extent, reading.notes)


def _check_context(context: _Context) -> None:
    size = context.pixel_size_angstrom
    if size is not None and not (np.isfinite(size) and size > 0):
        raise PicksError("pixel size", f"is {size}", "give a positive number of Angstrom")
    if context.run is not None and context.run not in context.grids:
        advice = advise_known_names(context.run, context.grids)
        raise PicksError(f"run '{context.run}'", "has no tomogram here", advice)


def _read_star_file(path: Path, context: _Context) -> _Reading:
    listed = read_index_star(path)
    if listed is None:
        return _read_particles(path, context, None)
    parts = [_read_particles(file, context, name) for name, file in listed.items()]
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    sizes = {part.pixel_size_angstrom for part in parts}
    unit = parts[0].unit if parts else "no unit"
    return _Reading(
        Picks.concatenate(part.picks for part in parts), unit, sizes.pop() if len(sizes) == 1 else None, notes
    )


def _read_particles(path: Path, context: _Context, tomogram: str | None) -> _Reading:
    particles = read_relion_particles(
        path, pixel_size_angstrom=context.pixel_size_angstrom, geometries=context.geometries
    )
    count = len(particles.points_xyz_angstrom)
    if particles.tomogram_names is not None:
        names = particles.tomogram_names
    else:
        names = [tomogram or _run_of_file(path, context)] * count
    runs = {name: match_run(name, context.grids) for name in dict.fromkeys(names)}
    left_out = [name for name, run in runs.items() if run is None]
    if count and len(left_out) == len(runs):
        require_run(left_out[0], context.grids, subject=str(path))
    positions = _corner_positions(particles, names, runs, context)
    keep = np.array([runs[name] is not None for name in names], dtype=bool)
    picks = Picks.build(
        [runs[name] or "left-out" for name in names],
        _object_of_file(path, context),
        positions,
        scores=particles.scores,
        rotations_zyx=_unless_identity(particles.rotations_zyx),
    ).where(keep)
    unit = "Angstrom from the centre" if particles.is_centred else "pixels of the tilt series from the corner"
    notes = _note_left_out(path, left_out, int((~keep).sum()))
    return _Reading(picks, unit, particles.pixel_size_angstrom, notes)


def _corner_positions(
    particles: RelionParticles, names: list[str], runs: Mapping[str, str | None], context: _Context
) -> Floats:
    """Return positions zyx from the corner; rows of tomograms that are not given stay as they are."""
    points = particles.points_xyz_angstrom.copy()
    name_of_row = np.array(names, dtype=np.str_)
    for name, run in runs.items():
        if run is None:
            continue
        grid = context.grids[run]
        rows = name_of_row == name
        if particles.is_centred:
            geometry = context.geometries.get(name)
            points[rows] += tomogram_centre_xyz_angstrom(grid, geometry=geometry)
        points[rows] += xyz_from_zyx(grid.origin_zyx_angstrom)
    return zyx_from_xyz(points)


def _read_coords(path: Path, context: _Context) -> _Reading:
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 3:
            advice = "write x y z, separated by spaces"
            raise PicksError(f"{path}: line {number}", f"has {len(words)} values, expected 3", advice)
        rows.append([_coordinate(path, number, word) for word in words])
    indices_xyz = np.array(rows, dtype=np.float64).reshape(-1, 3)
    runs = [_run_of_file(path, context)] * len(rows)
    return _from_indices(path, context, runs, indices_xyz)


def _read_tbl(path: Path, context: _Context) -> _Reading:
    table = read_dynamo_table(path)
    runs = _runs_of_numbers(path, context, table.tomogram_numbers)
    rotations = rotations_zyx_from_dynamo(table.angles_degrees)
    return _from_indices(path, context, runs, table.indices_xyz, table.scores, rotations)


def _read_em_file(path: Path, context: _Context) -> _Reading:
    motives = read_em(path)
    runs = _runs_of_numbers(path, context, motives.tomogram_numbers)
    rotations = rotations_zyx_from_tom(motives.angles_degrees)
    return _from_indices(path, context, runs, motives.indices_xyz, motives.scores, rotations)


def _read_csv_file(path: Path, context: _Context) -> _Reading:
    if is_plain_points_table(path):
        run, name = _run_of_file(path, context), _object_of_file(path, context)
        picks = read_points_table(path, run=run, object_name=name)
        if context.pixel_size_angstrom is None:
            return _Reading(picks, _CORNER_ANGSTROM)
        indices_xyz = xyz_from_zyx(picks.positions_zyx_angstrom)
        return _from_indices(path, context, [run] * len(picks), indices_xyz, picks.scores)
    picks = read_points_table(path, run=context.run, object_name=context.object_name)
    return _of_given_runs(path, context, picks)


def _read_json(path: Path, context: _Context) -> _Reading:
    # The file names its run and object, and these are matched, not overruled.
    picks = read_picks_json(path)
    return _of_given_runs(path, context, picks)


def _of_given_runs(path: Path, context: _Context, picks: Picks) -> _Reading:
    """Rename the runs to the given ones, and keep these and the object asked for."""
    if context.object_name is not None:
        if len(picks) and context.object_name not in picks.object_names:
            advice = advise_known_names(context.object_name, picks.object_names)
            raise PicksError(path, f"has no picks of '{context.object_name}'", advice)
        picks = picks.of_object(context.object_name)
    runs = {name: match_run(name, context.grids) for name in picks.run_names}
    left_out = [name for name, run in runs.items() if run is None]
    if runs and len(left_out) == len(runs):
        require_run(left_out[0], context.grids, subject=str(path))
    keep = np.array([runs[str(name)] is not None for name in picks.runs], dtype=bool)
    kept = picks.where(keep)
    renamed = Picks.build(
        [runs[str(name)] or "" for name in kept.runs],
        [str(name) for name in kept.objects],
        kept.positions_zyx_angstrom,
        scores=kept.scores,
        selected=kept.selected,
        rotations_zyx=kept.rotations_zyx,
    )
    return _Reading(renamed, _CORNER_ANGSTROM, None, _note_left_out(path, left_out, int((~keep).sum())))


def _from_indices(
    path: Path,
    context: _Context,
    runs: list[str],
    indices_xyz: Floats,
    scores: Floats | None = None,
    rotations_zyx: Floats | None = None,
) -> _Reading:
    """Turn pixel coordinates, first pixel 0, into positions: by the given pixel size, else the tomogram's voxels."""
    indices_zyx = zyx_from_xyz(indices_xyz)
    positions = np.zeros_like(indices_zyx)
    run_of_row = np.array(runs, dtype=np.str_)
    for run in dict.fromkeys(runs):
        rows, grid = run_of_row == run, context.grids[run]
        if context.pixel_size_angstrom is None:
            positions[rows] = grid.positions_from_indices(indices_zyx[rows])
        else:
            positions[rows] = indices_zyx[rows] * context.pixel_size_angstrom + grid.origin_zyx_angstrom
    sizes = {context.pixel_size_angstrom or context.grids[run].spacing_angstrom for run in runs}
    source = "" if context.pixel_size_angstrom is not None else ", taken as voxels of the tomogram"
    picks = Picks.build(
        runs,
        _object_of_file(path, context),
        positions,
        scores=scores,
        rotations_zyx=_unless_identity(rotations_zyx),
    )
    return _Reading(picks, f"pixels from the corner{source}", sizes.pop() if len(sizes) == 1 else None)


def _runs_of_numbers(path: Path, context: _Context, numbers: NDArray[np.int64]) -> list[str]:
    distinct = [int(number) for number in dict.fromkeys(numbers.tolist())]
    if context.tomogram_names is None:
        if len(distinct) > 1:
            shown = ", ".join(map(str, sorted(distinct)[:5]))
            raise PicksError(
                path,
                f"numbers several tomograms ({shown}) without names",
                "put a tomograms.doc (`number path` a line) beside it",
            )
        return [_run_of_file(path, context)] * len(numbers)
    unknown = sorted(set(distinct) - set(context.tomogram_names))
    if unknown:
        raise PicksError(path, f"tomogram {unknown[0]} is not in the list of tomograms", "add it to the list")
    named = {n: require_run(context.tomogram_names[n], context.grids, subject=str(path)) for n in distinct}
    return [named[number] for number in numbers.tolist()]


def _run_of_file(path: Path, context: _Context) -> str:
    """Return the run of a file that names none: the one asked for, the one its name says, or the only one."""
    if context.run is not None:
        return context.run
    run = match_run(path.name, context.grids)
    if run is None and len(context.grids) == 1:
        run = next(iter(context.grids))
    if run is None:
        advice = f"name the run, or name the file after it (runs: {', '.join(list(context.grids)[:5]) or 'none'})"
        raise PicksError(path, "does not say which tomogram its points belong to", advice)
    return run


def _object_of_file(path: Path, context: _Context) -> str:
    if context.object_name is None:
        raise PicksError(path, "does not say which object its points are", "put its name into the file's")
    return check_name(context.object_name)


def _unless_identity(rotations_zyx: Floats | None) -> Floats | None:
    """Return None for rotations that are all the identity: angles of 0 mean that none were determined."""
    if rotations_zyx is None or np.allclose(rotations_zyx, np.eye(3), atol=1e-12):
        return None
    return rotations_zyx


def _coordinate(path: Path, line: int, text: str) -> float:
    number = parse_number(text)
    if number is None:
        raise PicksError(f"{path}: line {line}", f"is {text[:40]!r}", advise_number(text))
    return number


def _note_left_out(path: Path, names: list[str], count: int) -> tuple[str, ...]:
    if not names:
        return ()
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return (f"{path}: {count} picks of {len(names)} tomograms that are not given were left out ({shown})",)


def _describe(reading: _Reading) -> str:
    picks = reading.picks
    size = "" if reading.pixel_size_angstrom is None else f" of {reading.pixel_size_angstrom:g} A"
    runs = len(picks.run_names)
    return (
        f"{len(picks)} picks in {runs} tomogram{'' if runs == 1 else 's'}, read as {reading.unit}{size}: "
        f"{describe_extent(picks.positions_zyx_angstrom)}"
    )


_READERS: dict[str, Callable[[Path, _Context], _Reading]] = {
    ".star": _read_star_file,
    ".coords": _read_coords,
    ".tbl": _read_tbl,
    ".em": _read_em_file,
    ".csv": _read_csv_file,
    ".json": _read_json,
}
