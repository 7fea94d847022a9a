"""The specimen: a layer of ice with everything in it, and where the particles lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryofind.simulate.cast import Cast
from cryofind.simulate.layout import Placement, place_species
from cryofind.simulate.recipe import SimulationRecipe
from cryofind.simulate.render import render_body
from cryofind.simulate.scene import Scene
from cryofind.simulate.slab import Slab
from cryofind.simulate.surroundings import add_structures, fill_with_crowd, thickness_map
from cryofind.types import ParticleSpec, Picks, VoxelGrid

MEMBRANE = "membrane"


@dataclass(frozen=True, eq=False)
class Sample:
    """A specimen and its truth.

    Parameters
    ----------
    density_zyx
        Mass density above ice, 1 = solid protein, float32.
    labels_zyx
        Label of the object that every voxel belongs to (hollow particles are filled), 0 for none, uint8.
    thickness_angstrom_yx
        Path of an untilted beam through the ice, Angstrom, shape (y, x), float32.
    grid
        Of both volumes.
    picks
        True centres of all particles of all species, with rotations.
    notes
        What did not fit, a line each.
    """

    density_zyx: NDArray[np.float32]
    labels_zyx: NDArray[np.uint8]
    thickness_angstrom_yx: NDArray[np.float32]
    grid: VoxelGrid
    picks: Picks
    notes: tuple[str, ...]


def make_sample(
    recipe: SimulationRecipe,
    cast: Cast,
    grid: VoxelGrid,
    *,
    run: str,
    random: np.random.Generator,
) -> Sample:
    """Fill a layer of ice.

    Parameters
    ----------
    recipe
        Drawn: every range is a number.
    cast
        What may lie in it.
    grid
        Box to fill.
    run
        Name of the run, for the picks.
    random
        Source of all randomness.
    """
    label_of = {spec.name: spec.label for spec in cast.specs}
    slab = Slab.build(recipe.sample, grid)
    scene = Scene.empty(slab)
    notes = add_structures(scene, recipe.surroundings, random, label=label_of.get(MEMBRANE, 0))
    scaled = {
        name: body.scaled(recipe.species[name].size.value, recipe.species[name].contrast.value)
        for name, body in cast.bodies.items()
    }
    placements = place_species(scaled, recipe.species, recipe.sample, slab, scene.occupancy, random)
    for name, placement in placements.items():
        for position, rotation in zip(placement.positions_zyx_angstrom, placement.rotations_zyx, strict=True):
            render_body(
                scene.density_zyx, scene.labels_zyx, grid, scaled[name], rotation, position, label=label_of[name]
            )
        if placement.wanted > len(placement):
            notes.append(f"room for {len(placement)} of {placement.wanted} {name}")
    notes += fill_with_crowd(scene, recipe.surroundings, cast.distractors, random)
    thickness = thickness_map(slab, recipe.surroundings, random)
    picks = _list_picks(placements, run, cast.specs)
    return Sample(scene.density_zyx, scene.labels_zyx, thickness, grid, picks, tuple(notes))


def _list_picks(placements: Mapping[str, Placement], run: str, specs: Sequence[ParticleSpec]) -> Picks:
    return Picks.concatenate(
        Picks.build(
            run,
            spec.name,
            placements[spec.name].positions_zyx_angstrom,
            rotations_zyx=placements[spec.name].rotations_zyx,
        )
        for spec in specs
        if spec.name in placements
    )
