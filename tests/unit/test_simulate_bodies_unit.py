"""Bodies: the shipped ones, generic ones, and those made from maps and atoms."""

import functools

import numpy as np
import pytest
from numpy.typing import NDArray

from cryofind import czii
from cryofind.simulate import distractors
from cryofind.simulate.bead_fit import Beads, find_core_radius
from cryofind.simulate.body import CUBIC_ANGSTROM_PER_KILODALTON, Body
from cryofind.simulate.densities import (
    NUCLEIC_PER_PROTEIN,
    SHIPPED_BODIES,
    body_from_atoms,
    body_from_map,
    body_names,
    choose_bead_count,
    fit_body,
    load_body,
)
from cryofind.simulate.distractors import SHAPES, SOLID_FRACTION, generic_bodies, spread_evenly

Floats = NDArray[np.float64]

# Radius of gyration, Angstrom, of the maps (the tetramer: of its construction), and mass as protein.
EXPECTED = {
    "apo-ferritin": (54.0, 479.0),
    "beta-amylase": (44.0, 224.0),
    "beta-galactosidase": (53.0, 465.0),
    "ribosome": (97.0, 3263.0),
    "thyroglobulin": (67.0, 660.0),
    "virus-like-particle": (133.6, 2502.0),
}


def sample_density(body: Body, places_zyx_angstrom: Floats) -> Floats:
    """Density of a body relative to solid protein, by brute force."""
    squares = np.square(places_zyx_angstrom[:, None, :] - body.centers_zyx_angstrom).sum(axis=2)
    height = CUBIC_ANGSTROM_PER_KILODALTON / (2 * np.pi * body.sigma_angstrom**2) ** 1.5
    return np.asarray(np.exp(-squares / (2 * body.sigma_angstrom**2)) @ body.masses_kilodalton * height, np.float64)


RADII_ANGSTROM = np.arange(2.5, 260.0, 5.0)


def draw_directions(count: int) -> Floats:
    directions = np.random.default_rng(0).standard_normal((count, 3))
    return np.asarray(directions / np.linalg.norm(directions, axis=1, keepdims=True))


@functools.cache
def radial_profile(body: Body) -> Floats:
    """Mean density on spheres about the centre; the same however the body is turned."""
    places = draw_directions(150)
    return np.array([sample_density(body, places * radius).mean() for radius in RADII_ANGSTROM])


@functools.cache
def species(name: str) -> Body:
    return load_body(name)


def lattice(half: int, spacing_angstrom: float) -> Floats:
    return np.asarray(np.moveaxis(np.indices((2 * half + 1,) * 3) - half, 0, -1).reshape(-1, 3) * spacing_angstrom)


def draw_map(body: Body, half: int, spacing_angstrom: float) -> Floats:
    return sample_density(body, lattice(half, spacing_angstrom)).reshape((2 * half + 1,) * 3)


def two_blobs(sigma_angstrom: float = 15.0) -> Body:
    centers = np.array([[-40.0, 10.0, 0.0], [30.0, -10.0, 20.0]])
    return Body.centered("two", centers, np.array([100.0, 50.0]), sigma_angstrom)


def test_the_six_species_of_the_challenge_are_shipped() -> None:
    assert sorted(body_names()) == sorted(czii.OBJECT_NAMES)
    assert SHIPPED_BODIES.stat().st_size < 60_000


@pytest.mark.parametrize("name", EXPECTED)
def test_shipped_bodies_have_their_mass_size_and_centre(name: str) -> None:
    body = load_body(name)
    radius, mass = EXPECTED[name]
    assert body.mass_kilodalton == pytest.approx(mass)
    assert body.radius_of_gyration_angstrom == pytest.approx(radius, rel=0.05)
    np.testing.assert_allclose(body.masses_kilodalton @ body.centers_zyx_angstrom, 0, atol=1e-6 * mass)
    assert 64 <= len(body.masses_kilodalton) <= 256
    assert body.name == name


@pytest.mark.parametrize("name", EXPECTED)
def test_shipped_bodies_are_as_dense_as_protein(name: str) -> None:
    body = load_body(name)
    at_beads = sample_density(body, body.centers_zyx_angstrom)
    assert 0.3 < np.median(at_beads) < 1.0
    assert at_beads.max() < 1.3


@pytest.mark.parametrize(("name", "wall_angstrom"), [("apo-ferritin", 48.0), ("virus-like-particle", 131.0)])
def test_shells_are_hollow(name: str, wall_angstrom: float) -> None:
    body = load_body(name)
    profile = radial_profile(body)
    assert RADII_ANGSTROM[np.argmax(profile)] == pytest.approx(wall_angstrom, abs=5)
    assert profile[RADII_ANGSTROM < wall_angstrom / 2].max() < 0.1 * profile.max()
    assert 0.75 * wall_angstrom < body.core_radius_angstrom < wall_angstrom


@pytest.mark.parametrize("name", ["beta-amylase", "beta-galactosidase", "ribosome", "thyroglobulin"])
def test_the_others_are_not_hollow(name: str) -> None:
    assert load_body(name).core_radius_angstrom == 0


