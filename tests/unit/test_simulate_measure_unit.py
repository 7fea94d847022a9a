"""Measurements of tomograms against volumes with known answers."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import fft, ndimage

from cryofind.simulate.look import GREY_SCALES_ANGSTROM, GROUPS, SPECTRUM_BINS, Texture, summarize
from cryofind.simulate.measure import (
    count_blobs,
    cut_boxes,
    measure_spectrum,
    measure_texture,
    spectrum_frequencies,
)
from cryofind.simulate.measure_defocus import measure_defocus
from cryofind.simulate.measure_slab import SlabMeasurement, measure_slab
from cryofind.simulate.measure_tilts import measure_tilts

Floats = NDArray[np.float64]
Volume = NDArray[np.float32]
SPACING = 10.0


def back_project_noise(tilts_degrees: NDArray[np.int64], shape_zyx: tuple[int, int, int], seed: int = 0) -> Volume:
    """Return ramp-filtered white noise, back-projected about y: a reconstruction of nothing."""
    random = np.random.default_rng(seed)
    depth, rows, columns = shape_zyx
    z, x = np.arange(depth)[:, None] - depth // 2, np.arange(columns) - columns // 2
    volume = np.zeros((rows, depth, columns), np.float32)
    for tilt in np.radians(tilts_degrees):
        noise = random.standard_normal((rows, columns))
        lines = fft.irfft(fft.rfft(noise) * np.fft.rfftfreq(columns), n=columns).astype(np.float32)
        places = (x * np.cos(tilt) + z * np.sin(tilt) + columns // 2) % columns
        below = np.floor(places).astype(int)
        share = (places - below).astype(np.float32)
        volume += lines[:, below % columns] * (1 - share) + lines[:, (below + 1) % columns] * share
    return np.ascontiguousarray(volume.transpose(1, 0, 2))


def make_ice(
    shape_zyx: tuple[int, int, int], slab: SlabMeasurement, *, noise: float = 1.0, seed: int = 0
) -> NDArray[np.float64]:
    """Return dark blobs within a layer, in white noise everywhere."""
    random = np.random.default_rng(seed)
    z, y, x = np.ix_(*((np.arange(size) - size / 2) * SPACING for size in shape_zyx))
    rise_y, rise_x = np.tan(np.radians([slab.tilt_y_degrees, slab.tilt_x_degrees]))
    height = z - slab.offset_angstrom - rise_y * y - rise_x * x
    is_particle = (random.random(shape_zyx) < 1e-3) & (np.abs(height) < slab.thickness_angstrom / 2)
    density = ndimage.gaussian_filter(is_particle.astype(np.float32), 3.0)
    return np.asarray(-density / density.std() + noise * random.standard_normal(shape_zyx), np.float64)


class TestTilts:
    @pytest.mark.parametrize(("highest", "step"), [(45, 3), (60, 2), (51, 3)])
    def test_range_and_axis_of_a_reconstruction(self, highest: int, step: int) -> None:
        volume = back_project_noise(np.arange(-highest, highest + 1, step), (64, 16, 160))
        measured = measure_tilts(volume)
        assert measured.maximum_degrees == pytest.approx(highest, abs=1.5)
        assert measured.axis == "y"

    def test_axis_along_x(self) -> None:
        volume = back_project_noise(np.arange(-45, 46, 3), (64, 16, 160)).swapaxes(1, 2)
        measured = measure_tilts(volume)
        assert measured.axis == "x"
        assert measured.maximum_degrees == pytest.approx(45, abs=1.5)

    @pytest.mark.parametrize("step", [2, 3, 4])
    def test_step_where_the_box_is_deep_enough_for_spokes_to_stand_apart(self, step: int) -> None:
        volume = back_project_noise(np.arange(-48, 49, step), (200, 8, 256))
        measured = measure_tilts(volume)
        assert measured.step_degrees == step
        assert measured.maximum_degrees == pytest.approx(48, abs=0.5)

    def test_a_wedge_that_is_partly_filled(self) -> None:
        volume = back_project_noise(np.arange(-45, 46, 3), (64, 16, 160))
        volume += 0.5 * volume.std() * np.random.default_rng(1).standard_normal(volume.shape)
        assert measure_tilts(volume).maximum_degrees == pytest.approx(45, abs=1.5)

    def test_white_noise_has_no_wedge(self) -> None:
        measured = measure_tilts(np.random.default_rng(0).standard_normal((64, 64, 96)))
        assert (measured.maximum_degrees, measured.step_degrees) == (None, None)


class TestSlab:
    @pytest.mark.parametrize(
        "slab",
        [
            SlabMeasurement(800, -150, 3, -4),
            SlabMeasurement(600, 100, -5, 0),
            SlabMeasurement(500),
        ],
    )
    def test_layer_with_vacuum(self, slab: SlabMeasurement) -> None:
        measured = measure_slab(make_ice((140, 192, 192), slab, noise=8.0), SPACING)
        assert not measured.is_whole_box
        assert measured.thickness_angstrom == pytest.approx(slab.thickness_angstrom, abs=150)
        assert measured.offset_angstrom == pytest.approx(slab.offset_angstrom, abs=60)
        assert measured.tilt_y_degrees == pytest.approx(slab.tilt_y_degrees, abs=3)
        assert measured.tilt_x_degrees == pytest.approx(slab.tilt_x_degrees, abs=3)

    def test_layer_thicker_than_the_box(self) -> None:
        measured = measure_slab(make_ice((96, 128, 128), SlabMeasurement(2000)), SPACING)
        assert measured == SlabMeasurement(960, is_whole_box=True)

    def test_noise_alone_has_no_layer(self) -> None:
        assert measure_slab(np.random.default_rng(3).standard_normal((96, 128, 128)), SPACING).is_whole_box

    def test_middle_rises_along_y_and_x(self) -> None:
        slab = SlabMeasurement(500, 30, 45, -45)
        assert slab.middle_angstrom(1000, 10, 0) == pytest.approx(540)
        assert slab.middle_angstrom(1000, 0, 10) == pytest.approx(520)


class TestDefocus:
    @pytest.mark.parametrize("defocus", [2.0, 3.5, 5.0])
    def test_rings_of_a_deconvolution(self, defocus: float) -> None:
        noise = np.random.default_rng(0).standard_normal((64, 128, 128))
        transfer = self.transfer(noise.shape, defocus)
        volume = self.filter(noise, transfer / (transfer**2 + 0.01))
        assert measure_defocus(volume, SPACING, None).defocus_micrometre == pytest.approx(defocus, abs=0.2)

    def test_raw_tomogram_has_no_rings_of_a_deconvolution(self) -> None:
        random = np.random.default_rng(0)
        signal = ndimage.gaussian_filter(random.standard_normal((64, 128, 128)), 2.0)
        seen = self.filter(signal / signal.std(), self.transfer(signal.shape, 3.0))
        assert measure_defocus(seen + random.standard_normal(seen.shape), SPACING, None).defocus_micrometre is None

    @staticmethod
    def transfer(shape: tuple[int, ...], defocus_micrometre: float) -> Floats:
        z, y, x = np.ix_(*(np.fft.fftfreq(size, SPACING) for size in shape))
        squares = z**2 + y**2 + x**2
        wavelength = 0.0196875  # Angstrom at 300 kV
        phase = np.pi * wavelength * defocus_micrometre * 1e4 * squares - np.pi / 2 * wavelength**3 * 2.7e7 * squares**2
        return np.asarray(np.sin(phase + 0.08))

    @staticmethod
    def filter(volume: Floats, factor: Floats) -> Floats:
        return np.asarray(fft.ifftn(fft.fftn(volume) * factor).real)


class TestTexture:
    def test_white_noise(self) -> None:
        texture = measure_texture(np.random.default_rng(0).standard_normal((48, 96, 96)), SPACING, 60.0)
        assert np.nanmax(np.abs(texture.log_spectrum[10:])) < 0.2
        assert np.abs(texture.skewness).max() < 0.1
        np.testing.assert_allclose(texture.log_kurtosis, np.log(3), atol=0.1)
        assert np.abs(texture.log_wedge).max() < 0.2

    def test_spectrum_peaks_where_a_wave_is(self) -> None:
        wave = np.sin(2 * np.pi * np.arange(128) / 8).astype(np.float32) * np.ones((32, 96, 1), np.float32)
        spectrum = measure_spectrum(wave, SPACING, 60.0)
        edges = spectrum_frequencies(SPACING)
        assert np.nanargmax(spectrum) in {np.searchsorted(edges, 1 / 80) - 1, np.searchsorted(edges, 1 / 80)}

    def test_unsampled_components_are_left_out(self) -> None:
        along_z = np.sin(2 * np.pi * np.arange(64) / 8).astype(np.float32)[:, None, None] * np.ones(
            (1, 96, 96), np.float32
        )
        inside, everywhere = (measure_spectrum(along_z, SPACING, limit) for limit in (60.0, None))
        assert np.nanmax(everywhere) > np.nanmax(inside) + 3

    def test_dark_blobs_are_counted_and_skew_the_grey_values(self) -> None:
        volume = np.zeros((60, 100, 100), np.float32)
        volume[15::30, 10::20, 10::20] = -1.0
        blobs = ndimage.gaussian_filter(volume, 3.0)
        noise = np.random.default_rng(0).standard_normal(volume.shape).astype(np.float32)
        dark = (blobs / blobs.std() + 0.3 * noise).astype(np.float32)
        # 50 blobs in 0.6 cubes of 0.1 micrometre
        assert count_blobs(dark, SPACING) == pytest.approx(50 / 0.6, rel=0.1)
        assert count_blobs(-dark, SPACING) < 10
        assert measure_texture(dark, SPACING, None).skewness[-1] < -1
        assert measure_texture(-dark, SPACING, None).skewness[-1] > 1

    def test_grey_scale_does_not_matter(self) -> None:
        volume = np.random.default_rng(0).standard_normal((32, 64, 64))
        first = measure_texture(volume, SPACING, 45.0).vector()
        second = measure_texture(1e-5 * volume + 3e-3, SPACING, 45.0).vector()
        np.testing.assert_allclose(first, second, atol=1e-3)

    def test_vector_and_back(self) -> None:
        vector = np.arange(sum(count for _, count, _ in GROUPS), dtype=np.float64)
        np.testing.assert_array_equal(Texture.from_vector(vector).vector(), vector)
        assert Texture.from_vector(vector).skewness.shape == (len(GREY_SCALES_ANGSTROM),)


class TestLook:
    def test_distance_counts_in_tolerances_and_groups_alike(self) -> None:
        vector = np.zeros(sum(count for _, count, _ in GROUPS))
        look = summarize([Texture.from_vector(vector)] * 3, np.zeros((8, 8, 8)))
        assert look.distance(Texture.from_vector(vector)) == 0
        spectrum_off, blobs_off = vector.copy(), vector.copy()
        spectrum_off[:SPECTRUM_BINS] = look.tolerance[:SPECTRUM_BINS]
        blobs_off[-1] = look.tolerance[-1]
        assert look.distance(Texture.from_vector(spectrum_off)) == pytest.approx(1 / np.sqrt(len(GROUPS)))
        assert look.distance(Texture.from_vector(blobs_off)) == pytest.approx(1 / np.sqrt(len(GROUPS)))

    def test_tolerance_is_the_spread_of_the_boxes(self) -> None:
        rows = np.zeros((5, sum(count for _, count, _ in GROUPS)))
        rows[:, 0] = [-2, -1, 0, 1, 2]
        look = summarize([Texture.from_vector(row) for row in rows], np.zeros((8, 8, 8)))
        assert look.tolerance[0] == pytest.approx(1.4826)
        assert look.tolerance[1] == GROUPS[0][2]

    def test_spread_of_simulations_widens_the_tolerance(self) -> None:
        vector = np.zeros(sum(count for _, count, _ in GROUPS))
        look = summarize([Texture.from_vector(vector)] * 2, np.zeros((8, 8, 8)))
        off = vector.copy()
        off[0] = 2.0
        steady, unsteady = [Texture.from_vector(vector)] * 2, [Texture.from_vector(vector), Texture.from_vector(off)]
        assert look.widened([unsteady]).tolerance[0] == pytest.approx(np.sqrt(2))
        assert look.widened([unsteady, steady]).tolerance[0] == pytest.approx(np.sqrt(2) / 2)
        np.testing.assert_array_equal(look.widened([steady]).tolerance, look.tolerance)

    def test_boxes_follow_the_layer(self) -> None:
        z = np.broadcast_to(np.arange(120, dtype=np.float32)[:, None, None], (120, 500, 192))
        boxes = cut_boxes(z, SlabMeasurement(500, -100, 4, 0), SPACING)
        middles = [float(box.mean()) + 0.5 for box in boxes]
        assert {box.shape for box in boxes} == {(45, 192, 192)}
        rise = np.tan(np.radians(4)) * (500 - 192) / 2
        assert sorted(middles) == pytest.approx([50 - rise, 50, 50 + rise], abs=1)
