"""Dynamo tables: one per object, with a list of the tomograms that their column 20 numbers."""

from pathlib import Path

import numpy as np

from cryofind.export.bundle import Exported, ExportOptions, describe_sizes, indices_xyz, summarize
from cryofind.io.angles import dynamo_from_rotations_zyx
from cryofind.io.dynamo import DynamoTable, write_dynamo_table, write_tomogram_list
from cryofind.types import Picks


def export_dynamo(picks: Picks, out_dir: Path, options: ExportOptions) -> Exported:
    """Write `OBJECT.tbl`, and `tomograms.doc` with the run of every tomogram number."""
    numbers = {run: number for number, run in enumerate(picks.run_names, start=1)}
    paths = []
    for name in picks.object_names:
        path = out_dir / f"{name}.tbl"
        write_dynamo_table(path, _build_table(picks.of_object(name), numbers, options))
        paths.append(path)
    listing = out_dir / "tomograms.doc"
    write_tomogram_list(listing, {number: run for run, number in numbers.items()})
    sizes = describe_sizes(options.grids[run].spacing_angstrom for run in picks.run_names)
    return summarize(picks, f"voxels of {sizes} from the corner, the first being 0", [*paths, listing])


def _build_table(picks: Picks, numbers: dict[str, int], options: ExportOptions) -> DynamoTable:
    points = np.zeros((len(picks), 3))
    for run in picks.run_names:
        points[picks.runs == run] = indices_xyz(picks.of_run(run), options.grids[run])
    angles = np.zeros((len(picks), 3))
    if picks.rotations_zyx is not None:
        angles = dynamo_from_rotations_zyx(picks.rotations_zyx)
    return DynamoTable(
        points, angles, picks.scores, np.array([numbers[str(run)] for run in picks.runs], dtype=np.int64)
    )
