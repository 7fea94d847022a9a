"""The search for a recipe against functions with known answers, and the text of the recipe found."""

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from cryofind.documents import parse_document
from cryofind.simulate.cast import Cast
from cryofind.simulate.fit import Fit, Order, Stage, fit_recipe
from cryofind.simulate.fitted_recipe import combine_fits, describe_measurement
from cryofind.simulate.look import GROUPS, Look, Texture, summarize
from cryofind.simulate.measure import (
    TomogramMeasurement,
)
from cryofind.simulate.measure_defocus import DefocusMeasurement
from cryofind.simulate.measure_slab import SlabMeasurement
from cryofind.simulate.measure_tilts import TiltMeasurement
from cryofind.simulate.recipe import Range, SimulationRecipe
from cryofind.simulate.recipe_files import load_recipe
from cryofind.simulate.recipe_text import write_recipe_text
from cryofind.simulate.search import Trials, estimate_errors, find_minimum, minimise, spread_points
from cryofind.simulate.search_space import SEARCHED, Parameter, middle_of, parameters_for, scale_along, settle

Floats = NDArray[np.float64]
SPACING = 10.0


class TestSearch:
    @staticmethod
    def rows_of(points: Floats) -> Floats:
        """Return numbers that bend, with a minimum at 0.3, 0.8 and next to no word on the third coordinate."""
        a, b, c = points.T
        return np.stack([3 * (a - 0.3), 2 * (b - 0.8) + (a - 0.3) ** 2, 3 * (a * b - 0.24), 0.01 * (c - 0.5)], axis=1)

    def search(self, seed: int) -> Trials:
        random = np.random.default_rng(seed)
        points = spread_points(12, 3, random)
        return minimise(self.rows_of, Trials(points, self.rows_of(points)), budget=40, random=random)

    def test_finds_the_minimum_within_the_budget(self) -> None:
        trials = self.search(0)
        assert len(trials.points) == 40
        np.testing.assert_allclose(find_minimum(trials, 0.1)[:2], [0.3, 0.8], atol=0.03)

    def test_same_seed_same_points(self) -> None:
        np.testing.assert_array_equal(self.search(1).points, self.search(1).points)

    def test_stays_in_the_cube(self) -> None:
        points = spread_points(8, 2, np.random.default_rng(0))
        trials = minimise(lambda at: at - 2.0, Trials(points, points - 2.0), budget=20, random=np.random.default_rng(0))
        assert trials.points.min() >= 0
        np.testing.assert_allclose(find_minimum(trials, 0.1), 1.0, atol=1e-6)

    def test_points_spread_evenly_along_each_axis(self) -> None:
        points = spread_points(10, 4, np.random.default_rng(0))
        np.testing.assert_array_equal(np.sort((points * 10).astype(int), axis=0), np.arange(10)[:, None] + np.zeros(4))

    def test_errors_tell_what_can_be_seen(self) -> None:
        errors = estimate_errors(self.search(2), independent=5)
        assert max(errors[0], errors[1]) < 0.2
        assert errors[2] > 0.25


