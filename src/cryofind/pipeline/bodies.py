"""The bodies that a simulation recipe names (shipped, density maps, atomic models), and the objects they become."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from cryofind import czii
from cryofind.errors import ConfigError, CryofindError, VoxelSizeError, advise_known_names
from cryofind.io import read_structure, read_tomogram
from cryofind.io.mrc import MRC_SUFFIXES
from cryofind.io.structures import STRUCTURE_SUFFIXES
from cryofind.simulate import (
    MEMBRANE,
    Body,
    Cast,
    SimulationRecipe,
    SpeciesRecipe,
    body_from_atoms,
    body_from_map,
    body_names,
    generic_bodies,
    load_body,
)
from cryofind.types import ParticleSpec, check_name
from cryofind.types.particles import PALETTE

logger = logging.getLogger("cryofind")

_MEMBRANE_COLOR = (153, 153, 153, 255)
MAX_LABEL = 255


def load_cast(recipe: SimulationRecipe) -> Cast:
    """Return the bodies that a recipe names, the objects they become, and generic distractors.

    Parameters and errors are those of `load_bodies`.
    """
    bodies = load_bodies(recipe)
    return Cast(bodies, describe_objects(recipe, bodies), generic_bodies())


def load_bodies(recipe: SimulationRecipe) -> dict[str, Body]:
    """Return the body of every species.

    Parameters
    ----------
    recipe
        Names the bodies; relative paths are taken from the working folder.

    Raises
    ------
    ConfigError
        If a body is neither shipped nor a file, a file cannot be used (with its path), a map has no mass, or a species
        has the membranes' name.
    """
    if MEMBRANE in recipe.species:
        raise ConfigError(f"species {MEMBRANE}", "has the name that the membranes' label has", "choose another name")
    return {check_name(name, "species"): _load(name, species) for name, species in recipe.species.items()}


def _load(name: str, species: SpeciesRecipe) -> Body:
    source = species.body or name
    body = _load_source(name, species, source)
    if species.voxel_spacing_angstrom is not None and Path(source).suffix.lower() not in MRC_SUFFIXES:
        problem = f"is given, but the body '{source}' is no density map"
        raise ConfigError(f"species {name}: voxel_spacing_angstrom", problem, "leave it out")
    if species.mass_kilodalton is None:
        return replace(body, name=name)
    factor = species.mass_kilodalton / body.mass_kilodalton
    return replace(body, name=name, masses_kilodalton=body.masses_kilodalton * factor)


def _load_source(name: str, species: SpeciesRecipe, source: str) -> Body:
    suffix = Path(source).suffix.lower()
    if suffix in STRUCTURE_SUFFIXES:
        with _naming(name, source):
            atoms = read_structure(Path(source))
            return body_from_atoms(name, atoms.positions_zyx_angstrom, atoms.masses_dalton, atoms.is_nucleic)
    if suffix in MRC_SUFFIXES:
        if species.mass_kilodalton is None:
            problem = f"comes from the map {source}, which does not say how heavy it is"
            raise ConfigError(f"species {name}: mass_kilodalton", problem, "give the molecule's mass in kilodalton")
        with _naming(name, source):
            return _load_map(name, Path(source), species.mass_kilodalton, species.voxel_spacing_angstrom)
    if source in body_names():
        return load_body(source)
    subject = f"species {name}: body '{source}'"
    known = ", ".join((*MRC_SUFFIXES, *STRUCTURE_SUFFIXES))
    if suffix:
        raise ConfigError(subject, f"ends in '{suffix}', expected a map or an atomic model", f"give one of {known}")
    advice = f"{advise_known_names(source, body_names())} (or give the path of a file: {known})"
    raise ConfigError(subject, "is not shipped", advice)


@contextmanager
def _naming(name: str, source: str) -> Iterator[None]:
    """Let errors say whose body it is, and in which file."""
    try:
        yield
    except CryofindError as error:
        advice = error.advice
        if isinstance(error, VoxelSizeError):
            advice = f"give it in Angstrom as species.{name}.voxel_spacing_angstrom, or resample the map"
        what = error.subject.removeprefix(f"species {name}: ").removeprefix(source).removeprefix(": ")
        where = f"species {name}: body '{source}'" + (f": {what}" if what not in {"", "body"} else "")
        raise ConfigError(where, error.problem, advice) from error


def _load_map(name: str, path: Path, mass_kilodalton: float, voxel_spacing_angstrom: float | None) -> Body:
    tomogram = read_tomogram(path, voxel_spacing_angstrom=voxel_spacing_angstrom)
    for note in tomogram.notes:
        logger.info("species %s: %s: %s", name, path, note)
    volume_zyx = np.asarray(tomogram.volume_zyx, dtype=np.float32)
    return body_from_map(name, volume_zyx, tomogram.grid.spacing_angstrom, mass_kilodalton=mass_kilodalton)


def describe_objects(recipe: SimulationRecipe, bodies: Mapping[str, Body]) -> tuple[ParticleSpec, ...]:
    """Return the objects of a project: the species, in the order of their labels, then membranes.

    The challenge's species keep its radius, label, colour and weight.
    """
    known = {spec.name: spec for spec in czii.OBJECTS}
    specs = [
        replace(known[name], radius_angstrom=_radius(recipe.species[name], bodies[name], known[name]))
        for name in recipe.species
        if name in known
    ]
    free = [label for label in range(1, MAX_LABEL + 1) if label not in {spec.label for spec in known.values()}]
    others = [name for name in recipe.species if name not in known]
    if len(others) + 1 > len(free):
        raise ConfigError("species", f"are {len(recipe.species)}, more than labels", "use fewer")
    for number, (name, label) in enumerate(zip(others, free, strict=False)):
        radius = _radius(recipe.species[name], bodies[name], None)
        specs.append(ParticleSpec(name, radius, label, (*PALETTE[number % len(PALETTE)], 255)))
    specs.sort(key=lambda spec: spec.label)
    return (*specs, ParticleSpec(MEMBRANE, None, free[len(others)], _MEMBRANE_COLOR, 0.0, is_particle=False))


def _radius(species: SpeciesRecipe, body: Body, known: ParticleSpec | None) -> float:
    if species.radius_angstrom is not None:
        return species.radius_angstrom
    if known is not None:
        return known.particle_radius_angstrom
    return round(body.radius_angstrom, 1)
