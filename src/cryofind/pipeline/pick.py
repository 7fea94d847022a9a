"""`cryofind pick`: tomograms in, a folder of picks out, resumable run by run."""

import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import cryofind
from cryofind.atomic import write_json
from cryofind.errors import EXIT_PARTIAL, EXIT_USAGE, CryofindError, OutputError
from cryofind.io import (
    OWN_SESSION,
    OWN_USER,
    TomogramEntry,
    fingerprint_volume,
    picks_json_path,
    segmentation_zarr_path,
    write_copick_config,
    write_picks_overlay,
    write_probability_zarr,
    write_segmentation_zarr,
)
from cryofind.models import model_hash
from cryofind.pipeline.inputs import CollectedInputs, FailedItem, InputSelection, collect_tomograms
from cryofind.pipeline.picker import Picker
from cryofind.pipeline.records import (
    RECORD_NAME,
    claim_folder,
    describe_environment,
    hash_document,
    hash_file,
    read_record,
    timestamp,
)
from cryofind.progress import report_progress
from cryofind.types import LabelVolume, Picks, Tomogram

logger = logging.getLogger("cryofind")

MADE_BY = "cryofind pick"
PICKS_NAME = "picks.csv"


@dataclass(frozen=True)
class PickSummary:
    """What a run of `cryofind pick` did.

    Parameters
    ----------
    picks
        All candidates of all runs.
    records
        One record per picked run, as in `run.json`.
    failed
        Inputs that could not be picked.
    """

    picks: Picks
    records: tuple[dict[str, Any], ...]
    failed: tuple[FailedItem, ...]

    @property
    def exit_code(self) -> int:
        """0 when all succeeded, 1 when some did, 2 when none did."""
        if not self.failed:
            return 0
        return EXIT_PARTIAL if self.records else EXIT_USAGE


def pick_into_folder(
    inputs: Sequence[Path],
    out: Path,
    picker: Picker,
    *,
    selection: InputSelection = InputSelection(),
    with_segmentation: bool = False,
) -> PickSummary:
    """Pick every tomogram of the inputs and write `picks.csv`, a copick overlay and `run.json` into `out`.

    A run whose record in `out` matches model, recipe and voxels is kept as it is; so are other runs that an earlier
    call of the same model and recipe picked into `out`. A tomogram that fails is named and left out; the others are
    picked.

    Raises
    ------
    OutputError
        If `out` is something else's folder, was made by another model or recipe, or cannot be written.
    ProjectError
        If the inputs are ambiguous.
    """
    started = time.perf_counter()
    job = _PickJob(out, picker, selection, with_segmentation)
    job.check_folder()
    collected = collect_tomograms(inputs, selection, preferred_flavours=picker.card.flavours)
    picked, failed = [], list(collected.failed)
    with report_progress("picking", len(collected.entries)) as progress:
        for entry in collected.entries:
            try:
                picked.append(job.pick_one(entry))
            except CryofindError as error:
                failed.append(FailedItem(str(entry.path), error, entry.run))
            progress.advance(note=entry.run)
    for item in failed:
        job.forget(item.run)
    picks = job.collect(collected, failed, seconds=time.perf_counter() - started)
    return PickSummary(picks, tuple(picked), tuple(failed))


