"""Where particles lie: as many as asked for, some beside their like, none far into another."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cryofind.simulate.body import Body
from cryofind.simulate.occupancy import Occupancy
from cryofind.simulate.recipe import Range, SampleRecipe, SpeciesRecipe
from cryofind.simulate.slab import Slab

Floats = NDArray[np.float64]
Item = TypeVar("Item")

# Places looked at before a particle is given up, and how many of them are looked at together, with one orientation.
TRIES = 320
TRIES_AT_ONCE = 32

# When so many of a kind in a row have found no place, the ice is full for the rest.
FAILURES_IN_A_ROW = 8

# A particle is centred at least this share of its radius of gyration from the faces of the ice. Large margins would
# part the layer of the centres, which is what has been measured, from the layer of the ice.
FACE_MARGIN_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Placement:
    """The particles of one species that found a place.

    Parameters
    ----------
    positions_zyx_angstrom
        Centres, shape (N, 3), Angstrom.
    rotations_zyx
        Shape (N, 3, 3), particle frame to tomogram frame, acting on zyx column vectors.
    wanted
        How many there should have been.
    """

    positions_zyx_angstrom: Floats
    rotations_zyx: Floats
    wanted: int

    def __len__(self) -> int:
        return len(self.positions_zyx_angstrom)


@dataclass(frozen=True, eq=False)
class Kin:
    """Particles of the same kind, which the next one keeps away from, or is put beside.

    Parameters
    ----------
    positions_zyx_angstrom
        Their centres, shape (N, 3), Angstrom.
    least_distance_angstrom
        The next particle is centred no nearer to any of them.
    beside_angstrom
        Range of the distance, centre to centre, for a particle that is put beside one of them; None: anywhere.
    """

    positions_zyx_angstrom: Floats
    least_distance_angstrom: float = 0.0
    beside_angstrom: Range | None = None

    def draw_beside(self, count: int, distance_angstrom: Range, random: np.random.Generator) -> Floats:
        """Draw places (count, 3) beside any of the particles, in any direction; they may lie outside of the ice."""
        parents = random.integers(len(self.positions_zyx_angstrom), size=count)
        directions = random.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        distances = random.uniform(distance_angstrom.low, distance_angstrom.high, (count, 1))
        return np.asarray(self.positions_zyx_angstrom[parents] + distances * directions)

    def is_far_enough(self, positions_zyx_angstrom: Floats) -> NDArray[np.bool_]:
        """Return whether places (T, 3) lie far enough from all the particles, shape (T,)."""
        if self.least_distance_angstrom == 0:
            return np.ones(len(positions_zyx_angstrom), np.bool_)
        steps = positions_zyx_angstrom[:, None] - self.positions_zyx_angstrom
        return np.asarray(np.all(np.square(steps).sum(axis=2) >= self.least_distance_angstrom**2, axis=1))


@dataclass(frozen=True, eq=False)
class Placer:
    """Finds room for one body after another.

    Parameters
    ----------
    slab
        The layer of ice.
    occupancy
        What is taken; every body that is placed is added to it.
    overlap
        Share of a body that may lie within others, 0 to 1.
    edge_margin_angstrom
        Least distance of a centre from the sides of the box.
    """

    slab: Slab
    occupancy: Occupancy
    overlap: float = 0.0
    edge_margin_angstrom: float = 0.0

    def place(
        self, body: Body, random: np.random.Generator, *, kin: Kin | None = None, tries: int = TRIES
    ) -> tuple[Floats, Floats] | None:
        """Put a body where there is room for it, and take that room.

        Parameters
        ----------
        body
            What to place, in an orientation drawn at random.
        random
            Source of randomness.
        kin
            Particles to keep away from or to be put beside; half of the tries are spent beside them, the rest anywhere.
        tries
            Number of places to look at, at least 1.

        Returns
        -------
        position_zyx_angstrom, rotation_zyx
            Of shapes (3,) and (3, 3), or None if there was no room.
        """
        kin = kin or Kin(np.empty((0, 3)))
        for first in range(0, tries, TRIES_AT_ONCE):
            rotation = random_rotations(1, random)[0]
            beside = kin.beside_angstrom if 2 * first < tries else None
            positions = self._draw_positions(min(TRIES_AT_ONCE, tries - first), body, kin, beside, random)
            is_free = self.occupancy.overlap(body, rotation, positions) <= self.overlap
            if is_free.any():
                position = positions[np.argmax(is_free)]
                self.occupancy.mark(body, rotation, position)
                return position, rotation
        return None

    def _draw_positions(
        self, count: int, body: Body, kin: Kin, beside_angstrom: Range | None, random: np.random.Generator
    ) -> Floats:
        """Return up to `count` places within the margins and far enough from the kin."""
        margins = {
            "margin_xy_angstrom": self.edge_margin_angstrom,
            "margin_z_angstrom": FACE_MARGIN_SHARE * body.radius_of_gyration_angstrom,
        }
        if beside_angstrom is None:
            positions = self.slab.draw_positions(count, random, **margins)
        else:
            positions = kin.draw_beside(count, beside_angstrom, random)
            positions = positions[self.slab.contains(positions, **margins)]
        return positions[kin.is_far_enough(positions)]


def place_species(
    bodies: Mapping[str, Body],
    species: Mapping[str, SpeciesRecipe],
    sample: SampleRecipe,
    slab: Slab,
    occupancy: Occupancy,
    random: np.random.Generator,
) -> dict[str, Placement]:
    """Place the particles of all species, the largest first, where there is room.

    Parameters
    ----------
    bodies
        Body of every species, by name, at its final size.
    species, sample
        Drawn recipes: how many, how clustered, how much overlap.
    slab
        The layer of ice.
    occupancy
        What is taken; the particles are added to it.
    random
        Source of randomness.

    Returns
    -------
    dict
        Placement of every species, in the order of `species`; one that holds fewer than `wanted` ran out of room.
    """
    placer = Placer(slab, occupancy, sample.overlap.value, sample.edge_margin_angstrom.value)
    placements = {}
    for name in sorted(species, key=lambda name: (-bodies[name].extent_angstrom, name)):
        wanted = draw_count(species[name].count.value * sample.crowding.value * slab.challenge_volumes, random)
        placements[name] = _place_kind(bodies[name], species[name], wanted, placer, random)
    return {name: placements[name] for name in species}


def draw_count(expected: float, random: np.random.Generator) -> int:
    """Return a whole number with this mean; at least 1 if it is above 0."""
    return max(int(expected > 0), int(np.floor(expected + random.random())))


def random_rotations(count: int, random: np.random.Generator) -> Floats:
    """Return rotation matrices, shape (count, 3, 3), drawn evenly from all rotations.

    A quaternion of four normal deviates has no preferred direction (Shoemake, Graphics Gems III, 124, 1992).
    """
    w, a, b, c = (quaternions := random.normal(size=(4, count))) / np.linalg.norm(quaternions, axis=0)
    rows = [
        [1 - 2 * (b * b + c * c), 2 * (a * b - w * c), 2 * (a * c + w * b)],
        [2 * (a * b + w * c), 1 - 2 * (a * a + c * c), 2 * (b * c - w * a)],
        [2 * (a * c - w * b), 2 * (b * c + w * a), 1 - 2 * (a * a + b * b)],
    ]
    return np.ascontiguousarray(np.moveaxis(np.array(rows), -1, 0))


def place_until_full(items: Iterable[Item], place: Callable[[Item], bool]) -> int:
    """Place one item after another, until `FAILURES_IN_A_ROW` of them have found no place; the rest is given up.

    Parameters
    ----------
    items
        What to place; taken one by one.
    place
        Places an item and returns whether there was room.

    Returns
    -------
    int
        Number of items that found a place.
    """
    placed = failures = 0
    for item in items:
        is_placed = place(item)
        placed += is_placed
        failures = 0 if is_placed else failures + 1
        if failures == FAILURES_IN_A_ROW:
            break
    return placed


def _place_kind(
    body: Body, recipe: SpeciesRecipe, wanted: int, placer: Placer, random: np.random.Generator
) -> Placement:
    found: list[tuple[Floats, Floats]] = []

    def place(_: int) -> bool:
        is_beside = random.random() < recipe.clustering.value and len(found) > 0
        beside = recipe.neighbour_distance_angstrom if is_beside else None
        positions = np.array([position for position, _ in found]).reshape(-1, 3)
        room = placer.place(body, random, kin=Kin(positions, recipe.least_distance_angstrom.value, beside))
        if room is not None:
            found.append(room)
        return room is not None

    place_until_full(range(wanted), place)
    positions, rotations = np.array([part for part, _ in found]), np.array([part for _, part in found])
    return Placement(positions.reshape(-1, 3), rotations.reshape(-1, 3, 3), wanted)
