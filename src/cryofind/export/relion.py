"""STAR files for RELION: one folder per object, since RELION treats the particles of a file as one species."""

from pathlib import Path

import numpy as np

from cryofind.coordinates import xyz_from_zyx
from cryofind.export.bundle import Exported, ExportOptions, describe_sizes, summarize
from cryofind.io.angles import relion_from_rotations_zyx
from cryofind.io.relion import (
    ANGLE_COLUMNS,
    CENTRED_COLUMNS,
    IMPORT_FILE_COLUMN,
    PIXEL_COLUMNS,
    PIXEL_SIZE_COLUMN,
    SCORE_COLUMN,
    tomogram_centre_xyz_angstrom,
)
from cryofind.io.star import StarValue, write_star
from cryofind.types import Picks

Columns = dict[str, list[StarValue]]

# RELION's import takes the first block of the index whatever its name; this is the name of its own lists of coordinate
# files and the one copick writes (pytom-match-pick and membrain write data_particles, which a reader of particles could
# mistake for particles).
_INDEX_BLOCK = "coordinate_files"
_PROJECT_MARK = "default_pipeline.star"


def export_relion5(picks: Picks, out_dir: Path, options: ExportOptions) -> Exported:
    """Write `OBJECT/particles.star`, `OBJECT/coordinates.star` and `OBJECT/coordinates/RUN.star`, centred, in Angstrom.

    `particles.star` is a particle set; `coordinates.star` lists the files of the runs for RELION's import job, with
    "coordinates are centred" on and "multiply coordinates with" 1.
    """
    paths: list[Path] = []
    for name in picks.object_names:
        paths += _write_relion5_object(picks.of_object(name), out_dir / name, options)
    sizes = describe_sizes(options.pixel_size_angstrom(run) for run in picks.run_names)
    unit = f"Angstrom from the centre ({options.centre} of the size), tilt-series pixel {sizes}"
    return summarize(picks, unit + _describe_source(picks, options), paths)


def export_relion4(picks: Picks, out_dir: Path, options: ExportOptions) -> Exported:
    """Write `OBJECT/particles.star` with coordinates in pixels of the tilt series from the corner (RELION 4, Warp)."""
    paths = []
    for name in picks.object_names:
        rows = picks.of_object(name)
        pixel_sizes = _pixel_size_of_rows(rows, options)
        points = xyz_from_zyx(rows.positions_zyx_angstrom) / pixel_sizes[:, None]
        columns = _particle_columns(rows, PIXEL_COLUMNS, points)
        columns["rlnMicrographName"] = columns["rlnTomoName"]
        columns["rlnDetectorPixelSize"] = pixel_sizes.tolist()
        path = out_dir / name / "particles.star"
        write_star(path, _with_optics(columns, pixel_sizes))
        paths.append(path)
    sizes = describe_sizes(options.pixel_size_angstrom(run) for run in picks.run_names)
    return summarize(picks, f"pixels of {sizes} from the corner" + _describe_source(picks, options), paths)


def _write_relion5_object(rows: Picks, folder: Path, options: ExportOptions) -> list[Path]:
    points = xyz_from_zyx(rows.positions_zyx_angstrom)
    listed = _paths_from_project(folder, options)
    paths = []
    for run in rows.run_names:
        points[rows.runs == run] -= _centre_xyz_angstrom(run, options)
    for run in rows.run_names:
        of_run = rows.runs == run
        path = folder / "coordinates" / f"{run}.star"
        write_star(path, {"particles": _particle_columns(rows.where(of_run), CENTRED_COLUMNS, points[of_run])})
        paths.append(path)
    index = folder / "coordinates.star"
    files = [(listed / "coordinates" / path.name).as_posix() for path in paths]
    write_star(index, {_INDEX_BLOCK: {"rlnTomoName": rows.run_names, IMPORT_FILE_COLUMN: files}})
    particles = folder / "particles.star"
    columns = _particle_columns(rows, CENTRED_COLUMNS, points)
    write_star(particles, _with_optics(columns, _pixel_size_of_rows(rows, options)))
    return [particles, index, *paths]


def _centre_xyz_angstrom(run: str, options: ExportOptions) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    centre = tomogram_centre_xyz_angstrom(
        options.grids[run],
        geometry=options.geometries.get(run),
        pixel_size_angstrom=options.tilt_series_pixel_size_angstrom,
        centre=options.centre,
    )
    return centre + xyz_from_zyx(options.grids[run].origin_zyx_angstrom)


def _particle_columns(
    rows: Picks, point_columns: tuple[str, ...], points: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> Columns:
    # RELION refuses coordinate files whose columns differ, so these depend on nothing but the whole table of picks.
    columns: Columns = {"rlnTomoName": [str(run) for run in rows.runs]}
    columns.update({name: points[:, axis].tolist() for axis, name in enumerate(point_columns)})
    if rows.rotations_zyx is not None:
        angles = relion_from_rotations_zyx(rows.rotations_zyx)
        columns.update({name: angles[:, axis].tolist() for axis, name in enumerate(ANGLE_COLUMNS)})
    columns[SCORE_COLUMN] = rows.scores.tolist()
    return columns


def _with_optics(
    columns: Columns, pixel_sizes: np.ndarray[tuple[int, ...], np.dtype[np.float64]]
) -> dict[str, Columns]:
    """Return the blocks of a particle set: one optics group per pixel size, numbered from 1."""
    distinct, groups = np.unique(pixel_sizes, return_inverse=True)
    numbers = list(range(1, len(distinct) + 1))
    optics: Columns = {
        "rlnOpticsGroup": [*numbers],
        "rlnOpticsGroupName": [f"opticsGroup{number}" for number in numbers],
        PIXEL_SIZE_COLUMN: distinct.tolist(),
    }
    return {"optics": optics, "particles": {**columns, "rlnOpticsGroup": (groups + 1).tolist()}}


def _pixel_size_of_rows(rows: Picks, options: ExportOptions) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array([options.pixel_size_angstrom(str(run)) for run in rows.runs], dtype=np.float64)


def _paths_from_project(folder: Path, options: ExportOptions) -> Path:
    """Return `folder` relative to RELION's project folder; empty if none is known."""
    parents = folder.absolute().parents
    project = options.relion_project
    if project is None:
        project = next((parent for parent in parents if (parent / _PROJECT_MARK).is_file()), None)
    if project is None or project.absolute() not in parents:
        return Path()
    return folder.absolute().relative_to(project.absolute())


def _describe_source(picks: Picks, options: ExportOptions) -> str:
    if options.tilt_series_pixel_size_angstrom is not None or set(picks.run_names) <= set(options.geometries):
        return ""
    return " (the tomogram's voxel spacing, as no tilt-series pixel size was given)"
