"""Reconstruction and denoising of simulated tilt series: signs, places and scales."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.fft import rfftn

from cryofind.simulate.ctf import Optics, ctf_2d
from cryofind.simulate.denoise import Shells, find_signal, settle_correlation, wiener_denoise
from cryofind.simulate.microscope import TiltSeries
from cryofind.simulate.projector import Projector
from cryofind.simulate.reconstruct import (
    deconvolution_factor,
    estimate_defocus,
    high_pass_factor,
    reconstruct,
    solve_sirt,
    weight_images,
)
from tests.tilt_series import GRID, SPACING, Volume, draw_ball, microscope, reconstruction, take_series

Floats = NDArray[np.float64]


def centre_of_dark(volume: Volume, near_zyx: tuple[float, float, float]) -> Floats:
    """Return the centre of mass of what is darker than half the minimum, round about a place."""
    depth = np.maximum(-volume - 0.5 * -volume.min(), 0)
    labels, _ = ndimage.label(depth > 0)
    lowest = np.unravel_index(np.argmin(volume), volume.shape)
    assert np.linalg.norm(np.subtract(lowest, near_zyx)) < 3
    return np.asarray(ndimage.center_of_mass(depth, labels, labels[lowest]))


class TestReconstruction:
    CENTRE = (11.0, 30.0, 52.0)

    def make_series(self, radius: float = 4.0, **changes: Any) -> TiltSeries:
        recipe = microscope(total_dose_electrons_per_square_angstrom=1e5, **changes)
        return take_series(draw_ball(self.CENTRE, radius), recipe)

    @pytest.mark.parametrize("method", ["wbp", "sirt"])
    def test_a_particle_is_dark_at_its_place(self, method: str) -> None:
        recipe = reconstruction(method=method, sirt_iterations=8)
        flavours = ["wbp", "ctfdeconvolved", "denoised"]
        volumes = reconstruct(self.make_series(2.0), GRID, recipe, flavours, np.random.default_rng(0))
        for volume in (*volumes.full.values(), *volumes.halves):
            assert volume.shape == GRID.shape_zyx
            assert volume.dtype == np.float32
            np.testing.assert_allclose(centre_of_dark(volume, self.CENTRE), self.CENTRE, atol=0.5)

    def test_the_mean_of_the_halves_is_the_full_tomogram(self) -> None:
        series = take_series(draw_ball(self.CENTRE), microscope())
        both = reconstruct(series, GRID, reconstruction(), ["ctfdeconvolved", "denoised"], np.random.default_rng(0))
        alone = reconstruct(series, GRID, reconstruction(), ["ctfdeconvolved"], np.random.default_rng(0))
        assert alone.halves == ()
        scale = alone.full["ctfdeconvolved"].std()
        np.testing.assert_allclose(sum(both.halves) / 2, alone.full["ctfdeconvolved"], atol=1e-4 * scale)
        np.testing.assert_allclose(both.full["ctfdeconvolved"], alone.full["ctfdeconvolved"], atol=1e-4 * scale)

    def test_deconvolution_restores_low_resolution(self) -> None:
        series = self.make_series()
        volumes = reconstruct(series, GRID, reconstruction(), ["wbp", "ctfdeconvolved"], np.random.default_rng(0))
        truth = -draw_ball(self.CENTRE).ravel()
        raw, restored = (np.corrcoef(volumes.full[name].ravel(), truth)[0, 1] for name in ("wbp", "ctfdeconvolved"))
        assert raw < 0.6
        assert restored > raw + 0.1

    def test_the_mean_of_an_image_does_not_matter(self) -> None:
        series = self.make_series()
        brighter = replace(series, halves_tyx=(series.halves_tyx[0] + 0.5, series.halves_tyx[1] + 0.5))
        flavours = ["wbp", "ctfdeconvolved"]
        plain, other = (
            reconstruct(one, GRID, reconstruction(), flavours, np.random.default_rng(0)) for one in (series, brighter)
        )
        for flavour in flavours:
            scale = plain.full[flavour].std()
            np.testing.assert_allclose(plain.full[flavour], other.full[flavour], atol=1e-3 * scale)

    def test_the_estimated_defocus_is_deconvolved(self) -> None:
        series = self.make_series()
        truth, wrong = (
            reconstruct(series, GRID, reconstruction(**error), ["ctfdeconvolved"], np.random.default_rng(0))
            for error in ({}, {"defocus_error_micrometre": 0.2})
        )
        first, second = (volumes.full["ctfdeconvolved"].ravel() for volumes in (truth, wrong))
        agreement = np.corrcoef(first, second)[0, 1]
        assert 0.8 < agreement < 0.995

    def test_high_pass_of_the_deconvolution_spares_high_resolution(self) -> None:
        shape = (8, 200)
        high_pass = high_pass_factor(shape, SPACING, 500)[0]
        k = np.fft.rfftfreq(200, SPACING)
        assert high_pass[0] == 0
        assert high_pass[k == 1 / 1000][0] == pytest.approx(0.5, abs=1e-3)
        assert np.all(high_pass[k >= 1 / 500] > 0.999)
        ctf = ctf_2d(shape, SPACING, 3.0, Optics())
        plain, passed = deconvolution_factor(ctf, 0.002), deconvolution_factor(ctf, 0.002, np.tile(high_pass, (8, 1)))
        np.testing.assert_allclose(plain, ctf / (ctf**2 + 0.002), rtol=1e-5)
        np.testing.assert_allclose(passed[0, k >= 1 / 500], plain[0, k >= 1 / 500], rtol=1e-3)
        assert passed[0, 0] == 0

    def test_weighted_back_projection_keeps_the_scale(self) -> None:
        tilts = np.arange(-88, 89, 2.0)
        density = draw_ball((16, 36, 40), 7)
        projector = Projector(GRID.shape_zyx, tilts)
        volume = projector.back_project(weight_images(projector.project(density), tilts, GRID.shape_zyx[0]))
        assert volume[density > 0.99].mean() == pytest.approx(1, abs=0.1)

    def test_sirt_reduces_the_residual(self) -> None:
        density = draw_ball(self.CENTRE)
        projector = Projector(GRID.shape_zyx, np.arange(-45, 46, 9.0))
        images = projector.project(density)
        residuals = [
            np.linalg.norm(images - projector.project(solve_sirt(projector, images, iterations)))
            for iterations in (1, 4, 12)
        ]
        assert residuals[1] < 0.7 * residuals[0]
        assert residuals[2] < 0.7 * residuals[1]

    def test_estimated_defocus_is_wrong_by_what_the_recipe_says(self) -> None:
        series = replace(self.make_series(), defocus_micrometre=np.full(31, 3.0))
        recipe = reconstruction(defocus_error_micrometre=0.2, defocus_error_jitter_micrometre=0.03)
        errors = np.stack([estimate_defocus(series, recipe, np.random.default_rng(seed)) - 3 for seed in range(40)])
        offsets = errors.mean(axis=1)
        np.testing.assert_allclose(np.abs(offsets), 0.2, atol=0.03)
        assert {-1.0, 1.0} == set(np.sign(offsets))
        assert (errors - offsets[:, None]).std() == pytest.approx(0.03, rel=0.1)


class TestDenoising:
    def make_halves(self, noise: float = 1.0) -> tuple[Volume, Volume, Volume]:
        random = np.random.default_rng(0)
        truth = ndimage.gaussian_filter(random.standard_normal((30, 40, 50)), 2.5, mode="wrap").astype(np.float32)
        truth /= truth.std()
        first, second = (truth + noise * random.standard_normal(truth.shape, np.float32) for _ in range(2))
        return truth, first, second

    def test_it_is_nearer_to_the_truth(self) -> None:
        truth, first, second = self.make_halves()
        denoised = wiener_denoise(first, second, SPACING)
        assert denoised.dtype == np.float32
        before, after = (np.square(found - truth).mean() for found in ((first + second) / 2, denoised))
        assert after < 0.2 * before

    def test_equal_halves_stay_as_they_are_and_noise_goes(self) -> None:
        _, first, second = self.make_halves(1e3)
        np.testing.assert_allclose(wiener_denoise(first, first, SPACING), first, atol=1e-5 * first.std())
        assert wiener_denoise(first, second, SPACING).std() < 0.35 * ((first + second) / 2).std()

    def test_strength_and_residual(self) -> None:
        _, first, second = self.make_halves()
        mean = (first + second) / 2
        np.testing.assert_allclose(wiener_denoise(first, second, SPACING, strength=0), mean, atol=1e-5)
        np.testing.assert_allclose(wiener_denoise(first, second, SPACING, residual=1), mean, atol=1e-5)
        filtered = wiener_denoise(first, second, SPACING)
        partly = wiener_denoise(first, second, SPACING, residual=0.25)
        np.testing.assert_allclose(partly, filtered + 0.25 * (mean - filtered), atol=1e-5)
        assert wiener_denoise(first, second, SPACING, strength=2).std() < filtered.std()

    def test_detail_leaves_particles_sharper_than_the_background(self) -> None:
        random = np.random.default_rng(0)
        truth = np.zeros((31, 60, 61), np.float32)
        truth[10:20, 10:20, 10:20] = np.sign(random.standard_normal((10, 10, 10))) * 8
        first, second = (truth + random.standard_normal(truth.shape, np.float32) for _ in range(2))
        # With detail 0 the strongest signal is not filtered at all, with 1 all places are filtered alike.
        alike, sharp = (wiener_denoise(first, second, SPACING, strength=4, detail=detail) for detail in (1, 0))
        particle, background = np.s_[12:18, 12:18, 12:18], np.s_[:, 35:, 35:]
        mean = (first + second) / 2
        assert alike[particle].std() < 0.75 * mean[particle].std()
        assert sharp[particle].std() > 0.9 * mean[particle].std()
        assert sharp[background].std() < 0.2 * mean[background].std()

    def test_signal_is_found_where_it_is(self) -> None:
        random = np.random.default_rng(0)
        volume = random.standard_normal((31, 40, 41), np.float32) + 5
        volume[10:20, 10:20, 10:20] += 20
        signal = find_signal(volume, SPACING)
        assert signal.shape == volume.shape
        assert signal[15, 15, 15] > 0.9
        assert signal[:, 30:, 30:].max() < 0.15  # (1 / (1 + 3))^2 where the energy is the median

    def test_shell_correlation(self) -> None:
        truth, first, second = self.make_halves()
        shells = Shells(truth.shape)
        correlation = shells.correlate(rfftn(first), rfftn(second))
        assert len(correlation) == max(truth.shape) // 2 + 1
        assert correlation[2] > 0.9
        assert abs(correlation[-5:].mean()) < 0.05
        spectrum = rfftn(truth)
        np.testing.assert_allclose(shells.correlate(spectrum, -spectrum), -1, atol=1e-4)

    def test_settled_correlation_never_rises(self) -> None:
        settled = settle_correlation(np.array([0.2, 0.5, 0.9, 0.8, 0.4, -0.1, 0.1, -0.2, 0.0, 0.0]))
        assert np.all(np.diff(settled) <= 0)
        assert settled.min() >= 0
        assert settled[0] == settled.max()
