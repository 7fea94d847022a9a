"""The layer of ice, the collision test, and layouts that match their recipe."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from cryofind.czii import TOMOGRAM_GRID
from cryofind.simulate import load_body, load_recipe
from cryofind.simulate.body import Body
from cryofind.simulate.layout import FACE_MARGIN_SHARE, Placement, draw_count, place_species, random_rotations
from cryofind.simulate.occupancy import TAKEN_SIGMAS, Occupancy
from cryofind.simulate.recipe import SampleRecipe, SpeciesRecipe
from cryofind.simulate.render import render_body
from cryofind.simulate.slab import Slab
from cryofind.types import VoxelGrid
from tests.conftest import REPOSITORY

Floats = NDArray[np.float64]

# A quarter of the challenge's area on a coarse grid.
WIDE = VoxelGrid.isotropic((92, 158, 158), 20.0)
BOX = VoxelGrid.isotropic((40, 40, 40), 10.0)
BEAD = Body("bead", np.zeros((1, 3)), np.array([50.0]), 15.0)


def ball(radius_angstrom: float, name: str = "ball", *, core_radius_angstrom: float = 0.0) -> Body:
    """Return beads 15 Angstrom apart in a ball, or between a core and a ball."""
    steps = np.arange(-radius_angstrom, radius_angstrom + 1, 15.0)
    lattice = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    distances = np.linalg.norm(lattice, axis=1)
    beads = lattice[(distances <= radius_angstrom) & (distances > core_radius_angstrom)]
    return Body.centered(name, beads, np.full(len(beads), 5.0), 10.0, core_radius_angstrom=core_radius_angstrom)


def sample(**values: float) -> SampleRecipe:
    table = {
        "slab_thickness_angstrom": 900,
        "slab_tilt_y_degrees": 0,
        "slab_tilt_x_degrees": 0,
        "slab_offset_angstrom": 0,
        "overlap": 0,
    }
    return SampleRecipe.model_validate(table | values)


def place(
    body: Body, kind: dict[str, object], seed: int = 0, grid: VoxelGrid = WIDE, **values: float
) -> tuple[Placement, Slab]:
    recipe = sample(**values)
    slab = Slab.build(recipe, grid)
    species = {"kind": SpeciesRecipe.model_validate(kind)}
    placements = place_species({"kind": body}, species, recipe, slab, Occupancy(grid), np.random.default_rng(seed))
    return placements["kind"], slab


def nearest_distances(positions: Floats) -> Floats:
    return np.asarray(cKDTree(positions).query(positions, k=2)[0][:, 1])


def test_slab_is_tilted_and_shifted_as_asked() -> None:
    slab = Slab.build(sample(slab_offset_angstrom=-200, slab_tilt_y_degrees=5, slab_tilt_x_degrees=-3), TOMOGRAM_GRID)
    height, depth, width = TOMOGRAM_GRID.extent_zyx_angstrom
    assert slab.middle_angstrom(depth / 2, width / 2) == pytest.approx(height / 2 - 200)
    rise = slab.middle_angstrom(depth / 2 + 1000, width / 2) - slab.middle_angstrom(depth / 2, width / 2)
    assert np.degrees(np.arctan(rise / 1000)) == pytest.approx(5)
    rise = slab.middle_angstrom(depth / 2, width / 2 + 1000) - slab.middle_angstrom(depth / 2, width / 2)
    assert np.degrees(np.arctan(rise / 1000)) == pytest.approx(-3)
    low, high = slab.faces_angstrom(depth / 2, width / 2)
    assert high - low == pytest.approx(900)


def test_slab_moves_into_a_shallow_box_and_fills_it() -> None:
    grid = VoxelGrid.isotropic((50, 60, 60), 10.0)
    slab = Slab.build(sample(slab_offset_angstrom=-300), grid)
    assert np.array(slab.faces_angstrom(300.0, 300.0)).tolist() == [0, 500]
    assert slab.share_in_box == pytest.approx(500 / 900)
    assert slab.contains(grid.positions_from_indices(np.indices(grid.shape_zyx).reshape(3, -1).T)).all()
    thin = Slab.build(sample(slab_offset_angstrom=-300, slab_thickness_angstrom=200), grid)
    assert np.array(thin.faces_angstrom(300.0, 300.0)).tolist() == [0, 200]


def test_amount_of_sample_goes_with_area_and_with_what_fits() -> None:
    assert Slab.build(sample(), TOMOGRAM_GRID).challenge_volumes == pytest.approx(1)
    half = VoxelGrid((184, 315, 630), TOMOGRAM_GRID.spacing_zyx_angstrom)
    assert Slab.build(sample(), half).challenge_volumes == pytest.approx(0.5)
    shallow = VoxelGrid((45, 315, 630), TOMOGRAM_GRID.spacing_zyx_angstrom)
    height = shallow.extent_zyx_angstrom[0]
    assert Slab.build(sample(), shallow).challenge_volumes == pytest.approx(0.5 * height / 900)


def test_the_slab_is_what_lies_between_its_faces() -> None:
    slab = Slab.build(sample(slab_thickness_angstrom=150, slab_tilt_y_degrees=20, slab_tilt_x_degrees=-9), BOX)
    voxels = BOX.positions_from_indices(np.indices(BOX.shape_zyx).reshape(3, -1).T)
    # Signed distance from the mid-plane along z, from the two angles.
    heights, y, x = (voxels - np.array(BOX.extent_zyx_angstrom) / 2).T
    rises = np.tan(np.radians(20)) * y - np.tan(np.radians(9)) * x
    np.testing.assert_array_equal(slab.contains(voxels), np.abs(heights - rises) <= 75)
    assert 0.3 < slab.contains(voxels).mean() < 0.4


def test_positions_are_spread_evenly_where_the_box_cuts_the_slab() -> None:
    # Along y the slab rises out of the box: whole in the middle, gone at the ends.
    grid = VoxelGrid.isotropic((30, 120, 40), 10.0)
    slab = Slab.build(sample(slab_thickness_angstrom=250, slab_tilt_y_degrees=25), grid)
    positions = slab.draw_positions(4000, np.random.default_rng(0))
    heights, _ = np.histogram(positions[:, 1], bins=12, range=(0, 1200))
    y = np.arange(0.5, 1200)
    low, high = slab.faces_angstrom(y, np.full_like(y, 200.0))
    expected = (high - low).reshape(12, 100).sum(axis=1)
    np.testing.assert_allclose(heights / 4000, expected / expected.sum(), atol=0.03)


def test_a_body_overlaps_itself_and_nothing_else() -> None:
    body, middle = ball(60.0), np.array([200.0, 200.0, 200.0])
    rotation = random_rotations(1, np.random.default_rng(0))[0]
    occupancy = Occupancy(BOX)
    assert occupancy.overlap(body, rotation, middle)[0] == 0
    occupancy.mark(body, rotation, middle)
    steps = np.array([0.0, 60.0, 100.0, 150.0, 10_000.0])
    shares = occupancy.overlap(body, rotation, middle + steps[:, None] * np.array([0, 0, 1.0]))
    assert shares[0] == 1
    assert 1 > shares[1] > shares[2] > 0
    assert shares[3:].tolist() == [0, 0]


def test_shares_are_by_mass() -> None:
    body = Body.centered("dumbbell", np.array([[0, 0, -60.0], [0, 0, 60.0]]), np.array([30.0, 10.0]), 10.0)
    left, right = body.centers_zyx_angstrom
    for taken, share in ((left, 0.75), (right, 0.25)):
        occupancy = Occupancy(BOX)
        occupancy.taken_zyx[tuple(np.rint((200 + taken) / 10).astype(int))] = True
        assert occupancy.overlap(body, np.eye(3), np.full(3, 200.0)) == pytest.approx(share)


def test_a_bead_takes_its_volume() -> None:
    taken = []
    for shift in np.random.default_rng(0).uniform(0, 10, (50, 3)):
        occupancy = Occupancy(BOX)
        occupancy.mark(BEAD, np.eye(3), 200 + shift)
        taken.append(occupancy.taken_zyx.sum() * 1000.0)
    assert np.mean(taken) == pytest.approx(4 / 3 * np.pi * (TAKEN_SIGMAS * 15) ** 3, rel=0.03)


def test_nothing_enters_a_hollow_core_and_no_core_closes_round_anything() -> None:
    shell, middle = ball(90.0, core_radius_angstrom=60.0), np.array([200.0, 200.0, 200.0])
    occupancy = Occupancy(BOX)
    occupancy.mark(shell, np.eye(3), middle)
    assert occupancy.overlap(BEAD, np.eye(3), middle) == 1
    occupancy = Occupancy(BOX)
    occupancy.mark(BEAD, np.eye(3), middle)
    assert occupancy.overlap(shell, np.eye(3), middle)[0] > 0.02


def test_marks_at_the_face_stay_in_the_box() -> None:
    occupancy = Occupancy(BOX)
    occupancy.mark(ball(60.0), np.eye(3), np.array([0.0, 200.0, 395.0]))
    assert occupancy.taken_zyx[:8, 12:28, 32:].any()
    occupancy.taken_zyx[:8, 12:28, 32:] = False
    assert not occupancy.taken_zyx.any()


def test_counts_match_the_recipe() -> None:
    counts = [place(BEAD, {"count": 41}, seed, crowding=0.8)[0].wanted for seed in range(60)]
    expected = 41 * 0.8 * (158 * 20.0) ** 2 / np.prod(TOMOGRAM_GRID.extent_zyx_angstrom[1:])
    assert np.mean(counts) == pytest.approx(expected, abs=0.2)
    assert set(counts) <= {int(expected), int(expected) + 1}


def test_a_count_is_never_rounded_to_none() -> None:
    random = np.random.default_rng(0)
    assert [draw_count(0.001, random) for _ in range(5)] == [1] * 5
    assert [draw_count(0.0, random) for _ in range(5)] == [0] * 5
    assert len(place(BEAD, {"count": 0})[0]) == 0


def test_particles_keep_to_the_slab_and_its_margins() -> None:
    body = ball(60.0)
    placement, slab = place(body, {"count": 300}, slab_tilt_y_degrees=4, edge_margin_angstrom=400)
    positions = placement.positions_zyx_angstrom
    assert len(positions) == placement.wanted > 50
    low, high = slab.faces_angstrom(positions[:, 1], positions[:, 2])
    margin = FACE_MARGIN_SHARE * body.radius_of_gyration_angstrom
    assert (positions[:, 0] >= low + margin).all()
    assert (positions[:, 0] <= high - margin).all()
    assert positions[:, 1:].min() >= 400
    assert (positions[:, 1:] <= np.array(WIDE.extent_zyx_angstrom[1:]) - 400).all()
    assert (np.abs(positions / 20.0 - np.rint(positions / 20.0)) > 1e-3).mean() > 0.9  # between the voxels


@pytest.mark.parametrize("clustering", [0.0, 0.4, 0.8])
def test_share_of_particles_with_a_neighbour_matches_the_recipe(clustering: float) -> None:
    kind = {
        "count": 240,
        "clustering": clustering,
        "neighbour_distance_angstrom": [80, 100],
        "least_distance_angstrom": 80,
    }
    layouts = [place(BEAD, kind, seed)[0].positions_zyx_angstrom for seed in range(12)]
    distances = np.concatenate([nearest_distances(positions) for positions in layouts])
    # The share that stands alone when each is put beside one of those before it: (1 - p) / (1 + p).
    assert np.mean(distances > 100) == pytest.approx((1 - clustering) / (1 + clustering), abs=0.06)
    assert distances.min() >= 80
    if clustering:
        # Drawn evenly; of several neighbours the nearest counts.
        assert 85 < np.median(distances[distances <= 100]) < 91


def test_particles_keep_the_least_distance() -> None:
    kind = {"count": 300, "clustering": 0.5, "neighbour_distance_angstrom": [150, 300]}
    assert nearest_distances(place(BEAD, kind)[0].positions_zyx_angstrom).min() < 200
    kind["least_distance_angstrom"] = 220
    assert nearest_distances(place(BEAD, kind)[0].positions_zyx_angstrom).min() >= 220


def test_what_does_not_fit_is_given_up() -> None:
    placement, _ = place(ball(90.0), {"count": 20_000}, grid=BOX, slab_thickness_angstrom=300)
    assert placement.wanted > 70
    assert 1 < len(placement) < 12
    assert len(placement.rotations_zyx) == len(placement)


def test_the_number_asked_for_takes_neither_memory_nor_time() -> None:
    placement, _ = place(ball(90.0), {"count": 1e12}, grid=BOX, slab_thickness_angstrom=300)
    assert placement.wanted > 10**9
    assert 1 < len(placement) < 12


def test_nothing_fits_into_a_full_box() -> None:
    occupancy, recipe = Occupancy(BOX), sample(slab_thickness_angstrom=300)
    occupancy.taken_zyx[:] = True
    species = {"kind": SpeciesRecipe.model_validate({"count": 900, "clustering": 1})}
    slab, random = Slab.build(recipe, BOX), np.random.default_rng(0)
    placement = place_species({"kind": BEAD}, species, recipe, slab, occupancy, random)["kind"]
    assert (len(placement), placement.wanted > 0) == (0, True)
    assert placement.positions_zyx_angstrom.shape == (0, 3)


def test_the_largest_go_first_and_the_order_of_the_recipe_stays() -> None:
    bodies = {"small": ball(30.0), "large": ball(120.0)}
    species = {name: SpeciesRecipe.model_validate({"count": 4000}) for name in bodies}
    recipe = sample(slab_thickness_angstrom=320)
    slab, random = Slab.build(recipe, BOX), np.random.default_rng(0)
    placements = place_species(bodies, species, recipe, slab, Occupancy(BOX), random)
    assert list(placements) == ["small", "large"]
    assert len(placements["large"]) >= 1  # there would be no room between so many small ones


def test_rotations_have_no_preferred_direction() -> None:
    rotations = random_rotations(4000, np.random.default_rng(0))
    np.testing.assert_allclose(rotations.mean(axis=0), 0, atol=0.04)
    # The trace of an even rotation is 1 + 2 cos(angle), with mean 0 and variance 1.
    traces = np.trace(rotations, axis1=1, axis2=2)
    assert traces.var() == pytest.approx(1, abs=0.08)


def test_voxels_that_have_a_label_keep_it() -> None:
    density, labels = np.zeros(BOX.shape_zyx, np.float32), np.zeros(BOX.shape_zyx, np.uint8)
    render_body(density, labels, BOX, ball(50.0), np.eye(3), np.array([200.0, 200.0, 180.0]), label=1)
    before = labels == 1
    render_body(density, labels, BOX, ball(50.0), np.eye(3), np.array([200.0, 200.0, 240.0]), label=2)
    np.testing.assert_array_equal(labels == 1, before)
    assert (labels == 2).sum() > 100
    render_body(density, labels, BOX, ball(50.0), np.eye(3), np.array([100.0, 100.0, 100.0]))
    assert set(np.unique(labels)) == {0, 1, 2}


def hash_of_a_drawing() -> str:
    random = np.random.default_rng(0)
    centers = random.uniform(-150, 150, (256, 3))
    body = Body.centered("blob", centers, random.uniform(5, 20, 256), 12.0)
    grid = VoxelGrid.isotropic((60, 60, 60), 10.0)
    density = np.zeros(grid.shape_zyx, np.float32)
    render_body(density, None, grid, body, np.eye(3), np.array([301.0, 298.0, 303.0]))
    return hashlib.sha256(density.tobytes()).hexdigest()


def test_bytes_do_not_depend_on_the_number_of_threads() -> None:
    other = "2" if os.environ.get("OPENBLAS_NUM_THREADS") == "1" else "1"
    script = f"from {__name__} import hash_of_a_drawing; print(hash_of_a_drawing())"
    environment = os.environ | {"OPENBLAS_NUM_THREADS": other, "OMP_NUM_THREADS": other}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == hash_of_a_drawing()


# Distances between nearest picks of one kind in the seven training tomograms of the CZII challenge: 5 % point, median.
REAL_NEAREST_ANGSTROM = {
    "apo-ferritin": (99, 130),
    "beta-amylase": (271, 859),
    "beta-galactosidase": (376, 761),
    "ribosome": (240, 300),
    "thyroglobulin": (320, 589),
    "virus-like-particle": (349, 783),
}


@pytest.mark.slow
def test_layouts_of_the_recipe_czii_stand_like_the_real_ones() -> None:
    recipe = load_recipe("czii")
    bodies = {name: load_body(name) for name in recipe.species}
    grid = VoxelGrid.isotropic((92, 315, 315), 20.025)
    found: dict[str, list[Floats]] = {name: [] for name in bodies}
    totals = []
    for seed in range(60):
        random = np.random.default_rng(seed)
        drawn = recipe.draw(random)
        slab = Slab.build(drawn.sample, grid)
        placements = place_species(bodies, drawn.species, drawn.sample, slab, Occupancy(grid), random)
        totals.append(sum(map(len, placements.values())))
        for name, placement in placements.items():
            found[name].append(nearest_distances(placement.positions_zyx_angstrom))
    for name, real in REAL_NEAREST_ANGSTROM.items():
        drawn_points = np.percentile(np.concatenate(found[name]), (5, 50))
        np.testing.assert_allclose(drawn_points, real, rtol=0.15, err_msg=name)
    assert np.mean(totals) == pytest.approx(181, rel=0.06)
