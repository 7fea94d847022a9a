"""`cryofind submit` and `cryofind export`: picks handed to other programs."""

from pathlib import Path

import numpy as np

from cryofind import czii
from cryofind.errors import SubmissionError, advise_known_names, nearest_name
from cryofind.export import export_picks, validate_submission, write_submission
from cryofind.pipeline.points import PointSource, read_points
from cryofind.types import Picks


def submit_picks(source: Path, out: Path, *, all_candidates: bool = False) -> tuple[int, tuple[str, ...]]:
    """Write a Kaggle submission and check it strictly; return the number of rows and what is worth knowing.

    Raises
    ------
    SubmissionError
        If an object is not one of the challenge's, or a check fails; then no file is left.
    """
    points = read_points(source)
    picks = points.picks if all_candidates else points.picks.only_selected()
    _refuse_unknown_objects(source, picks)
    grids = set(points.grids.values())
    grid = grids.pop() if len(grids) == 1 else czii.TOMOGRAM_GRID
    notes = write_submission(out, picks, runs=points.runs or None, grid=grid)
    return len(picks), notes


def _refuse_unknown_objects(source: Path, picks: Picks) -> None:
    for name in picks.object_names:
        if name not in czii.OBJECT_NAMES:
            nearest = nearest_name(name, czii.ALIASES)
            advice = advise_known_names(czii.ALIASES[nearest] if nearest else name, czii.OBJECT_NAMES)
            raise SubmissionError(f"{source}: object '{name}'", "is not one of the challenge's", advice)


def export_folder(
    source: Path,
    out: Path,
    *,
    format_name: str,
    centre: str = "half",
    tilt_series_pixel_size_angstrom: float | None = None,
    all_candidates: bool = False,
) -> list[str]:
    """Write the picks of a result folder for another program; return lines that say what was written, in which unit.

    Raises
    ------
    PicksError
        If the source does not know the tomograms' grids and the format needs them.
    """
    points: PointSource = read_points(source)
    picks = points.picks if all_candidates else points.picks.only_selected()
    return export_picks(
        picks,
        out,
        format=format_name,
        grids=points.grids,
        centre=centre,
        tilt_series_pixel_size_angstrom=tilt_series_pixel_size_angstrom,
    )


def count_by_object(picks: Picks) -> dict[str, int]:
    """Return the number of picks of every object that occurs."""
    names, counts = np.unique(picks.objects, return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}
