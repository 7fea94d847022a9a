"""Properties of placing and drawing that hold for any seed, slab and place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryofind.simulate.body import CUBIC_ANGSTROM_PER_KILODALTON, Body
from cryofind.simulate.layout import place_species, random_rotations
from cryofind.simulate.occupancy import Occupancy
from cryofind.simulate.recipe import SampleRecipe, SpeciesRecipe
from cryofind.simulate.render import render_body
from cryofind.simulate.slab import Slab
from cryofind.types import VoxelGrid

GRID = VoxelGrid.isotropic((40, 48, 44), 10.012)


def make_body(random: np.random.Generator, reach_angstrom: float = 40.0, count: int = 30) -> Body:
    centers = random.uniform(-reach_angstrom, reach_angstrom, (count, 3))
    return Body.centered("blob", centers, random.uniform(2, 8, count), float(random.uniform(8, 14)))


def make_slab(grid: VoxelGrid, thickness: float, tilt_y: float, tilt_x: float, offset: float) -> Slab:
    table = {
        "slab_thickness_angstrom": thickness,
        "slab_tilt_y_degrees": tilt_y,
        "slab_tilt_x_degrees": tilt_x,
        "slab_offset_angstrom": offset,
    }
    return Slab.build(SampleRecipe.model_validate(table), grid)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_mass_and_centre_of_mass_are_where_the_body_is(seed: int) -> None:
    random = np.random.default_rng(seed)
    body = make_body(random)
    position = np.asarray(GRID.extent_zyx_angstrom) / 2 + random.uniform(-60, 60, 3)
    density = np.zeros(GRID.shape_zyx, np.float32)
    render_body(density, None, GRID, body, random_rotations(1, random)[0], position)
    voxels = body.mass_kilodalton * CUBIC_ANGSTROM_PER_KILODALTON / np.prod(GRID.spacing_zyx_angstrom)
    assert density.sum() == pytest.approx(voxels, rel=5e-4)
    center = np.tensordot(density, np.indices(GRID.shape_zyx), axes=([0, 1, 2], [1, 2, 3])) / density.sum()
    np.testing.assert_allclose(center, GRID.indices_from_positions(position), atol=0.02)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.permutations([0, 1, 2]))
def test_drawing_commutes_with_turning_the_axes(seed: int, axes: list[int]) -> None:
    random = np.random.default_rng(seed)
    body, rotation, position = make_body(random), random_rotations(1, random)[0], random.uniform(50, 350, 3)
    first = np.zeros(GRID.shape_zyx, np.float32)
    render_body(first, None, GRID, body, rotation, position)
    shape = tuple(GRID.shape_zyx[axis] for axis in axes)
    second = np.zeros(shape, np.float32)
    grid = VoxelGrid.isotropic(shape, GRID.spacing_angstrom)
    render_body(second, None, grid, body, rotation[axes], position[axes])
    np.testing.assert_allclose(second, first.transpose(axes), atol=1e-5)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10_000),
    st.tuples(st.integers(2, 60), st.integers(2, 60), st.integers(2, 60)),
    st.floats(20, 1500),
    st.floats(-30, 30),
    st.floats(-30, 30),
    st.floats(-1000, 1000),
    st.floats(0, 500),
)
def test_drawn_positions_lie_in_slab_and_box(
    seed: int, shape: tuple[int, int, int], thickness: float, tilt_y: float, tilt_x: float, offset: float, margin: float
) -> None:
    grid = VoxelGrid.isotropic(shape, 10.0)
    slab = make_slab(grid, thickness, tilt_y, tilt_x, offset)
    positions = slab.draw_positions(
        50, np.random.default_rng(seed), margin_xy_angstrom=margin, margin_z_angstrom=margin
    )
    assert positions.shape == (50, 3)
    assert slab.contains(positions, margin_xy_angstrom=margin, margin_z_angstrom=margin).all()
    assert (positions >= 0).all()
    assert (positions <= grid.extent_zyx_angstrom).all()
    heights_from_middle = positions[:, 0] - slab.middle_angstrom(positions[:, 1], positions[:, 2])
    assert np.abs(heights_from_middle).max() <= thickness / 2 + 1e-6
    assert 0 < slab.share_in_box <= 1 + 1e-9


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.04, 0.3]))
def test_no_body_lies_deeper_in_those_before_it_than_allowed(seed: int, overlap: float) -> None:
    random = np.random.default_rng(seed)
    bodies = {"small": make_body(random, 20.0, 10), "large": make_body(random, 50.0)}
    species = {name: SpeciesRecipe.model_validate({"count": 4000}) for name in bodies}
    sample = SampleRecipe.model_validate({"slab_thickness_angstrom": 300, "overlap": overlap, "crowding": 1})
    slab = make_slab(GRID, 300, 2, 1, 0)
    placements = place_species(bodies, species, sample, slab, Occupancy(GRID), random)
    replay = Occupancy(GRID)
    for name in ("large", "small"):  # the largest first
        placed = placements[name]
        for position, rotation in zip(placed.positions_zyx_angstrom, placed.rotations_zyx, strict=True):
            assert replay.overlap(bodies[name], rotation, position)[0] <= overlap
            replay.mark(bodies[name], rotation, position)
    assert len(placements["large"]) > 2


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10_000))
def test_the_same_state_of_the_generator_gives_the_same_bytes(seed: int) -> None:
    def lay_out() -> list[NDArray[np.float64]]:
        random = np.random.default_rng(seed)
        bodies = {"blob": make_body(random)}
        species = {"blob": SpeciesRecipe.model_validate({"count": 1000, "clustering": 0.5})}
        slab = make_slab(GRID, 300, 2, 1, 0)
        placement = place_species(
            bodies, species, SampleRecipe.model_validate({"overlap": 0}), slab, Occupancy(GRID), random
        )["blob"]
        return [placement.positions_zyx_angstrom, placement.rotations_zyx, random.random(3)]

    for first, second in zip(lay_out(), lay_out(), strict=True):
        assert first.tobytes() == second.tobytes()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10_000))
def test_rotations_are_rotations(seed: int) -> None:
    rotations = random_rotations(5, np.random.default_rng(seed))
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), (5, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-12)
