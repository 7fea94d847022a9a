"""What one tomogram of `cryofind pick` is between its steps, and the record of a finished one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryofind.errors import OutputError
from cryofind.io import TomogramEntry
from cryofind.pipeline.picker import PickResult
from cryofind.pipeline.records import hash_file, read_record
from cryofind.pipeline.streaming import StreamedPicks, StreamedTomogram
from cryofind.types import Picks, Tomogram, VoxelGrid

PICKS_NAME = "picks.csv"

Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class ReadRun:
    """A tomogram ready for the network, or the record of an earlier call that holds for it.

    Parameters
    ----------
    entry
        Where it comes from.
    grid
        Grid of the tomogram as read.
    key
        What decides whether a result is still good: recipe, voxels, grid.
    content
        The prepared tomogram, or one that is too large to be read; the record, if the run is finished.
    seconds
        Wall time of reading and preparing.
    """

    entry: TomogramEntry
    grid: VoxelGrid
    key: dict[str, Any]
    content: Tomogram | StreamedTomogram | Record
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class PickedRun:
    """What the network made of a tomogram, or the record that holds for it; parameters as of `ReadRun`."""

    entry: TomogramEntry
    grid: VoxelGrid
    key: dict[str, Any]
    content: PickResult | StreamedPicks | Record
    seconds: dict[str, float]


def read_finished(folder: Path) -> Record | None:
    """Return the record of a finished run if it and its picks are undamaged."""
    try:
        record = read_record(folder)
        if record is None or "key" not in record:
            return None
        return record if hash_file(folder / PICKS_NAME) == record.get("picks_csv_sha256") else None
    except (OutputError, OSError):
        return None


def describe_run(entry: TomogramEntry, grid: VoxelGrid, picks: Picks) -> Record:
    """Return what a record says of a run's tomogram and picks."""
    chosen = picks.only_selected()
    return {
        "run": entry.run,
        "flavour": entry.flavour,
        "path": str(entry.path.resolve()),
        "shape_zyx": list(grid.shape_zyx),
        "spacing_zyx_angstrom": list(grid.spacing_zyx_angstrom),
        "origin_zyx_angstrom": list(grid.origin_zyx_angstrom),
        "candidates": len(picks),
        "selected": {name: int((chosen.objects == name).sum()) for name in chosen.object_names},
    }
