"""One tomogram of `cryofind pick`: read and prepared, picked, written."""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from cryofind.models import model_hash
from cryofind.pipeline.column_plan import refuse_resampling, refuse_volumes
from cryofind.pipeline.familiarity import warnings_of
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.picked_runs import MADE_BY, PICKS_NAME, Record, RunInProgress, describe_run, read_finished
from cryofind.pipeline.picker import Picker, PickResult
from cryofind.pipeline.records import RECORD_NAME, hash_document, hash_file
from cryofind.pipeline.streaming import StreamedTomogram, pick_streamed, survey_for_streaming
from cryofind.pipeline.timing import round_seconds, timed
from cryofind.predict.needs import PREPARED_BYTES, MemoryNeeds
from cryofind.preprocess import needs_resampling
from cryofind.types import LabelVolume, Picks, ProbabilityVolume, Tomogram, VoxelGrid

logger = logging.getLogger("cryofind")

# Settings that say where and with how much memory, not what is picked: another call may have others.
_SETTINGS_OF_THE_COMPUTER = {"predict": {"device", "devices", "memory_gigabytes"}}


@dataclass(frozen=True)
class _Grids:
    """Where the voxels of a tomogram lie in the file, and where the networks get them."""

    stored: VoxelGrid
    seen: VoxelGrid


