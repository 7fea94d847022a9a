"""`cryofind pick`: tomograms in, a folder of picks out, resumable run by run."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryofind.atomic import write_json
from cryofind.errors import EXIT_PARTIAL, EXIT_USAGE, CryofindError, OutputError
from cryofind.io import (
    TomogramEntry,
    fingerprint_volume,
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
    describe_environment,
    hash_document,
    hash_file,
    read_record,
    timestamp,
)
from cryofind.progress import report_progress
from cryofind.types import Picks, Tomogram

logger = logging.getLogger("cryofind")

PICKS_NAME = "picks.csv"
USER, SESSION = "cryofind", "1"


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

    A run whose record in `out` matches model, recipe and voxels is kept as it is. A tomogram that fails is named and
    left out; the others are picked.

    Raises
    ------
    OutputError
        If `out` is something else's folder or cannot be written.
    ProjectError
        If the inputs are ambiguous.
    """
    _check_output_folder(out)
    started = time.perf_counter()
    collected = collect_tomograms(inputs, selection, preferred_flavours=picker.card.flavours)
    job = _PickJob(out, picker, selection, with_segmentation)
    records, failed = [], list(collected.failed)
    with report_progress("picking", len(collected.entries)) as progress:
        for entry in collected.entries:
            try:
                records.append(job.pick_one(entry))
            except CryofindError as error:
                failed.append(FailedItem(str(entry.path), error, entry.run))
            progress.advance(note=entry.run)
    picks = Picks.concatenate(Picks.from_csv(out / "runs" / record["run"] / PICKS_NAME) for record in records)
    if records:
        picks.to_csv(out / PICKS_NAME)
        _write_configuration(out, picker, collected)
        _write_record(out, job, records, failed, seconds=time.perf_counter() - started)
    return PickSummary(picks, tuple(records), tuple(failed))


@dataclass(frozen=True)
class _PickJob:
    out: Path
    picker: Picker
    selection: InputSelection
    with_segmentation: bool

    @property
    def recipe_hash(self) -> str:
        """Identity of model and settings: with the voxels' hash it decides whether a result is still good."""
        return hash_document(
            {
                "models": [model_hash(folder) for folder in self.picker.folders],
                "config": self.picker.config.model_dump(mode="json"),
                "segmentation": self.with_segmentation,
                "voxel_spacing": self.selection.voxel_spacing_angstrom,
            }
        )

    def pick_one(self, entry: TomogramEntry) -> dict[str, Any]:
        """Pick one tomogram, or keep the finished result of an earlier call; return its record."""
        started = time.perf_counter()
        tomogram = entry.read(
            voxel_spacing_angstrom=self.selection.voxel_spacing_angstrom,
            allow_missing_chunks=self.selection.allow_missing_chunks,
        )
        key = {"recipe": self.recipe_hash, "volume_sha256": fingerprint_volume(tomogram.volume_zyx)}
        folder = self.out / "runs" / entry.run
        finished = _read_finished(folder, key)
        if finished is not None:
            logger.info("%s: already picked, kept", entry.run)
            return finished
        read_seconds = time.perf_counter() - started
        result = self.picker.pick_tomogram(tomogram)
        for note in result.notes:
            logger.info("%s: %s", entry.run, note)
        result.picks.to_csv(folder / PICKS_NAME)
        self._write_overlay(tomogram, result.picks)
        if self.picker.config.predict.keep_probabilities:
            write_probability_zarr(self.out / "probabilities" / f"{entry.run}.zarr", result.probabilities)
        if self.with_segmentation:
            self._write_segmentation(tomogram, self.picker.segment(result.probabilities, tomogram.grid))
        record = {
            **_describe_run(entry, tomogram, result.picks),
            "key": key,
            "in_sample": _is_in_sample(self.picker, key["volume_sha256"]),
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
            user=USER,
            session=SESSION,
            voxel_spacings=spacing,
            runs=(tomogram.run,),
            objects=names,
        )

    def _write_segmentation(self, tomogram: Tomogram, labels: Any) -> None:
        path = segmentation_zarr_path(
            self.out, tomogram.run, tomogram.grid.spacing_angstrom, USER, SESSION, "particles", is_multilabel=True
        )
        write_segmentation_zarr(path, labels)


def _check_output_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise OutputError(out, "is a file, expected a folder", "choose another --out")
    if out.is_dir() and any(out.iterdir()) and not (out / RECORD_NAME).is_file() and not (out / "runs").is_dir():
        raise OutputError(out, "holds other files", "choose an empty or new folder for --out")


def _read_finished(folder: Path, key: dict[str, str]) -> dict[str, Any] | None:
    """Return the record of a run if it was made by the same recipe from the same voxels and is undamaged."""
    try:
        record = read_record(folder)
        if record is None or record.get("key") != key:
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


def _is_in_sample(picker: Picker, volume_sha256: str) -> bool:
    return any(volume_sha256 in run.volume_sha256 for card in picker.cards for run in card.training_runs)


def _write_configuration(out: Path, picker: Picker, collected: CollectedInputs) -> None:
    """Write a copick configuration, so that copick's own tools open the folder."""
    static_roots = {project.static_root or project.overlay_root for project in collected.projects} - {None}
    static_root = static_roots.pop() if len(static_roots) == 1 else None
    write_copick_config(
        out / "copick.json", name="cryofind picks", objects=picker.specs, overlay_root=out, static_root=static_root
    )


def _write_record(
    out: Path, job: _PickJob, records: list[dict[str, Any]], failed: list[FailedItem], *, seconds: float
) -> None:
    document = {
        "made_by": "cryofind pick",
        "finished": timestamp(),
        "seconds": round(seconds, 3),
        "environment": describe_environment(),
        "config": job.picker.config.model_dump(mode="json"),
        "models": [
            {
                "name": card.name,
                "path": str(folder.resolve()),
                "sha256": model_hash(folder),
                "training_runs": [run.model_dump(mode="json") for run in card.training_runs],
            }
            for card, folder in zip(job.picker.cards, job.picker.folders, strict=True)
        ],
        "objects": [vars(spec) for spec in job.picker.specs],
        "thresholds": job.picker.card.thresholds,
        "runs": records,
        "failed": [{"item": item.item, "run": item.run, "error": str(item.error)} for item in failed],
    }
    write_json(out / RECORD_NAME, document)