@pytest.mark.parametrize("axis", range(3))
def test_beta_amylase_is_unchanged_by_half_turns(axis: int) -> None:
    body = load_body("beta-amylase")
    places = lattice(9, 8.0)
    turned = places * np.where(np.arange(3) == axis, 1, -1)
    density = sample_density(body, places)
    inside = density > 0.05
    assert np.corrcoef(density[inside], sample_density(body, turned)[inside])[0, 1] > 0.97
    # A mirror image is another molecule: the test can tell.
    mirrored = places * np.where(np.arange(3) == axis, -1, 1)
    assert np.corrcoef(density[inside], sample_density(body, mirrored)[inside])[0, 1] < 0.9


def test_beta_amylase_ends_where_published() -> None:
    radii = np.arange(5.0, 90.0, 1.0)
    directions = draw_directions(500)
    body = load_body("beta-amylase")
    densest = np.array([sample_density(body, directions * radius).max() for radius in radii])
    assert 58 < radii[densest > 0.5 * densest.max()].max() < 66


def test_generic_bodies_cover_the_range_of_masses_and_never_change() -> None:
    bodies = generic_bodies()
    masses = np.array([body.mass_kilodalton for body in bodies])
    assert len(bodies) == len(SHAPES) >= 12
    assert 50 <= masses.min() < 60
    assert 2000 < masses.max() <= 2500
    assert [body.name for body in bodies] == list(SHAPES)
    mass, draw = SHAPES["rod"]
    again = distractors.make_body("rod", mass, draw())
    first = next(body for body in bodies if body.name == "rod")
    assert again.centers_zyx_angstrom.tobytes() == first.centers_zyx_angstrom.tobytes()


@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_generic_bodies_have_the_density_of_protein(number: int) -> None:
    body = generic_bodies()[number]
    beads = sample_density(body, body.centers_zyx_angstrom)
    # As the shipped ones: 0.6 to 0.8.
    assert SOLID_FRACTION < np.median(beads) < 1.0
    assert 9 < body.sigma_angstrom < 15


@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_generic_bodies_do_not_look_like_a_species(number: int) -> None:
    body = generic_bodies()[number]
    own = radial_profile(body) * RADII_ANGSTROM**2
    for name in body_names():
        theirs = radial_profile(species(name)) * RADII_ANGSTROM**2
        difference = np.abs(own - theirs).sum() / min(own.sum(), theirs.sum())
        of_size = abs(np.log(body.radius_of_gyration_angstrom / species(name).radius_of_gyration_angstrom))
        # The most similar two species, beta-galactosidase and thyroglobulin, differ by 0.43 and 0.22.
        assert difference + of_size > 0.5, name


def test_no_generic_body_is_a_solid_ball_of_the_size_of_a_ribosome() -> None:
    def mean_within_100(body: Body) -> float:
        return float(np.average(radial_profile(body), weights=RADII_ANGSTROM**2 * (RADII_ANGSTROM < 100)))

    assert mean_within_100(species("ribosome")) > 0.5
    assert max(mean_within_100(body) for body in generic_bodies()) < 0.4


def test_points_are_spread_evenly() -> None:
    points = spread_evenly(4096)
    counts, _ = np.histogramdd(points, bins=4, range=[(0, 1)] * 3)
    # Random numbers would give 41 to 87.
    assert counts.min() > 0.85 * 64
    assert counts.max() < 1.15 * 64


def test_fit_finds_two_blobs() -> None:
    true = two_blobs()
    random = np.random.default_rng(1)
    points = np.concatenate(
        [center + true.sigma_angstrom * random.standard_normal((count, 3))
         for center, count in zip(true.centers_zyx_angstrom, (4000, 2000), strict=True)]
    )  # fmt: skip
    body = fit_body("two", points, np.ones(len(points)), mass_kilodalton=150.0, bead_count=2)
    order = np.argsort(-body.masses_kilodalton)
    np.testing.assert_allclose(body.masses_kilodalton[order], [100, 50], rtol=0.05)
    np.testing.assert_allclose(body.centers_zyx_angstrom[order], true.centers_zyx_angstrom, atol=2.0)
    assert body.sigma_angstrom == pytest.approx(15.0, rel=0.03)
    spread = np.sqrt(np.square(points - points.mean(axis=0)).sum(axis=1).mean())
    assert body.radius_of_gyration_angstrom == pytest.approx(spread, rel=1e-3)


@pytest.mark.parametrize("spacing_angstrom", [2.5, 6.0, 10.0])
def test_map_of_two_blobs_gives_them_back(spacing_angstrom: float) -> None:
    true = two_blobs()
    density = draw_map(true, int(95 / spacing_angstrom), spacing_angstrom).astype(np.float32)
    body = body_from_map("two", 7 * density + 3, spacing_angstrom, mass_kilodalton=150.0, bead_count=2)
    order = np.argsort(-body.masses_kilodalton)
    np.testing.assert_allclose(body.masses_kilodalton[order], [100, 50], rtol=0.03)
    np.testing.assert_allclose(body.centers_zyx_angstrom[order], true.centers_zyx_angstrom, atol=1.0)
    assert body.sigma_angstrom == pytest.approx(15.0, abs=0.7)
    assert body.mass_kilodalton == pytest.approx(150.0)


