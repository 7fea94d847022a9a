"""What a transmission electron microscope does to the Fourier components of an image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# CODATA 2018; the electron's rest energy in electronvolt.
PLANCK_JOULE_SECOND = 6.62607015e-34
ELECTRON_MASS_KILOGRAM = 9.1093837015e-31
ELEMENTARY_CHARGE_COULOMB = 1.602176634e-19
REST_ENERGY_ELECTRONVOLT = 510998.95
ANGSTROM_PER_METRE = 1e10

# Critical dose N_e(k) = a k^b + c, electrons per square Angstrom with k in 1/Angstrom, at 300 kV:
# Grant and Grigorieff, eLife 4, e06980 (2015).
CRITICAL_DOSE_A = 0.245
CRITICAL_DOSE_B = -1.665
CRITICAL_DOSE_C = 2.81


@dataclass(frozen=True)
class Optics:
    """What is the same for all images of a microscope.

    Parameters
    ----------
    voltage_kilovolts
        Acceleration voltage.
    spherical_aberration_millimetre
        Cs.
    amplitude_contrast
        Share of amplitude contrast, 0 to 1.
    envelope_b_square_angstrom
        B factor of the envelope exp(-B k^2 / 4).
    """

    voltage_kilovolts: float = 300.0
    spherical_aberration_millimetre: float = 2.7
    amplitude_contrast: float = 0.07
    envelope_b_square_angstrom: float = 0.0


def electron_wavelength_angstrom(voltage_kilovolts: float) -> float:
    """Return the relativistic wavelength h / sqrt(2 m e U (1 + e U / (2 m c^2))), 0.0197 Angstrom at 300 kV."""
    volts = voltage_kilovolts * 1e3
    energy = 2 * ELECTRON_MASS_KILOGRAM * ELEMENTARY_CHARGE_COULOMB * volts
    metre = PLANCK_JOULE_SECOND / np.sqrt(energy * (1 + volts / (2 * REST_ENERGY_ELECTRONVOLT)))
    return float(metre * ANGSTROM_PER_METRE)


def interaction_constant(voltage_kilovolts: float) -> float:
    """Return the phase shift in radian per volt and Angstrom of path, 6.53e-4 at 300 kV.

    sigma = 2 pi / (lambda U) * (m c^2 + e U) / (2 m c^2 + e U) (Kirkland, Advanced Computing in Electron Microscopy,
    section 2.2).
    """
    volts = voltage_kilovolts * 1e3
    relativistic = (REST_ENERGY_ELECTRONVOLT + volts) / (2 * REST_ENERGY_ELECTRONVOLT + volts)
    return float(2 * np.pi / (electron_wavelength_angstrom(voltage_kilovolts) * volts) * relativistic)


def squared_frequencies(shape_yx: tuple[int, int], spacing_angstrom: float) -> Floats:
    """Return k^2 in 1/Angstrom^2 on the half-plane of `rfft2`, shape (y, x // 2 + 1), float32."""
    rows, columns = shape_yx
    y = np.fft.fftfreq(rows, spacing_angstrom)
    x = np.fft.rfftfreq(columns, spacing_angstrom)
    return np.asarray(y[:, None] ** 2 + x**2, np.float32)


def ctf_2d(
    shape_yx: tuple[int, int], spacing_angstrom: float, defocus_micrometre: float, optics: Optics
) -> NDArray[np.float32]:
    """Return the contrast transfer function, positive at low frequency, on the half-plane of `rfft2`.

    sin(pi lambda D k^2 - pi/2 Cs lambda^3 k^4 + arcsin(A)) * exp(-B k^2 / 4), with defocus D positive when underfocused
    (Rohou and Grigorieff, J. Struct. Biol. 192, 216 (2015), equations 1 to 5, with the opposite sign). The image
    contrast of a weak phase object with phase shift phi is -2 times this times phi: protein is dark.

    Parameters
    ----------
    shape_yx
        Shape of the image.
    spacing_angstrom
        Pixel spacing.
    defocus_micrometre
        Underfocus is positive.
    optics
        Voltage, Cs, amplitude contrast, envelope.

    Returns
    -------
    ctf
        Shape (y, x // 2 + 1), float32.
    """
    squared = squared_frequencies(shape_yx, spacing_angstrom)
    ctf = np.sin(phase_shift(squared, defocus_micrometre, optics))
    if optics.envelope_b_square_angstrom:
        ctf *= np.exp(np.float32(-optics.envelope_b_square_angstrom / 4) * squared)
    return np.asarray(ctf, np.float32)


def phase_shift(squared: Floats, defocus_micrometre: float, optics: Optics) -> Floats:
    """Return the argument of the sine in `ctf_2d`, radian, at squared frequencies in 1/Angstrom^2."""
    wavelength = electron_wavelength_angstrom(optics.voltage_kilovolts)
    by_defocus = np.float32(np.pi * wavelength * defocus_micrometre * 1e4)
    by_aberration = np.float32(np.pi / 2 * wavelength**3 * optics.spherical_aberration_millimetre * 1e7)
    return squared * (by_defocus - by_aberration * squared) + np.float32(np.arcsin(optics.amplitude_contrast))


def dose_attenuation(
    shape_yx: tuple[int, int], spacing_angstrom: float, dose_electrons_per_square_angstrom: float
) -> NDArray[np.float32]:
    """Return the share exp(-N / (2 N_e(k))) of an amplitude that is left after a dose N.

    N_e is the critical dose of Grant and Grigorieff (2015), at 300 kV.

    Returns
    -------
    attenuation
        Half-plane of `rfft2`, shape (y, x // 2 + 1), float32; 1 at k = 0.
    """
    squared = squared_frequencies(shape_yx, spacing_angstrom)
    with np.errstate(divide="ignore"):
        critical = CRITICAL_DOSE_A * squared ** np.float32(CRITICAL_DOSE_B / 2) + CRITICAL_DOSE_C
    return np.asarray(np.exp(-dose_electrons_per_square_angstrom / 2 / critical), np.float32)
