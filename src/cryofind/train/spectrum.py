"""Crops as another microscope, defocus or filter would have shown them: a random change of the spectrum."""

from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.fft import irfftn, rfftn

# Where the random gain is drawn; straight lines in the logarithm of the period between.
KNOT_PERIODS_VOXELS = (64.0, 24.0, 10.0, 5.0, 3.0, 2.0)
GAIN_STEPS = 256


def change_spectrum(
    volume_zyx: NDArray[np.float32], strength: float, random: Generator, *, out: NDArray[np.float32]
) -> None:
    """Multiply the spectrum by a smooth random gain that depends on the resolution alone.

    The logarithm of the gain is drawn at a few periods from a normal distribution. Mean and standard deviation stay.
    What the gain blurs across the faces of the crop comes from the opposite face.

    Parameters
    ----------
    volume_zyx
        A crop, float32; may be `out`.
    strength
        Standard deviation of the natural logarithm of the gain, at every knot on its own.
    random
        Source of chance.
    out
        Array of the crop's shape, which takes the result.
    """
    knots = -np.log(KNOT_PERIODS_VOXELS)
    steps = np.linspace(knots[0], knots[-1], GAIN_STEPS)
    gains = np.exp(np.interp(steps, knots, strength * random.standard_normal(len(knots)))).astype(np.float32)
    mean, deviation = volume_zyx.mean(dtype=np.float64), volume_zyx.std(dtype=np.float64)
    spectrum = rfftn(volume_zyx - np.float32(mean))
    spectrum *= gains[_gain_index(volume_zyx.shape)]
    changed = irfftn(spectrum, s=volume_zyx.shape, overwrite_x=True)
    factor = deviation / max(float(changed.std(dtype=np.float64)), np.finfo(np.float32).tiny)
    np.multiply(changed, np.float32(factor), out=out)
    out += np.float32(mean)


@lru_cache(maxsize=4)
def _gain_index(shape_zyx: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return for every term of the half spectrum which step of the gain it takes."""
    axes = [np.fft.fftfreq(size) for size in shape_zyx[:-1]] + [np.fft.rfftfreq(shape_zyx[-1])]
    squared = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True))
    longest, shortest = KNOT_PERIODS_VOXELS[0], KNOT_PERIODS_VOXELS[-1]
    place = np.log(np.maximum(np.sqrt(squared), 1 / longest) * longest) / np.log(longest / shortest)
    index: NDArray[np.uint8] = np.rint(place * (GAIN_STEPS - 1)).clip(0, GAIN_STEPS - 1).astype(np.uint8)
    return index
