"""Motive lists of TOM, Artiatomi and AV3: one per object and run, positions in 1-indexed pixels."""

from pathlib import Path

import numpy as np

from cryofind.export.bundle import Exported, ExportOptions, describe_sizes, indices_xyz, summarize
from cryofind.io.angles import tom_from_rotations_zyx
from cryofind.io.dynamo import write_tomogram_list
from cryofind.io.em import MotiveList, write_em
from cryofind.types import Picks


def export_em(picks: Picks, out_dir: Path, options: ExportOptions) -> Exported:
    """Write `OBJECT/RUN.em`, and `tomograms.txt` with the run of every tomogram number."""
    numbers = {run: number for number, run in enumerate(picks.run_names, start=1)}
    paths = []
    for name in picks.object_names:
        of_object = picks.of_object(name)
        for run in of_object.run_names:
            rows = of_object.of_run(run)
            angles = np.zeros((len(rows), 3))
            if rows.rotations_zyx is not None:
                angles = tom_from_rotations_zyx(rows.rotations_zyx)
            tomograms = np.full(len(rows), numbers[run])
            path = out_dir / name / f"{run}.em"
            write_em(path, MotiveList(indices_xyz(rows, options.grids[run]), angles, rows.scores, tomograms))
            paths.append(path)
    listing = out_dir / "tomograms.txt"
    write_tomogram_list(listing, {number: run for run, number in numbers.items()})
    sizes = describe_sizes(options.grids[run].spacing_angstrom for run in picks.run_names)
    return summarize(picks, f"voxels of {sizes} from the corner, the first being 1", [*paths, listing])
