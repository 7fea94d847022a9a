"""Microscope: signs, places, doses and noise, against what physics says."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from cryofind.errors import ConfigError
from cryofind.simulate import projector as projector_module
from cryofind.simulate.ctf import Optics, ctf_2d, dose_attenuation, electron_wavelength_angstrom, interaction_constant
from cryofind.simulate.microscope import image_sample, plan_tilts
from cryofind.simulate.projector import Projector
from cryofind.simulate.reconstruct import reconstruct
from cryofind.types import VoxelGrid
from tests.tilt_series import GRID, SPACING, Volume, draw_ball, microscope, reconstruction, take_series

Floats = NDArray[np.float64]


class TestContrastTransfer:
    def test_zeros_lie_where_the_phase_is_a_multiple_of_pi(self) -> None:
        optics, defocus_angstrom = Optics(300, 2.7, 0.07), 3e4
        wavelength, aberration = electron_wavelength_angstrom(300), 2.7e7
        # pi (lambda D s - Cs lambda^3 s^2 / 2) + arcsin A = n pi is a quadratic in s = k^2.
        numbers = np.arange(1, 4)
        constant = numbers - np.arcsin(0.07) / np.pi
        a, b = aberration * wavelength**3 / 2, wavelength * defocus_angstrom
        zeros = np.sqrt((b - np.sqrt(b**2 - 4 * a * constant)) / (2 * a))
        assert 1 / zeros[0] == pytest.approx(24.6, abs=0.1)
        samples, spacing = 20000, 4.0
        ctf = ctf_2d((1, samples), spacing, 3.0, optics)[0]
        frequencies = np.fft.rfftfreq(samples, spacing)
        crossings = np.flatnonzero(np.diff(np.sign(ctf)))
        np.testing.assert_allclose(frequencies[crossings][:3], zeros, atol=frequencies[1] * 1.5)

    def test_it_is_the_amplitude_contrast_at_the_origin_and_positive_next_to_it(self) -> None:
        ctf = ctf_2d((64, 64), SPACING, 3.0, Optics(amplitude_contrast=0.1))
        assert ctf[0, 0] == pytest.approx(0.1, abs=1e-6)
        assert ctf[0, :10].min() > 0

    def test_envelope(self) -> None:
        plain, damped = (ctf_2d((8, 64), SPACING, 3.0, Optics(envelope_b_square_angstrom=b)) for b in (0, 400))
        # At the Nyquist frequency, 1/20 per Angstrom: exp(-400 / 4 / 400).
        assert damped[0, -1] == pytest.approx(plain[0, -1] * np.exp(-0.25), rel=1e-4)

    def test_constants_of_300_kilovolts(self) -> None:
        assert electron_wavelength_angstrom(300) == pytest.approx(0.019687, rel=1e-4)
        assert interaction_constant(300) == pytest.approx(6.526e-4, rel=1e-3)

    def test_damage_leaves_low_resolution_and_halves_the_power_at_the_critical_dose(self) -> None:
        critical = 0.245 * 20**1.665 + 2.81  # at the Nyquist frequency of 10 Angstrom
        left = dose_attenuation((4, 64), SPACING, 2 * critical)
        assert left[0, 0] == 1
        assert left[0, -1] == pytest.approx(np.exp(-1), rel=1e-4)
        assert np.all(np.diff(left[0]) < 0)


class TestTiltScheme:
    def test_default_is_31_tilts_in_dose_symmetric_order(self) -> None:
        scheme = plan_tilts(microscope(), np.random.default_rng(0))
        np.testing.assert_allclose(scheme.tilts_degrees, np.arange(-45, 46, 3))
        taken = scheme.tilts_degrees[np.argsort(scheme.dose_before_electrons_per_square_angstrom)]
        np.testing.assert_allclose(taken[:9], [0, 3, -3, -6, 6, 9, -9, -12, 12])
        assert scheme.dose_electrons_per_square_angstrom == pytest.approx(2.0)
        np.testing.assert_allclose(np.sort(scheme.dose_before_electrons_per_square_angstrom), np.arange(31) * 2.0)

    def test_dropped_views_are_missing_and_their_dose_is_spent(self) -> None:
        scheme = plan_tilts(microscope(dropped_tilts=3), np.random.default_rng(0))
        assert len(scheme.tilts_degrees) == 28
        assert np.all(np.diff(scheme.tilts_degrees) > 0)
        assert 0 in scheme.tilts_degrees
        assert scheme.dose_electrons_per_square_angstrom == pytest.approx(2.0)
        assert set(scheme.dose_before_electrons_per_square_angstrom) < set(np.arange(31) * 2.0)

    def test_range_below_the_step_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"2 degrees at a step of 3 leave 1 tilt.*raise it"):
            plan_tilts(microscope(tilt_maximum_degrees=2), np.random.default_rng(0))

    def test_no_number_of_dropped_views_leaves_less_than_three(self) -> None:
        recipe = microscope(tilt_maximum_degrees=6, dropped_tilts=9)
        assert len(plan_tilts(recipe, np.random.default_rng(0)).tilts_degrees) == 3


class TestNoise:
    def test_dose_and_variance_are_as_predicted(self) -> None:
        series = take_series(np.zeros((8, 150, 160), np.float32), microscope(), thickness=1000.0)
        path = 1000 / np.cos(np.deg2rad(series.tilts_degrees))
        expected = 62 / 31 * SPACING**2 * 0.85 * np.exp(-path / 3100)
        np.testing.assert_allclose(series.electrons_per_pixel, expected, rtol=0.01)
        full = (series.halves_tyx[0] + series.halves_tyx[1]) / 2
        np.testing.assert_allclose(full.var(axis=(1, 2)).mean(), (1 / expected).mean(), rtol=0.01)
        np.testing.assert_allclose(full.var(axis=(1, 2)), 1 / expected, rtol=0.06)  # 4 sd of 24,000 samples
        halves = np.stack(series.halves_tyx)
        np.testing.assert_allclose(halves.var(axis=(2, 3)).mean(axis=1), (2 / expected).mean(), rtol=0.03)

    def test_noise_of_the_halves_is_independent(self) -> None:
        series = take_series(np.zeros((8, 150, 160), np.float32), microscope())
        first, second = (half.astype(float).ravel() for half in series.halves_tyx)
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.006  # 5 sd

    def test_an_image_without_electrons_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="without electrons"):
            take_series(np.zeros((4, 8, 8), np.float32), microscope(total_dose_electrons_per_square_angstrom=1e-9))

    def test_gold_does_not_take_more_than_the_beam(self) -> None:
        series = take_series(20 * draw_ball((15.5, 36, 40), 6), microscope())
        assert np.isfinite(series.halves_tyx[0]).all()
        assert min(half.min() for half in series.halves_tyx) >= -1

    def test_the_same_seed_gives_the_same_bytes_with_any_number_of_threads(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recipe = microscope(shift_error_angstrom=5, angle_error_degrees=0.3, defocus_jitter_micrometre=0.1)
        found = []
        for threads in (1, 3):
            monkeypatch.setattr(projector_module, "THREADS", threads)
            series = take_series(draw_ball((15, 30, 40)), recipe, seed=3)
            volumes = reconstruct(series, GRID, reconstruction(), ["wbp", "denoised"], np.random.default_rng(1))
            found.append([volumes.full["wbp"].tobytes(), *(half.tobytes() for half in volumes.halves)])
        assert found[0] == found[1]
        other = take_series(draw_ball((15, 30, 40)), recipe, seed=4)
        assert not np.array_equal(other.halves_tyx[0], series.halves_tyx[0])


class TestImages:
    def test_contrast_of_a_flat_phase_is_minus_twice_the_amplitude_contrast(self) -> None:
        bright = microscope(total_dose_electrons_per_square_angstrom=1e6, mean_free_path_angstrom=1e9)
        empty = take_series(np.zeros((8, 40, 40), np.float32), bright)
        filled = take_series(np.full((8, 40, 40), 0.5, np.float32), bright)
        phase = 6.526e-4 * 2.3 * 0.5 * 80  # 80 Angstrom of half protein at 2.3 V
        ratio = filled.electrons_per_pixel[15] / empty.electrons_per_pixel[15]
        assert ratio == pytest.approx(1 - 2 * 0.07 * phase, abs=2e-4)

    def test_thickness_is_looked_up_along_the_tilted_beam(self) -> None:
        density = np.zeros((20, 30, 120), np.float32)
        density[15] = 1e-6  # the layer lies 5.5 voxels above the middle
        paths = np.full((30, 120), 300, np.float32)
        paths[:, 80:90] = 2000
        recipe = microscope(total_dose_electrons_per_square_angstrom=1e6)
        grid = VoxelGrid.isotropic(density.shape, SPACING)
        series = image_sample(density, paths, grid, recipe, np.random.default_rng(0))
        for tilt in (0, 12, 27):
            angle = np.deg2rad(series.tilts_degrees[tilt])
            profile = series.halves_tyx[0][tilt].mean(axis=0)
            shade = np.maximum(np.median(profile) - profile, 0)[20:110]
            found = shade @ np.arange(20, 110) / shade.sum()
            expected = 59.5 + (84.5 - 59.5) * np.cos(angle) + 5.5 * np.sin(angle)
            assert found == pytest.approx(expected, abs=0.7)

    def test_damage_fades_high_resolution_in_the_order_of_the_doses(self) -> None:
        density = np.random.default_rng(0).standard_normal((2, 64, 64)).astype(np.float32)
        bright = {"total_dose_electrons_per_square_angstrom": 1e7, "mean_free_path_angstrom": 1e9}
        fresh = take_series(density, microscope(**bright))
        # The dose is enormous to have no noise, so the damage is scaled to that of 62 electrons per square Angstrom.
        worn = take_series(density, microscope(**bright, damage=62e-7))
        y, x = np.fft.fftfreq(64, SPACING), np.fft.rfftfreq(64, SPACING)
        radius = np.hypot(y[:, None], x)
        ring = (radius > 1 / 32) & (radius < 1 / 28)
        left = [
            np.sqrt(np.square(np.abs(np.fft.rfft2(b)[ring])).sum() / np.square(np.abs(np.fft.rfft2(a)[ring])).sum())
            for a, b in zip(fresh.halves_tyx[0], worn.halves_tyx[0], strict=True)
        ]
        borne = fresh.scheme.dose_before_electrons_per_square_angstrom * 62e-7 + 1
        critical = 0.245 * 30**1.665 + 2.81
        np.testing.assert_allclose(left, np.exp(-borne / 2 / critical), atol=0.01)

    def test_angle_errors_are_in_the_images(self) -> None:
        density = draw_ball((26, 36, 60), 2.5)
        recipe = microscope(total_dose_electrons_per_square_angstrom=1e7, angle_error_degrees=4)
        series = take_series(density, recipe)
        errors = series.true_tilts_degrees - series.tilts_degrees
        assert errors.std() == pytest.approx(4, rel=0.3)
        tilts = np.deg2rad(series.true_tilts_degrees)
        expected = 39.5 + (60 - 39.5) * np.cos(tilts) + (26 - 15.5) * np.sin(tilts)
        profiles = ndimage.gaussian_filter1d(series.halves_tyx[0].mean(axis=1), 1.5, axis=1)
        # At high tilt the next repeat of the sample comes into view on the left.
        np.testing.assert_allclose(30 + profiles[:, 30:].argmin(axis=1), expected, atol=1.0)

    def test_shifts_move_the_image(self) -> None:
        density = draw_ball((15.5, 36, 40))
        recipe = microscope(total_dose_electrons_per_square_angstrom=1e6, shift_error_angstrom=40)
        still, moved = (
            take_series(density, changed, seed=1)
            for changed in (microscope(total_dose_electrons_per_square_angstrom=1e6), recipe)
        )
        moves = np.array([_registration(a, b) for a, b in zip(still.halves_tyx[0], moved.halves_tyx[0], strict=True)])
        assert np.all((moves.std(axis=0) > 2.5) & (moves.std(axis=0) < 6))  # 4 voxels along y and along x
        assert np.abs(moves.mean(axis=0)).max() < 2.5

    def test_the_side_at_greater_z_is_farther_out_of_focus(self) -> None:
        density = np.random.default_rng(0).standard_normal((2, 64, 400)).astype(np.float32)
        recipe = microscope(total_dose_electrons_per_square_angstrom=1e7, mean_free_path_angstrom=1e9)
        last = take_series(density, recipe).halves_tyx[0][-1]  # +45 degrees: x rises as z' falls
        left, right = (np.abs(np.fft.fft2(part)) ** 2 for part in (last[:, :100], last[:, -100:]))
        # The first zero, at 24.6 Angstrom for 3 um, moves to higher resolution nearer to focus.
        y, x = np.fft.fftfreq(64, SPACING), np.fft.fftfreq(100, SPACING)
        radius = np.hypot(y[:, None], x)
        ring = (radius > 1 / 24.4) & (radius < 1 / 23)
        assert left[ring].mean() > 1.5 * right[ring].mean()

    def test_tilt_is_the_right_handed_rotation_about_y(self) -> None:
        volume = draw_ball((9, 30, 58)) + 0.6 * draw_ball((24, 40, 20), 3)
        angle = np.deg2rad(20)
        cosine, sine = np.cos(angle), np.sin(angle)
        # x' = x cos + z sin, z' = -x sin + z cos; affine_transform asks where an output voxel comes from.
        back = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
        middle = (np.array(volume.shape) - 1) / 2
        padded = np.pad(volume, ((20, 20), (0, 0), (0, 0)))
        middle_padded = middle + np.array([20, 0, 0])
        turned = ndimage.affine_transform(padded, back, middle_padded - back @ middle_padded, order=1)
        image = Projector(volume.shape, [20.0]).project(volume)[0]
        mirrored = Projector(volume.shape, [-20.0]).project(volume)[0]
        expected = turned.sum(axis=0)
        assert np.corrcoef(image.ravel(), expected.ravel())[0, 1] > 0.999
        assert np.corrcoef(mirrored.ravel(), expected.ravel())[0, 1] < 0.8


def _registration(still: Volume, moved: Volume) -> Floats:
    """Return by how many voxels (y, x) the second image is moved against the first."""
    product = np.conj(np.fft.fft2(still)) * np.fft.fft2(moved)
    peak = np.unravel_index(np.argmax(np.fft.ifft2(product).real), still.shape)
    shape = np.array(still.shape)
    return np.asarray((np.array(peak) + shape // 2) % shape - shape // 2, float)
