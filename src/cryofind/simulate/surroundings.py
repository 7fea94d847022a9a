"""What is in the ice and not to be found: membranes, gold, carbon, other proteins, and the ice's own unevenness."""

from collections.abc import Iterator, Sequence
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from cryofind.simulate.body import Body
from cryofind.simulate.globules import (
    KILODALTON_PER_CUBIC_ANGSTROM_PER_MILLIGRAM_PER_MILLILITRE,
    count_globules,
    draw_globule_masses,
    render_globules,
)
from cryofind.simulate.layout import Kin, Placer, place_until_full, random_rotations
from cryofind.simulate.membranes import add_membranes
from cryofind.simulate.recipe import Range, SurroundingsRecipe
from cryofind.simulate.render import render_body, render_points
from cryofind.simulate.scene import Scene
from cryofind.simulate.slab import Slab
from cryofind.simulate.solids import add_carbon, add_gold
from cryofind.simulate.waves import Waves

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

# Human serum albumin: 66.5 kDa, radius of gyration 27 Angstrom in solution (Kiselev et al., Biophysical Journal 80,
# 402, 2001); a heart of three domains of 22 kDa, so three beads of half such a ball's radius on an equilateral
# triangle: Rg^2 = 3 sigma^2 + circumradius^2.
ALBUMIN_KILODALTON = 66.5
ALBUMIN_SIGMA_ANGSTROM = 9.3
ALBUMIN_CIRCUMRADIUS_ANGSTROM = 21.7

# A body is drawn with a probability that falls with its mass to this power: cells hold more small complexes.
MASS_EXPONENT = -0.6
# Bodies vary in size and density, so that none is learnt by heart.
SIZE_VARIATION = (0.85, 1.2)
CONTRAST_VARIATION = (0.8, 1.2)
DISTRACTOR_OVERLAP = 0.04
CLUMP_OVERLAP = 0.15  # a clump's members stick to each other
CLUMP_SIZES = (3, 12)
MOST_CLUMPS = 100_000  # more than any box has room for
TRIES = 64  # places looked at for a distractor

# Wavelengths of uneven concentrations and of the ice's thickness, Angstrom.
CROWD_WAVELENGTHS_ANGSTROM = (500.0, 4000.0)
THICKNESS_WAVELENGTHS_ANGSTROM = (1500.0, 8000.0)
LEAST_THICKNESS_SHARE = 0.3


def add_structures(scene: Scene, recipe: SurroundingsRecipe, random: np.random.Generator, *, label: int) -> list[str]:
    """Add what particles have to make way for: carbon, membranes and gold.

    Parameters
    ----------
    scene
        What is added to; membranes are labelled.
    recipe
        Drawn: every range for a run is a number.
    random
        Source of all randomness.
    label
        Of membranes; 0: none is written.

    Returns
    -------
    list of str
        What did not fit, a line each.
    """
    factor = scene.slab.challenge_volumes
    add_carbon(scene, recipe, random)
    notes = add_membranes(scene, recipe, factor, random, label=label)
    return notes + add_gold(scene, recipe, factor, random)


def fill_with_crowd(
    scene: Scene, recipe: SurroundingsRecipe, bodies: Sequence[Body], random: np.random.Generator
) -> list[str]:
    """Add what fills the room between the particles: distractors, albumin, lysate. None of it is labelled.

    Parameters
    ----------
    scene, recipe, random
        As for `add_structures`.
    bodies
        Distractors; none are scattered if it is empty.

    Returns
    -------
    list of str
        What did not fit, a line each.
    """
    notes = scatter_distractors(scene, recipe, bodies, random)
    unevenness = Waves.draw(CROWD_WAVELENGTHS_ANGSTROM, recipe.crowd_unevenness.value, random, axes=3, count=12)
    add_albumin(scene, recipe, unevenness, random)
    add_lysate(scene, recipe, unevenness, random)
    return notes


def scatter_distractors(
    scene: Scene, recipe: SurroundingsRecipe, bodies: Sequence[Body], random: np.random.Generator
) -> list[str]:
    """Scatter generic bodies, some alone and some in irregular clumps, where there is room.

    Parameters
    ----------
    scene, recipe, bodies, random
        As for `fill_with_crowd`.

    Returns
    -------
    list of str
        What did not fit, a line each.
    """
    if not bodies:
        return []
    wanted = int(recipe.distractor_count.value * scene.slab.challenge_volumes + random.random())
    alone = Placer(scene.slab, scene.occupancy, DISTRACTOR_OVERLAP)
    sticking = Placer(scene.slab, scene.occupancy, CLUMP_OVERLAP)
    odds = np.array([body.mass_kilodalton**MASS_EXPONENT for body in bodies])
    members: list[Floats] = []

    def place(is_first: bool) -> bool:
        if is_first:
            members.clear()
        body = bodies[random.choice(len(bodies), p=odds / odds.sum())]
        body = body.scaled(random.uniform(*SIZE_VARIATION), random.uniform(*CONTRAST_VARIATION))
        kin = Kin(np.array(members), beside_angstrom=_touching(body)) if members else None
        found = (sticking if members else alone).place(body, random, kin=kin, tries=TRIES)
        if found is not None:
            position, rotation = found
            render_body(scene.density_zyx, scene.labels_zyx, scene.grid, body, rotation, position)
            members.append(position)
        return found is not None

    sizes = _draw_clump_sizes(wanted, recipe.clump_share.value, random)
    placed = place_until_full((member == 0 for size in sizes for member in range(size)), place)
    return [] if placed == wanted else [f"room for {placed} of {wanted} distractors"]


