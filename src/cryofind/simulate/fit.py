"""A recipe whose tomograms look like given ones: measured numbers are set, the others found by small simulations."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cryofind.simulate.body import Body
from cryofind.simulate.measure import GROUPS, Texture, TomogramMeasurement, measure_texture
from cryofind.simulate.recipe import Range, SimulationRecipe
from cryofind.simulate.run import simulate_run
from cryofind.simulate.search import BATCH, Trials, estimate_errors, minimise, spread_points
from cryofind.simulate.search_space import (
    FLAVOURS,
    Parameter,
    apply_places,
    middle_of,
    parameters_for,
    settle,
    with_flavours,
)
from cryofind.types import ParticleSpec, VoxelGrid

Floats = NDArray[np.float64]
Observe = Callable[[SimulationRecipe], dict[str, Texture]]
Map = Callable[[Observe, Sequence[SimulationRecipe]], Iterable[dict[str, Texture]]]

# Empty ice above and below the layer of a small simulation, voxels.
VACUUM_VOXELS = 24
# Share of the simulations that are spread over the whole space first.
EXPLORING_SHARE = 0.35
# A simpler flavour is taken if its distance is no more than this many times the least.
SIMPLER_FACTOR = 1.15
# Simulations, of seeds not used in the search, that the distances before and after are taken from.
CHECKS = 3


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
    bodies, distractors, specs
        As in `simulate_run`.
    measured
        The tomogram to be like.
    """

    bodies: Mapping[str, Body]
    distractors: Sequence[Body]
    specs: Sequence[ParticleSpec]
    measured: TomogramMeasurement

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Voxels of a simulation: the box that is looked at, and vacuum where the tomogram has some."""
        height, rows, columns = self.measured.look.box_zyx
        vacuum = 0 if self.measured.slab.is_whole_box else 2 * VACUUM_VOXELS
        return (min(self.measured.shape_zyx[0], height + vacuum), rows, columns)

    def observe(self, recipe: SimulationRecipe, seed: int) -> dict[str, Texture]:
        """Return the texture of each flavour of a simulation."""
        spacing = self.measured.spacing_angstrom
        grid = VoxelGrid.isotropic(self.shape_zyx, spacing)
        run = simulate_run(recipe, self.bodies, self.distractors, self.specs, grid, run="like", seed=(seed,))
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
    seed = int(random.integers(2**31))
    points = spread_points(max(BATCH, round(EXPLORING_SHARE * budget)), len(parameters), random)
    points[0] = [parameter.place_of(middle_of(start, parameter.key)) for parameter in parameters]
    explored = _View(stage, with_flavours(base, flavours), parameters, map_).look_at(points, seed)
    distances = {
        flavour: min(stage.measured.look.distance(textures[flavour]) for textures in explored) for flavour in flavours
    }
    flavour = _choose_flavour(distances)
    # From here on what does not show in the chosen flavour is left alone.
    active = [index for index, parameter in enumerate(parameters) if flavour in parameter.flavours]
    view = _View(stage, with_flavours(base, [flavour]), [parameters[index] for index in active], map_)
    trials = minimise(
        lambda places: view.residuals(view.look_at(places, seed)),
        Trials(points[:, active], view.residuals(explored)),
        budget=budget,
        random=random,
    )
    return _conclude(view, trials, seed, distances)


def _choose_flavour(distances: Mapping[str, float]) -> str:
    """Return the simplest flavour that comes nearly as near as any: a later one has knobs that bend it to anything."""
    nearest = min(distances.values())
    return next(name for name in FLAVOURS if name in distances and distances[name] <= SIMPLER_FACTOR * nearest)


@dataclass(frozen=True, eq=False)
class _View:
    """Small simulations as a function of places in the unit cube. With one flavour, it has residuals."""

    stage: Stage
    base: SimulationRecipe
    parameters: Sequence[Parameter]
    map_: Map

    def look_at(self, places: Floats, seed: int) -> list[dict[str, Texture]]:
        recipes = [apply_places(self.base, self.parameters, place) for place in places]
        return list(self.map_(partial(self.stage.observe, seed=seed), recipes))

    @property
    def flavour(self) -> str:
        return self.base.output.flavours[0]

    def residuals(self, textures: Sequence[Mapping[str, Texture]]) -> Floats:
        return np.stack([self.stage.measured.look.residuals(found[self.flavour]) for found in textures])

    def average(self, place: Floats, seeds: Sequence[int]) -> Texture:
        """Return the mean texture over several samples."""
        found = [self.look_at(place[None], seed)[0][self.flavour] for seed in seeds]
        return Texture.from_vector(np.mean([texture.vector() for texture in found], axis=0))


def _conclude(view: _View, trials: Trials, seed: int, distances: Mapping[str, float]) -> Fit:
    best = trials.points[trials.best]
    errors = estimate_errors(trials, len(GROUPS))
    checks = range(seed + 1, seed + 1 + CHECKS)
    before, after = (view.average(place, checks) for place in (trials.points[0], best))
    look = view.stage.measured.look
    found = list(zip(view.parameters, best, errors, strict=True))
    return Fit(
        flavour=view.flavour,
        values={parameter.key: parameter.at(place) for parameter, place, _ in found},
        ranges={parameter.key: parameter.around(place, error) for parameter, place, error in found},
        distance_before=look.distance(before),
        distance_after=look.distance(after),
        texture=after,
        simulations=len(trials.points) + 2 * CHECKS,
        flavour_distances=distances,
    )