def hash_recipe(picker: Picker, *, with_segmentation: bool) -> str:
    """Return the identity of a model and of the settings that decide what is picked."""
    return hash_document(
        {
            "version": cryofind.__version__,
            "models": [model_hash(folder) for folder in picker.folders],
            "config": picker.config.model_dump(mode="json", exclude=_SETTINGS_OF_THE_COMPUTER),
            "segmentation": with_segmentation,
        }
    )


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
    recipe_sha256
        Identity of model and settings (`hash_recipe`): with the voxels' hash it decides whether a result is still good.
    needs
        What the networks take in memory.
    budget_bytes
        Main memory that tomograms may take, all that is made of them included. It decides, with the size of each
        tomogram alone, whether that is picked as a whole and whether the next one is read meanwhile.
    """

    out: Path
    picker: Picker
    selection: InputSelection
    with_segmentation: bool
    recipe_sha256: str
    needs: MemoryNeeds
    budget_bytes: float

    @property
    def writes_volumes(self) -> bool:
        """Whether volumes are written beside picks: they are not counted beside the next tomogram's."""
        return self.with_segmentation or self.picker.config.predict.keep_probabilities

    def may_read_ahead(self, current: TomogramEntry, following: TomogramEntry) -> bool:
        """Say whether memory allows the second tomogram beside the first one in the network's largest block."""
        try:
            first, second = self._measure(current), self._measure(following)
        except CryofindError:
            return False  # said when its turn comes
        if not (self._is_whole(first) and self._is_whole(second)):
            return False  # all the memory is for the columns
        beside = self.needs.reading_bytes(second.stored.shape_zyx, second.seen.shape_zyx)
        return self.needs.picking_bytes(first.seen.shape_zyx, in_one_block=True) + beside <= self.budget_bytes

    def read(self, entry: TomogramEntry) -> RunInProgress[Tomogram | StreamedTomogram]:
        """Read one tomogram, and prepare it unless an earlier call's result still holds.

        One that is too large for memory is gone through once, and read again column by column while it is picked.

        Raises
        ------
        CryofindError
            If it cannot be read or does not suit the model.
        """
        grids = self._measure(entry)
        return self._read_whole(entry) if self._is_whole(grids) else self._survey(entry, grids)

    def _measure(self, entry: TomogramEntry) -> _Grids:
        spacing_angstrom = self.picker.card.voxel_spacing_angstrom
        stored = entry.read_grid(voxel_spacing_angstrom=self.selection.voxel_spacing_angstrom)
        is_resampled = needs_resampling(stored, spacing_angstrom, run=entry.run)
        return _Grids(stored, stored.resampled(spacing_angstrom) if is_resampled else stored)

    def _whole_bytes(self, grids: _Grids) -> float:
        return self.needs.whole_bytes(grids.stored.shape_zyx, grids.seen.shape_zyx)

    def _is_whole(self, grids: _Grids) -> bool:
        return self._whole_bytes(grids) <= self.budget_bytes

    def _read_whole(self, entry: TomogramEntry) -> RunInProgress[Tomogram | StreamedTomogram]:
        seconds: dict[str, float] = {}
        with timed(seconds, "read"):
            tomogram = entry.read(
                voxel_spacing_angstrom=self.selection.voxel_spacing_angstrom,
                allow_missing_chunks=self.selection.allow_missing_chunks,
            )
            grid = tomogram.grid
            key = self._key(fingerprint_volume(tomogram.volume_zyx), grid)
            finished = self._find_finished(entry, key)
        if finished is not None:
            return RunInProgress(entry, grid, key, finished, {})
        with timed(seconds, "preprocess"):
            # Nobody else holds these voxels.
            prepared = self.picker.prepare(tomogram, may_overwrite=True)
        return RunInProgress(entry, grid, key, prepared, seconds)

    def _survey(self, entry: TomogramEntry, grids: _Grids) -> RunInProgress[Tomogram | StreamedTomogram]:
        """Go through a tomogram that is to be streamed."""
        grid, seconds = grids.stored, dict[str, float]()
        with timed(seconds, "survey"):
            self._refuse_what_needs_the_whole(entry, grids)
            source = open_source(
                entry,
                voxel_spacing_angstrom=self.selection.voxel_spacing_angstrom,
                allow_missing_chunks=self.selection.allow_missing_chunks,
            )
            fingerprint, content = survey_for_streaming(self.picker, source, self.needs, budget_bytes=self.budget_bytes)
            key = self._key(fingerprint, grid)
            finished = self._find_finished(entry, key)
        if finished is not None:
            return RunInProgress(entry, grid, key, finished, {})
        return RunInProgress(entry, grid, key, content, seconds)

    def _refuse_what_needs_the_whole(self, entry: TomogramEntry, grids: _Grids) -> None:
        whole_bytes, picker = self._whole_bytes(grids), self.picker
        for setting, asked in (
            ("predict.keep_probabilities", picker.config.predict.keep_probabilities),
            ("--segmentation", self.with_segmentation),
            # how a region is split depends on all of it, wherever it ends
            ("locate.method 'watershed'", picker.config.locate.method == "watershed"),
        ):
            if asked:
                raise refuse_volumes(setting, run=entry.run, whole_bytes=whole_bytes, budget_bytes=self.budget_bytes)
        refuse_resampling(grids.stored, picker.card.voxel_spacing_angstrom, run=entry.run, whole_bytes=whole_bytes)

    def _find_finished(self, entry: TomogramEntry, key: dict[str, Any]) -> Record | None:
        finished = read_finished(self.out / "runs" / entry.run)
        return finished if finished is not None and finished["key"] == key else None

    def _key(self, volume_sha256: str, grid: VoxelGrid) -> dict[str, Any]:
        return {
            "recipe_sha256": self.recipe_sha256,
            "volume_sha256": volume_sha256,
            "grid": [list(grid.spacing_zyx_angstrom), list(grid.origin_zyx_angstrom)],
        }

    def pick(self, run: RunInProgress[Tomogram | StreamedTomogram]) -> RunInProgress[PickResult]:
        """Let the network and the location work on a tomogram; a finished one is kept as it is.

        Raises
        ------
        CryofindError
            If the network cannot, for instance for want of memory.
        """
        if isinstance(run.content, dict):
            logger.info("%s: already picked, kept", run.entry.run)
            if (familiarity := run.content.get("familiarity")) and familiarity["warning"]:
                logger.warning("%s: %s", run.entry.run, familiarity["warning"])
            return run.holding(run.content)
        if isinstance(run.content, StreamedTomogram):
            result = pick_streamed(self.picker, run.content, self.needs)
        else:
            result = self._pick_whole(run.content)
        warnings = warnings_of(result.familiarity)
        for note in result.notes:
            logger.log(logging.WARNING if note in warnings else logging.INFO, "%s: %s", run.entry.run, note)
        return run.holding(result)

    def _pick_whole(self, prepared: Tomogram) -> PickResult:
        room_bytes = self.budget_bytes - PREPARED_BYTES * prepared.volume_zyx.size
        result = self.picker.pick_prepared(prepared, room_bytes=room_bytes)
        keeps_prediction = self.picker.config.predict.keep_probabilities or self.with_segmentation
        return result if keeps_prediction else replace(result, prediction=None)

    def write(self, run: RunInProgress[PickResult]) -> Record:
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
        forget_run(self.out, name, [spec.name for spec in self.picker.specs])
        result.picks.to_csv(folder / PICKS_NAME)
        self._write_overlay(name, run.grid, result.picks)
        if result.probabilities is not None:
            self._write_volumes(name, run.grid, result.probabilities)
        record = {
            **describe_run(run.entry, run.grid, result.picks, result.engine),
            "key": run.key,
            "in_sample": any(run.key["volume_sha256"] in seen.volume_sha256 for seen in self.picker.seen_runs),
            "notes": list(result.notes),
            "trust": dict(result.trust),
            "familiarity": result.familiarity.as_record() if result.familiarity is not None else None,
            **({"streamed": result.plan.as_record()} if result.plan is not None else {}),
            "seconds": round_seconds({**run.seconds, **result.seconds}),
            "picks_csv_sha256": hash_file(folder / PICKS_NAME),
        }
        write_json(folder / RECORD_NAME, record)
        return record

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

    def _write_volumes(self, run: str, grid: VoxelGrid, probabilities: ProbabilityVolume) -> None:
        """Write what was asked for beside picks."""
        if self.picker.config.predict.keep_probabilities:
            write_probability_zarr(self.out / "probabilities" / f"{run}.zarr", probabilities)
        if self.with_segmentation:
            self._write_segmentation(run, grid, self.picker.segment(probabilities, grid))

    def _write_segmentation(self, run: str, grid: VoxelGrid, labels: LabelVolume) -> None:
        path = segmentation_zarr_path(
            self.out, run, grid.spacing_angstrom, OWN_USER, OWN_SESSION, "particles", is_multilabel=True
        )
        write_segmentation_zarr(path, labels)


def forget_run(out: Path, run: str, objects: Sequence[str]) -> None:
    """Remove what an earlier call left of a run that cannot be picked any more, or is about to be picked anew."""
    if not run:
        return
    shutil.rmtree(out / "runs" / run, ignore_errors=True)
    shutil.rmtree(out / "probabilities" / f"{run}.zarr", ignore_errors=True)
    for name in objects:
        picks_json_path(out, run, OWN_USER, OWN_SESSION, name).unlink(missing_ok=True)
    for labels in (out / "ExperimentRuns" / run).glob(f"Segmentations/*_{OWN_USER}_{OWN_SESSION}_*.zarr"):
        shutil.rmtree(labels, ignore_errors=True)