@dataclass(frozen=True)
class _PickJob:
    """What every tomogram of a call has in common, and the folder it fills."""

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

    def check_folder(self) -> None:
        """Refuse a folder that this job may not fill.

        Raises
        ------
        OutputError
            If it is something else's, or of another model or recipe.
        """
        record = claim_folder(self.out, MADE_BY)
        if record and record.get("recipe_sha256") != self.recipe_sha256:
            problem = "holds picks of another model, recipe or version of cryofind"
            raise OutputError(self.out, problem, "choose a new folder for --out")

    def _mark_folder(self) -> None:
        """Say whose folder it is before anything else is in it, so that a call that is cut off can go on."""
        if not (self.out / RECORD_NAME).exists():
            write_json(self.out / RECORD_NAME, {"made_by": MADE_BY, "recipe_sha256": self.recipe_sha256})

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

    def collect(self, collected: CollectedInputs, failed: list[FailedItem], *, seconds: float) -> Picks:
        """Write `picks.csv` and `run.json` from all finished runs of the folder; return their candidates."""
        if not (self.out / RECORD_NAME).exists():
            return Picks.empty()
        records = self._read_finished_runs()
        picks = Picks.concatenate(Picks.from_csv(self.out / "runs" / record["run"] / PICKS_NAME) for record in records)
        picks.to_csv(self.out / PICKS_NAME)
        self._write_configuration(collected)
        self._write_record(records, self._merge_failures(records, failed), seconds=seconds)
        return picks

    def _read_finished_runs(self) -> list[dict[str, Any]]:
        """Return the records of all undamaged runs in the folder, by run."""
        records = []
        for folder in sorted(path for path in (self.out / "runs").glob("*") if path.is_dir()):
            record = _read_finished(folder)
            if record is None:
                logger.warning("%s: is damaged and left out; pick run %s again", folder, folder.name)
            else:
                records.append(record)
        return records

    def _merge_failures(self, records: list[dict[str, Any]], failed: list[FailedItem]) -> list[dict[str, str]]:
        """Return the failures of this call and of earlier ones, but those of runs that are finished now."""
        now = [{"item": item.item, "run": item.run, "error": str(item.error)} for item in failed]
        settled = {record["run"] for record in records} | {item.run for item in failed}
        earlier = (read_record(self.out) or {}).get("failed", [])
        return [*(item for item in earlier if item["run"] and item["run"] not in settled), *now]

    def pick_one(self, entry: TomogramEntry) -> dict[str, Any]:
        """Pick one tomogram, or keep the finished result of an earlier call; return its record."""
        started = time.perf_counter()
        tomogram = entry.read(
            voxel_spacing_angstrom=self.selection.voxel_spacing_angstrom,
            allow_missing_chunks=self.selection.allow_missing_chunks,
        )
        key = {
            "recipe_sha256": self.recipe_sha256,
            "volume_sha256": fingerprint_volume(tomogram.volume_zyx),
            "grid": [list(tomogram.grid.spacing_zyx_angstrom), list(tomogram.grid.origin_zyx_angstrom)],
        }
        folder = self.out / "runs" / entry.run
        finished = _read_finished(folder)
        if finished is not None and finished["key"] == key:
            logger.info("%s: already picked, kept", entry.run)
            return finished
        read_seconds = time.perf_counter() - started
        result = self.picker.pick_tomogram(tomogram)
        for note in result.notes:
            logger.info("%s: %s", entry.run, note)
        self._mark_folder()
        self.forget(entry.run)
        result.picks.to_csv(folder / PICKS_NAME)
        self._write_overlay(tomogram, result.picks)
        if self.picker.config.predict.keep_probabilities:
            write_probability_zarr(self.out / "probabilities" / f"{entry.run}.zarr", result.probabilities)
        if self.with_segmentation:
            self._write_segmentation(tomogram, self.picker.segment(result.probabilities, tomogram.grid))
        record = {
            **_describe_run(entry, tomogram, result.picks),
            "key": key,
            "in_sample": any(key["volume_sha256"] in run.volume_sha256 for run in self.picker.seen_runs),
            "notes": list(result.notes),
            "seconds": {"read": round(read_seconds, 3), **result.seconds},
            "picks_csv_sha256": hash_file(folder / PICKS_NAME),
        }
        write_json(folder / RECORD_NAME, record)
        return record

    def _write_overlay(self, tomogram: Tomogram, picks: Picks) -> None:
        spacing = {tomogram.run: tomogram.grid.spacing_angstrom}
        names = [spec.name for spec in self.picker.specs]
        write_picks_overlay(
            self.out,
            picks.only_selected(),
            user=OWN_USER,
            session=OWN_SESSION,
            voxel_spacings=spacing,
            runs=(tomogram.run,),
            objects=names,
        )

    def _write_segmentation(self, tomogram: Tomogram, labels: LabelVolume) -> None:
        path = segmentation_zarr_path(
            self.out,
            tomogram.run,
            tomogram.grid.spacing_angstrom,
            OWN_USER,
            OWN_SESSION,
            "particles",
            is_multilabel=True,
        )
        write_segmentation_zarr(path, labels)

    def _write_configuration(self, collected: CollectedInputs) -> None:
        """Write a copick configuration, so that copick's own tools open the folder."""
        static_roots = {project.static_root or project.overlay_root for project in collected.projects} - {None}
        write_copick_config(
            self.out / "copick.json",
            name="cryofind picks",
            objects=self.picker.specs,
            overlay_root=self.out,
            static_root=static_roots.pop() if len(static_roots) == 1 else None,
        )

    def _write_record(self, records: list[dict[str, Any]], failed: list[dict[str, str]], *, seconds: float) -> None:
        """Write `run.json`: what made the picks, from what, and what failed."""
        members = zip(self.picker.cards, self.picker.folders, strict=True)
        document = {
            "made_by": MADE_BY,
            "recipe_sha256": self.recipe_sha256,
            "finished": timestamp(),
            "seconds": round(seconds, 3),
            "environment": describe_environment(),
            "config": self.picker.config.model_dump(mode="json"),
            "models": [
                {
                    "name": card.name,
                    "path": str(folder.resolve()),
                    "sha256": model_hash(folder),
                    "training_runs": [run.model_dump(mode="json") for run in card.training_runs],
                }
                for card, folder in members
            ],
            "objects": [vars(spec) for spec in self.picker.specs],
            "thresholds": self.picker.card.thresholds,
            "runs": records,
            "failed": failed,
        }
        write_json(self.out / RECORD_NAME, document)


def _read_finished(folder: Path) -> dict[str, Any] | None:
    """Return the record of a finished run if it and its picks are undamaged."""
    try:
        record = read_record(folder)
        if record is None or "key" not in record:
            return None
        return record if hash_file(folder / PICKS_NAME) == record.get("picks_csv_sha256") else None
    except (OutputError, OSError):
        return None


def _describe_run(entry: TomogramEntry, tomogram: Tomogram, picks: Picks) -> dict[str, Any]:
    chosen = picks.only_selected()
    return {
        "run": entry.run,
        "flavour": entry.flavour,
        "path": str(entry.path.resolve()),
        "shape_zyx": list(tomogram.grid.shape_zyx),
        "spacing_zyx_angstrom": list(tomogram.grid.spacing_zyx_angstrom),
        "origin_zyx_angstrom": list(tomogram.grid.origin_zyx_angstrom),
        "candidates": len(picks),
        "selected": {name: int((chosen.objects == name).sum()) for name in chosen.object_names},
    }
