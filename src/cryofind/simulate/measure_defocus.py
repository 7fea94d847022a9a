"""The defocus of a CTF-deconvolved tomogram, from the rings that the deconvolution leaves in its spectrum.

Dividing by the contrast transfer cannot bring back what lies at its zeros: signal and noise alike are near nothing
there, and the noise is largest beside them. Without a deconvolution the noise is even, and drowns the signal's rings.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, optimize

from cryofind.simulate.ctf import Optics, phase_shift

Floats = NDArray[np.float64]

BOX_VOXELS = 256
SPECTRUM_BINS = 96
# The fit covers from here ...
COARSEST_ANGSTROM = 80.0
# ... to this many times half the sampling rate: images have corners.
HIGHEST_SHARE = 1.24
# The signal's spectrum without the microscope is a sum of Gaussians of these widths, 1/Angstrom.
SIGNAL_WIDTHS = (0.006, 0.010, 0.016, 0.025, 0.040)
DEFOCUS_MICROMETRE = np.arange(0.8, 9.01, 0.1)
CONSTANTS = (0.0005, 0.002, 0.005, 0.02, 0.05)
# Of most microscopes; the rings hardly depend on them.
OPTICS = Optics(300.0, 2.7, 0.08, 0.0)
# Rings are believed if they leave less than this share of the misfit that is left without a deconvolution, and of what
# the median defocus leaves. Measured on simulations, of the former: 0.48 to 0.58 deconvolved (up to 0.9 after a Wiener
# filter), 1.4 and more raw.
GREATEST_SHARE = 0.75


@dataclass(frozen=True)
class DefocusMeasurement:
    """What the rings say.

    Parameters
    ----------
    defocus_micrometre
        Underfocus is positive, good to 0.3; None if there are no rings of a deconvolution.
    gain
        Relative misfit of the best deconvolved spectrum over that of the best raw one.
    """

    defocus_micrometre: float | None
    gain: float


def measure_defocus(
    volume_zyx: NDArray[Any], spacing_angstrom: float, tilt_maximum_degrees: float | None
) -> DefocusMeasurement:
    """Measure the defocus of a tomogram that may be deconvolved.

    Parameters
    ----------
    volume_zyx
        Finite real numbers, not constant.
    spacing_angstrom
        Voxel spacing.
    tilt_maximum_degrees
        Highest tilt about the y axis; None if there is no missing wedge.
    """
    frequencies, power = _measure_rings(volume_zyx, spacing_angstrom, tilt_maximum_degrees)
    widths = np.asarray(SIGNAL_WIDTHS)
    shapes = np.concatenate([np.exp(-(frequencies[:, None] ** 2) / (2 * widths**2)), np.ones((len(power), 1))], axis=1)
    transfers = [_squared_transfer(frequencies, defocus) for defocus in DEFOCUS_MICROMETRE]
    raw = min(_misfit(_seen_through(shapes, transfer), power) for transfer in transfers)
    misfits = np.array(
        [
            [
                _misfit(_seen_through(shapes, transfer) * (transfer / (transfer + c) ** 2)[:, None], power)
                for c in CONSTANTS
            ]
            for transfer in transfers
        ]
    ).min(axis=1)
    best = int(np.argmin(misfits))
    gain = float(misfits[best] / max(raw, 1e-12))
    is_believed = gain < GREATEST_SHARE and misfits[best] < GREATEST_SHARE * np.median(misfits)
    return DefocusMeasurement(round(float(DEFOCUS_MICROMETRE[best]), 1) if is_believed else None, gain)


def _squared_transfer(frequencies: Floats, defocus_micrometre: float) -> Floats:
    """Return the squared contrast transfer; see `cryofind.simulate.ctf` for the formula."""
    return np.asarray(np.sin(phase_shift((frequencies**2).astype(np.float32), defocus_micrometre, OPTICS)) ** 2)


def _seen_through(shapes: Floats, transfer: Floats) -> Floats:
    """Return the spectra of signals and, last, of the noise, which does not go through the lens."""
    return np.concatenate([shapes[:, :-1] * transfer[:, None], shapes[:, -1:]], axis=1)


def _misfit(spectra: Floats, power: Floats) -> float:
    """Return the root mean square relative difference of the best non-negative sum of spectra."""
    return float(optimize.nnls(spectra / power[:, None], np.ones(len(power)))[1] / np.sqrt(len(power)))


def _measure_rings(
    volume_zyx: NDArray[Any], spacing_angstrom: float, tilt_maximum_degrees: float | None
) -> tuple[Floats, Floats]:
    """Return frequencies (1/Angstrom) and the mean power of the sampled components in narrow shells around them."""
    rows, columns = (
        slice(max(0, (size - BOX_VOXELS) // 2), max(0, (size - BOX_VOXELS) // 2) + BOX_VOXELS)
        for size in volume_zyx.shape[1:]
    )
    box = np.asarray(volume_zyx[:, rows, columns], np.float32)
    box = (box - box.mean(dtype=np.float64)) / max(float(box.std(dtype=np.float64)), np.finfo(np.float32).tiny)
    z, y, x = np.ix_(*(np.hanning(size + 2)[1:-1].astype(np.float32) for size in box.shape))
    spectrum = fft.rfftn(np.asarray(box, np.float32) * z * y * x)
    frequency_z, frequency_y = (np.fft.fftfreq(size, spacing_angstrom) for size in box.shape[:2])
    frequency_x = np.fft.rfftfreq(box.shape[2], spacing_angstrom)
    limit = 90.0 if tilt_maximum_degrees is None else tilt_maximum_degrees
    edges = np.linspace(0, 0.5 * HIGHEST_SHARE / spacing_angstrom, SPECTRUM_BINS + 1)
    sums, counts = np.zeros(SPECTRUM_BINS + 2), np.zeros(SPECTRUM_BINS + 2)
    for height, plane in zip(frequency_z, spectrum, strict=True):
        use = np.abs(height) <= np.tan(np.radians(limit)) * frequency_x
        radius = np.sqrt(height**2 + frequency_y[:, None] ** 2 + frequency_x[use] ** 2)
        bins = np.searchsorted(edges, radius.ravel(), side="right")
        power = plane.real[:, use] ** 2 + plane.imag[:, use] ** 2
        sums += np.bincount(bins, power.ravel(), minlength=SPECTRUM_BINS + 2)
        counts += np.bincount(bins, minlength=SPECTRUM_BINS + 2)
    means = (sums / np.maximum(counts, 1))[1:-1]
    frequencies = (edges[1:] + edges[:-1]) / 2
    use = (frequencies > 1 / COARSEST_ANGSTROM) & (means > 0)
    return frequencies[use], means[use] / means[use].mean()