class TestSearchSpace:
    @pytest.mark.parametrize("parameter", SEARCHED, ids=lambda parameter: parameter.key)
    def test_places_and_values(self, parameter: Parameter) -> None:
        assert parameter.at(0) == pytest.approx(parameter.low)
        assert parameter.at(1) == pytest.approx(parameter.high)
        assert parameter.place_of(parameter.at(0.37)) == pytest.approx(0.37)
        assert parameter.place_of(10 * parameter.high) == 1

    @pytest.mark.parametrize("parameter", SEARCHED, ids=lambda parameter: parameter.key)
    def test_searched_keys_are_ranges_of_the_recipe(self, parameter: Parameter) -> None:
        recipe = load_recipe("czii")
        for key in (parameter.key, *parameter.scaled):
            assert middle_of(recipe, key) >= 0

    def test_a_range_is_never_narrow(self) -> None:
        parameter = Parameter("a.b", 0.1, 10)
        found = parameter.around(0.5, 0.0)
        assert (found.low, found.high) == pytest.approx((1 / 1.3, 1.3))
        assert parameter.around(0.5, 0.5).low == pytest.approx(0.1)

    def test_crowding_takes_the_distractors_along(self) -> None:
        recipe = load_recipe("czii")
        before = middle_of(recipe, "surroundings.distractor_count") / middle_of(recipe, "sample.crowding")
        changes = scale_along(recipe, {"sample.crowding": Range.of(2, 3)})
        assert changes["surroundings.distractor_count"].low == pytest.approx(2 * before)
        assert changes["surroundings.distractor_count"].high == pytest.approx(3 * before)

    def test_settled_recipe_has_the_measured_geometry_and_no_ranges(self) -> None:
        settled = settle(load_recipe("czii"), MEASURED)
        assert settled.is_drawn
        assert settled.microscope.tilt_maximum_degrees.value == 51
        assert settled.microscope.tilt_step_degrees.value == 2
        assert settled.sample.slab_thickness_angstrom.value == 700
        assert settled.sample.slab_offset_angstrom.value == 0
        assert settled.output.voxel_spacing_angstrom == SPACING

    def test_a_measured_defocus_narrows_the_search(self) -> None:
        recipe = load_recipe("czii")
        (parameter,) = (one for one in parameters_for(recipe, MEASURED) if one.key == "microscope.defocus_micrometre")
        assert 3.0 < parameter.low < 3.5 < parameter.high < 4.1
        unseen = replace(MEASURED, defocus=DefocusMeasurement(None, 1.0))
        assert parameters_for(recipe, unseen) == SEARCHED

    def test_what_a_recipe_switches_off_stays_off(self) -> None:
        recipe = load_recipe("czii", ["microscope.shift_error_angstrom=0"])
        keys = {parameter.key for parameter in parameters_for(recipe, MEASURED)}
        assert keys == {parameter.key for parameter in SEARCHED} - {"microscope.shift_error_angstrom"}


class TestFit:
    def test_finds_the_values_that_made_the_look(self) -> None:
        found = fit_recipe(
            load_recipe("czii"),
            pretend_stage(),
            flavours=("wbp", "denoised"),
            budget=48,
            random=np.random.default_rng(0),
            map_=pretend,
        )
        assert found.flavour == "denoised"
        assert found.distance_after < 0.2 < found.distance_before
        for key, value in TRUTH.items():
            assert found.values[key] == pytest.approx(value, rel=0.15), key
            assert found.ranges[key].low < value < found.ranges[key].high

    def test_same_seed_same_fit(self) -> None:
        first, second = (
            fit_recipe(
                load_recipe("czii"),
                pretend_stage(),
                flavours=("wbp",),
                budget=16,
                random=np.random.default_rng(5),
                map_=pretend,
            )
            for _ in range(2)
        )
        assert first.values == second.values
        assert set(first.values) == {parameter.key for parameter in SEARCHED if "wbp" in parameter.flavours}

    def test_a_start_that_is_best_is_kept(self) -> None:
        settings = [f"{key}={value}" for key, value in TRUTH.items()]
        start = load_recipe("czii", settings)
        found = fit_recipe(
            start, pretend_stage(), flavours=("denoised",), budget=12, random=np.random.default_rng(1), map_=pretend
        )
        assert found.distance_after == found.distance_before == pytest.approx(0, abs=1e-6)
        for key, value in TRUTH.items():
            assert found.values[key] == pytest.approx(value), key

    def test_recipe_covers_all_tomograms(self) -> None:
        start = load_recipe("czii")
        fits = [make_fit({"sample.crowding": Range.of(1, 2)}), make_fit({"sample.crowding": Range.of(0.5, 1.2)})]
        other = replace(MEASURED, tilts=TiltMeasurement(54.0, None, "y", 3.0), slab=SlabMeasurement(1000, 50, 1, 2))
        fitted = combine_fits(start, [MEASURED, other], fits)
        recipe = fitted.recipe
        assert recipe.sample.crowding == Range.of(0.5, 2)
        assert recipe.microscope.tilt_maximum_degrees == Range.of(51, 54)
        assert recipe.microscope.tilt_step_degrees == Range.of(2)
        assert recipe.sample.slab_thickness_angstrom == Range.of(630, 1100)
        assert recipe.sample.slab_offset_angstrom == Range.of(-160, 110)
        assert recipe.output.flavours == ("wbp",)
        assert recipe.species == start.species
        assert "measured" in fitted.remarks["microscope.tilt_maximum_degrees"]
        assert "fitted" in fitted.remarks["sample.crowding"]

    def test_denoised_tomograms_are_made_as_the_fit_made_them(self) -> None:
        start = load_recipe("czii", ['denoising.method="noise2noise"'])
        fit = replace(make_fit({}), flavour="denoised")
        fitted = combine_fits(start, [MEASURED], [fit])
        assert fitted.recipe.denoising.method == "wiener"
        assert "was noise2noise" in fitted.remarks["denoising.method"]
        assert combine_fits(start, [MEASURED], [make_fit({})]).recipe.denoising.method == "noise2noise"

    def test_ice_that_fills_the_box_is_at_least_as_thick(self) -> None:
        whole = replace(MEASURED, slab=SlabMeasurement(1000, is_whole_box=True))
        start = load_recipe("czii", ["sample.slab_thickness_angstrom=[650, 1150]"])
        recipe = combine_fits(start, [whole], [make_fit({})]).recipe
        assert recipe.sample.slab_thickness_angstrom == Range.of(1000, 1150)
        deeper = replace(MEASURED, slab=SlabMeasurement(1800, is_whole_box=True))
        recipe = combine_fits(start, [deeper], [make_fit({})]).recipe
        assert recipe.sample.slab_thickness_angstrom == start.sample.slab_thickness_angstrom

    def test_description_says_what_was_not_seen(self) -> None:
        unseen = replace(
            MEASURED,
            tilts=TiltMeasurement(None, None, "y", 0.0),
            slab=SlabMeasurement(960, is_whole_box=True),
            defocus=DefocusMeasurement(None, 1.0),
        )
        text = "\n".join(describe_measurement(unseen))
        assert "no missing wedge" in text
        assert "no vacuum" in text
        assert "rings" not in text


