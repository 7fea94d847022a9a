"""The radial power spectrum of a tomogram: where a filter cut, and how much is noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Mean power over shells of spatial frequency.

    Parameters
    ----------
    frequency_per_angstrom
        Middle of each shell, shape (S,).
    power
        Mean power of a voxel's share, 1 on average for white noise, shape (S,).
    """

    frequency_per_angstrom: Floats
    power: Floats


def measure_spectrum(blocks_zyx: Sequence[NDArray[Any]], spacing_zyx_angstrom: tuple[float, float, float]) -> Spectrum:
    """Return the mean over blocks of their radial spectra, up to the Nyquist frequency of the coarsest axis.

    Parameters
    ----------
    blocks_zyx
        Blocks of one shape; constant ones are left out, and what is not finite counts as 0.
    spacing_zyx_angstrom
        Voxel spacing.
    """
    shape = blocks_zyx[0].shape
    z, y, x = (np.hanning(size + 2)[1:-1] for size in shape)
    window = z[:, None, None] * y[:, None] * x
    window /= np.sqrt((window**2).sum())
    axes = [
        np.fft.fftfreq(shape[0], spacing_zyx_angstrom[0]),
        np.fft.fftfreq(shape[1], spacing_zyx_angstrom[1]),
        np.fft.rfftfreq(shape[2], spacing_zyx_angstrom[2]),
    ]
    frequency = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True)))
    nyquist = 0.5 / max(spacing_zyx_angstrom)
    count = max(2, max(shape) // 2)
    shells = np.minimum((frequency / nyquist * count).astype(np.int64), count).ravel()
    members = np.bincount(shells, minlength=count + 1)[:count]
    total, used = np.zeros(count), 0
    for block in blocks_zyx:
        values = np.nan_to_num(np.asarray(block, dtype=np.float64), posinf=0.0, neginf=0.0)
        deviation = values.std()
        if deviation == 0:
            continue
        transformed = np.fft.rfftn((values - values.mean()) / deviation * window)
        total += np.bincount(shells, np.abs(transformed).ravel() ** 2, minlength=count + 1)[:count]
        used += 1
    middles = (np.arange(count) + 0.5) * nyquist / count
    keep = members > 0
    return Spectrum(middles[keep], total[keep] / np.maximum(members[keep] * max(used, 1), 1))
