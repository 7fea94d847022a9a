"""`cryofind pick`: tomograms in, a folder of picks out, resumable run by run."""

import logging
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cryofind.atomic import write_json
from cryofind.errors import (
    EXIT_PARTIAL,
    EXIT_USAGE,
    ConfigError,
    CryofindError,
    MemoryLimitError,
    OutputError,
    ProcessError,
)
from cryofind.io import TomogramEntry, write_copick_config
from cryofind.models import model_hash
from cryofind.pipeline.conditions import describe_conditions, doubt_calibration
from cryofind.pipeline.inputs import CollectedInputs, FailedItem, InputSelection, collect_tomograms
from cryofind.pipeline.overlap import Queue, Steps, run_overlapped
from cryofind.pipeline.pick_run import RunPicking, forget_run, hash_recipe
from cryofind.pipeline.picked_runs import MADE_BY, PICKS_NAME, Record, read_finished
from cryofind.pipeline.picker import Picker
from cryofind.pipeline.records import RECORD_NAME, claim_folder, describe_environment, read_record, timestamp
from cryofind.pipeline.trust import check_expected
from cryofind.predict.device import choose_devices, main_memory_budget_bytes
from cryofind.predict.needs import MemoryNeeds
from cryofind.progress import report_progress
from cryofind.types import Picks

logger = logging.getLogger("cryofind")

Outcomes = Generator[tuple[TomogramEntry, Record | CryofindError], None, None]


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

    With several devices (`predict.devices`) there is a process for each, which loads the model from its folders. A
    script that calls this must then be guarded by `if __name__ == "__main__"`, since every process imports it.

    Raises
    ------
    OutputError
        If `out` is something else's folder, was made by another model or recipe, or cannot be written.
    ProjectError
        If the inputs are ambiguous.
    ModelError
        If the best expected F-beta is asked for and the model is not calibrated.
    ConfigError
        If the device or engine that the recipe asks for is not there.
    """
    started = time.perf_counter()
    job = _PickJob(out, picker, selection, with_segmentation)
    check_expected(picker.tuning, picker.config)
    job.check_folder()
    collected = collect_tomograms(inputs, selection, preferred_flavours=picker.card.flavours)
    settled: dict[str, Record | CryofindError] = {}
    with report_progress("picking", len(collected.entries)) as progress, closing(job.start(collected.entries)) as found:
        for entry, outcome in found:
            settled[entry.run] = outcome
            progress.advance(note=entry.run)
    picked: list[Record] = []
    failed = list(collected.failed)
    for entry in collected.entries:
        outcome = settled[entry.run]
        if isinstance(outcome, CryofindError):
            failed.append(FailedItem(str(entry.path), outcome, entry.run))
        else:
            picked.append(outcome)
    for item in failed:
        # For want of memory, or with other settings, what an earlier call found is still true.
        if not isinstance(item.error, ConfigError | MemoryLimitError | ProcessError):
            forget_run(out, item.run, [spec.name for spec in picker.specs])
    picks = job.collect(collected, failed, seconds=time.perf_counter() - started)
    return PickSummary(picks, tuple(picked), tuple(failed))


@dataclass(eq=False)
class _PickJob:
    """A call as a whole, and its folder; `engine` is known from its start on."""

    out: Path
    picker: Picker
    selection: InputSelection
    with_segmentation: bool
    engine: dict[str, str] = field(default_factory=dict, init=False)

    @cached_property
    def recipe_sha256(self) -> str:
        """Identity of model and settings."""
        return hash_recipe(self.picker, with_segmentation=self.with_segmentation)

    def start(self, entries: tuple[TomogramEntry, ...]) -> Outcomes:
        """Return the tomograms with what becomes of them, each when it is done.

        Raises
        ------
        CryofindError
            If the networks cannot be made ready.
        """
        devices = choose_devices(self.picker.config.predict, len(entries))
        if len(devices) == 1:
            return self._pick_here(entries, devices[0])
        return self._pick_elsewhere(entries, devices)

    def _pick_here(self, entries: tuple[TomogramEntry, ...], device: str) -> Outcomes:
        picker = self.picker.on_device(device)
        # Measured once, before anything is read: how each tomogram is picked depends on its own size alone.
        needs = MemoryNeeds.of(picker.ready_networks, picker.config.predict)
        choice = picker.ready_networks.choice
        logger.info("%s", choice.describe())
        self._remember_engine(choice.as_record())
        budget_bytes = main_memory_budget_bytes(picker.config.predict.memory_gigabytes)
        picking = RunPicking(
            self.out, picker, self.selection, self.with_segmentation, self.recipe_sha256, needs, budget_bytes
        )
        queue = Queue(entries, picking.may_read_ahead)
        return run_overlapped(queue, Steps(picking.read, picking.pick, picking.write, picking.writes_volumes))

    def _pick_elsewhere(self, entries: tuple[TomogramEntry, ...], devices: tuple[str, ...]) -> Outcomes:
        from cryofind.pipeline.pick_processes import PickProcesses
        from cryofind.pipeline.pick_worker import WorkOrder

        config = self.picker.config
        sharers = len(devices) if config.predict.memory_gigabytes is None else 1
        order = WorkOrder(
            self.out,
            self.selection,
            self.with_segmentation,
            self.recipe_sha256,
            main_memory_budget_bytes(config.predict.memory_gigabytes) / sharers,
            self.picker.folders,
            config,
            entries,
            logger.getEffectiveLevel(),
        )
        processes = PickProcesses(order, devices)
        yield from processes.run()
        self._remember_engine(processes.engine)

    def _remember_engine(self, engine: dict[str, str]) -> None:
        self.engine = engine
        if not engine:
            return  # no process came so far
        picker = self.picker
        conditions = describe_conditions(engine, picker.config, member_count=len(picker.networks))
        if doubt := doubt_calibration(picker.card, picker.config.locate, conditions):
            logger.warning("%s", doubt)

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
            "recipe_sha256": self.recipe_sha256,
            "finished": timestamp(),
            "seconds": round(seconds, 3),
            "environment": describe_environment(),
            "config": self.picker.config.model_dump(mode="json"),
            "engine": self.engine,
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