class TestRecipeText:
    @pytest.mark.parametrize("name", ["czii", "czii-hard", "easy"])
    def test_reads_back(self, name: str) -> None:
        recipe = load_recipe(name)
        text = write_recipe_text(recipe, ["first line", ""], {"microscope.defocus_micrometre": "fitted"})
        assert parse_document(SimulationRecipe, tomllib.loads(text), "text") == recipe
        assert text.startswith("# first line\n#\n")
        assert any(line.endswith("# fitted") for line in text.splitlines() if line.startswith("defocus_micrometre"))

    @pytest.mark.parametrize("awkward", ['quote "', "back\\slash", "Å\t\x7f", "new\nline"])
    def test_awkward_names_read_back(self, awkward: str) -> None:
        recipe = load_recipe("czii")
        species = {awkward: next(iter(recipe.species.values())).model_copy(update={"body": awkward})}
        changed = recipe.model_copy(update={"species": species, "description": awkward})
        text = write_recipe_text(changed)
        assert parse_document(SimulationRecipe, tomllib.loads(text), "text") == changed


TRUTH = {"microscope.defocus_micrometre": 3.6, "sample.crowding": 1.8, "denoising.strength": 0.9}
_SLOPES = np.random.default_rng(7).normal(size=(len(TRUTH), sum(count for _, count, _ in GROUPS)))


def pretend(_: Callable[[Order], dict[str, Texture]], orders: Sequence[Order]) -> list[dict[str, Texture]]:
    """Return textures that depend on three values of the recipe, as a map over simulations would."""
    return [{flavour: pretend_texture(recipe, flavour) for flavour in recipe.output.flavours} for recipe, _ in orders]


def pretend_texture(recipe: SimulationRecipe, flavour: str) -> Texture:
    offsets = [np.log(middle_of(recipe, key) / value) for key, value in TRUTH.items()]
    return Texture.from_vector(offsets @ _SLOPES + (2.0 if flavour == "wbp" else 0.0))


def pretend_stage() -> Stage:
    vector = np.zeros(sum(count for _, count, _ in GROUPS))
    look = Look(Texture.from_vector(vector), np.full(len(vector), 0.2), (64, 96, 96))
    return Stage(Cast({}, ()), replace(MEASURED, look=look))


def make_fit(ranges: dict[str, Range]) -> Fit:
    vector = np.zeros(sum(count for _, count, _ in GROUPS))
    values = {key: found.low for key, found in ranges.items()}
    return Fit("wbp", values, ranges, 2.0, 1.0, Texture.from_vector(vector), 10, {"wbp": 1.0})


MEASURED = TomogramMeasurement(
    SPACING,
    (120, 320, 320),
    TiltMeasurement(51.0, 2.0, "y", 3.0),
    SlabMeasurement(700, -100, 1, -2),
    DefocusMeasurement(3.5, 0.5),
    summarize([Texture.from_vector(np.zeros(sum(count for _, count, _ in GROUPS)))], np.zeros((64, 96, 96))),
)
