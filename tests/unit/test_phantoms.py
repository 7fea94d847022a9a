"""Phantoms: what their docstring promises."""

import logging

import numpy as np
import pytest
from scipy import fft, ndimage

from cryofind import czii
from cryofind.testing import Phantom, make_phantom, missing_wedge_mask
from cryofind.testing.phantoms import NOISE_SIGMA
from cryofind.testing.shapes import SHAPES, render_shape, shape_of
from cryofind.types import ParticleSpec, find_spec

SHAPE_ZYX = (64, 160, 144)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(seed=7, shape_zyx=SHAPE_ZYX, crowding=12.0)


@pytest.fixture(scope="module")
def clean() -> Phantom:
    return make_phantom(seed=7, shape_zyx=SHAPE_ZYX, crowding=12.0, noise=0.0)


def test_types_and_normalisation(phantom: Phantom) -> None:
    volume = phantom.tomogram.volume_zyx
    assert volume.dtype == np.float32
    assert volume.shape == SHAPE_ZYX
    assert phantom.tomogram.flavour == "denoised"
    assert abs(float(volume.mean())) < 1e-5
    assert float(volume.std()) == pytest.approx(1.0, abs=1e-4)
    assert phantom.labels.grid == phantom.tomogram.grid
    assert phantom.labels.names_by_label == {spec.label: spec.name for spec in czii.OBJECTS}


def test_default_crowding_holds_five_of_every_species() -> None:
    for seed in range(2):
        picks = make_phantom(seed=seed, shape_zyx=(64, 256, 256), noise=0.0).picks
        assert all(len(picks.of_object(name)) >= 5 for name in czii.OBJECT_NAMES)


def test_truth_lies_inside_and_on_its_label(phantom: Phantom) -> None:
    grid, picks = phantom.tomogram.grid, phantom.picks
    assert grid.contains(picks.positions_zyx_angstrom, margin_angstrom=30.0).all()
    indices = grid.nearest_indices_from_positions(picks.positions_zyx_angstrom)
    labels = phantom.labels.labels_zyx[tuple(indices.T)]
    expected = [find_spec(czii.OBJECTS, str(name)).label for name in picks.objects]
    assert labels.tolist() == expected


def test_picks_come_in_the_order_of_the_objects_with_rotations(phantom: Phantom) -> None:
    order = [czii.OBJECT_NAMES.index(str(name)) for name in phantom.picks.objects]
    assert order == sorted(order)
    rotations = phantom.picks.rotations_zyx
    assert rotations is not None
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.eye(3)[None].repeat(len(order), 0), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)


def test_particles_are_darker_than_what_surrounds_them(phantom: Phantom) -> None:
    volume, labels = phantom.tomogram.volume_zyx, phantom.labels.labels_zyx
    background = volume[labels == 0]
    for spec in czii.OBJECTS:
        assert volume[labels == spec.label].mean() < background.mean() - 0.3 * background.std(), spec.name
    smooth = ndimage.gaussian_filter(volume.astype(np.float32), 1.5)
    is_minimum = ndimage.minimum_filter(smooth, 5) == smooth
    distance = ndimage.distance_transform_edt(~is_minimum)
    near = distance[tuple(phantom.tomogram.grid.nearest_indices_from_positions(phantom.picks.positions_zyx_angstrom).T)]
    radii = [find_spec(czii.OBJECTS, str(name)).particle_radius_angstrom for name in phantom.picks.objects]
    assert (near * phantom.tomogram.grid.spacing_angstrom <= radii).all()


def test_missing_wedge_is_empty_without_noise(clean: Phantom) -> None:
    spectrum = np.abs(fft.rfftn(clean.tomogram.volume_zyx.astype(np.float64))) ** 2
    seen = np.broadcast_to(missing_wedge_mask(SHAPE_ZYX), spectrum.shape)
    assert spectrum[~seen].sum() < 1e-9 * spectrum[seen].sum()
    assert (spectrum[seen] > 0).mean() > 0.99


def test_missing_wedge_lies_around_the_beam_and_keeps_the_tilt_axis() -> None:
    seen = missing_wedge_mask((32, 20, 32))[:, 0, :]
    assert seen[0].all()  # kz = 0: the untilted view
    assert not seen[1:, 0].any()  # along z nothing but the mean
    assert 0.5 < seen.mean() < 0.56  # +-45 degrees of 180, in a half plane
    wide = missing_wedge_mask((32, 20, 32), max_tilt_degrees=60.0)[:, 0, :]
    assert wide.sum() > seen.sum()
    assert (wide | ~seen).all()


