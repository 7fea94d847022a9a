"""A recipe whose tomograms look like given ones: measured numbers are set, the others found by small simulations."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cryofind.simulate.cast import Cast
from cryofind.simulate.look import GROUPS, Look, Texture, mean_texture
from cryofind.simulate.measure import TomogramMeasurement, measure_texture
from cryofind.simulate.recipe import Range, SimulationRecipe
from cryofind.simulate.run import simulate_run
from cryofind.simulate.search import BATCH, REACH, Trials, estimate_errors, find_minimum, minimise, spread_points
from cryofind.simulate.search_space import (
    FLAVOURS,
    Parameter,
    apply_places,
    middle_of,
    parameters_for,
    settle,
    with_flavours,
)
from cryofind.types import VoxelGrid

Floats = NDArray[np.float64]
Order = tuple[SimulationRecipe, int]  # a drawn recipe, and the seed of its simulation
Observe = Callable[[Order], dict[str, Texture]]
Map = Callable[[Observe, Sequence[Order]], Iterable[dict[str, Texture]]]

# Empty ice above and below the layer of a small simulation, voxels.
VACUUM_VOXELS = 24
# Share of the simulations that are spread over the whole space first.
EXPLORING_SHARE = 0.35
# Flavours whose distance is then within this factor of the least are searched a little, this share of the simulations
# each and down to this reach, before one is chosen.
RIVAL_FACTOR = 2.0
RIVAL_SHARE = 0.15
MIDDLE_REACH = 0.25
# A simpler flavour is taken if its distance is no more than this many times the least.
SIMPLER_FACTOR = 1.15
# Simulations that each of the distances before and after is taken from; those before say how far samples differ.
CHECKS = 4


@dataclass(frozen=True, eq=False)
class Fit:
    """What was found for one tomogram.

    Parameters
    ----------
    flavour
        Kind of tomogram.
    values
        By key of the recipe.
    ranges
        By key: values that do about as well.
    distance_before, distance_after
        Of the starting recipe (with the measured geometry) and of the fitted one, in tolerances of the measurements.
    texture
        Of a simulation with the fitted values.
    simulations
        How many were made.
    flavour_distances
        The lowest distance of each flavour that was tried, before the choice.
    """

    flavour: str
    values: Mapping[str, float]
    ranges: Mapping[str, Range]
    distance_before: float
    distance_after: float
    texture: Texture
    simulations: int
    flavour_distances: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Stage:
    """Where small simulations are made and looked at; can be sent to another process.

    Parameters
    ----------
    cast
        What may lie in the ice.
    measured
        The tomogram to be like.
    """

    cast: Cast
    measured: TomogramMeasurement

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Voxels of a simulation: the box that is looked at, and vacuum where the tomogram has some."""
        height, rows, columns = self.measured.look.box_zyx
        vacuum = 0 if self.measured.slab.is_whole_box else 2 * VACUUM_VOXELS
        return (min(self.measured.shape_zyx[0], height + vacuum), rows, columns)

    def observe(self, order: Order) -> dict[str, Texture]:
        """Return the texture of each flavour of a simulation."""
        recipe, seed = order
        spacing = self.measured.spacing_angstrom
        grid = VoxelGrid.isotropic(self.shape_zyx, spacing)
        run = simulate_run(recipe, self.cast, grid, run="like", seed=(seed,))
        height = self.measured.look.box_zyx[0]
        start = (self.shape_zyx[0] - height) // 2
        return {
            tomogram.flavour: measure_texture(
                tomogram.volume_zyx[start : start + height], spacing, self.measured.tilts.maximum_degrees
            )
            for tomogram in run.tomograms
        }


