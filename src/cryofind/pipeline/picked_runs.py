"""What one tomogram of `cryofind pick` is between its steps, and the record of a finished one."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from cryofind.errors import OutputError
from cryofind.io import TomogramEntry
from cryofind.pipeline.records import hash_file, read_record
from cryofind.types import Picks, VoxelGrid

if TYPE_CHECKING:
    from cryofind.predict import EngineChoice

PICKS_NAME = "picks.csv"
MADE_BY = "cryofind pick"

Record = dict[str, Any]


Content = TypeVar("Content")
Other = TypeVar("Other")


@dataclass(frozen=True, eq=False)
class RunInProgress(Generic[Content]):
    """A tomogram between two steps.

    Parameters
    ----------
    entry
        Where it comes from.
    grid
        Grid of the tomogram as read.
    key
        What decides whether a result is still good: recipe, voxels, grid.
    content
        What the step before made of it; the record of an earlier call, if that holds for it.
    seconds
        Wall time of reading and preparing.
    """

    entry: TomogramEntry
    grid: VoxelGrid
    key: dict[str, Any]
    content: Content | Record
    seconds: dict[str, float]

    def holding(self, content: Other | Record) -> "RunInProgress[Other]":
        """Return the run with what the next step made of it."""
        return RunInProgress(self.entry, self.grid, self.key, content, self.seconds)


def read_finished(folder: Path) -> Record | None:
    """Return the record of a finished run if it and its picks are undamaged."""
    try:
        record = read_record(folder)
        if record is None or "key" not in record:
            return None
        return record if hash_file(folder / PICKS_NAME) == record.get("picks_csv_sha256") else None
    except (OutputError, OSError):
        return None


def describe_run(entry: TomogramEntry, grid: VoxelGrid, picks: Picks, engine: "EngineChoice") -> Record:
    """Return what a record says of a run's tomogram, of its picks and of what ran the networks."""
    chosen = picks.only_selected()
    return {
        "run": entry.run,
        "flavour": entry.flavour,
        "path": str(entry.path.resolve()),
        "shape_zyx": list(grid.shape_zyx),
        "spacing_zyx_angstrom": list(grid.spacing_zyx_angstrom),
        "origin_zyx_angstrom": list(grid.origin_zyx_angstrom),
        "engine": engine.as_record(),
        "candidates": len(picks),
        "selected": {name: int((chosen.objects == name).sum()) for name in chosen.object_names},
    }
