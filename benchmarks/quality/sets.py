"""The sets of the benchmark: what they are to be, and where they are, made on demand."""

import filecmp
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from places import Places, find_reference_data, run_cryofind
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from cryofind.config import StageConfig, Triple
from cryofind.differences import list_differences
from cryofind.documents import parse_document, read_recipe
from cryofind.errors import ConfigError, CryofindError, OutputError, ProjectError, advise_known_names
from cryofind.io import Project, TomogramEntry, open_project, write_copick_config, write_picks_overlay
from cryofind.pipeline import InputSelection
from cryofind.pipeline.inputs import choose_one_per_run
from cryofind.pipeline.records import hash_document, read_record
from cryofind.pipeline.simulated_runs import TRUTH_SESSION, TRUTH_USER
from cryofind.simulate import SIMULATOR_VERSION, find_recipe, load_recipe
from cryofind.types import ParticleSpec, Picks

Role = Literal["train", "validation", "test"]


class SetMissingError(CryofindError):
    """A set that cannot be scored here: it needs reference data that are not there, or was never frozen."""


class SetSpec(StageConfig):
    """One table of `sets.toml`."""

    role: Role
    recipe: str = ""
    maps: str = ""
    seed: int = Field(0, ge=0)
    runs: int = Field(1, ge=1)
    shape_zyx: Triple = (184, 630, 630)
    reference: str = ""
    flavour: str = ""

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if bool(self.recipe) == bool(self.reference):
            raise PydanticCustomError("source", "should name either a recipe or a reference")
        return self


class Definitions(StageConfig):
    """The whole of `sets.toml`."""

    sets: dict[str, SetSpec]