def fit_recipe(
    start: SimulationRecipe,
    stage: Stage,
    *,
    flavours: Sequence[str],
    budget: int,
    random: np.random.Generator,
    map_: Map = map,
) -> Fit:
    """Find the values of `SEARCHED` with which small simulations look most like a tomogram.

    Parameters
    ----------
    start
        Recipe to begin with; what is neither measured nor searched stays at the middle of its range.
    stage
        Makes the simulations, and knows the tomogram.
    flavours
        Kinds that the tomogram may be of; among several the one is taken whose simulations come nearest.
    budget
        Number of simulations for the search; `2 * CHECKS` more are made for the comparison.
    random
        Source of randomness.
    map_
        Like `map`, maybe in several processes.
    """
    base = settle(start, stage.measured)
    parameters = parameters_for(start, stage.measured)
    # A new sample for every simulation: what is learnt must hold for all.
    seeds = itertools.count(int(random.integers(2**31)))
    view = _View(stage, with_flavours(base, flavours), parameters, seeds, map_)
    here = np.array([parameter.place_of(middle_of(start, parameter.key)) for parameter in parameters])
    before = view.look_at(np.repeat(here[None], CHECKS, axis=0))
    points = spread_points(max(BATCH, round(EXPLORING_SHARE * budget)), len(parameters), random)
    # The recipe was chosen for a reason: half of the points are drawn half-way to it.
    points[1::2] = (points[1::2] + here) / 2
    explored = view.look_at(points)
    look = stage.measured.look.widened([[found[flavour] for found in before] for flavour in flavours])
    entrants = [_Entrant.enter(view, flavour, look, points, explored) for flavour in flavours]
    distances = {entrant.flavour: entrant.distance for entrant in entrants}
    rivals = [entrant for entrant in entrants if entrant.distance <= RIVAL_FACTOR * min(distances.values())]
    left, reach = budget - len(points), REACH
    if len(rivals) > 1:
        share = max(BATCH, round(RIVAL_SHARE * budget))
        rivals = [entrant.improve(share, random, (REACH[0], MIDDLE_REACH)) for entrant in rivals]
        distances |= {entrant.flavour: entrant.distance for entrant in rivals}
        left, reach = left - share * len(rivals), (MIDDLE_REACH, REACH[1])
    winner = _choose(rivals).improve(max(BATCH, left), random, reach)
    at_start = mean_texture([found[winner.flavour] for found in before])
    places = {parameter.key: place for parameter, place in zip(parameters, here.tolist(), strict=True)}
    return _conclude(winner, places, at_start, distances, budget - left + max(BATCH, left) + 2 * CHECKS)


def _choose(entrants: Sequence["_Entrant"]) -> "_Entrant":
    """Return the simplest flavour that comes nearly as near as any: a later one has knobs that bend it to anything."""
    nearest = min(entrant.distance for entrant in entrants)
    near = [entrant for entrant in entrants if entrant.distance <= SIMPLER_FACTOR * nearest]
    return min(near, key=lambda entrant: FLAVOURS.index(entrant.flavour))


@dataclass(frozen=True, eq=False)
class _View:
    """Small simulations as a function of places in the unit cube."""

    stage: Stage
    base: SimulationRecipe
    parameters: Sequence[Parameter]
    seeds: Iterator[int]
    map_: Map

    def look_at(self, places: Floats) -> list[dict[str, Texture]]:
        orders = [(apply_places(self.base, self.parameters, place), next(self.seeds)) for place in places]
        return list(self.map_(self.stage.observe, orders))


@dataclass(frozen=True, eq=False)
class _Entrant:
    """A flavour, what to look like, and how near its simulations come."""

    flavour: str
    view: _View
    look: Look
    trials: Trials

    @classmethod
    def enter(
        cls, view: _View, flavour: str, look: Look, points: Floats, explored: Sequence[Mapping[str, Texture]]
    ) -> "_Entrant":
        """Return the entrant of a flavour; what does not show in it is left alone."""
        active = [index for index, parameter in enumerate(view.parameters) if flavour in parameter.flavours]
        own = replace(view, base=with_flavours(view.base, [flavour]), parameters=[view.parameters[i] for i in active])
        rows = np.stack([look.residuals(found[flavour]) for found in explored])
        return cls(flavour, own, look, Trials(points[:, active], rows))

    @property
    def distance(self) -> float:
        return self.trials.find_center(MIDDLE_REACH)[1]

    def look_at(self, places: Floats) -> list[Texture]:
        return [found[self.flavour] for found in self.view.look_at(places)]

    def improve(self, count: int, random: np.random.Generator, reach: tuple[float, float]) -> "_Entrant":
        """Search on with so many more simulations."""
        trials = minimise(
            lambda places: np.stack([self.look.residuals(texture) for texture in self.look_at(places)]),
            self.trials,
            budget=len(self.trials.points) + count,
            random=random,
            reach=reach,
        )
        return replace(self, trials=trials)


def _conclude(
    winner: _Entrant, start: Mapping[str, float], before: Texture, distances: Mapping[str, float], simulations: int
) -> Fit:
    """Compare the minimum with the start, on new samples, and keep the better one."""
    parameters = winner.view.parameters
    place = find_minimum(winner.trials, REACH[1])
    after = mean_texture(winner.look_at(np.repeat(place[None], CHECKS, axis=0)))
    if winner.look.distance(after) > winner.look.distance(before):
        place, after = np.array([start[parameter.key] for parameter in parameters]), before
    found = list(zip(parameters, place, estimate_errors(winner.trials, len(GROUPS)), strict=True))
    return Fit(
        flavour=winner.flavour,
        values={parameter.key: parameter.at(at) for parameter, at, _ in found},
        ranges={parameter.key: parameter.around(at, error) for parameter, at, error in found},
        distance_before=winner.look.distance(before),
        distance_after=winner.look.distance(after),
        texture=after,
        simulations=simulations,
        flavour_distances=distances,
    )
