"""Picks for copick: an overlay of JSON files, or one CSV per object."""

import csv
import io
from pathlib import Path

import numpy as np

from cryofind.atomic import write_text
from cryofind.coordinates import rotations_xyz_from_zyx, xyz_from_zyx
from cryofind.export.bundle import Exported, ExportOptions, summarize
from cryofind.io.picks_json import OWN_SESSION, OWN_USER, write_picks_overlay
from cryofind.io.tables import TRANSFORM_COLUMNS
from cryofind.types import Picks

_CORNER_ANGSTROM = "Angstrom from the corner"


def export_copick(picks: Picks, out_dir: Path, options: ExportOptions) -> Exported:
    """Write `ExperimentRuns/RUN/Picks/cryofind_1_OBJECT.json`."""
    spacings = {run: grid.spacing_angstrom for run, grid in options.grids.items()}
    paths = write_picks_overlay(out_dir, picks, user=OWN_USER, session=OWN_SESSION, voxel_spacings=spacings)
    return summarize(picks, _CORNER_ANGSTROM, paths)


def export_copick_csv(picks: Picks, out_dir: Path, options: ExportOptions) -> Exported:
    """Write `OBJECT.csv` in copick's columns: run, position, transform (row-major), score, instance."""
    paths = []
    for name in picks.object_names:
        path = out_dir / f"{name}.csv"
        write_text(path, _csv_text(picks.of_object(name)))
        paths.append(path)
    return summarize(picks, _CORNER_ANGSTROM, paths)


def _csv_text(picks: Picks) -> str:
    transforms = np.tile(np.eye(4), (len(picks), 1, 1))
    if picks.rotations_zyx is not None:
        transforms[:, :3, :3] = rotations_xyz_from_zyx(picks.rotations_zyx)
    points_xyz = xyz_from_zyx(picks.positions_zyx_angstrom)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run_name", "x", "y", "z", *TRANSFORM_COLUMNS, "score", "instance_id"])
    for run, point, transform, score in zip(picks.runs, points_xyz, transforms, picks.scores, strict=True):
        numbers = [f"{value:.9g}" for value in transform.ravel()]
        writer.writerow([run, *(f"{value:.6f}" for value in point), *numbers, f"{score:.6f}", 0])
    return text.getvalue()
