"""What is in the ice and not to be found but for membranes: gold, carbon, distractors, albumin, uneven ice."""

import re
from collections.abc import Callable

import numpy as np
import pytest

from cryofind.simulate.body import CUBIC_ANGSTROM_PER_KILODALTON, Body
from cryofind.simulate.globules import draw_globule_masses, globule_sigma_angstrom
from cryofind.simulate.recipe import SurroundingsRecipe
from cryofind.simulate.slab import Slab
from cryofind.simulate.solids import CARBON_DENSITY, GOLD_DENSITY, CarbonFilm, add_carbon, add_gold
from cryofind.simulate.surroundings import (
    ALBUMIN_KILODALTON,
    add_albumin,
    add_lysate,
    add_structures,
    fill_with_crowd,
    scatter_distractors,
    thickness_map,
)
from cryofind.simulate.waves import Waves
from cryofind.types import VoxelGrid
from tests.ice import FLAT, MEMBRANE_LABEL, SPACING_ANGSTROM, Bench, make_body, make_recipe


class TestSolids:
    def test_gold_is_as_heavy_as_solid_balls(self) -> None:
        bench = Bench()
        recipe = make_recipe(gold_count=bench.factor_for(5), gold_radius_angstrom=55)
        notes = add_gold(bench.scene, recipe, bench.slab.challenge_volumes, bench.random)
        total = float(bench.density.sum(dtype=np.float64)) * SPACING_ANGSTROM**3
        beads = total / (4 / 3 * np.pi * 55**3 * GOLD_DENSITY)
        assert notes == []
        assert beads == pytest.approx(round(beads), abs=0.25)
        assert round(beads) in (4, 5)
        assert bench.density.max() == pytest.approx(GOLD_DENSITY)

    def test_gold_stays_out_of_what_is_there(self) -> None:
        bench = Bench()
        bench.occupancy.taken_zyx[:, :40] = True
        recipe = make_recipe(gold_count=6)
        add_gold(bench.scene, recipe, 1.0, bench.random)
        assert bench.density[:, 41:].any()
        assert not bench.density[:, :39].any()
        bench.occupancy.taken_zyx[:] = True
        notes = add_gold(bench.scene, recipe, 1.0, bench.random)
        assert notes == ["room for 0 of 6 gold beads"]

    def test_carbon_comes_with_its_probability(self) -> None:
        for probability, is_there in ((0.0, False), (1.0, True)):
            bench = Bench()
            recipe = make_recipe(carbon_probability=probability)
            add_carbon(bench.scene, recipe, bench.random)
            assert bench.density.any() == is_there
            assert bench.occupancy.taken_zyx.any() == is_there

    @pytest.mark.parametrize("seed", range(6))
    def test_carbon_leaves_most_of_the_field_and_stays_in_the_ice(self, seed: int) -> None:
        bench = Bench(VoxelGrid.isotropic((80, 160, 160), SPACING_ANGSTROM), 600.0, slope=0.05, seed=seed)
        recipe = make_recipe(carbon_probability=1, carbon_thickness_angstrom=150)
        add_carbon(bench.scene, recipe, bench.random)
        share = (bench.density.max(axis=0) > 0).mean()
        assert 0.0 < share < 0.6
        low, high = bench.slab.faces_angstrom(np.arange(160)[:, None] * 10.0, np.arange(160) * 10.0)
        z, y, x = np.nonzero(bench.density)
        assert np.all(z * 10.0 > low[y, x] - 10)
        assert np.all(z * 10.0 < high[y, x] + 10)

    def test_carbon_is_as_thick_and_dense_as_it_should_be(self) -> None:
        bench = Bench(VoxelGrid.isotropic((80, 200, 200), SPACING_ANGSTROM), 600.0)
        recipe = make_recipe(carbon_probability=1, carbon_thickness_angstrom=150)
        add_carbon(bench.scene, recipe, bench.random)
        columns = bench.density.sum(axis=0)[bench.density.max(axis=0) > 0]
        # The greater part of the film lies away from its rim.
        assert np.median(columns) * SPACING_ANGSTROM == pytest.approx(150 * CARBON_DENSITY, rel=0.1)
        solid = bench.density[bench.density > 0.8 * CARBON_DENSITY]
        assert solid.mean() == pytest.approx(CARBON_DENSITY, rel=0.03)
        assert 0.03 < solid.std() / CARBON_DENSITY < 0.12

    def test_the_edge_of_a_carbon_film_is_an_arc_of_its_hole(self) -> None:
        bench = Bench(VoxelGrid.isotropic((40, 150, 150), 40.0), 900.0)
        film = CarbonFilm.draw(bench.slab, 150.0, bench.random)
        y = x = np.arange(150) * 40.0
        from_edge = film.distance_from_edge(y, x)
        expected = np.hypot(y[:, None] - film.center_yx_angstrom[0], x - film.center_yx_angstrom[1])
        assert np.abs(from_edge - (expected - film.hole_radius_angstrom)).max() < 150
        assert 5_000 <= film.hole_radius_angstrom <= 10_000
        assert from_edge.min() < 0 < from_edge.max()


