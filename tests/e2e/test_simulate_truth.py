"""Whether a simulated tomogram shows its particles where the picks say, from the recipe to the voxels."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from cryofind.simulate import Cast, SimulatedRun, load_body, load_recipe, simulate_run
from cryofind.simulate.slab import Slab
from cryofind.types import ParticleSpec, VoxelGrid

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SPACING_ANGSTROM = 10.012
GRID = VoxelGrid.isotropic((64, 96, 96), SPACING_ANGSTROM)
FLAVOURS = ("wbp", "denoised")
# Particles alone, apart from each other, in a layer that keeps them within the box, at three times the usual dose.
SETTINGS = (
    "surroundings.albumin_milligram_per_millilitre=0",
    "surroundings.lysate_milligram_per_millilitre=0",
    "surroundings.distractor_count=0",
    "surroundings.vesicle_count=0",
    "surroundings.membrane_sheet_count=0",
    "surroundings.carbon_probability=0",
    "surroundings.gold_count=0",
    "sample.slab_thickness_angstrom=260",
    "sample.slab_offset_angstrom=0",
    "sample.overlap=0",
    "sample.edge_margin_angstrom=150",
    "microscope.total_dose_electrons_per_square_angstrom=180",
    'output.flavours=["wbp","denoised"]',
)
# Of each species: the count for the area of a challenge tomogram, which is 43 times that of the box; least distance;
# radius; whether the middle is hollow.
SPECIES = {"ribosome": (250, 380, 140.0, False), "apo-ferritin": (500, 200, 60.0, True)}


@pytest.fixture(scope="module", params=sorted(SPECIES))
def made(request: pytest.FixtureRequest) -> tuple[str, SimulatedRun]:
    """Return a species and a run of it alone."""
    name: str = request.param
    count, distance, radius, _ = SPECIES[name]
    own = (f"count={count}", f"least_distance_angstrom={distance}", "clustering=0")
    recipe = load_recipe("czii", (*SETTINGS, *(f"species.{name}.{setting}" for setting in own)))
    recipe = recipe.model_copy(update={"species": {name: recipe.species[name]}})
    specs = (ParticleSpec(name=name, label=1, radius_angstrom=radius),)
    return name, simulate_run(recipe, Cast({name: load_body(name)}, specs), GRID, run="R", seed=(3, 1))


def volume(run: SimulatedRun, flavour: str) -> Floats:
    return next(np.asarray(part.volume_zyx, np.float64) for part in run.tomograms if part.flavour == flavour)


def voxel_positions() -> Floats:
    return GRID.positions_from_indices(np.moveaxis(np.indices(GRID.shape_zyx), 0, -1))


def find_ice(run: SimulatedRun) -> Bools:
    slab = Slab.build(run.recipe.sample, GRID)
    return slab.contains(voxel_positions().reshape(-1, 3)).reshape(GRID.shape_zyx)


def find_protein(name: str, position_zyx_angstrom: Floats) -> Bools:
    """Return voxels that are protein for sure: within half of the radius, or in a ring."""
    _, _, radius, is_hollow = SPECIES[name]
    distances = np.linalg.norm(voxel_positions() - position_zyx_angstrom, axis=-1)
    return np.asarray((distances > 0.55 * radius) & (distances < radius) if is_hollow else distances < radius / 2)


def find_offset(name: str, image: Floats, run: SimulatedRun) -> Floats:
    """Return the shift, in voxels, at which balls at the picks lie on what is darkest in the image."""
    balls = np.zeros(GRID.shape_zyx)
    for position in run.sample.picks.positions_zyx_angstrom:
        balls += np.linalg.norm(voxel_positions() - position, axis=-1) < SPECIES[name][2]
    smooth = ndimage.gaussian_filter(balls, 2.0)
    correlation = np.fft.ifftn(np.fft.fftn(image - image.mean()) * np.conj(np.fft.fftn(smooth))).real
    darkest = np.array(np.unravel_index(np.argmin(correlation), GRID.shape_zyx))
    half = np.array(GRID.shape_zyx) // 2
    return np.asarray((darkest + half) % GRID.shape_zyx - half, np.float64)


def test_particles_lie_at_their_picks_in_the_clean_density(made: tuple[str, SimulatedRun]) -> None:
    name, run = made
    density, picks = run.sample.density_zyx, run.sample.picks
    parts, count = ndimage.label(density > 0.02, structure=np.ones((3, 3, 3)))
    centers = SPACING_ANGSTROM * np.array(ndimage.center_of_mass(density, parts, range(1, count + 1)))
    offsets = np.linalg.norm(centers[:, None] - picks.positions_zyx_angstrom, axis=2)
    assert count == len(picks) >= 4
    assert set(picks.objects.tolist()) == {name}
    assert offsets.min(axis=0).max() < SPACING_ANGSTROM / 10
    assert offsets.min(axis=1).max() < SPACING_ANGSTROM / 10


@pytest.mark.parametrize(("flavour", "least_share"), [("wbp", 0.9), ("denoised", 1.0)])
def test_particles_are_darker_than_the_ice(made: tuple[str, SimulatedRun], flavour: str, least_share: float) -> None:
    name, run = made
    image = volume(run, flavour)
    median = np.median(image[find_ice(run)])
    positions = run.sample.picks.positions_zyx_angstrom
    is_dark = [image[find_protein(name, position)].mean() < median for position in positions]
    assert np.mean(is_dark) >= least_share


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_tomogram_is_darkest_at_the_picks_and_not_beside_them(made: tuple[str, SimulatedRun], flavour: str) -> None:
    name, run = made
    assert np.abs(find_offset(name, volume(run, flavour), run)).max() <= 2
