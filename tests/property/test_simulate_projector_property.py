"""The projector: exact adjoint, mass, periodic filling, and where in Fourier space a reconstruction lies."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cryofind.simulate import projector as projector_module
from cryofind.simulate.projector import Projector
from cryofind.simulate.reconstruct import weight_images

Floats = NDArray[np.float64]
Tilts = list[float]

shapes = st.tuples(st.integers(1, 20), st.integers(1, 70), st.integers(2, 24))
tilt_lists = st.lists(st.floats(-75, 75), min_size=1, max_size=6)
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=40, deadline=None)
@given(shape=shapes, tilts=tilt_lists, is_periodic=st.booleans(), seed=seeds)
def test_back_projection_is_the_adjoint(
    shape: tuple[int, int, int], tilts: Tilts, is_periodic: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    projector = Projector(shape, tilts, is_periodic=is_periodic)
    volume = random.standard_normal(shape, np.float32)
    images = random.standard_normal((len(tilts), *shape[1:]), np.float32)
    projected, back_projected = projector.project(volume), projector.back_project(images)
    left = np.vdot(projected.astype(float), images)
    right = np.vdot(volume.astype(float), back_projected)
    scale = np.linalg.norm(projected.astype(float)) * np.linalg.norm(images.astype(float)) + 1e-9
    assert abs(left - right) <= 1e-5 * scale


@settings(max_examples=30, deadline=None)
@given(depth=st.integers(1, 12), columns=st.integers(30, 40), tilt=st.floats(-75, 75), seed=seeds)
def test_what_falls_on_the_detector_keeps_its_mass_and_its_place(
    depth: int, columns: int, tilt: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    volume = np.zeros((depth, 3, columns), np.float32)
    volume[:, :, columns // 2 - 4 : columns // 2 + 4] = random.uniform(0.1, 1, (depth, 3, 8))
    image = Projector(volume.shape, [tilt]).project(volume)[0]
    np.testing.assert_allclose(image.sum(axis=1), volume.sum(axis=(0, 2)), rtol=1e-5)
    z, x = np.arange(depth) - (depth - 1) / 2, np.arange(columns) - (columns - 1) / 2
    turned = x * np.cos(np.deg2rad(tilt)) + z[:, None] * np.sin(np.deg2rad(tilt))
    expected = (volume * turned[:, None, :]).sum(axis=(0, 2)) / volume.sum(axis=(0, 2))
    np.testing.assert_allclose((image @ x) / image.sum(axis=1), expected, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(depth=st.integers(1, 30), columns=st.integers(8, 40), tilt=st.floats(-70, 70))
def test_a_periodic_layer_fills_the_field_of_view(depth: int, columns: int, tilt: float) -> None:
    layer = np.ones((depth, 1, columns), np.float32)
    image = Projector(layer.shape, [tilt], is_periodic=True).project(layer)[0, 0]
    # Longer path at high tilt; a row of voxels splats to 1 / cos up to the beat of two grids.
    expected = depth / np.cos(np.deg2rad(tilt))
    assert np.isclose(image.mean(), expected, rtol=0.08)
    assert image.min() > 0.6 * expected


@settings(max_examples=10, deadline=None)
@given(tilts=tilt_lists, seed=seeds)
def test_bytes_do_not_depend_on_the_number_of_threads(tilts: Tilts, seed: int) -> None:
    volume = np.random.default_rng(seed).standard_normal((5, 200, 9), np.float32)
    projector = Projector(volume.shape, tilts)
    results = []
    used = projector_module.THREADS
    try:
        for projector_module.THREADS in (1, 3):
            images = projector.project(volume)
            results.append((images.tobytes(), projector.back_project(images).tobytes()))
    finally:
        projector_module.THREADS = used
    assert results[0] == results[1]


@settings(max_examples=10, deadline=None)
@given(
    shape=st.tuples(*[st.integers(14, 24).map(lambda half: 2 * half)] * 3),
    lowest=st.integers(-65, -30),
    highest=st.integers(30, 65),
    step=st.integers(2, 4),
    offset=st.tuples(*[st.integers(-3, 3)] * 3),
)
def test_a_point_is_reconstructed_within_the_sampled_slices(
    shape: tuple[int, int, int], lowest: int, highest: int, step: int, offset: tuple[int, int, int]
) -> None:
    tilts = np.arange(lowest, highest + 1.0, step)
    point = np.zeros(shape, np.float32)
    point[tuple(size // 2 + move for size, move in zip(shape, offset, strict=True))] = 1
    projector = Projector(shape, tilts)
    volume = projector.back_project(weight_images(projector.project(point), tilts, shape[0]))
    energy = np.abs(np.fft.fftn(volume)) ** 2
    sampled = _sampled_slices(shape, tilts)
    assert sampled.mean() < 0.9
    assert float(energy[sampled].sum() / energy.sum()) >= 0.98


def _sampled_slices(shape_zyx: tuple[int, int, int], tilts_degrees: Floats) -> NDArray[np.bool_]:
    """Components no farther from a central slice than one voxel of the shortest side, an independent statement."""
    z, _, x = np.meshgrid(*map(np.fft.fftfreq, shape_zyx), indexing="ij")
    sampled = np.zeros(shape_zyx, bool)
    for tilt in np.deg2rad(tilts_degrees):
        along_beam = z * np.cos(tilt) - x * np.sin(tilt)  # the beam, seen from the sample, is (cos, -sin) in (z, x)
        sampled |= np.abs(along_beam) <= 1 / min(shape_zyx)
    return sampled
