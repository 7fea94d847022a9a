"""`cryofind pick`: tomograms in, a folder of picks out, resumable run by run."""

import logging
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cryofind.atomic import write_json
from cryofind.errors import EXIT_PARTIAL, EXIT_USAGE, ConfigError, CryofindError, MemoryLimitError, OutputError
from cryofind.io import write_copick_config
from cryofind.models import model_hash
from cryofind.pipeline.inputs import CollectedInputs, FailedItem, InputSelection, collect_tomograms
from cryofind.pipeline.overlap import Steps, run_overlapped
from cryofind.pipeline.pick_run import MADE_BY as MADE_BY
from cryofind.pipeline.pick_run import RunPicking
from cryofind.pipeline.picked_runs import PICKS_NAME as PICKS_NAME
from cryofind.pipeline.picked_runs import Record, read_finished
from cryofind.pipeline.picker import Picker
from cryofind.pipeline.records import RECORD_NAME, claim_folder, describe_environment, read_record, timestamp
from cryofind.predict import EngineChoice
from cryofind.progress import report_progress
from cryofind.types import Picks

logger = logging.getLogger("cryofind")


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
    records: tuple[Record, ...]
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
    picked. While the network works on one, the next is read if memory allows, and the one before it is written.

    Raises
    ------
    OutputError
        If `out` is something else's folder, was made by another model or recipe, or cannot be written.
    ProjectError
        If the inputs are ambiguous.
    ConfigError
        If the device or engine that the recipe asks for is not there.
    """
    started = time.perf_counter()
    picking = RunPicking(out, picker, selection, with_segmentation)
    job = _PickJob(picking)
    job.check_folder()
    logger.info("%s", job.engine.describe())
    collected = collect_tomograms(inputs, selection, preferred_flavours=picker.card.flavours)
    picked: list[Record] = []
    failed = list(collected.failed)
    outcomes = run_overlapped(
        collected.entries, Steps(picking.read, picking.pick, picking.write, picking.may_read_ahead)
    )
    with report_progress("picking", len(collected.entries)) as progress, closing(outcomes):
        for entry, outcome in outcomes:
            if isinstance(outcome, CryofindError):
                failed.append(FailedItem(str(entry.path), outcome, entry.run))
            else:
                picked.append(outcome)
            progress.advance(note=entry.run)
    for item in failed:
        # For want of memory, or with other settings, what an earlier call found is still true.
        if not isinstance(item.error, ConfigError | MemoryLimitError):
            picking.forget(item.run)
    picks = job.collect(collected, failed, seconds=time.perf_counter() - started)
    return PickSummary(picks, tuple(picked), tuple(failed))


@dataclass(frozen=True)
class _PickJob:
    """The folder of a call as a whole."""

    picking: RunPicking

    @property
    def out(self) -> Path:
        """The folder."""
        return self.picking.out

    @property
    def picker(self) -> Picker:
        """The model."""
        return self.picking.picker

    @cached_property
    def engine(self) -> EngineChoice:
        """What runs the networks."""
        return self.picker.choose_engine()

    def check_folder(self) -> None:
        """Refuse a folder that this job may not fill.

        Raises
        ------
        OutputError
            If it is something else's, or of another model or recipe.
        """
        record = claim_folder(self.out, MADE_BY)
        if record and record.get("recipe_sha256") != self.picking.recipe_sha256:
            problem = "holds picks of another model, recipe or version of cryofind"
            raise OutputError(self.out, problem, "choose a new folder for --out")

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

    def _read_finished_runs(self) -> list[Record]:
        """Return the records of all undamaged runs in the folder, by run."""
        records = []
        for folder in sorted(path for path in (self.out / "runs").glob("*") if path.is_dir()):
            record = read_finished(folder)
            if record is None:
                logger.warning("%s: is damaged and left out; pick run %s again", folder, folder.name)
            else:
                records.append(record)
        return records

    def _merge_failures(self, records: list[Record], failed: list[FailedItem]) -> list[dict[str, str]]:
        """Return the failures of this call and of earlier ones, but those of runs that are finished now."""
        now = [{"item": item.item, "run": item.run, "error": str(item.error)} for item in failed]
        settled = {record["run"] for record in records} | {item.run for item in failed}
        earlier = (read_record(self.out) or {}).get("failed", [])
        return [*(item for item in earlier if item["run"] and item["run"] not in settled), *now]

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

    def _write_record(self, records: list[Record], failed: list[dict[str, str]], *, seconds: float) -> None:
        """Write `run.json`: what made the picks, from what, and what failed."""
        members = zip(self.picker.cards, self.picker.folders, strict=True)
        document = {
            "made_by": MADE_BY,
            "recipe_sha256": self.picking.recipe_sha256,
            "finished": timestamp(),
            "seconds": round(seconds, 3),
            "environment": describe_environment(),
            "config": self.picker.config.model_dump(mode="json"),
            "engine": self.engine.as_record(),
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
