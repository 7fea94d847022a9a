"""Membranes in the ice: their profile, how they are painted, how many there are."""

import re

import numpy as np
import pytest
from scipy.spatial import cKDTree

from cryofind.simulate.bilayer import HEAD_DISTANCE_ANGSTROM, HEAD_HEIGHT, MembranePainter, bilayer_profile
from cryofind.simulate.body import PROTEIN_VOLTS_ABOVE_ICE
from cryofind.simulate.membranes import add_membranes
from cryofind.simulate.solids import add_gold
from cryofind.simulate.surfaces import Sheet, Vesicle
from cryofind.simulate.waves import Waves
from cryofind.types import VoxelGrid
from tests.ice import FLAT, MEMBRANE_LABEL, SPACING_ANGSTROM, Bench, make_recipe, make_sphere

FLAT_IN_PLANE = Waves(np.zeros((1, 2)), np.zeros(1), np.zeros(1))
# What two POPC molecules of 172 A on 65 A^2 scatter above 38 A of ice: as much as so many Angstrom of protein.
LIPIDS_ANGSTROM = (2 * 172 * 47.88 / 65 - 38 * 4.53) / PROTEIN_VOLTS_ABOVE_ICE


class TestBilayerProfile:
    def test_has_two_head_groups_and_tails_below_ice(self) -> None:
        distances = np.linspace(-60, 60, 1201, dtype=np.float32)
        profile = bilayer_profile(distances)
        assert abs(distances[np.argmax(profile)]) == pytest.approx(HEAD_DISTANCE_ANGSTROM, abs=0.5)
        assert profile.max() == pytest.approx(HEAD_HEIGHT, abs=0.01)
        assert profile[600] < 0
        assert np.allclose(profile, profile[::-1], atol=1e-6)

    def test_sums_up_to_what_the_lipids_scatter_above_the_ice_they_displace(self) -> None:
        distances = np.linspace(-150, 150, 3001, dtype=np.float32)
        for blur in (0.0, 6.0):
            total = float(bilayer_profile(distances, blur_angstrom=blur).sum()) * 0.1
            assert total == pytest.approx(LIPIDS_ANGSTROM, rel=0.02)


class TestMembranePainter:
    def test_a_sphere_has_its_bilayer_at_its_radius(self) -> None:
        bench = Bench(thickness_angstrom=640.0)
        bench.painter.paint(make_sphere(230.0))
        radii = np.linalg.norm(bench.positions() - np.array(bench.grid.extent_zyx_angstrom) / 2, axis=-1)
        expected = bilayer_profile((radii - 230.0).astype(np.float32), blur_angstrom=SPACING_ANGSTROM / 12**0.5)
        assert np.abs(bench.density - expected)[radii > 60].max() < 0.12
        assert np.all(
            (bench.labels == MEMBRANE_LABEL)[np.abs(np.abs(radii - 230.0) - 25.0) > 1.0]
            == (np.abs(radii - 230.0) <= 25.0)[np.abs(np.abs(radii - 230.0) - 25.0) > 1.0]
        )
        assert np.array_equal(bench.occupancy.taken_zyx, bench.labels == MEMBRANE_LABEL)

    @pytest.mark.parametrize("spacing", [10.0, 20.0])
    def test_what_a_sphere_weighs_follows_from_its_area(self, spacing: float) -> None:
        bench = Bench(VoxelGrid.isotropic((64, 64, 64), spacing), thickness_angstrom=64 * spacing)
        vesicle = make_sphere(240.0, bench.grid)
        bench.painter.paint(vesicle)
        total = float(bench.density.sum(dtype=np.float64)) * spacing**3
        # A shell of two leaflets at r + 19 and r - 19: 1 + (19 / r)^2 of the area at the middle.
        assert total == pytest.approx(vesicle.area_square_angstrom * LIPIDS_ANGSTROM * (1 + (19 / 240) ** 2), rel=0.04)

    @pytest.mark.parametrize("seed", range(4))
    def test_marks_what_is_near_to_a_deformed_vesicle(self, seed: int) -> None:
        bench = Bench(thickness_angstrom=640.0, seed=seed)
        undulation = Waves.draw((1.2, 4.0), 0.05, bench.random, axes=3, count=6)
        axes = bench.random.uniform(180, 260, 3)
        vesicle = Vesicle(np.array([320.0, 400.0, 480.0]), axes, np.eye(3), undulation)
        bench.painter.paint(vesicle)
        points, _ = vesicle.draw_points(30_000, bench.random)
        cells = bench.random.integers(0, bench.grid.shape_zyx, size=(20_000, 3))
        distance, _ = cKDTree(points).query(bench.grid.positions_from_indices(cells), distance_upper_bound=60.0)
        is_membrane = bench.labels[tuple(cells.T)] == MEMBRANE_LABEL
        assert np.percentile(distance[is_membrane], 99) < 25 + 6
        assert np.percentile(distance[~is_membrane], 0.5) > 25 - 6

    def test_the_faces_of_the_ice_cut_a_vesicle_off(self) -> None:
        bench = Bench(thickness_angstrom=300.0, slope=0.1)
        bench.painter.paint(make_sphere(220.0))
        is_ice = bench.slab.contains(bench.positions().reshape(-1, 3)).reshape(bench.grid.shape_zyx)
        assert np.all(bench.density[~is_ice] == 0)
        assert np.all(bench.labels[~is_ice] == 0)
        assert np.any(bench.labels[is_ice] == MEMBRANE_LABEL)

    def test_a_sheet_is_open_and_as_heavy_as_its_area(self) -> None:
        bench = Bench(thickness_angstrom=640.0)
        sheet = Sheet(
            np.array([320.0, 400.0, 480.0]), np.eye(3), np.array([250.0, 350.0]), FLAT_IN_PLANE, FLAT_IN_PLANE
        )
        bench.painter.paint(sheet)
        total = float(bench.density.sum(dtype=np.float64)) * SPACING_ANGSTROM**3
        assert total == pytest.approx(sheet.area_square_angstrom * LIPIDS_ANGSTROM, rel=0.06)
        assert bench.labels[32].any()
        assert not bench.labels[:, :10].any()

    def test_keeps_labels_that_are_there_and_writes_none_for_0(self) -> None:
        bench = Bench(thickness_angstrom=640.0)
        bench.labels[:] = 2
        bench.painter.paint(make_sphere(200.0))
        assert np.all(bench.labels == 2)
        plain = Bench(thickness_angstrom=640.0)
        MembranePainter(plain.scene, 1.0, 0).paint(make_sphere(200.0))
        assert plain.density.any()
        assert not plain.labels.any()

    def test_leaves_gaps_in_a_broken_vesicle(self) -> None:
        bench = Bench(thickness_angstrom=640.0)
        gaps = Waves.draw((300, 600), 1.0, bench.random, axes=3, count=6)
        sphere = make_sphere(230.0)
        closed = Bench(thickness_angstrom=640.0)
        closed.painter.paint(sphere)
        bench.painter.paint(Vesicle(sphere.center_zyx_angstrom, sphere.axes_angstrom, np.eye(3), FLAT, gaps))
        assert 0.5 < (bench.labels > 0).sum() / (closed.labels > 0).sum() < 0.97

    def test_draws_the_part_of_a_vesicle_that_lies_in_the_box(self) -> None:
        bench = Bench(thickness_angstrom=640.0)
        vesicle = Vesicle(np.array([320.0, -50.0, 480.0]), np.full(3, 200.0), np.eye(3), FLAT)
        bench.painter.paint(vesicle)
        assert bench.labels[32, 14:16, 48].any()
        outside = Vesicle(np.array([320.0, -900.0, 480.0]), np.full(3, 200.0), np.eye(3), FLAT)
        before = bench.density.copy()
        bench.painter.paint(outside)
        assert np.array_equal(bench.density, before)

    def test_contents_lie_within_and_weigh_what_they_should(self) -> None:
        bench = Bench(thickness_angstrom=640.0)
        vesicle = make_sphere(250.0)
        bench.painter.fill(vesicle, 400.0, bench.random)
        assert bench.mass_kilodalton == pytest.approx(400 * 6.022e-7 * vesicle.volume_cubic_angstrom, rel=0.15)
        radii = np.linalg.norm(bench.positions() - vesicle.center_zyx_angstrom, axis=-1)
        assert np.abs(bench.density[radii > 300]).max() < 1e-3

    def test_protein_sits_beside_the_membrane(self) -> None:
        bench = Bench(thickness_angstrom=640.0)
        bench.painter.add_protein(make_sphere(200.0), 0.3, bench.random)
        radii = np.linalg.norm(bench.positions() - np.array(bench.grid.extent_zyx_angstrom) / 2, axis=-1)
        near = np.abs(radii - 200.0) < 100
        assert bench.density[near].sum() > 0.98 * bench.density.sum() > 0