class TestCrowd:
    def test_albumin_has_the_concentration_asked_for(self) -> None:
        bench = Bench(VoxelGrid.isotropic((64, 128, 128), SPACING_ANGSTROM))
        recipe = make_recipe(albumin_milligram_per_millilitre=40)
        count = add_albumin(bench.scene, recipe, FLAT, bench.random)
        expected = 40 * 6.022e-7 * 500 * 1280**2
        assert count * ALBUMIN_KILODALTON == pytest.approx(expected, rel=4 / np.sqrt(count))
        assert bench.mass_kilodalton == pytest.approx(
            count * ALBUMIN_KILODALTON, rel=0.04
        )  # less what the sides cut off

    def test_albumin_is_27_angstrom_in_radius_of_gyration(self) -> None:
        masses = np.full(3, ALBUMIN_KILODALTON / 3)
        angles = 2 * np.pi / 3 * np.arange(3)
        beads = 21.7 * np.stack([np.zeros(3), np.sin(angles), np.cos(angles)], axis=1)
        assert Body("albumin", beads, masses, 9.3).radius_of_gyration_angstrom == pytest.approx(27.0, abs=0.3)

    def test_the_crowd_stays_out_of_what_is_there(self) -> None:
        bench = Bench()
        bench.occupancy.taken_zyx[:, :, :48] = True
        recipe = make_recipe(albumin_milligram_per_millilitre=30, lysate_milligram_per_millilitre=30)
        add_albumin(bench.scene, recipe, FLAT, bench.random)
        add_lysate(bench.scene, recipe, FLAT, bench.random)
        assert bench.density[:, :, 60:].mean() > 0.02
        assert bench.density[:, :, :36].max() < 1e-4

    def test_an_uneven_crowd_follows_the_field(self) -> None:
        bench = Bench(VoxelGrid.isotropic((32, 200, 200), SPACING_ANGSTROM), 320.0)
        field = Waves(np.array([[0.0, 0.0, 2 * np.pi / 2000.0]]), np.zeros(1), np.ones(1))  # dense at both sides
        recipe = make_recipe(lysate_milligram_per_millilitre=40)
        add_lysate(bench.scene, recipe, field, bench.random)
        sides, middle = bench.density[:, :, :30].mean(), bench.density[:, :, 85:115].mean()
        assert sides > 5 * middle

    def test_lysate_has_the_concentration_asked_for(self) -> None:
        bench = Bench(VoxelGrid.isotropic((64, 128, 128), SPACING_ANGSTROM))
        recipe = make_recipe(lysate_milligram_per_millilitre=40)
        add_lysate(bench.scene, recipe, FLAT, bench.random)
        assert bench.mass_kilodalton == pytest.approx(40 * 6.022e-7 * 500 * 1280**2, rel=0.1)

    def test_globules_are_log_normal_and_about_as_dense_as_protein(self) -> None:
        masses = draw_globule_masses(20_000, np.random.default_rng(0))
        assert np.median(masses) == pytest.approx(45, rel=0.03)
        assert 15 <= masses.min() < masses.max() <= 400
        sigma = globule_sigma_angstrom(45.0)
        assert 1 < 45 * CUBIC_ANGSTROM_PER_KILODALTON / ((2 * np.pi) ** 1.5 * sigma**3) < 2.3


class TestDistractors:
    @staticmethod
    def scatter(bench: Bench, recipe: SurroundingsRecipe, *bodies: Body) -> list[str]:
        return scatter_distractors(bench.scene, recipe, bodies, bench.random)

    def test_as_many_as_asked_for_by_mass_and_without_labels(self) -> None:
        bench = Bench(VoxelGrid.isotropic((64, 160, 160), SPACING_ANGSTROM))
        recipe = make_recipe(distractor_count=bench.factor_for(40), clump_share=0.5)
        assert self.scatter(bench, recipe, make_body()) == []
        # Sizes and densities vary by a fifth; mean of size^3 x contrast is 1.1.
        assert bench.mass_kilodalton / 400 == pytest.approx(40, rel=0.25)
        assert not bench.labels.any()

    def test_small_ones_are_drawn_more_often(self) -> None:
        bench = Bench(VoxelGrid.isotropic((64, 160, 160), SPACING_ANGSTROM))
        recipe = make_recipe(distractor_count=bench.factor_for(60))
        self.scatter(bench, recipe, make_body(100.0), make_body(2000.0))
        assert bench.mass_kilodalton / 60 < 800

    def test_says_what_did_not_fit(self) -> None:
        bench = Bench()
        bench.occupancy.taken_zyx[:] = True
        notes = self.scatter(bench, make_recipe(distractor_count=bench.factor_for(10.001)), make_body())
        assert notes == ["room for 0 of 10 distractors"]
        assert self.scatter(bench, make_recipe(distractor_count=10)) == []

    def test_the_rest_is_given_up_when_nothing_fits_any_more(self) -> None:
        bench = Bench(VoxelGrid.isotropic((20, 20, 20), SPACING_ANGSTROM))
        notes = self.scatter(bench, make_recipe(distractor_count=1e11, clump_share=0.5), make_body())
        placed, wanted = map(int, re.findall(r"\d+", notes[0]))
        # The box holds 16 bodies of protein without gaps; most of those at its faces reach out of it.
        assert 1 <= placed < 200
        assert wanted > 10**7

    def test_clumps_lie_closer_together(self) -> None:
        filled = []
        for share in (0.0, 1.0):
            bench = Bench(VoxelGrid.isotropic((64, 200, 200), SPACING_ANGSTROM))
            recipe = make_recipe(distractor_count=bench.factor_for(36), clump_share=share)
            self.scatter(bench, recipe, make_body())
            # Share of the field's tiles of 400 Angstrom with anything in them.
            tiles = bench.density.sum(axis=0).reshape(5, 40, 5, 40).sum(axis=(1, 3))
            filled.append((tiles > 100).mean())
        assert filled[1] < filled[0]


