"""Crops as another microscope, defocus or filter would have shown them: a random change of the spectrum."""

from functools import lru_cache

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

# Where the random gain is drawn; straight lines in the logarithm of the period between.
KNOT_PERIODS_VOXELS = (64.0, 24.0, 10.0, 5.0, 3.0, 2.0)
GAIN_STEPS = 256
_AXES = (-3, -2, -1)


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
    steps = np.linspace(knots[0], knots[-1], GAIN_STEPS)
    logarithms = np.interp(steps, knots, strength * random.standard_normal(len(knots)))
    return np.asarray(np.exp(logarithms), dtype=np.float32)


def change_spectra(images: Tensor, gains: Tensor) -> Tensor:
    """Return crops whose spectra are multiplied by gains; mean and standard deviation of each stay.

    What the gain blurs across the faces of a crop comes from the opposite face.

    Parameters
    ----------
    images
        Float32, shape (M, 1, Z, Y, X).
    gains
        Of `draw_gains`, one for each crop: shape (M, `GAIN_STEPS`), on the same device.
    """
    means = images.mean(dim=_AXES, keepdim=True)
    centred = images - means
    spectra = torch.fft.rfftn(centred, dim=_AXES)
    index = _gain_index(tuple(images.shape[-3:]), str(images.device))
    spectra *= gains.index_select(1, index).view_as(spectra)
    changed: Tensor = torch.fft.irfftn(spectra, s=images.shape[-3:], dim=_AXES)
    factors = _norms(centred) / _norms(changed).clamp_min(torch.finfo(torch.float32).tiny)
    return changed.mul_(factors).add_(means)


def _norms(images: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(images, dim=_AXES, keepdim=True)
    return norms


@lru_cache(maxsize=4)
def _gain_index(shape_zyx: tuple[int, ...], device: str) -> Tensor:
    """Return for every term of the half spectrum, in one row, which step of the gain it takes."""
    axes = [np.fft.fftfreq(size) for size in shape_zyx[:-1]] + [np.fft.rfftfreq(shape_zyx[-1])]
    squared = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True))
    longest, shortest = KNOT_PERIODS_VOXELS[0], KNOT_PERIODS_VOXELS[-1]
    place = np.log(np.maximum(np.sqrt(squared), 1 / longest) * longest) / np.log(longest / shortest)
    index = np.rint(place * (GAIN_STEPS - 1)).clip(0, GAIN_STEPS - 1).astype(np.int64)
    return torch.from_numpy(index.reshape(-1)).to(device)
