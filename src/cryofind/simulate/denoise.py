"""The flavour `denoised` without a network: two halves tell signal from noise, by resolution and by place."""

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfftn, rfftn
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from cryofind.simulate.projector import run_in_threads

Volume = NDArray[np.float32]
Floats = NDArray[np.float64]

# Fixed, so that bytes do not depend on the machine's load.
FOURIER_THREADS = 2
# Standard deviation of the smoothing of a shell correlation, in shells: one voxel of the longest side each.
SMOOTHING_SHELLS = 2.0
# A filter that follows the signal: the window in which its energy is measured, and how many times the median energy
# stands half out of the background. Chosen by eye and by the contrast of particles in a real denoised slice.
SIGNAL_SIGMA_ANGSTROM = 30.0
SIGNAL_MEDIANS = 3.0
LEAST_WEIGHT = 1e-6


def wiener_denoise(
    half_1_zyx: Volume,
    half_2_zyx: Volume,
    spacing_angstrom: float,
    *,
    strength: float = 1.0,
    detail: float = 1.0,
    residual: float = 0.0,
) -> Volume:
    """Return the mean of two halves, filtered by how well they agree at each resolution.

    The weight is (2 F / (1 + F))^strength, F being the Fourier shell correlation of the halves: for strength 1 the
    Wiener filter of their mean, whose signal-to-noise ratio is 2 F / (1 - F). The missing wedge needs no mask: what
    lies in it is weak in both halves, and F weighs by power (a mask changed F by less than 0.004 at any resolution).

    With `detail` below 1 the filter is weaker where there is much signal, as that of denoising networks is, which
    blur the background more than the particles.

    Parameters
    ----------
    half_1_zyx, half_2_zyx
        Tomograms from two halves of the dose, float32, (z, y, x).
    spacing_angstrom
        Voxel spacing.
    strength
        Exponent of the weight; 0 leaves the mean as it is.
    detail
        Share, 0 to 1, of that exponent on the strongest signal; 1: the same filter everywhere.
    residual
        Share, 0 to 1, of what the filter takes that stays.

    Returns
    -------
    denoised
        float32, (z, y, x).
    """
    shape = half_1_zyx.shape
    spectrum = rfftn(half_1_zyx, workers=FOURIER_THREADS)
    spectrum_2 = rfftn(half_2_zyx, workers=FOURIER_THREADS)
    shells = Shells(shape)
    correlation = settle_correlation(shells.correlate(spectrum, spectrum_2))
    spectrum += spectrum_2
    del spectrum_2
    wiener = 2 * correlation / (1 + correlation)
    smooth_weights, sharp_weights = (
        weights + residual * (1 - weights) for weights in (wiener**strength, wiener ** (detail * strength))
    )
    shells.scale(spectrum, smooth_weights / 2)
    smooth = np.asarray(irfftn(spectrum, s=shape, workers=FOURIER_THREADS), np.float32)
    if detail == 1:
        return smooth
    shells.scale(spectrum, sharp_weights / np.maximum(smooth_weights, LEAST_WEIGHT) - 1)
    sharper = np.asarray(irfftn(spectrum, s=shape, workers=FOURIER_THREADS, overwrite_x=True), np.float32)
    sharper *= find_signal(smooth, spacing_angstrom)
    smooth += sharper
    return smooth


def find_signal(volume_zyx: Volume, spacing_angstrom: float) -> Volume:
    """Return for every voxel, from 0 to 1, how far its surroundings stand out of the background.

    It is (e / (e + 3 m))^2, where e is the energy around a voxel (the mean square in a Gaussian window, at twice the
    voxel spacing) and m its median over the volume.
    """
    squares = np.square(volume_zyx - np.median(volume_zyx[::4, ::4, ::4]))
    energy = gaussian_filter(_halve(squares), SIGNAL_SIGMA_ANGSTROM / (2 * spacing_angstrom), truncate=2.5)
    share = energy / (energy + np.float32(SIGNAL_MEDIANS * np.median(energy)))
    share *= share
    for axis in range(3):
        share = np.repeat(share, 2, axis=axis)
    z, y, x = volume_zyx.shape
    return np.asarray(share[:z, :y, :x], np.float32)


def _halve(volume_zyx: Volume) -> Volume:
    """Return means of 2 x 2 x 2 voxels; an odd edge is repeated."""
    padded = np.pad(volume_zyx, [(0, size % 2) for size in volume_zyx.shape], mode="edge")
    for axis in range(3):
        padded = np.moveaxis(padded, axis, 0)
        padded = np.moveaxis((padded[::2] + padded[1::2]) * np.float32(0.5), 0, axis)
    return padded


def settle_correlation(correlation: Floats) -> Floats:
    """Return a shell correlation smoothed, between 0 and 1, and never rising towards higher resolution.

    A shell is given the greatest value at its own or any higher resolution. Shells of low resolution hold few
    components, and a contrast transfer that is weak there: the dip that this leaves is no reason to take away what
    is surely signal at a higher resolution.
    """
    smooth = gaussian_filter1d(correlation, SMOOTHING_SHELLS, mode="nearest")
    return np.clip(np.maximum.accumulate(smooth[::-1])[::-1], 0.0, 1.0)


class Shells:
    """Shells of equal frequency in the half-space of `rfftn`, gone through one z at a time to save memory.

    A shell is as wide as one voxel of the longest side's spectrum; the last holds everything beyond the highest
    frequency along an axis.

    Parameters
    ----------
    shape_zyx
        Of the volumes that were transformed.
    """

    def __init__(self, shape_zyx: tuple[int, ...]) -> None:
        depth, rows, columns = shape_zyx
        longest = max(shape_zyx)
        self.count = longest // 2 + 1
        self._squares_z = (np.fft.fftfreq(depth) * longest) ** 2
        y, x = np.fft.fftfreq(rows) * longest, np.fft.rfftfreq(columns) * longest
        self._squares_yx = (y[:, None] ** 2 + x**2).astype(np.float32)

    def _shell_yx(self, z: int) -> NDArray[np.intp]:
        radii = np.sqrt(self._squares_yx + np.float32(self._squares_z[z]))
        return np.asarray(np.minimum(np.rint(radii).astype(np.intp), self.count - 1))

    def correlate(self, spectrum_1: NDArray[np.complex64], spectrum_2: NDArray[np.complex64]) -> Floats:
        """Return the shell correlation, shape (count,); 0 where a shell is empty."""
        sums = np.zeros((len(spectrum_1), 3, self.count))

        def add(z: int) -> None:
            first, second, shells = spectrum_1[z], spectrum_2[z], self._shell_yx(z).ravel()
            products = (
                first.real * second.real + first.imag * second.imag,
                first.real**2 + first.imag**2,
                second.real**2 + second.imag**2,
            )
            for total, product in zip(sums[z], products, strict=True):
                total += np.bincount(shells, product.ravel(), self.count)

        run_in_threads(add, range(len(spectrum_1)))
        common, power_1, power_2 = sums.sum(axis=0)
        power = np.sqrt(power_1 * power_2)
        return np.asarray(np.divide(common, power, out=np.zeros(self.count), where=power > 0))

    def scale(self, spectrum: NDArray[np.complex64], factors: Floats) -> None:
        """Multiply every component by the factor of its shell, in place."""
        factors_32 = factors.astype(np.float32)

        def scale_section(z: int) -> None:
            spectrum[z] *= factors_32[self._shell_yx(z)]

        run_in_threads(scale_section, range(len(spectrum)))