class TestAddMembranes:
    def test_adds_the_number_asked_for_and_scales_it_with_the_box(self) -> None:
        recipe = make_recipe(vesicle_count=4, vesicle_radius_angstrom=[120, 200])
        bench = Bench(VoxelGrid.isotropic((64, 200, 200), SPACING_ANGSTROM))
        notes = add_membranes(
            bench.scene,
            recipe,
            1.0,
            bench.random,
            label=MEMBRANE_LABEL,
        )
        assert notes == []
        amount = (bench.labels > 0).sum()
        none = Bench(seed=1)
        add_membranes(none.scene, recipe, 0.0, none.random, label=1)
        assert amount > 0
        assert not none.density.any()

    def test_says_what_did_not_fit(self) -> None:
        bench = Bench()
        recipe = make_recipe(vesicle_count=12, vesicle_radius_angstrom=[200, 300], membrane_sheet_count=6)
        notes = add_membranes(bench.scene, recipe, 1.0, bench.random, label=1)
        assert [note.split()[-1] for note in notes] == ["vesicles", "sheets"]
        assert "of 12 vesicles" in notes[0]

    def test_the_rest_is_given_up_when_nothing_fits_any_more(self) -> None:
        bench = Bench()
        recipe = make_recipe(
            vesicle_count=1e9, vesicle_radius_angstrom=[200, 300], membrane_sheet_count=1e9, gold_count=1e9
        )
        notes = add_membranes(bench.scene, recipe, 1.0, bench.random, label=1)
        bench.occupancy.taken_zyx[:] = True
        notes += add_gold(bench.scene, recipe, 1.0, bench.random)
        counts = [[int(count) for count in re.findall(r"\d+", note)] for note in notes]
        assert [wanted for _, wanted in counts] == [10**9] * 3
        assert 1 <= counts[0][0] < 20
        assert counts[1][0] < 20
        assert counts[2][0] == 0

    @pytest.mark.parametrize("thickness", [40.0, 120.0])
    def test_goes_through_thin_ice(self, thickness: float) -> None:
        bench = Bench(thickness_angstrom=thickness)
        recipe = make_recipe(vesicle_count=3, membrane_sheet_count=2, membrane_protein_share=0.5)
        add_membranes(bench.scene, recipe, 1.0, bench.random, label=1)
        assert np.isfinite(bench.density).all()
