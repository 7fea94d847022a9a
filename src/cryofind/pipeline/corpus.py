"""Annotated runs of projects, read and preprocessed once, ready to train on."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cryofind.config import Config
from cryofind.errors import ProjectError
from cryofind.io import Project, TomogramEntry, open_project
from cryofind.models import SeenRun
from cryofind.pipeline.annotated import (
    AnnotatedEntry,
    find_annotated_runs,
    read_annotated,
    refuse_same_data,
    refuse_shared_names,
)
from cryofind.pipeline.corpus_objects import choose_objects
from cryofind.pipeline.inputs import InputSelection, choose_one_per_run, refuse_absent_runs
from cryofind.pipeline.labels import labels_uri, read_labels, read_mask
from cryofind.pipeline.seen import remember_run
from cryofind.pipeline.volume_store import VolumeStore
from cryofind.preprocess import detect_polarity, preprocess_tomogram
from cryofind.progress import report_progress
from cryofind.train import TrainingRun
from cryofind.types import ParticleSpec, Picks, Tomogram

logger = logging.getLogger("cryofind")


@dataclass(frozen=True, eq=False)
class AnnotatedRun:
    """One tomogram of one annotated run.

    Parameters
    ----------
    tomogram
        Preprocessed, at the corpus's voxel spacing, float16.
    truth
        Annotated picks of the corpus's objects.
    seen
        What lets the run be recognised later.
    polarity
        Contrast that was found: `dark`, `bright` or `unclear`.
    training
        The same for the sampler.
    """

    tomogram: Tomogram
    truth: Picks
    seen: SeenRun
    polarity: str
    training: TrainingRun

    @property
    def run(self) -> str:
        """Name of the run."""
        return self.tomogram.run

    @property
    def project(self) -> int:
        """Number, from 0, of the project that it comes from."""
        return self.training.project


@dataclass(frozen=True, eq=False)
class Corpus:
    """Everything a training learns from.

    Parameters
    ----------
    specs
        Objects in channel order.
    spacing_angstrom
        Voxel spacing of all tomograms, Angstrom.
    runs
        Annotated runs; one run may stand there with several flavours.
    projects
        Where the projects are that the runs come from, in the order of their numbers.
    """

    specs: tuple[ParticleSpec, ...]
    spacing_angstrom: float
    runs: tuple[AnnotatedRun, ...]
    projects: tuple[Path, ...]

    @property
    def run_names(self) -> tuple[str, ...]:
        """Names of the runs, each once, in order."""
        return tuple(dict.fromkeys(run.run for run in self.runs))

    def run_names_of(self, project: int) -> tuple[str, ...]:
        """Return the names of a project's runs, each once, in order."""
        return tuple(dict.fromkeys(run.run for run in self.runs if run.project == project))

    @property
    def flavours(self) -> tuple[str, ...]:
        """Kinds of reconstruction that occur."""
        return tuple(dict.fromkeys(run.tomogram.flavour for run in self.runs if run.tomogram.flavour))

    @property
    def polarity(self) -> str:
        """The contrast that all runs agree on, or `unclear`."""
        found = {run.polarity for run in self.runs}
        return found.pop() if len(found) == 1 else "unclear"

    def truth(self, names: Sequence[str]) -> Picks:
        """Return the annotated picks of runs, each run once."""
        first = {run.run: run.truth for run in reversed(self.runs)}
        return Picks.concatenate(first[name] for name in names)

    def of(self, names: Sequence[str]) -> list[AnnotatedRun]:
        """Return the entries of runs."""
        return [run for run in self.runs if run.run in set(names)]