def test_map_keeps_its_orientation_and_unequal_spacing() -> None:
    places = np.moveaxis(np.indices((21, 41, 31)), 0, -1) * np.array([10.0, 5.0, 6.0]) - np.array([100.0, 100.0, 90.0])
    true = two_blobs()
    density = sample_density(true, places.reshape(-1, 3)).reshape(21, 41, 31)
    body = body_from_map("two", density, (10.0, 5.0, 6.0), mass_kilodalton=150.0, bead_count=2)
    heavy = body.centers_zyx_angstrom[np.argmax(body.masses_kilodalton)]
    np.testing.assert_allclose(heavy, true.centers_zyx_angstrom[0], atol=1.0)


def test_noise_and_dust_in_a_map_do_not_matter() -> None:
    true = load_body("beta-galactosidase")
    density = draw_map(true, 16, 9.0)
    noisy = density + 0.1 * density.max() * np.random.default_rng(0).standard_normal(density.shape)
    noisy[2:4, 2:4, 2:4] = density.max()
    body = body_from_map("x", noisy, 9.0, mass_kilodalton=465.0, bead_count=40)
    assert body.radius_of_gyration_angstrom == pytest.approx(true.radius_of_gyration_angstrom, rel=0.06)
    places = lattice(14, 8.0)
    wanted = sample_density(true, places)
    offset = np.average(places, axis=0, weights=wanted)
    inside = wanted > 0.05
    assert np.corrcoef(wanted[inside], sample_density(body, places - offset)[inside])[0, 1] > 0.94


def test_map_of_a_shell_gets_a_core() -> None:
    body = body_from_map("x", draw_map(species("apo-ferritin"), 10, 9.0), 9.0, mass_kilodalton=479.0, bead_count=60)
    assert body.core_radius_angstrom == pytest.approx(39, abs=5)
    solid = body_from_map("x", draw_map(two_blobs(), 11, 9.0), 9.0, mass_kilodalton=150.0, bead_count=6)
    assert solid.core_radius_angstrom == 0


def test_core_of_beads_on_a_sphere() -> None:
    directions = spread_evenly(400) - 0.5
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    shell = Beads(directions * 80, np.ones(400), 8.0)
    # A Gaussian wall of 80 +- 8 falls to half at 80 - 8 * sqrt(2 ln 2).
    assert find_core_radius(shell) == pytest.approx(80 - 9.4, abs=2)
    assert find_core_radius(Beads(directions * 20, np.ones(400), 12.0)) == 0


def test_the_same_map_gives_the_same_bytes() -> None:
    density = draw_map(species("beta-amylase"), 9, 10.0)
    first, second = (body_from_map("x", density, 10.0, mass_kilodalton=224.0) for _ in range(2))
    assert first.centers_zyx_angstrom.tobytes() == second.centers_zyx_angstrom.tobytes()
    assert first.masses_kilodalton.tobytes() == second.masses_kilodalton.tobytes()
    assert len(first.masses_kilodalton) == choose_bead_count(224.0) == 45


def test_atoms_keep_their_mass_size_and_orientation() -> None:
    true = two_blobs()
    random = np.random.default_rng(2)
    atoms = np.concatenate([true.centers_zyx_angstrom[0] + 12 * random.standard_normal((8000, 3)),
                            true.centers_zyx_angstrom[1] + 12 * random.standard_normal((4000, 3))])  # fmt: skip
    body = body_from_atoms("x", atoms + 500.0, np.full(12_000, 12.5), bead_count=2)
    assert body.mass_kilodalton == pytest.approx(150.0)
    order = np.argsort(-body.masses_kilodalton)
    np.testing.assert_allclose(body.centers_zyx_angstrom[order], true.centers_zyx_angstrom, atol=2.0)
    spread = np.sqrt(np.square(atoms - atoms.mean(axis=0)).sum(axis=1).mean() + 3 * 4.0**2)
    assert body.radius_of_gyration_angstrom == pytest.approx(spread, rel=0.03)


def test_nucleic_acid_counts_more() -> None:
    atoms = 15 * np.random.default_rng(2).standard_normal((3000, 3))
    masses = np.full(3000, 20.0)
    is_nucleic = np.arange(3000) < 1500
    body = body_from_atoms("x", atoms, masses, is_nucleic, bead_count=4)
    assert NUCLEIC_PER_PROTEIN == pytest.approx(1.09, abs=0.01)
    assert body.mass_kilodalton == pytest.approx(60.0 * (1 + NUCLEIC_PER_PROTEIN) / 2)
    assert masses.max() == 20.0


def test_a_very_small_molecule_is_one_bead_or_a_few() -> None:
    density = np.zeros((12, 12, 12))
    density[6, 6, 6] = 1.0
    body = body_from_map("x", density, 10.0, mass_kilodalton=0.5)
    assert len(body.masses_kilodalton) == 1
    assert body.mass_kilodalton == pytest.approx(0.5)
