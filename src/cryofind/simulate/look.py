"""How a tomogram looks, in numbers free of its grey scale, and how far two looks are apart."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Spectrum: logarithmic bins from 1/600 per Angstrom to half the sampling rate; each is at least one component wide.
COARSEST_ANGSTROM = 600.0
SPECTRUM_BINS = 24
COARSEST_MEAN_ANGSTROM = 150.0
# Power below this (white noise of unit variance has 1) is as good as none: 1 % of the variance over all components.
LEAST_POWER = 0.01
# Grey values are looked at after averaging over cubes of these sizes, Angstrom: noise first, then particles.
GREY_SCALES_ANGSTROM = (10.0, 20.0, 40.0)
WEDGE_BINS = 9
LEAST_WEDGE_POWER = 0.05
MAD_TO_STANDARD_DEVIATION = 1.4826

# Groups of numbers in the order of `Texture.vector`, how many, and the least difference in each that is worth counting.
GROUPS = (
    ("spectrum", SPECTRUM_BINS, 0.15),
    ("wedge", WEDGE_BINS, 0.20),
    ("skewness", len(GREY_SCALES_ANGSTROM), 0.10),
    ("kurtosis", len(GREY_SCALES_ANGSTROM), 0.10),
    ("blobs", 1, 0.20),
)


@dataclass(frozen=True, eq=False)
class Texture:
    """How a box looks, whatever its grey scale.

    Parameters
    ----------
    log_spectrum
        Natural logarithm of `LEAST_POWER` + the mean power of components in each bin, less the mean of the bins beyond
        1 / `COARSEST_MEAN_ANGSTROM`; only components that the tilts sample. NaN in a bin without any. Shape
        (SPECTRUM_BINS,).
    log_wedge
        Natural logarithm of `LEAST_WEDGE_POWER` + the mean power along spokes, each ring divided by its mean, from 0 to
        90 degrees. Shape (WEDGE_BINS,).
    skewness
        Of grey values, averaged over cubes of `GREY_SCALES_ANGSTROM`. Negative: dark particles. Shape (3,).
    log_kurtosis
        Natural logarithm of the kurtosis (not the excess: log 3 for normal noise), at the same scales. Shape (3,).
    log_blobs
        Natural logarithm of 1 + the number of dark blobs in a cube of 0.1 micrometre.
    """

    log_spectrum: Floats
    log_wedge: Floats
    skewness: Floats
    log_kurtosis: Floats
    log_blobs: float

    def vector(self) -> Floats:
        """Return all numbers in one row, in the order of `GROUPS`."""
        parts = (self.log_spectrum, self.log_wedge, self.skewness, self.log_kurtosis, [self.log_blobs])
        return np.concatenate([np.asarray(part, np.float64) for part in parts])

    @classmethod
    def from_vector(cls, vector: Floats) -> "Texture":
        """Return the texture of a row of numbers."""
        ends = np.cumsum([count for _, count, _ in GROUPS])
        spectrum, wedge, skewness, kurtosis, blobs = np.split(vector, ends[:-1])
        return cls(spectrum, wedge, skewness, kurtosis, float(blobs[0]))


@dataclass(frozen=True, eq=False)
class Look:
    """A texture to reach, and how exactly.

    Parameters
    ----------
    texture
        Median over boxes.
    tolerance
        For each number the spread over boxes, or the least worth counting; in the order of `Texture.vector`.
    box_zyx
        Voxels of each box.
    """

    texture: Texture
    tolerance: Floats
    box_zyx: tuple[int, int, int]

    def widened(self, kinds: Sequence[Sequence[Texture]]) -> "Look":
        """Return the look with tolerances no less than the spread of simulations.

        Parameters
        ----------
        kinds
            Textures of several samples, two or more, for each kind of tomogram; the kinds' standard deviations are
            averaged, so that none gets away with more.
        """
        spreads = [np.std([texture.vector() for texture in textures], axis=0, ddof=1) for textures in kinds]
        return replace(self, tolerance=np.fmax(self.tolerance, np.mean(spreads, axis=0)))

    def residuals(self, texture: Texture) -> Floats:
        """Return how far a texture is off, in tolerances; the sum of squares is the square of the distance.

        Numbers of a group share the weight of one, and groups weigh the same. Bins that are empty count 0.
        """
        weights = np.concatenate([np.full(count, 1 / np.sqrt(count * len(GROUPS))) for _, count, _ in GROUPS])
        relative = (texture.vector() - self.texture.vector()) / self.tolerance
        return np.asarray(np.nan_to_num(relative * weights, nan=0.0))

    def distance(self, texture: Texture) -> float:
        """Return the root mean square of the groups' root mean square differences, in tolerances."""
        return float(np.linalg.norm(self.residuals(texture)))


def summarize(textures: Sequence[Texture], box_zyx: NDArray[Any]) -> Look:
    """Return the median of the textures of boxes of one shape, and their spread."""
    rows = np.stack([texture.vector() for texture in textures])
    least = np.concatenate([np.full(count, floor) for _, count, floor in GROUPS])
    median = np.median(rows, axis=0)
    spread = MAD_TO_STANDARD_DEVIATION * np.median(np.abs(rows - median), axis=0)
    z, y, x = box_zyx.shape
    return Look(Texture.from_vector(median), np.fmax(spread, least), (z, y, x))


def mean_texture(textures: Sequence[Texture]) -> Texture:
    """Return the mean of textures, number by number."""
    return Texture.from_vector(np.mean([texture.vector() for texture in textures], axis=0))
