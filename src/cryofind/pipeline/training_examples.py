"""Crops of the runs that a model was judged by: what is there, what was asked for, what it says."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from cryofind.config import Config, TargetConfig
from cryofind.errors import CryofindError, PicksError, TomogramError
from cryofind.io import Project, open_project
from cryofind.models import OUTPUT_STRIDE, LoadedModel, SeenRun
from cryofind.pipeline.annotated import read_annotated
from cryofind.pipeline.candidates import predict_tomogram
from cryofind.pipeline.crop_blocks import CropBlock, cut_block, halve, strongest_near
from cryofind.pipeline.inputs import InputSelection, choose_one_per_run
from cryofind.pipeline.labels import read_labels
from cryofind.pipeline.seen import is_seen
from cryofind.predict import ReadyNetworks
from cryofind.preprocess import preprocess_tomogram
from cryofind.report.training_facts import ExampleCrop, Float32s
from cryofind.targets import draw_targets, targets_from_labels
from cryofind.types import ParticleSpec, Picks, Tomogram

MOST_RUNS = 2  # are read, until every object has its crops
MOST_VOXELS = 400_000_000  # of a tomogram: it is read as a whole


@dataclass(frozen=True)
class Examples:
    """Crops, what they are of in words, and what could not be shown."""

    crops: tuple[ExampleCrop, ...] = ()
    source: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Scene:
    """An annotated run, preprocessed, and what its targets are drawn from."""

    tomogram: Tomogram
    truth: Picks
    labels_zyx: NDArray[np.integer[Any]] | None


def draw_examples(model: LoadedModel, record: Mapping[str, Any], *, each: int) -> Examples:
    """Return crops around annotated particles, up to `each` of every object, from held-out runs if there are any.

    Parameters
    ----------
    model
        What predicts.
    record
        Its `run.json`: where the projects are, and which tomograms and picks were used.
    each
        How many of every object.
    """
    projects, notes = _open_projects(record)
    wanted = [run for run in model.card.training_runs if run.role == "validate"]
    is_held_out = bool(wanted)
    wanted = wanted or [run for run in model.card.training_runs if run.role == "train"]
    if not projects or not wanted:
        return Examples(notes=(*notes, "No example crops: the tomograms of the training are not known or not there."))
    crops: list[ExampleCrop] = []
    artist = _Artist.prepare(model, each)
    read: list[str] = []
    for run in wanted:
        missing = artist.without_crops(crops)
        if len(read) == MOST_RUNS or not missing:
            break
        try:
            scene = _read_scene(run, projects, model, artist.config, _selection_of(record))
        except CryofindError as error:
            notes.append(f"No example crops of run {run.run}: {error}.")
            continue
        if scene is None:
            notes.append(f"No example crops of run {run.run}: its project is not there any more.")
            continue
        read.append(run.run)
        crops += artist.draw(scene, missing)
    kind = "held-out" if is_held_out else "training"
    source = f"From {kind} run{'s' if len(read) > 1 else ''} {', '.join(read)}." if crops else ""
    return Examples(tuple(crops), source, tuple(_shorten(notes)))


def _shorten(notes: Sequence[str]) -> list[str]:
    shown = list(dict.fromkeys(notes))
    return shown if len(shown) <= MOST_RUNS + 1 else [*shown[:MOST_RUNS], f"... and {len(shown) - MOST_RUNS} more."]


def _open_projects(record: Mapping[str, Any]) -> tuple[list[Project], list[str]]:
    paths = record.get("projects")
    projects, notes = [], []
    for path in paths if isinstance(paths, list) else []:
        try:
            projects.append(open_project(Path(str(path))))
        except CryofindError as error:
            notes.append(f"A project of the training moved or cannot be read: {error}.")
    return projects, notes


def _selection_of(record: Mapping[str, Any]) -> InputSelection:
    """Return which tomograms and picks were used; older records do not say."""
    known = record.get("selection")
    if not isinstance(known, Mapping):
        return InputSelection()
    spacing = known.get("voxel_spacing_angstrom")
    return InputSelection(
        tomogram_uri=str(known.get("tomogram_uri") or ""),
        picks_uri=str(known.get("picks_uri") or ""),
        voxel_spacing_angstrom=float(spacing) if isinstance(spacing, int | float) else None,
        allow_missing_chunks=bool(known.get("allow_missing_chunks")),
    )


def _read_scene(
    run: SeenRun, projects: Sequence[Project], model: LoadedModel, config: Config, selection: InputSelection
) -> _Scene | None:
    """Return a run as the model sees it, None if no project has it; a CryofindError says why it cannot be used."""
    project = next((project for project in projects if run.run in project.runs), None)
    if project is None:
        return None
    card = model.card
    # A pattern of several tomograms a run is told apart by the kinds that the model knows.
    chosen = choose_one_per_run(project, replace(selection, runs=(run.run,)), preferred_flavours=card.flavours)
    entry = chosen[0]
    size = int(np.prod(entry.read_grid(voxel_spacing_angstrom=selection.voxel_spacing_angstrom).shape_zyx))
    if size > MOST_VOXELS:
        raise TomogramError(
            entry.path, f"has {size:,} voxels, at most {MOST_VOXELS:,} are read", "look at it with view"
        )
    tomogram, picks = read_annotated(project, entry, selection)
    if len(picks) and run.picks_sha256 and not is_seen(SeenRun(run=run.run, picks_sha256=picks.fingerprint()), [run]):
        raise PicksError(f"{project.path}: run {run.run}", "has other picks than in the training", "train again")
    prepared = preprocess_tomogram(
        tomogram,
        card.preprocess,
        spacing_angstrom=card.voxel_spacing_angstrom,
        polarity=card.polarity,
        may_overwrite=True,
    )
    labels = read_labels(project, entry, card.specs(), prepared.grid, config)
    return _Scene(prepared, picks.where(np.isin(picks.objects, card.object_names)), labels)


@dataclass(frozen=True, eq=False)
class _Artist:
    """A model and how its targets were drawn."""

    networks: ReadyNetworks
    specs: tuple[ParticleSpec, ...]
    config: Config
    activation: Any
    each: int

    @classmethod
    def prepare(cls, model: LoadedModel, each: int) -> "_Artist":
        config = Config(targets=_targets_of(model.card.training), locate=model.card.locate)
        networks = ReadyNetworks.choose([model.network], config.predict)
        return cls(networks, model.card.specs(), config, model.card.activation, each)

    @property
    def names(self) -> list[str]:
        return [spec.name for spec in self.specs]

    def without_crops(self, crops: Sequence[ExampleCrop]) -> list[ParticleSpec]:
        shown = {crop.object_name for crop in crops}
        return [spec for spec in self.specs if spec.name not in shown]

    def draw(self, scene: _Scene, specs: Sequence[ParticleSpec]) -> Iterator[ExampleCrop]:
        for spec in specs:
            for position in self._choose_positions(scene, spec):
                yield self._draw_crop(scene, spec, position)

    def _choose_positions(self, scene: _Scene, spec: ParticleSpec) -> NDArray[np.float64]:
        """Return centres of an object, evenly from the list of all: the same ones every time."""
        positions = scene.truth.of_object(spec.name).positions_zyx_angstrom
        if not len(positions) and scene.labels_zyx is not None:
            found = np.argwhere(scene.labels_zyx == self.names.index(spec.name) + 1)
            positions = scene.tomogram.grid.positions_from_indices(found)
        rows = np.linspace(0, len(positions) - 1, self.each + 2)[1:-1].round().astype(int)
        return positions[np.unique(rows)] if len(positions) else positions

    def _draw_crop(self, scene: _Scene, spec: ParticleSpec, position: NDArray[np.float64]) -> ExampleCrop:
        grid = scene.tomogram.grid
        block = cut_block(scene.tomogram, position, spec.radius_angstrom)
        part = Tomogram(scene.tomogram.run, block.values_zyx, block.grid, scene.tomogram.flavour)
        predicted = predict_tomogram(
            self.networks, part, self.specs, self.activation, self.config
        ).volume.probabilities.astype(np.float32)
        target = self._draw_target(scene, block)
        z, y, x = block.center
        cells = (slice(None), z // OUTPUT_STRIDE, halve(block.rows), halve(block.columns))
        strengths = strongest_near(predicted, block.center)
        channel = self.names.index(spec.name)
        others = np.delete(np.arange(len(self.names)), channel)
        other = int(others[np.argmax(strengths[others])]) if len(others) else None
        spacing = grid.spacing_angstrom
        at_z, at_y, at_x = position.tolist()
        return ExampleCrop(
            scene.tomogram.run,
            spec.name,
            (at_z, at_y, at_x),
            block.values_zyx[max(z - 1, 0) : z + 2, block.rows, block.columns].mean(axis=0),
            target[cells],
            predicted[cells],
            (y - block.rows.start, x - block.columns.start),
            None if spec.radius_angstrom is None else spec.radius_angstrom / spacing,
            spacing,
            float(strengths[channel]),
            "" if other is None else self.names[other],
            0.0 if other is None else float(strengths[other]),
        )

    def _draw_target(self, scene: _Scene, block: CropBlock) -> Float32s:
        if self.config.targets.kind == "labels" and scene.labels_zyx is not None:
            window = tuple(slice(s, s + n) for s, n in zip(block.starts, block.grid.shape_zyx, strict=True))
            channels = {number + 1: number for number in range(len(self.specs))}
            return targets_from_labels(scene.labels_zyx[window], channels, object_count=len(self.specs)).values
        targets = self.config.targets
        channels_of = np.array([self.names.index(str(name)) for name in scene.truth.objects], dtype=np.int64)
        radii = np.array([spec.radius_angstrom or np.nan for spec in self.specs])
        known = np.isfinite(radii[channels_of]) if len(channels_of) else np.zeros(0, bool)
        return draw_targets(
            scene.truth.positions_zyx_angstrom[known],
            channels_of[known],
            radii[channels_of[known]],
            block.grid.coarsened(OUTPUT_STRIDE),
            object_count=len(self.specs),
            config=targets.model_copy(update={"annotated_region": "everywhere"}),
            radius_factors=[targets.radius_factors.get(name, targets.radius_factor) for name in self.names],
        ).values


def _targets_of(recipe: Mapping[str, Any]) -> TargetConfig:
    """Return how a recipe draws targets; the default where it is of another version of cryofind."""
    try:
        return TargetConfig.model_validate(recipe.get("targets", {}))
    except ValidationError:
        return TargetConfig()
