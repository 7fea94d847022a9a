"""The numbers of a recipe that are searched when it is fitted, and the recipe of a small simulation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cryofind.simulate.measure import TomogramMeasurement
from cryofind.simulate.measure_slab import SlabMeasurement
from cryofind.simulate.recipe import DRAWN_FOR_EACH, Range, SimulationRecipe, SpeciesRecipe

Floats = NDArray[np.float64]

FLAVOURS = ("wbp", "ctfdeconvolved", "denoised")
DECONVOLVED = ("ctfdeconvolved", "denoised")
# A measured defocus leaves this factor to both sides.
DEFOCUS_FACTOR = 1.15
# A range around a fitted value is at least this wide to both sides: a factor, or a share of the limits of the search.
# One tomogram must not become the only look that a network ever sees.
LEAST_FACTOR = 1.3
LEAST_SHARE = 0.1
# A measured thickness is widened by this share to both sides.
THICKNESS_SHARE = 0.1
BELIEVABLE_FACTOR = 1.3


@dataclass(frozen=True)
class Parameter:
    """A number of the recipe that is searched.

    Parameters
    ----------
    key
        Table and key, `table.key`.
    low, high
        Limits of the search.
    is_logarithmic
        Whether it is searched in its logarithm.
    scaled
        Other keys, which are multiplied by the same factor.
    flavours
        Kinds of tomogram that it shows in.
    """

    key: str
    low: float
    high: float
    is_logarithmic: bool = True
    scaled: tuple[str, ...] = ()
    flavours: tuple[str, ...] = FLAVOURS

    def at(self, place: float) -> float:
        """Return the value at a place from 0 to 1."""
        if self.is_logarithmic:
            return float(self.low * (self.high / self.low) ** place)
        return float(self.low + (self.high - self.low) * place)

    def place_of(self, value: float) -> float:
        """Return the place of a value, 0 to 1; values beyond the limits are at the limits."""
        value = min(max(value, self.low), self.high)
        if self.is_logarithmic:
            return float(np.log(value / self.low) / np.log(self.high / self.low))
        return (value - self.low) / (self.high - self.low)

    def around(self, place: float, error: float) -> Range:
        """Return a range around a place that is known with a standard deviation, never a narrow one."""
        if self.is_logarithmic:
            width = max(error, np.log(LEAST_FACTOR) / np.log(self.high / self.low))
        else:
            width = max(error, LEAST_SHARE)
        return Range.of(self.at(max(place - width, 0.0)), self.at(min(place + width, 1.0)))


# Potential, dose and quantum efficiency all set the signal against the noise and cannot be told apart. The potential
# stands for all: unlike the dose, which people know, it changes nothing else.
SEARCHED = (
    Parameter("microscope.protein_potential_volts", 0.5, 10),
    Parameter("microscope.defocus_micrometre", 0.8, 9),
    Parameter("microscope.shift_error_angstrom", 0, 20, is_logarithmic=False),
    Parameter(
        "surroundings.albumin_milligram_per_millilitre",
        0.5,
        80,
        scaled=("surroundings.lysate_milligram_per_millilitre",),
    ),
    Parameter("sample.crowding", 0.2, 5, scaled=("surroundings.distractor_count",)),
    Parameter("surroundings.clump_share", 0, 1, is_logarithmic=False),
    Parameter("reconstruction.deconvolution_constant", 2e-4, 0.1, flavours=DECONVOLVED),
    Parameter("reconstruction.deconvolution_high_pass_angstrom", 200, 4000, flavours=DECONVOLVED),
    Parameter("denoising.strength", 0.3, 3, flavours=("denoised",)),
    Parameter("denoising.detail", 0, 1, is_logarithmic=False, flavours=("denoised",)),
    Parameter("denoising.residual", 0, 0.5, is_logarithmic=False, flavours=("denoised",)),
)


def parameters_for(start: SimulationRecipe, measured: TomogramMeasurement) -> tuple[Parameter, ...]:
    """Return the parameters to search.

    What a recipe sets to 0 is switched off and stays so. The defocus is sought near the measured one, if there is one.
    """
    parameters = tuple(parameter for parameter in SEARCHED if middle_of(start, parameter.key) != 0)
    defocus = measured.defocus.defocus_micrometre
    if defocus is None:
        return parameters
    low, high = defocus / DEFOCUS_FACTOR, defocus * DEFOCUS_FACTOR
    return tuple(
        replace(parameter, low=low, high=high) if parameter.key == "microscope.defocus_micrometre" else parameter
        for parameter in parameters
    )


def settle(start: SimulationRecipe, measured: TomogramMeasurement) -> SimulationRecipe:
    """Return the starting recipe for a small box of the measured geometry, each range at its middle, without carbon."""
    changes = {f"{table}.{key}": Range.of(middle_of(start, f"{table}.{key}")) for table, key in _range_keys(start)}
    changes["surroundings.carbon_probability"] = Range.of(0)
    # The box lies in the middle of the layer.
    for key in ("slab_offset_angstrom", "slab_tilt_y_degrees", "slab_tilt_x_degrees"):
        changes[f"sample.{key}"] = Range.of(0)
    thickness = thickness_range(start, [measured.slab])
    changes["sample.slab_thickness_angstrom"] = Range.of((thickness.low + thickness.high) / 2)
    if measured.tilts.maximum_degrees is not None:
        changes["microscope.tilt_maximum_degrees"] = Range.of(measured.tilts.maximum_degrees)
    if measured.tilts.step_degrees is not None:
        changes["microscope.tilt_step_degrees"] = Range.of(measured.tilts.step_degrees)
    changed = change_ranges(start, changes)
    output = start.output.model_copy(update={"voxel_spacing_angstrom": measured.spacing_angstrom})
    species = {name: _settle_species(species) for name, species in start.species.items()}
    denoising = changed.denoising.model_copy(update={"method": "wiener"})
    return changed.model_copy(update={"output": output, "species": species, "denoising": denoising})


def thickness_range(start: SimulationRecipe, slabs: Sequence[SlabMeasurement]) -> Range:
    """Return what the thickness of the ice may be, Angstrom, given what was seen of it in tomograms.

    Without vacuum to be seen it is at least the box's height, unless that is far more than the starting recipe thinks
    possible: then there is vacuum that does not stand out, and the recipe is believed.
    """
    seen = [slab.thickness_angstrom for slab in slabs if not slab.is_whole_box]
    if seen:
        return Range.of((1 - THICKNESS_SHARE) * min(seen), (1 + THICKNESS_SHARE) * max(seen))
    height = max(slab.thickness_angstrom for slab in slabs)
    before = start.sample.slab_thickness_angstrom
    if height > BELIEVABLE_FACTOR * before.high:
        return before
    return Range.of(max(before.low, height), max(before.high, (1 + THICKNESS_SHARE) * height))


def change_ranges(recipe: SimulationRecipe, changes: Mapping[str, Range]) -> SimulationRecipe:
    """Return a recipe with other ranges, by `table.key`."""
    tables: dict[str, dict[str, Range]] = {}
    for dotted, value in changes.items():
        table, key = dotted.split(".")
        tables.setdefault(table, {})[key] = value
    updates = {table: getattr(recipe, table).model_copy(update=values) for table, values in tables.items()}
    return recipe.model_copy(update=updates)


def _range_keys(recipe: SimulationRecipe) -> list[tuple[str, str]]:
    tables = ("sample", "surroundings", "microscope", "reconstruction", "denoising")
    return [
        (table, key)
        for table in tables
        for key, value in getattr(recipe, table)
        if isinstance(value, Range) and key not in DRAWN_FOR_EACH
    ]


def _settle_species(species: SpeciesRecipe) -> SpeciesRecipe:
    ranges = {key: value for key, value in species if isinstance(value, Range) and key not in DRAWN_FOR_EACH}
    return species.model_copy(update={key: Range.of((value.low + value.high) / 2) for key, value in ranges.items()})


def middle_of(recipe: SimulationRecipe, dotted: str) -> float:
    """Return the middle of the range `table.key`, of its logarithm where that is searched."""
    table, key = dotted.split(".")
    found: Range = getattr(getattr(recipe, table), key)
    is_logarithmic = any(parameter.key == dotted and parameter.is_logarithmic for parameter in SEARCHED)
    if is_logarithmic and found.low > 0:
        return float(np.sqrt(found.low * found.high))
    return (found.low + found.high) / 2


def apply_places(recipe: SimulationRecipe, parameters: Sequence[Parameter], places: Floats) -> SimulationRecipe:
    """Return a recipe with the parameters at places from 0 to 1, and what goes with them."""
    values = {parameter.key: parameter.at(place) for parameter, place in zip(parameters, places, strict=True)}
    return change_ranges(recipe, scale_along(recipe, {key: Range.of(value) for key, value in values.items()}))


def scale_along(recipe: SimulationRecipe, changes: Mapping[str, Range]) -> dict[str, Range]:
    """Return changes of searched keys, and of those that go with them, by the same factors."""
    more = dict(changes)
    for parameter in SEARCHED:
        if parameter.key in changes and (middle := middle_of(recipe, parameter.key)) > 0:
            for key in parameter.scaled:
                low, high = (
                    end * middle_of(recipe, key) / middle
                    for end in (changes[parameter.key].low, changes[parameter.key].high)
                )
                more[key] = Range.of(low, high)
    return more


def with_flavours(recipe: SimulationRecipe, flavours: Sequence[str]) -> SimulationRecipe:
    """Return a recipe that writes these kinds of tomogram."""
    return recipe.model_copy(update={"output": recipe.output.model_copy(update={"flavours": tuple(flavours)})})