class TestThickness:
    def test_varies_as_much_as_the_recipe_says(self) -> None:
        grid = VoxelGrid.isotropic((32, 64, 64), 100.0)
        slab = Slab(grid, 900.0, 1600.0, 0.0, 0.0)
        maps = [
            thickness_map(slab, make_recipe(thickness_variation=0.1), np.random.default_rng(seed)) for seed in range(60)
        ]
        assert maps[0].shape == (64, 64)
        assert maps[0].dtype == np.float32
        assert np.mean(maps) == pytest.approx(900, rel=0.03)
        assert np.std(maps) / 900 == pytest.approx(0.1, rel=0.15)
        # Smooth: neighbours, 100 Angstrom apart, differ by much less than the whole.
        assert np.mean([np.abs(np.diff(part, axis=0)).max() for part in maps]) < 40
        # Beyond a side of the box it goes on as it begins on the other.
        for axis in (0, 1):
            assert np.mean([np.abs(part.take(0, axis) - part.take(-1, axis)).max() for part in maps]) < 40

    def test_is_flat_without_variation_and_never_thinner_than_a_share(self) -> None:
        grid = VoxelGrid.isotropic((32, 40, 40), 100.0)
        slab = Slab(grid, 900.0, 1600.0, 0.0, 0.0)
        assert np.all(thickness_map(slab, make_recipe(), np.random.default_rng(0)) == 900)
        wild = thickness_map(slab, make_recipe(thickness_variation=1), np.random.default_rng(0))
        assert wild.min() >= 0.3 * 900


class TestWaves:
    def test_have_the_deviation_asked_for_in_either_form(self) -> None:
        random = np.random.default_rng(0)
        waves = Waves.draw((5.0, 20.0), 0.3, random, axes=2, count=12)
        rows, columns = np.arange(300.0), np.arange(280.0)
        field = waves.over(rows, columns)
        assert field.std() == pytest.approx(0.3, rel=0.15)
        points = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)
        assert np.allclose(field, waves.at(points), atol=1e-4)


def _structures(bench: Bench, recipe: SurroundingsRecipe) -> list[str]:
    return add_structures(
        bench.scene,
        recipe,
        bench.random,
        label=MEMBRANE_LABEL,
    )


def _crowd(bench: Bench, recipe: SurroundingsRecipe) -> list[str]:
    return fill_with_crowd(bench.scene, recipe, [make_body()], bench.random)


class TestStory:
    @pytest.mark.parametrize("step", [_structures, _crowd])
    def test_same_state_same_bytes(self, step: Callable[[Bench, SurroundingsRecipe], list[str]]) -> None:
        recipe = make_recipe(
            albumin_milligram_per_millilitre=10, lysate_milligram_per_millilitre=5, crowd_unevenness=0.3,
            distractor_count=300, clump_share=0.3, vesicle_count=50, vesicle_radius_angstrom=[100, 200],
            membrane_sheet_count=20, membrane_protein_share=0.3, vesicle_content_milligram_per_millilitre=50,
            gold_count=40, carbon_probability=1,
        )  # fmt: skip
        benches = [Bench(seed=seed) for seed in (5, 5, 6)]
        notes = [step(bench, recipe) for bench in benches]
        first, second, other = benches
        assert first.density.any()
        assert notes[0] == notes[1]
        assert np.array_equal(first.density, second.density)
        assert np.array_equal(first.labels, second.labels)
        assert np.array_equal(first.occupancy.taken_zyx, second.occupancy.taken_zyx)
        assert not np.array_equal(first.density, other.density)

    def test_an_empty_recipe_adds_nothing(self) -> None:
        bench = Bench()
        assert _structures(bench, make_recipe()) + _crowd(bench, make_recipe()) == []
        assert not bench.density.any()
        assert not bench.occupancy.taken_zyx.any()