def _draw_clump_sizes(wanted: int, share: float, random: np.random.Generator) -> Iterator[int]:
    """Return sizes of clumps that hold this share of what is wanted, and a 1 for each of the others."""
    low, high = CLUMP_SIZES
    clumped = round(wanted * share)
    sizes = random.integers(low, high + 1, size=min(clumped // low, MOST_CLUMPS))
    sizes = sizes[np.cumsum(sizes) <= clumped]
    return chain(sizes.tolist(), repeat(1, wanted - int(sizes.sum())))


def _touching(body: Body) -> Range:
    return Range.of(1.2 * body.radius_of_gyration_angstrom, 2.6 * body.radius_of_gyration_angstrom)


def add_albumin(scene: Scene, recipe: SurroundingsRecipe, unevenness: Waves, random: np.random.Generator) -> int:
    """Fill the ice with albumin.

    Parameters
    ----------
    scene, recipe, random
        As for `fill_with_crowd`; what is taken stays free of albumin, and albumin takes nothing.
    unevenness
        Relative deviation of the concentration, over places in Angstrom.

    Returns
    -------
    int
        Number of molecules.
    """
    concentration = recipe.albumin_milligram_per_millilitre.value
    kilodalton = concentration * KILODALTON_PER_CUBIC_ANGSTROM_PER_MILLIGRAM_PER_MILLILITRE * _ice_volume(scene.slab)
    centers = _draw_crowd(kilodalton / ALBUMIN_KILODALTON, scene, unevenness, random)
    angles = 2 * np.pi / 3 * np.arange(3)
    triangle = ALBUMIN_CIRCUMRADIUS_ANGSTROM * np.stack([np.zeros(3), np.sin(angles), np.cos(angles)], axis=1)
    beads = centers[:, None] + triangle @ random_rotations(len(centers), random).transpose(0, 2, 1)
    masses = np.full(3 * len(centers), ALBUMIN_KILODALTON / 3)
    render_points(scene.density_zyx, scene.grid, beads.reshape(-1, 3), masses, ALBUMIN_SIGMA_ANGSTROM)
    return len(centers)


def add_lysate(scene: Scene, recipe: SurroundingsRecipe, unevenness: Waves, random: np.random.Generator) -> int:
    """Fill the ice with soluble proteins of all small masses.

    Parameters and the number returned are those of `add_albumin`.
    """
    expected = count_globules(recipe.lysate_milligram_per_millilitre.value, _ice_volume(scene.slab))
    centers = _draw_crowd(expected, scene, unevenness, random)
    render_globules(scene.density_zyx, scene.grid, centers, draw_globule_masses(len(centers), random))
    return len(centers)


def _ice_volume(slab: Slab) -> float:
    _, depth, width = slab.grid.extent_zyx_angstrom
    return depth * width * slab.thickness_angstrom * slab.share_in_box


def _draw_crowd(expected: float, scene: Scene, unevenness: Waves, random: np.random.Generator) -> Floats:
    """Return places of an uneven concentration, without those that are taken, shape (N, 3)."""
    # Three times as many are drawn and a third is kept on the average, so that dense places can have up to three times
    # the mean.
    positions = scene.slab.draw_positions(int(3 * expected + random.random()), random)
    is_kept = 3 * random.random(len(positions)) < 1 + unevenness.at(positions)
    positions = positions[is_kept]
    cells = np.clip(scene.grid.nearest_indices_from_positions(positions), 0, np.asarray(scene.grid.shape_zyx) - 1)
    return np.asarray(positions[~scene.occupancy.taken_zyx[tuple(cells.T)]])


def thickness_map(slab: Slab, recipe: SurroundingsRecipe, random: np.random.Generator) -> Floats32:
    """Return the path of an untilted beam through the ice, which varies smoothly over the field.

    Parameters
    ----------
    slab
        The layer of ice; its thickness is the mean.
    recipe
        Drawn.
    random
        Source of all randomness.

    Returns
    -------
    ndarray of shape (y, x)
        Thickness, Angstrom, float32, at least `LEAST_THICKNESS_SHARE` of the mean.
    """
    variation = recipe.thickness_variation.value
    grid = slab.grid
    waves = Waves.draw(THICKNESS_WAVELENGTHS_ANGSTROM, variation, random, axes=2, count=24)
    # As the sample does along x (see `Projector`) and filters of images do along both axes: a step between the sides of
    # the box would be a band in the tomogram.
    _, height, width = grid.extent_zyx_angstrom
    waves = waves.repeating(0, height).repeating(1, width)
    rows, columns = (np.arange(n) * s for n, s in zip(grid.shape_zyx[1:], grid.spacing_zyx_angstrom[1:], strict=True))
    share = np.maximum(1 + waves.over(rows, columns), LEAST_THICKNESS_SHARE)
    return np.asarray(slab.thickness_angstrom * share, np.float32)
