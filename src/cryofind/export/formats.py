"""One function for every format of particle lists that other programs read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from cryofind.errors import OutputError, PicksError, advise_known_names
from cryofind.export.bundle import Exported, ExportOptions
from cryofind.export.coords import export_coords
from cryofind.export.copick import export_copick, export_copick_csv
from cryofind.export.dynamo import export_dynamo
from cryofind.export.em import export_em
from cryofind.export.relion import export_relion4, export_relion5
from cryofind.io.extent import check_picks_inside
from cryofind.io.relion import Centre, TomogramGeometry
from cryofind.types import Picks, VoxelGrid, check_name, check_run_name

ExportFormat = Literal["relion5", "relion4", "copick", "csv", "em", "dynamo", "coords"]
FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)

_WRITERS = {
    "relion5": export_relion5,
    "relion4": export_relion4,
    "copick": export_copick,
    "csv": export_copick_csv,
    "em": export_em,
    "dynamo": export_dynamo,
    "coords": export_coords,
}


def export_picks(
    picks: Picks,
    out_dir: str | Path,
    *,
    format: ExportFormat | str,
    grids: Mapping[str, VoxelGrid],
    centre: Centre = "half",
    tilt_series_pixel_size_angstrom: float | None = None,
    geometries: Mapping[str, TomogramGeometry] | None = None,
    relion_project: str | Path | None = None,
) -> Exported:
    """Write picks for another program; all rows, so choose (`Picks.only_selected`) before.

    Parameters
    ----------
    picks
        Picks of any runs and objects. Formats for one species at a time get a folder or file per object.
    out_dir
        Folder to write in; created if missing.
    format
        One of `FORMATS`.
    grids
        Grid of the tomogram by run. Without a tomogram's size there is no centred export.
    centre
        What counts as the centre for `relion5`: `half` of the size, or `half-minus-one` pixel of the tilt series.
    tilt_series_pixel_size_angstrom
        Unbinned pixel size, for RELION. Without it the tomogram's voxel spacing is used, and the summary says so.
    geometries
        Unbinned sizes and pixel sizes by run, from RELION's `tomograms.star`; they win over both of the above.
    relion_project
        RELION's project folder, which paths in STAR files are relative to. Default: the nearest folder above `out_dir`
        that looks like one, else the object's own folder.

    Returns
    -------
    Exported
        The written paths, and a summary that names the unit, the pixel size and the extent.

    Raises
    ------
    OutputError
        If the format is unknown or the files cannot be written.
    PicksError
        If a run has no grid or a pick lies outside its tomogram.
    NameRefused
        If a run or object name is not safe; nothing is written then.
    """
    writer = _WRITERS.get(format)
    if writer is None:
        raise OutputError(f"format '{format}'", "is not known", advise_known_names(format, FORMATS))
    for run in picks.run_names:
        check_run_name(run)
    for name in picks.object_names:
        check_name(name)
    check_picks_inside(picks, grids, subject="picks")
    if tilt_series_pixel_size_angstrom is not None:
        _check_pixel_size(tilt_series_pixel_size_angstrom)
    options = ExportOptions(
        dict(grids),
        centre,
        tilt_series_pixel_size_angstrom,
        dict(geometries or {}),
        None if relion_project is None else Path(relion_project),
    )
    options.check_geometries(picks.run_names)
    return writer(picks, Path(out_dir), options)


def _check_pixel_size(size: float) -> None:
    if not (np.isfinite(size) and size > 0):
        raise PicksError("tilt series pixel size", f"is {size}", "give a positive number of Angstrom")
