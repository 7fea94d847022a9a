"""`cryofind submit` and `cryofind export`: picks handed to other programs."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cryofind import czii
from cryofind.atomic import write_beside
from cryofind.errors import ConfigError, SubmissionError
from cryofind.export import Centre, export_picks, validate_submission, write_submission
from cryofind.io import read_tomograms_star
from cryofind.io.extent import check_picks_inside
from cryofind.pipeline.points import read_points
from cryofind.types import VoxelGrid

MAX_LISTED_FILES = 8


def submit_picks(
    source: Path, out: Path, *, all_candidates: bool = False, picks_uri: str = ""
) -> tuple[int, tuple[str, ...]]:
    """Write a Kaggle submission and check it strictly; return the number of rows and what is worth knowing.

    Raises
    ------
    SubmissionError
        If an object is not one of the challenge's, or a check fails; then no file is left.
    """
    if _is_submission(source):
        validate_submission(source)
    points = read_points(source, picks_uri=picks_uri)
    picks = points.picks if all_candidates else points.picks.only_selected()
    check_picks_inside(picks, {**dict.fromkeys(picks.run_names, czii.TOMOGRAM_GRID), **points.grids}, subject=source)
    grid = _enclosing_grid([*points.grids.values()] or [czii.TOMOGRAM_GRID])
    with write_beside(out) as partial:
        count = write_submission(partial, picks, runs=points.runs or None)
        notes = _name_file(lambda: validate_submission(partial, runs=points.runs or None, grid=grid), partial, out)
    failed = [item["run"] for item in points.record.get("failed", []) if item["run"]]
    return count, (*notes, *(f"run {run} could not be picked and has no rows" for run in failed))


def _enclosing_grid(grids: Sequence[VoxelGrid]) -> VoxelGrid:
    """Return a grid that holds the box of every tomogram; picks were checked against their own before."""
    spacing = min(grid.spacing_angstrom for grid in grids)
    extents = np.array([grid.extent_zyx_angstrom for grid in grids]).max(axis=0)
    return VoxelGrid.isotropic(tuple(int(np.ceil(extent / spacing)) for extent in extents), spacing)


def _is_submission(source: Path) -> bool:
    if source.suffix.lower() != ".csv" or not source.is_file():
        return False
    with open(source, encoding="utf-8-sig", errors="replace") as file:
        return file.readline().startswith("id,")


def _name_file(check: Callable[[], tuple[str, ...]], partial: Path, out: Path) -> tuple[str, ...]:
    """Run a check of the partial file, and let its errors name the final one."""
    try:
        return check()
    except SubmissionError as error:
        raise SubmissionError(error.subject.replace(str(partial), str(out)), error.problem, error.advice) from error


def export_folder(
    source: Path,
    out: Path,
    *,
    format_name: str,
    centre: Centre = "half",
    tilt_series_pixel_size_angstrom: float | None = None,
    all_candidates: bool = False,
    picks_uri: str = "",
    tomograms_star: Path | None = None,
) -> list[str]:
    """Write the picks of a result folder for another program; return lines that say what was written, in which unit.

    RELION's `tomograms.star` gives unbinned sizes and pixel sizes; tomograms that it lacks need the pixel size said.

    Raises
    ------
    PicksError
        If the source does not know the tomograms' grids and the format needs them.
    ConfigError
        If RELION's pixel size is not known.
    """
    points = read_points(source, picks_uri=picks_uri)
    picks = points.picks if all_candidates else points.picks.only_selected()
    geometries = read_tomograms_star(tomograms_star) if tomograms_star is not None else {}
    if format_name.startswith("relion") and tilt_series_pixel_size_angstrom is None:
        unknown = [run for run in picks.run_names if run not in geometries]
        if unknown or not geometries:
            about = f" of {unknown[0]}" if unknown else ""
            problem = f"{format_name} needs the unbinned pixel size{about}, which is not the voxel spacing"
            raise ConfigError("--tilt-series-pixel-size", problem, "give it in Angstrom, or give --tomograms-star")
    exported = export_picks(
        picks,
        out,
        format=format_name,
        grids=points.grids,
        centre=centre,
        tilt_series_pixel_size_angstrom=tilt_series_pixel_size_angstrom,
        geometries=geometries,
    )
    return [exported.summary, f"{len(exported.paths)} files -> {out}", *map(str, exported.paths[:MAX_LISTED_FILES])]
