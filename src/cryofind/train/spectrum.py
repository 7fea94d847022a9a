"""Crops as another microscope, defocus, filter or tilt range would have shown them: a random change of the spectrum."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from cryofind.config import AugmentConfig

# Where the random gain is drawn; straight lines in the logarithm of the period between.
KNOT_PERIODS_VOXELS = (64.0, 24.0, 10.0, 5.0, 3.0, 2.0)
GAIN_STEPS = 256
# Ends of tilt ranges are drawn up to here: few stages tilt further.
MOST_TILT_DEGREES = 60.0
_FILTER_ORDER = 4
_AXES = (-3, -2, -1)


class SpectrumChange(NamedTuple):
    """How the spectrum of a crop changes.

    Parameters
    ----------
    gains
        By resolution: see `draw_gains`.
    wedge_normals_zyx
        Normals, shape (2, 3) and float32, of the planes of the two outermost tilts. Frequencies between them, where the
        tilts are, stay; of zeros, all do.
    """

    gains: NDArray[np.float32]
    wedge_normals_zyx: NDArray[np.float32]


def draw_spectrum_change(
    config: AugmentConfig, random: Generator, *, matrix_zyx: ArrayLike, spacing_angstrom: float
) -> SpectrumChange | None:
    """Return how the spectrum of a crop changes, None for not at all.

    No number is drawn for what has no probability, so that what a seed gives stays.

    Parameters
    ----------
    config
        Probabilities and ranges.
    random
        Source of chance.
    matrix_zyx
        From crop offsets to offsets in the tomogram, shape (3, 3): it turns the missing wedge.
    spacing_angstrom
        Voxel spacing of the crop, Angstrom.
    """
    gains, normals = np.ones(GAIN_STEPS, dtype=np.float32), np.zeros((2, 3), dtype=np.float32)
    if _happens(config.spectrum_probability, random):
        gains *= draw_gains(config.spectrum_sigma, random)
    if _happens(config.low_pass_probability, random):
        gains *= draw_low_pass(config.low_pass_angstrom / spacing_angstrom, random)
    if _happens(config.wedge_probability, random):
        normals = draw_wedge(config.wedge_degrees, random, matrix_zyx=matrix_zyx)
    return SpectrumChange(gains, normals) if (gains != 1).any() or normals.any() else None


def _happens(probability: float, random: Generator) -> bool:
    return probability > 0 and bool(random.random() < probability)


def draw_gains(strength: float, random: Generator) -> NDArray[np.float32]:
    """Return a smooth random gain that depends on the resolution alone, float32, shape (`GAIN_STEPS`,).

    Parameters
    ----------
    strength
        Standard deviation of the natural logarithm of the gain, at every knot on its own.
    random
        Source of chance.
    """
    knots = -np.log(KNOT_PERIODS_VOXELS)
    logarithms = np.interp(_log_frequencies(), knots, strength * random.standard_normal(len(knots)))
    return np.asarray(np.exp(logarithms), dtype=np.float32)


def draw_low_pass(longest_period_voxels: float, random: Generator) -> NDArray[np.float32]:
    """Return the gain of a Butterworth low-pass filter of a random period, float32, shape (`GAIN_STEPS`,).

    Parameters
    ----------
    longest_period_voxels
        The gain is 1 / sqrt(2) at a period between 2 voxels and this, its logarithm being uniform.
    random
        Source of chance.
    """
    shortest = KNOT_PERIODS_VOXELS[-1]
    period = math.exp(random.uniform(math.log(shortest), math.log(max(longest_period_voxels, shortest))))
    relative = period * np.exp(_log_frequencies())
    return np.asarray(1 / np.sqrt(1 + relative ** (2 * _FILTER_ORDER)), dtype=np.float32)


def draw_wedge(least_degrees: float, random: Generator, *, matrix_zyx: ArrayLike) -> NDArray[np.float32]:
    """Return the normals of the planes of two random outermost tilts about y, zyx, float32, shape (2, 3).

    A tilt by t fills the plane z = x tan(t) of the tomogram's Fourier space. In that of the crop, which the matrix
    turned, a normal n is `matrix^-1 n`.

    Parameters
    ----------
    least_degrees
        Each end of the tilt range is drawn on its own between this and `MOST_TILT_DEGREES`.
    random
        Source of chance.
    matrix_zyx
        From crop offsets to offsets in the tomogram, shape (3, 3).
    """
    ends = np.radians(random.uniform(least_degrees, MOST_TILT_DEGREES, size=2)) * (-1, 1)
    normals = np.stack([np.cos(ends), np.zeros(2), -np.sin(ends)], axis=1)
    return np.asarray(normals @ np.linalg.inv(np.asarray(matrix_zyx, dtype=np.float64)).T, dtype=np.float32)


def change_spectra(images: Tensor, gains: Tensor, wedge_normals_zyx: Tensor) -> Tensor:
    """Return crops whose spectra are multiplied by gains and cut by wedges; mean and standard deviation of each stay.

    What is blurred across the faces of a crop comes from the opposite face.

    Parameters
    ----------
    images
        Float32, shape (M, 1, Z, Y, X).
    gains, wedge_normals_zyx
        Of a `SpectrumChange` for each crop, on the same device: shapes (M, `GAIN_STEPS`) and (M, 2, 3).
    """
    means = images.mean(dim=_AXES, keepdim=True)
    centred = images - means
    spectra = torch.fft.rfftn(centred, dim=_AXES)
    index = _gain_index(tuple(images.shape[-3:]), str(images.device))
    spectra *= gains.index_select(1, index).view_as(spectra)
    spectra *= _find_tilted(wedge_normals_zyx, tuple(images.shape[-3:]))
    changed: Tensor = torch.fft.irfftn(spectra, s=images.shape[-3:], dim=_AXES)
    factors = _norms(centred) / _norms(changed).clamp_min(torch.finfo(torch.float32).tiny)
    return changed.mul_(factors).add_(means)


def _find_tilted(normals_zyx: Tensor, shape_zyx: tuple[int, ...]) -> Tensor:
    """Return which terms of the half spectra lie between the two planes of each crop, shape (M, 1, Z, Y, X/2 + 1)."""
    z, y, x = _frequencies(shape_zyx, str(normals_zyx.device))
    across = [normals_zyx[:, plane, :, None, None, None] for plane in range(2)]
    first, second = (n[:, 0] * z[:, None, None] + n[:, 1] * y[:, None] + n[:, 2] * x for n in across)
    tilted: Tensor = (first * second <= 0)[:, None]
    return tilted


def _norms(images: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(images, dim=_AXES, keepdim=True)
    return norms


@lru_cache(maxsize=1)
def _log_frequencies() -> NDArray[np.float64]:
    """Return the logarithm of the frequency of every step of a gain, cycles per voxel, shape (`GAIN_STEPS`,)."""
    knots = -np.log(KNOT_PERIODS_VOXELS)
    return np.linspace(knots[0], knots[-1], GAIN_STEPS)


@lru_cache(maxsize=4)
def _frequencies(shape_zyx: tuple[int, ...], device: str) -> tuple[Tensor, ...]:
    """Return the frequencies of the half spectrum along z, y and x, cycles per voxel."""
    depth, height, width = shape_zyx
    axes = (np.fft.fftfreq(depth), np.fft.fftfreq(height), np.fft.rfftfreq(width))
    return tuple(torch.from_numpy(axis).float().to(device) for axis in axes)


@lru_cache(maxsize=4)
def _gain_index(shape_zyx: tuple[int, ...], device: str) -> Tensor:
    """Return for every term of the half spectrum, in one row, which step of the gain it takes."""
    axes = [np.fft.fftfreq(size) for size in shape_zyx[:-1]] + [np.fft.rfftfreq(shape_zyx[-1])]
    squared = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True))
    longest, shortest = KNOT_PERIODS_VOXELS[0], KNOT_PERIODS_VOXELS[-1]
    place = np.log(np.maximum(np.sqrt(squared), 1 / longest) * longest) / np.log(longest / shortest)
    index = np.rint(place * (GAIN_STEPS - 1)).clip(0, GAIN_STEPS - 1).astype(np.int64)
    return torch.from_numpy(index.reshape(-1)).to(device)
