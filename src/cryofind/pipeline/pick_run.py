"""One tomogram of `cryofind pick`: read and prepared, picked, written."""

import logging
import math
import shutil
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cryofind
from cryofind.atomic import write_json
from cryofind.errors import CryofindError
from cryofind.io import (
    OWN_SESSION,
    OWN_USER,
    TomogramEntry,
    fingerprint_volume,
    open_source,
    picks_json_path,
    segmentation_zarr_path,
    write_picks_overlay,
    write_probability_zarr,
    write_segmentation_zarr,
)
from cryofind.memory import read_free_bytes
from cryofind.models import model_hash
from cryofind.pipeline.column_plan import refuse_resampling, refuse_volumes
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.picked_runs import PICKS_NAME, PickedRun, ReadRun, Record, describe_run, read_finished
from cryofind.pipeline.picker import Picker, PickResult
from cryofind.pipeline.records import RECORD_NAME, hash_document, hash_file
from cryofind.pipeline.streaming import StreamedPicks, StreamedTomogram, pick_streamed, survey_for_streaming
from cryofind.predict.device import main_memory_budget_bytes
from cryofind.predict.needs import VOXEL_BYTES, MemoryNeeds
from cryofind.types import LabelVolume, Picks, VoxelGrid

logger = logging.getLogger("cryofind")

MADE_BY = "cryofind pick"

# What a tomogram that is read ahead may take of the free memory, so that the network, which counts on half of it, is
# left what it wants.
_SHARE_OF_FREE_MEMORY_AHEAD = 1 / 8


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
    _streamed: set[str] = field(default_factory=set, init=False, compare=False, repr=False)

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

    @cached_property
    def needs(self) -> MemoryNeeds:
        """What the networks take in memory."""
        return MemoryNeeds.of(self.picker.networks, self.picker.config.predict)

    def may_read_ahead(self, entry: TomogramEntry) -> bool:
        """Say whether memory allows a second tomogram beside the one that the network works on."""
        if self._streamed:
            return False  # all the memory is for the columns
        try:
            grid = self._read_grid(entry)
        except CryofindError:
            return False  # said when its turn comes
        if self.needs.whole_bytes(grid.shape_zyx) > self._budget_bytes():
            return False
        needed = VOXEL_BYTES * math.prod(grid.shape_zyx)
        return needed <= _SHARE_OF_FREE_MEMORY_AHEAD * read_free_bytes()

    def read(self, entry: TomogramEntry) -> ReadRun:
        """Read one tomogram, and prepare it unless an earlier call's result still holds.

        One that is too large for memory is gone through once, and read again column by column while it is picked.

        Raises
        ------
        CryofindError
            If it cannot be read or does not suit the model.
        """
        self._streamed.clear()
        grid = self._read_grid(entry)
        budget_bytes = self._budget_bytes()
        if self.needs.whole_bytes(grid.shape_zyx) > budget_bytes:
            return self._survey(entry, grid, budget_bytes)
        return self._read_whole(entry)

    def _budget_bytes(self) -> float:
        return main_memory_budget_bytes(self.picker.config.predict.memory_gigabytes)

    def _read_grid(self, entry: TomogramEntry) -> VoxelGrid:
        return entry.read_grid(voxel_spacing_angstrom=self.selection.voxel_spacing_angstrom)

    def _read_whole(self, entry: TomogramEntry) -> ReadRun:
        started = time.perf_counter()
        tomogram = entry.read(
            voxel_spacing_angstrom=self.selection.voxel_spacing_angstrom,
            allow_missing_chunks=self.selection.allow_missing_chunks,
        )
        grid = tomogram.grid
        key = self._key(fingerprint_volume(tomogram.volume_zyx), grid)
        finished = read_finished(self.out / "runs" / entry.run)
        if finished is not None and finished["key"] == key:
            return ReadRun(entry, grid, key, finished, {})
        was_read = time.perf_counter()
        # Nobody else holds these voxels.
        prepared = self.picker.prepare(tomogram, may_overwrite=True)
        seconds = {"read": was_read - started, "preprocess": time.perf_counter() - was_read}
        return ReadRun(entry, grid, key, prepared, {stage: round(value, 3) for stage, value in seconds.items()})

    def _survey(self, entry: TomogramEntry, grid: VoxelGrid, budget_bytes: float) -> ReadRun:
        """Go through a tomogram that is to be streamed."""
        started = time.perf_counter()
        whole_bytes, picker = self.needs.whole_bytes(grid.shape_zyx), self.picker
        for setting, asked in (
            ("predict.keep_probabilities", picker.config.predict.keep_probabilities),
            ("--segmentation", self.with_segmentation),
            # how a region is split depends on all of it, wherever it ends
            ("locate.method 'watershed'", picker.config.locate.method == "watershed"),
        ):
            if asked:
                raise refuse_volumes(setting, run=entry.run, whole_bytes=whole_bytes, budget_bytes=budget_bytes)
        refuse_resampling(grid, picker.card.voxel_spacing_angstrom, run=entry.run, whole_bytes=whole_bytes)
        source = open_source(
            entry,
            voxel_spacing_angstrom=self.selection.voxel_spacing_angstrom,
            allow_missing_chunks=self.selection.allow_missing_chunks,
        )
        fingerprint, content = survey_for_streaming(picker, source, self.needs, budget_bytes=budget_bytes)
        key = self._key(fingerprint, grid)
        finished = read_finished(self.out / "runs" / entry.run)
        if finished is not None and finished["key"] == key:
            return ReadRun(entry, grid, key, finished, {})
        self._streamed.add(entry.run)
        return ReadRun(entry, grid, key, content, {"survey": round(time.perf_counter() - started, 3)})

    def _key(self, volume_sha256: str, grid: VoxelGrid) -> dict[str, Any]:
        return {
            "recipe_sha256": self.recipe_sha256,
            "volume_sha256": volume_sha256,
            "grid": [list(grid.spacing_zyx_angstrom), list(grid.origin_zyx_angstrom)],
        }

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
        result: PickResult | StreamedPicks
        if isinstance(run.content, StreamedTomogram):
            result = pick_streamed(self.picker, run.content, self.needs)
        else:
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
        if isinstance(result, PickResult):
            self._write_volumes(name, run.grid, result)
        record = {
            **describe_run(run.entry, run.grid, result.picks),
            "key": run.key,
            "in_sample": any(run.key["volume_sha256"] in seen.volume_sha256 for seen in self.picker.seen_runs),
            "notes": list(result.notes),
            **({"streamed": result.plan.as_record()} if isinstance(result, StreamedPicks) else {}),
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

    def _write_volumes(self, run: str, grid: VoxelGrid, result: PickResult) -> None:
        """Write what was asked for beside picks; else probabilities stay where they are."""
        if self.picker.config.predict.keep_probabilities:
            write_probability_zarr(self.out / "probabilities" / f"{run}.zarr", result.probabilities)
        if self.with_segmentation:
            self._write_segmentation(run, grid, self.picker.segment(result.probabilities, grid))

    def _write_segmentation(self, run: str, grid: VoxelGrid, labels: LabelVolume) -> None:
        path = segmentation_zarr_path(
            self.out, run, grid.spacing_angstrom, OWN_USER, OWN_SESSION, "particles", is_multilabel=True
        )
        write_segmentation_zarr(path, labels)