def read_corpus(
    paths: Sequence[Path], selection: InputSelection, config: Config, store: VolumeStore | None = None
) -> Corpus:
    """Read the annotated runs of projects.

    Their tomograms are brought to the voxel spacing of the first; those within 1 % are used as they are.

    Parameters
    ----------
    paths
        The projects.
    selection
        Which tomograms of theirs.
    config
        The recipe.
    store
        What keeps the preprocessed volumes; all are in memory when None.

    Raises
    ------
    ProjectError
        If no run is annotated, or projects disagree on an object.
    PicksError
        If picks lie outside their tomogram.
    OutputError
        If the store has no place for a volume.
    """
    projects = [open_project(path) for path in paths]
    refuse_absent_runs(selection.runs, [run for project in projects for run in project.runs])
    jobs = [
        AnnotatedEntry(number, project, entry)
        for number, project in enumerate(projects)
        for entry in _annotated_entries(project, selection, config)
    ]
    if not jobs:
        advice = "give a project whose runs have picks; `cryofind info` says what is there"
        raise ProjectError(paths[0], "holds no annotated run with a tomogram", advice)
    refuse_shared_names(jobs)
    specs = choose_objects(projects, jobs, selection, config)
    spacing = jobs[0].entry.read_grid(voxel_spacing_angstrom=selection.voxel_spacing_angstrom).spacing_angstrom
    runs = []
    with report_progress("reading", len(jobs)) as progress:
        for job in jobs:
            run = _read_run(job, selection, specs, spacing, config)
            runs.append(_keep_volumes(run, store) if store is not None else run)
            progress.advance(note=job.entry.run)
    if store is not None and (line := store.describe()):
        logger.info("%s", line)
    for index, run in enumerate(runs):
        refuse_same_data(run.seen, [other.seen for other in runs[:index]])
    return Corpus(specs, spacing, tuple(runs), tuple(project.path for project in projects))


def _annotated_entries(project: Project, selection: InputSelection, config: Config) -> list[TomogramEntry]:
    annotated = find_annotated_runs(project, selection)
    if config.targets.kind == "labels":
        annotated = {labels.run for labels in project.select_segmentations(labels_uri(config))}
    if selection.tomogram_uri:
        runs = tuple(run for run in selection.runs if run in project.runs)
        entries = () if selection.runs and not runs else project.select_tomograms(selection.tomogram_uri, runs=runs)
    else:
        entries = choose_one_per_run(project, selection)
    return [entry for entry in entries if entry.run in annotated]


def _read_run(
    job: AnnotatedEntry,
    selection: InputSelection,
    specs: tuple[ParticleSpec, ...],
    spacing_angstrom: float,
    config: Config,
) -> AnnotatedRun:
    number, project, entry = job
    tomogram, picks = read_annotated(project, entry, selection)
    seen = remember_run(tomogram, picks, role="train")
    polarity = detect_polarity(tomogram.volume_zyx)
    prepared = preprocess_tomogram(tomogram, config.preprocess, spacing_angstrom=spacing_angstrom)
    for note in prepared.notes:
        logger.info("%s: %s", entry.run, note)
    # Normalised grey values lose nothing that matters in half precision, and many runs stay in memory.
    volume_zyx = prepared.volume_zyx.astype(np.float16)
    names = [spec.name for spec in specs]
    truth = picks.where(np.isin(picks.objects, names))
    training = TrainingRun(
        run=entry.run,
        volume_zyx=volume_zyx,
        grid=prepared.grid,
        positions_zyx_angstrom=truth.positions_zyx_angstrom,
        channels=np.array([names.index(str(name)) for name in truth.objects], dtype=np.int64),
        labels_zyx=read_labels(project, entry, specs, prepared.grid, config),
        annotated_mask_zyx=read_mask(project, entry, prepared.grid, config),
        project=number,
    )
    return AnnotatedRun(replace(prepared, volume_zyx=volume_zyx), truth, seen, polarity, training)


def _keep_volumes(run: AnnotatedRun, store: VolumeStore) -> AnnotatedRun:
    """Return the run with volumes that the store keeps."""
    training = run.training
    volume_zyx = store.keep(training.volume_zyx)
    labels_zyx, mask_zyx = (
        None if volume is None else store.keep(volume) for volume in (training.labels_zyx, training.annotated_mask_zyx)
    )
    kept = replace(training, volume_zyx=volume_zyx, labels_zyx=labels_zyx, annotated_mask_zyx=mask_zyx)
    return replace(run, tomogram=replace(run.tomogram, volume_zyx=volume_zyx), training=kept)
