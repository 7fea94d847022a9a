"""The published rows of the real slice and of the external simulation, and whether the method reproduces them.

The external tomogram EXT_1 was measured on single planes: spectra and moments are means over every 6th plane of the
middle half, the contrast of a particle is taken in the plane nearest to its centre.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measures import (
    RADII_ANGSTROM,
    SLICE_SPACING_ANGSTROM,
    TRUSTED_BINS,
    Floats,
    RealReference,
    cut_slice,
    disc_contrasts,
    measure_slices,
    spectrum_difference,
)

from cryofind.io import open_project
from cryofind.types import Picks, Tomogram

EXTERNAL_PLANES = range(30, 90, 6)
EXTERNAL_FOLDER = "external"
# Printed with one decimal (RMS with two); the method meets them this well.
SPECTRUM_TOLERANCE, RMS_TOLERANCE, MOMENT_TOLERANCE, CONTRAST_TOLERANCE = 0.055, 0.006, 0.06, 0.07


@dataclass(frozen=True, eq=False)
class Row:
    """One row of the published tables: spectrum (14,), RMS to the real one over 14 and 12 bins, moments, contrasts."""

    spectrum: Floats
    differences: tuple[float, float]
    moments: tuple[float, float]
    contrasts: Mapping[str, float]


_PARTICLES = ("apo-ferritin", "ribosome", "beta-amylase", "beta-galactosidase", "thyroglobulin", "virus-like-particle")


def _published(spectrum: str, differences: tuple[float, float], moments: tuple[float, float], contrasts: str) -> Row:
    values = zip(_PARTICLES, contrasts.split(), strict=True)
    known = {name: float(value) for name, value in values if value != "none"}
    return Row(np.array(spectrum.split(), dtype=np.float64), differences, moments, known)


PUBLISHED = {
    "real": _published(
        "3.8 3.2 3.5 3.2 2.5 2.1 1.6 1.3 0.9 0.6 0.4 0.3 0.0 -0.5",
        (0.0, 0.0),
        (-2.4, 10.0),
        "-3.8 -3.0 -2.1 -1.7 -1.2 none",
    ),
    "EXT_1 filtered": _published(
        "1.1 1.4 1.6 1.7 1.9 2.1 2.2 2.3 2.1 1.8 1.5 0.7 -0.6 -1.5",
        (1.25, 1.33),
        (-1.1, 5.7),
        "-3.7 -0.6 none -0.5 -0.1 -0.4",
    ),
    "EXT_1 denoised": _published(
        "3.2 3.3 3.2 3.1 3.0 2.9 2.6 2.2 1.8 1.2 0.6 -0.4 -1.7 -2.8",
        (0.97, 0.57),
        (-1.5, 5.0),
        "-4.6 -1.9 none -1.2 -0.4 -0.6",
    ),
}


def measure_real(real: RealReference) -> Row:
    """Return the row of the real slice."""
    means = {name: float(values.mean()) for name, values in real.contrasts.items()}
    return Row(real.spectrum, (0.0, 0.0), (real.skewness, real.kurtosis), means)


def open_external(root: Path, flavour: str) -> tuple[Tomogram, Picks]:
    """Return the external tomogram of a flavour and its true picks."""
    project = open_project(root / EXTERNAL_FOLDER)
    (entry,) = project.select_tomograms(flavour)
    return entry.read(), project.read_picks()


def measure_external(tomogram: Tomogram, picks: Picks, real: RealReference) -> Row:
    """Return the row of one flavour of the external tomogram."""
    volume, spacing = tomogram.volume_zyx, tomogram.grid.spacing_angstrom
    measured = measure_slices(volume, spacing, EXTERNAL_PLANES, planes=1)
    spectrum = measured.spectra.mean(axis=0)
    return Row(
        spectrum,
        (spectrum_difference(spectrum, real.spectrum), spectrum_difference(spectrum, real.spectrum, TRUSTED_BINS)),
        (float(measured.skewness.mean()), float(measured.kurtosis.mean())),
        _contrasts_in_own_planes(tomogram, picks),
    )


def _contrasts_in_own_planes(tomogram: Tomogram, picks: Picks) -> dict[str, float]:
    volume, spacing = tomogram.volume_zyx, tomogram.grid.spacing_angstrom
    planes = np.rint(picks.positions_zyx_angstrom[:, 0] / spacing).astype(int)
    values: dict[str, list[float]] = {}
    for plane in sorted({int(plane) for plane in planes if 0 <= plane < len(volume)}):
        one = cut_slice(volume, spacing, plane, planes=1)
        for name in picks.object_names:
            positions = picks.positions_zyx_angstrom[(planes == plane) & (picks.objects == name), 1:]
            found = disc_contrasts(one, positions, RADII_ANGSTROM[name], SLICE_SPACING_ANGSTROM)
            values.setdefault(name, []).extend(found.tolist())
    return {name: float(np.mean(found)) for name, found in values.items()}


@dataclass(frozen=True)
class Reproduction:
    """Greatest deviation of a measured row from the published one, by kind of number."""

    name: str
    spectrum: float
    differences: float
    moments: float
    contrasts: float

    @property
    def holds(self) -> bool:
        """Whether every deviation is within the stated tolerance."""
        return (
            self.spectrum <= SPECTRUM_TOLERANCE
            and self.differences <= RMS_TOLERANCE
            and self.moments <= MOMENT_TOLERANCE
            and self.contrasts <= CONTRAST_TOLERANCE
        )


def compare_rows(name: str, measured: Row) -> Reproduction:
    """Return how far a measured row is from the published one of that name."""
    published = PUBLISHED[name]
    return Reproduction(
        name,
        float(np.abs(measured.spectrum - published.spectrum).max()),
        float(np.abs(np.subtract(measured.differences, published.differences)).max()),
        float(np.abs(np.subtract(measured.moments, published.moments)).max()),
        max(abs(measured.contrasts[particle] - value) for particle, value in published.contrasts.items()),
    )
