"""What went wrong, for `cryofind score --failures` and for reports: failures, offsets, and where membranes are."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from cryofind.config import ScoreConfig
from cryofind.errors import CryofindError
from cryofind.io import OWN_USER, SegmentationEntry, open_project
from cryofind.pipeline.scoring import Comparison
from cryofind.progress import report_progress
from cryofind.scoring.failures import FailureAnalysis, analyse_failures
from cryofind.scoring.mistakes import find_mistake
from cryofind.scoring.places import ReadMembranes
from cryofind.scoring.remarks import format_failures
from cryofind.scoring.residuals import Residuals, measure_residuals
from cryofind.types import LabelVolume, ParticleSpec, Picks, VoxelGrid

logger = logging.getLogger("cryofind")

# A segmentation, or an object of one, is of membranes if its name has this word in it.
MEMBRANE_WORD = "membrane"


@dataclass(frozen=True, eq=False)
class FailureReport:
    """What went wrong with picks.

    Parameters
    ----------
    analysis
        Verdicts, rates by circumstance, confusions.
    residuals
        Mean offsets of the picks that hit.
    mistake
        A sentence on what would turn most misses into hits, such as another order of the axes; mostly empty.
    """

    analysis: FailureAnalysis
    residuals: Residuals
    mistake: str = ""

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that stands out, a sentence each."""
        mistake = (self.mistake,) if self.mistake else ()
        return (*mistake, *self.residuals.sentences, *self.analysis.sentences)

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as a JSON-ready dictionary."""
        document = {**self.analysis.to_dict(), "residuals": self.residuals.to_dict(), "mistake": self.mistake}
        return {**document, "sentences": list(self.sentences)}

    def describe(self) -> str:
        """Return what stands out as lines of text."""
        return format_failures(self.sentences, self.analysis.tables, self.analysis.confusions)


def explain_comparison(comparison: Comparison) -> FailureReport:
    """Return what went wrong, with the membranes that the truth's project has segmented."""
    membranes = find_membranes(comparison.truth_path, comparison.runs)
    parts = (comparison.picks, comparison.truth, comparison.specs, comparison.grids)
    return explain_failures(*parts, config=comparison.config, runs=comparison.runs, membranes=membranes)


def explain_failures(
    picks: Picks,
    truth: Picks,
    specs: Sequence[ParticleSpec],
    grids: Mapping[str, VoxelGrid],
    *,
    config: ScoreConfig,
    runs: Sequence[str],
    membranes: Mapping[str, ReadMembranes],
) -> FailureReport:
    """Return what went wrong, with progress while membranes are read.

    Arguments and errors are those of `cryofind.scoring.failures.analyse_failures`.
    """
    with _reporting_progress(membranes) as readers:
        analysis = analyse_failures(picks, truth, specs, grids, config=config, runs=runs, membranes=readers)
    residuals = measure_residuals(picks, truth, analysis.picks, grids)
    return FailureReport(analysis, residuals, find_mistake(picks, truth, specs, grids, config=config, runs=runs))


@contextmanager
def _reporting_progress(membranes: Mapping[str, ReadMembranes]) -> Iterator[Mapping[str, ReadMembranes]]:
    """Give the same readers, each of which takes a second, with progress; those of runs without a pick are not used."""
    if not membranes:
        yield membranes  # there are none, or a report's single page shows its own progress
        return
    left = len(membranes)

    def read_one(read: ReadMembranes) -> LabelVolume | None:
        nonlocal left
        volume = read()
        left -= 1
        progress.advance()
        return volume

    with report_progress("membranes", left) as progress:
        yield {run: partial(read_one, read) for run, read in membranes.items()}
        if left:  # of runs without picks nothing is asked
            progress.advance(left)


def find_membranes(path: Path, runs: Sequence[str]) -> dict[str, ReadMembranes]:
    """Return what reads the membranes of each run, for the runs of which a project has a segmentation of them.

    That is one of an object with `MEMBRANE_WORD` in its name, else a multilabel one with such an object; one that
    cryofind made only if there is no other.

    Parameters
    ----------
    path
        A project, or anything else: then there are none.
    runs
        Names of the runs that are wanted.
    """
    try:
        project = open_project(path)
    except CryofindError:
        return {}
    labels = {spec.label: spec.name for spec in project.objects if MEMBRANE_WORD in spec.name.lower()}
    chosen: dict[str, SegmentationEntry] = {}
    for entry in sorted(project.segmentations, key=_rank):
        shows_membranes = bool(labels) if entry.is_multilabel else MEMBRANE_WORD in entry.name.lower()
        if entry.run in runs and shows_membranes:
            chosen.setdefault(entry.run, entry)
    return {run: partial(_read_membranes, entry, labels) for run, entry in chosen.items()}


def _rank(entry: SegmentationEntry) -> tuple[bool, bool, str]:
    return entry.user == OWN_USER, entry.is_multilabel, entry.uri


def _read_membranes(entry: SegmentationEntry, labels: dict[int, str]) -> LabelVolume | None:
    try:
        volume = entry.read(labels)
    except CryofindError as error:
        logger.warning("no distances to membranes in run %s: %s", entry.run, error)
        return None
    if not entry.is_multilabel:
        return volume
    is_membrane = np.isin(volume.labels_zyx, list(labels))
    return LabelVolume(entry.run, is_membrane.astype(np.uint8), volume.grid, labels)