@dataclass(frozen=True, eq=False)
class OpenSet:
    """A set that is there.

    Parameters
    ----------
    name, spec
        What it is to be.
    made_from
        All that it depends on, JSON-ready.
    project
        The copick project that holds it.
    entries
        The tomogram of each of its runs.
    truth
        The true picks of these runs.
    """

    name: str
    spec: SetSpec
    made_from: dict[str, Any]
    project: Project
    entries: tuple[TomogramEntry, ...]
    truth: Picks

    @property
    def identity(self) -> str:
        """Return the SHA-256 of all that the set depends on."""
        return hash_document(self.made_from)

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of the runs."""
        return _runs_of(self.entries)

    @property
    def particles(self) -> tuple[ParticleSpec, ...]:
        """The objects that are particles."""
        return tuple(spec for spec in self.project.objects if spec.is_particle)


def read_definitions(places: Places) -> dict[str, SetSpec]:
    """Return the sets by name.

    Raises
    ------
    ConfigError
        If the file cannot be read, or a value does not fit.
    """
    document = read_recipe(places.definitions)
    return parse_document(Definitions, document, str(places.definitions)).sets


def find_set(places: Places, name: str) -> SetSpec:
    """Return a set's definition.

    Raises
    ------
    ConfigError
        If there is none of that name, with the nearest.
    """
    known = read_definitions(places)
    if name not in known:
        raise ConfigError(f"set '{name}'", f"is not in {places.definitions}", advise_known_names(name, known))
    return known[name]


def describe_origin(places: Places, spec: SetSpec) -> dict[str, Any]:
    """Return all that a set depends on: with these the n-th run comes out the same.

    Bodies that are files are known by name only; what they hold shows in the voxels.
    """
    if spec.reference:
        return {"reference": spec.reference, "flavour": spec.flavour}
    path = _recipe_path(places, spec)
    recipe = load_recipe(path).model_dump(mode="json")
    for species in recipe["species"].values():
        species["body"] = Path(species["body"]).name
    return {
        "name": path.stem,
        "recipe": recipe,
        "simulator_version": SIMULATOR_VERSION,
        "seed": spec.seed,
        "shape_zyx": list(spec.shape_zyx),
        "runs": spec.runs,
    }


def open_set(places: Places, name: str) -> OpenSet:
    """Return a set, made if it is not there.

    Raises
    ------
    SetMissingError
        If it needs reference data that are not there.
    OutputError
        If the folder holds runs that were made otherwise, or the file system refuses.
    ProjectError
        If runs are missing.
    """
    spec = find_set(places, name)
    made_from = describe_origin(places, spec)
    if spec.reference:
        project = open_project(_find_reference(name) / spec.reference)
        entries = choose_one_per_run(project, InputSelection(spec.flavour))
        return OpenSet(name, spec, made_from, project, entries, project.read_picks(runs=_runs_of(entries)))
    runs = tuple(f"{made_from['name']}_s{spec.seed}_{number:04d}" for number in range(1, spec.runs + 1))
    folder = places.scratch / "sets" / name
    if not _is_made(folder, made_from, runs):
        _make(places, name, spec, folder)
    project = open_project(folder)
    entries = choose_one_per_run(project, InputSelection(spec.flavour, runs=runs))
    missing = [run for run in runs if run not in _runs_of(entries)]
    if missing:
        problem = f"has no tomogram of run {missing[0]}"
        raise ProjectError(f"set {name}: {folder}", problem, "remove the folder to have it made again")
    truth = project.read_picks(f"*:{TRUTH_USER}/{TRUTH_SESSION}", runs=runs)
    return OpenSet(name, spec, made_from, project, entries, truth)


def write_over(
    opened: OpenSet, folder: Path, picks: Picks, *, names: Sequence[str], objects: Sequence[ParticleSpec]
) -> Path:
    """Write a copick project with the tomograms of a set, which stay where they are, and other picks of some objects.

    Parameters
    ----------
    opened
        The set. True picks of objects that are not named show through.
    folder
        Of the new project: a configuration and picks, no voxels.
    picks, names
        Picks of the named objects, which bear the name of the true ones.
    objects
        All of the new project.

    Returns
    -------
    Path
        The configuration.
    """
    spacings = {entry.run: entry.read_grid().spacing_angstrom for entry in opened.entries}
    write_picks_overlay(
        folder,
        picks,
        user=TRUTH_USER,
        session=TRUTH_SESSION,
        voxel_spacings=spacings,
        runs=opened.runs,
        objects=names,
    )
    config, static = folder / "copick.json", opened.project.overlay_root
    write_copick_config(config, name=folder.name, objects=objects, overlay_root=folder, static_root=static)
    return config


def _runs_of(entries: tuple[TomogramEntry, ...]) -> tuple[str, ...]:
    return tuple(entry.run for entry in entries)


def _is_made(folder: Path, made_from: dict[str, Any], runs: tuple[str, ...]) -> bool:
    """Say whether all runs are in a folder; refuse a folder of other ones. Bodies are not needed for that."""
    record = read_record(folder) if folder.is_dir() else None
    if record is None:
        return False
    there = {"name": record.get("name"), **record.get("made_from", {})}
    asked = {key: value for key, value in made_from.items() if key != "runs"}
    difference = next(list_differences({key: there.get(key) for key in asked}, asked), None)
    if difference is not None:
        problem = f"holds runs that were made otherwise: {difference}"
        raise OutputError(folder, problem, "remove the folder (or link), or choose another --scratch")
    return all((folder / "ExperimentRuns" / run / "simulation.json").is_file() for run in runs)


def _make(places: Places, name: str, spec: SetSpec, folder: Path) -> None:
    recipe = _recipe_path(places, spec)
    if spec.maps:
        recipe = _write_bodies(_find_reference(name) / spec.maps, recipe, places.scratch / "other")
    shape = ",".join(map(str, spec.shape_zyx))
    run_cryofind("simulate", recipe, "--out", folder, "--runs", spec.runs, "--seed", spec.seed, "--shape", shape)


def _write_bodies(maps: Path, recipe: Path, folder: Path) -> Path:
    """Return a copy of a recipe beside the bodies that it names, written if they are not there."""
    copied = folder / recipe.name
    # The recipe is copied last, so bodies are complete where it is.
    if copied.is_file() and filecmp.cmp(recipe, copied, shallow=False):
        return copied
    from other_bodies import write_other_bodies  # brings the scripts of recipes/

    return write_other_bodies(maps, folder)


def _recipe_path(places: Places, spec: SetSpec) -> Path:
    path = find_recipe(spec.recipe)
    return places.definitions.parent / path if path.suffix == ".toml" and not path.is_absolute() else path


def _find_reference(name: str) -> Path:
    folder = find_reference_data()
    if folder is None:
        raise SetMissingError(f"set {name}", "needs the reference data", "set CRYOFIND_SHARED to them")
    return folder
