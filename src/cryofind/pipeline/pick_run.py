"""One tomogram of `cryofind pick`: read and prepared, picked, written."""

import logging
import math
import shutil
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cryofind
from cryofind.atomic import write_json
from cryofind.errors import CryofindError, OutputError
from cryofind.io import (
    OWN_SESSION,
    OWN_USER,
    TomogramEntry,
    fingerprint_volume,
    picks_json_path,
    segmentation_zarr_path,
    write_picks_overlay,
    write_probability_zarr,
    write_segmentation_zarr,
)
from cryofind.memory import read_free_bytes
from cryofind.models import model_hash
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.picker import Picker, PickResult
from cryofind.pipeline.records import RECORD_NAME, hash_document, hash_file, read_record
from cryofind.types import LabelVolume, Picks, Tomogram, VoxelGrid

logger = logging.getLogger("cryofind")

MADE_BY = "cryofind pick"
PICKS_NAME = "picks.csv"

# A tomogram that is read ahead is held as read and, unless that will do, as prepared: float32 both.
_BYTES_PER_VOXEL_AHEAD = 8
# Of the free memory, so that the network, which counts on half of it, is left what it wants.
_SHARE_OF_FREE_MEMORY_AHEAD = 1 / 8

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
        The prepared tomogram; the record, if the run is finished.
    seconds
        Wall time of reading and preparing.
    """

    entry: TomogramEntry
    grid: VoxelGrid
    key: dict[str, Any]
    content: Tomogram | Record
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class PickedRun:
    """What the network made of a tomogram, or the record that holds for it; parameters as of `ReadRun`."""

    entry: TomogramEntry
    grid: VoxelGrid
    key: dict[str, Any]
    content: PickResult | Record
    seconds: dict[str, float]


@dataclass(frozen=True)
class RunPicking:
    """What every tomogram of a call has in common, and the folder it fills.

    Parameters
    ----------
    out
        The folder.
    picker
        The model.
    selection
        How to read.
    with_segmentation
        Whether to write label volumes.
    """

    out: Path
    picker: Picker
    selection: InputSelection
    with_segmentation: bool

    @cached_property
    def recipe_sha256(self) -> str:
        """Identity of model and settings: with the voxels' hash it decides whether a result is still good."""
        return hash_document(
            {
                "version": cryofind.__version__,
                "models": [model_hash(folder) for folder in self.picker.folders],
                "config": self.picker.config.model_dump(mode="json"),
                "segmentation": self.with_segmentation,
            }
        )

    def may_read_ahead(self, entry: TomogramEntry) -> bool:
        """Say whether memory allows a second tomogram beside the one that the network works on."""
        try:
            grid = entry.read_grid(voxel_spacing_angstrom=self.selection.voxel_spacing_angstrom)
        except CryofindError:
            return False  # said when its turn comes
        needed = _BYTES_PER_VOXEL_AHEAD * math.prod(grid.shape_zyx)
        return needed <= _SHARE_OF_FREE_MEMORY_AHEAD * read_free_bytes()

    def read(self, entry: TomogramEntry) -> ReadRun:
        """Read one tomogram, and prepare it unless an earlier call's result still holds.

        Raises
        ------
        CryofindError
            If it cannot be read or does not suit the model.
        """
        started = time.perf_counter()
        tomogram = entry.read(
            voxel_spacing_angstrom=self.selection.voxel_spacing_angstrom,
            allow_missing_chunks=self.selection.allow_missing_chunks,
        )
        grid = tomogram.grid
        key = {
            "recipe_sha256": self.recipe_sha256,
            "volume_sha256": fingerprint_volume(tomogram.volume_zyx),
            "grid": [list(grid.spacing_zyx_angstrom), list(grid.origin_zyx_angstrom)],
        }
        finished = read_finished(self.out / "runs" / entry.run)
        if finished is not None and finished["key"] == key:
            return ReadRun(entry, grid, key, finished, {})
        was_read = time.perf_counter()
        # Nobody else holds these voxels.
        prepared = self.picker.prepare(tomogram, may_overwrite=True)
        seconds = {"read": was_read - started, "preprocess": time.perf_counter() - was_read}
        return ReadRun(entry, grid, key, prepared, {stage: round(value, 3) for stage, value in seconds.items()})

    def pick(self, run: ReadRun) -> PickedRun:
        """Let the network and the location work on a tomogram; a finished one is kept as it is.

        Raises
        ------
        CryofindError
            If the network cannot, for instance for want of memory.
        """
        if isinstance(run.content, dict):
            logger.info("%s: already picked, kept", run.entry.run)
            return PickedRun(run.entry, run.grid, run.key, run.content, run.seconds)
        result = self.picker.pick_prepared(run.content)
        for note in result.notes:
            logger.info("%s: %s", run.entry.run, note)
        return PickedRun(run.entry, run.grid, run.key, result, run.seconds)

    def write(self, run: PickedRun) -> Record:
        """Write what was picked; return the run's record.

        Raises
        ------
        OutputError
            If the file system refuses.
        """
        if isinstance(run.content, dict):
            return run.content
        name, result = run.entry.run, run.content
        folder = self.out / "runs" / name
        self._mark_folder()
        self.forget(name)
        result.picks.to_csv(folder / PICKS_NAME)
        self._write_overlay(name, run.grid, result.picks)
        if self.picker.config.predict.keep_probabilities:
            write_probability_zarr(self.out / "probabilities" / f"{name}.zarr", result.probabilities)
        if self.with_segmentation:
            self._write_segmentation(name, run.grid, self.picker.segment(result.probabilities, run.grid))
        record = {
            **_describe_run(run.entry, run.grid, result.picks),
            "key": run.key,
            "in_sample": any(run.key["volume_sha256"] in seen.volume_sha256 for seen in self.picker.seen_runs),
            "notes": list(result.notes),
            "seconds": {**run.seconds, **result.seconds},
            "picks_csv_sha256": hash_file(folder / PICKS_NAME),
        }
        write_json(folder / RECORD_NAME, record)
        return record

    def forget(self, run: str) -> None:
        """Remove what an earlier call left of a run that cannot be picked any more, or is about to be picked anew."""
        if not run:
            return
        shutil.rmtree(self.out / "runs" / run, ignore_errors=True)
        shutil.rmtree(self.out / "probabilities" / f"{run}.zarr", ignore_errors=True)
        for spec in self.picker.specs:
            picks_json_path(self.out, run, OWN_USER, OWN_SESSION, spec.name).unlink(missing_ok=True)
        for labels in (self.out / "ExperimentRuns" / run).glob(f"Segmentations/*_{OWN_USER}_{OWN_SESSION}_*.zarr"):
            shutil.rmtree(labels, ignore_errors=True)

    def _mark_folder(self) -> None:
        """Say whose folder it is before anything else is in it, so that a call that is cut off can go on."""
        if not (self.out / RECORD_NAME).exists():
            write_json(self.out / RECORD_NAME, {"made_by": MADE_BY, "recipe_sha256": self.recipe_sha256})

    def _write_overlay(self, run: str, grid: VoxelGrid, picks: Picks) -> None:
        write_picks_overlay(
            self.out,
            picks.only_selected(),
            user=OWN_USER,
            session=OWN_SESSION,
            voxel_spacings={run: grid.spacing_angstrom},
            runs=(run,),
            objects=[spec.name for spec in self.picker.specs],
        )

    def _write_segmentation(self, run: str, grid: VoxelGrid, labels: LabelVolume) -> None:
        path = segmentation_zarr_path(
            self.out, run, grid.spacing_angstrom, OWN_USER, OWN_SESSION, "particles", is_multilabel=True
        )
        write_segmentation_zarr(path, labels)


def read_finished(folder: Path) -> Record | None:
    """Return the record of a finished run if it and its picks are undamaged."""
    try:
        record = read_record(folder)
        if record is None or "key" not in record:
            return None
        return record if hash_file(folder / PICKS_NAME) == record.get("picks_csv_sha256") else None
    except (OutputError, OSError):
        return None


def _describe_run(entry: TomogramEntry, grid: VoxelGrid, picks: Picks) -> Record:
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