def test_elongation_along_the_beam() -> None:
    """What the wedge does to a ball: blurred along z, sharp along x and y."""
    ball = ParticleSpec("ball", 60.0, 1)
    phantom = make_phantom(seed=0, shape_zyx=(48, 48, 48), noise=0.0, objects=(ball,), crowding=0.0)
    spectrum = np.abs(fft.fftn(phantom.tomogram.volume_zyx.astype(np.float64))) ** 2
    along = [float(spectrum.sum(axis=tuple({0, 1, 2} - {axis}))[2:12].sum()) for axis in range(3)]
    assert along[0] < 0.5 * along[1]
    assert along[0] < 0.5 * along[2]


def test_same_seed_same_phantom() -> None:
    first, second, other = (make_phantom(seed=seed, shape_zyx=(24, 64, 64)) for seed in ((1, 2), (1, 2), (1, 3)))
    np.testing.assert_array_equal(first.tomogram.volume_zyx, second.tomogram.volume_zyx)
    np.testing.assert_array_equal(first.labels.labels_zyx, second.labels.labels_zyx)
    np.testing.assert_array_equal(first.picks.positions_zyx_angstrom, second.picks.positions_zyx_angstrom)
    assert not np.array_equal(first.tomogram.volume_zyx, other.tomogram.volume_zyx)


@pytest.mark.parametrize("shape_zyx", [(33, 64, 64), (32, 48, 65)])
def test_noise_has_its_amplitude_whatever_the_shape(shape_zyx: tuple[int, int, int]) -> None:
    from cryofind.testing.phantoms import _noise_amplitude

    white = np.random.default_rng(0).standard_normal(shape_zyx)
    colored = fft.irfftn(fft.rfftn(white) * _noise_amplitude(shape_zyx, 10.0), s=shape_zyx)
    assert float(colored.std()) == pytest.approx(NOISE_SIGMA, rel=0.15)


def test_more_noise_hides_more(clean: Phantom) -> None:
    truth = clean.tomogram.volume_zyx.astype(np.float64)
    agreement = []
    for noise in (0.5, 2.0):
        noisy = make_phantom(seed=7, shape_zyx=SHAPE_ZYX, crowding=12.0, noise=noise).tomogram.volume_zyx
        agreement.append(float((truth * noisy.astype(np.float64)).mean()))  # both have mean 0 and deviation 1
    assert agreement[0] > agreement[1] > 0.1


def test_unknown_objects_are_ellipsoids_and_segmentations_are_left_out() -> None:
    objects = (ParticleSpec("my-complex", 80.0, 5), ParticleSpec("membrane", None, 6, is_particle=False))
    phantom = make_phantom(seed=0, shape_zyx=(32, 64, 64), objects=objects, run="TS_1")
    assert phantom.picks.object_names == ("my-complex",)
    assert phantom.picks.run_names == ("TS_1",)
    assert set(np.unique(phantom.labels.labels_zyx)) == {0, 5}


def test_full_sample_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="cryofind"):
        phantom = make_phantom(seed=0, shape_zyx=(32, 48, 48), crowding=400.0, objects=czii.OBJECTS[3:4])
    assert "lower the crowding" in caplog.text
    assert 1 <= len(phantom.picks) < 50


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_rendering_keeps_mass_and_moves_with_the_offset(name: str) -> None:
    shape = SHAPES[name]
    middle, _ = render_shape(shape, np.eye(3), np.zeros(3), 10.0)
    offset = np.array([0.3, -0.4, 0.2])
    moved, support = render_shape(shape, np.eye(3), offset, 10.0)
    assert float(moved.sum()) == pytest.approx(float(middle.sum()), rel=1e-4)
    shift = np.subtract(ndimage.center_of_mass(moved), ndimage.center_of_mass(middle))
    np.testing.assert_allclose(shift, offset, atol=0.05)
    edge = np.ones_like(support)
    edge[1:-1, 1:-1, 1:-1] = False
    assert not support[edge].any()
    assert float(moved[edge].max()) < 0.02 * float(moved.max())


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_centre_of_a_particle_is_its_centre_of_mass(name: str) -> None:
    density, _ = render_shape(SHAPES[name], np.eye(3), np.zeros(3), 5.0)
    away = np.subtract(ndimage.center_of_mass(density), (np.array(density.shape) - 1) / 2) * 5.0
    assert float(np.linalg.norm(away)) < 6.0  # Angstrom


def test_rotation_turns_the_particle_as_the_convention_says() -> None:
    """Thyroglobulin is long along x of its own frame; a rotation that sends x to z makes it long along z."""
    x_to_z = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])  # zyx: column of x is (1, 0, 0)
    density, _ = render_shape(shape_of(czii.OBJECTS[4]), x_to_z, np.zeros(3), 10.0)
    axis = np.arange(len(density)) - len(density) // 2
    spread = [float((density.sum(axis=tuple({0, 1, 2} - {a})) * axis**2).sum()) for a in range(3)]
    assert spread[0] > 2 * max(spread[1:])
