"""What a preprocessed tomogram looks like in few numbers: its spectrum and its contrast, free of grey scale and offset.

They are measured in a fixed set of blocks, so that a tomogram that is never in memory as a whole has them too.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Blocks of 64^3 voxels or as thick as the tomogram, at most so many along each axis. More of them do not make two runs
# of one kind more alike: these differ by what is in them.
BLOCK_VOXELS = 64
MAX_BLOCKS_ZYX = (1, 4, 4)
# Half octaves from the finest period that voxels can show.
BAND_EDGES_VOXELS = tuple(float(2 * 2 ** (step / 2)) for step in range(9))
# Of the power of white noise with the same variance: less is as good as none, as beyond a filter's limit.
LEAST_POWER = 1e-3
# Grey values are looked at as they are and after averaging over cubes of so many voxels: noise first, then particles.
GREY_CUBES_VOXELS = (1, 2, 4)
# Outliers are this many standard deviations from the mean, which 0.0013 of normal noise is on either side; below this
# share chance decides.
OUTLIER_DEVIATIONS = 3.0
LEAST_SHARE = 1e-3


def place_blocks(shape_zyx: tuple[int, ...]) -> tuple[tuple[slice, ...], ...]:
    """Return the blocks in which a tomogram of that shape is looked at: of one size, evenly spread, always the same."""
    along_z, along_y, along_x = (_place(size, most) for size, most in zip(shape_zyx, MAX_BLOCKS_ZYX, strict=True))
    return tuple((z, y, x) for z in along_z for y in along_y for x in along_x)


def measure_traits(blocks_zyx: Sequence[NDArray[Any]]) -> dict[str, Floats] | None:
    """Return the numbers of a tomogram from its blocks, by kind.

    Each is the median over blocks, which one with a gold bead or without ice does not move.

    Parameters
    ----------
    blocks_zyx
        The blocks of `place_blocks`: finite real numbers of any scale and offset.

    Returns
    -------
    dict
        `spectrum`: natural logarithm of the mean power in the bands of `BAND_EDGES_VOXELS`, less its mean over bands;
        a band that blocks are too small for has the value of the next finer one. Shape (8,).
        `skewness`, `kurtosis` (natural logarithm; log 3 is that of normal noise), `dark` and `bright` (natural
        logarithm of the share of voxels beyond `OUTLIER_DEVIATIONS`): at each of `GREY_CUBES_VOXELS`. Shape (3,).
        None if all blocks are constant.
    """
    standardized = (_standardize(np.asarray(block, np.float32)) for block in blocks_zyx)
    measured = [(_measure_spectrum(block), _measure_contrast(block)) for block in standardized if block is not None]
    if not measured:
        return None
    spectrum = np.median([bands for bands, _ in measured], axis=0)
    skewness, kurtosis, dark, bright = np.median([contrast for _, contrast in measured], axis=0).T
    return {
        "spectrum": spectrum - spectrum.mean(),
        "skewness": skewness,
        "kurtosis": kurtosis,
        "dark": dark,
        "bright": bright,
    }


def _place(size: int, most: int) -> list[slice]:
    side = min(size, BLOCK_VOXELS)
    count = min(most, size // side)
    starts = [round((number + 0.5) * size / count - side / 2) for number in range(count)]
    return [slice(start, start + side) for start in starts]


def _standardize(values: NDArray[np.float32]) -> NDArray[np.float32] | None:
    centred = values - np.float32(values.mean(dtype=np.float64))
    # Relative to the largest, lest the squares of tiny values underflow.
    largest = float(np.abs(centred).max())
    if values.min() == values.max() or largest == 0.0:
        return None
    centred /= np.float32(largest)
    return np.asarray(centred / np.float32(np.sqrt(np.square(centred).mean(dtype=np.float64))), np.float32)


def _measure_contrast(values: NDArray[np.float32]) -> list[tuple[float, float, float, float]]:
    """Return skewness, kurtosis and outliers of values of mean 0 for each of `GREY_CUBES_VOXELS`."""
    found = [_measure_grey_values(values)]
    for _ in GREY_CUBES_VOXELS[1:]:
        values = _halve(values)
        found.append(_measure_grey_values(values))
    return found


def _halve(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return means over cubes of 2^3 voxels; over what there is where it is one voxel thin."""
    for axis in range(3):
        pairs = values.shape[axis] // 2
        if pairs:
            even, odd = (values.take(range(first, 2 * pairs, 2), axis) for first in (0, 1))
            values = np.asarray(0.5 * (even + odd), np.float32)
    return values


def _measure_grey_values(values: NDArray[np.float32]) -> tuple[float, float, float, float]:
    squares = values * values
    products = (squares, squares * values, squares * squares)
    second, third, fourth = (float(product.mean(dtype=np.float64)) for product in products)
    second = max(second, float(np.finfo(np.float32).tiny))
    limit = OUTLIER_DEVIATIONS * second**0.5
    dark, bright = (np.log(np.mean(side) + LEAST_SHARE) for side in (values < -limit, values > limit))
    return third / second**1.5, float(np.log(max(fourth / second**2, 1.0))), float(dark), float(bright)


def _measure_spectrum(values: NDArray[np.float32]) -> Floats:
    window, bands, counts = _plan_spectrum(values.shape)
    spectrum = np.fft.rfftn(values * window)
    power = (spectrum.real**2 + spectrum.imag**2).ravel()
    sums = np.bincount(bands, power, minlength=len(BAND_EDGES_VOXELS) + 1)[1:-1]
    logs = np.log(sums / np.maximum(counts, 1) + LEAST_POWER)
    for band in range(1, len(logs)):
        logs[band] = logs[band] if counts[band] else logs[band - 1]
    return np.asarray(logs)


@lru_cache(maxsize=4)
def _plan_spectrum(shape_zyx: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.int64], Floats]:
    """Return the window (unit power per voxel), the band of every component, 0 and last for none, and their numbers."""
    z, y, x = (np.hanning(size + 2)[1:-1] for size in shape_zyx)
    window = z[:, None, None] * y[:, None] * x
    window /= np.sqrt((window**2).sum())
    axes = [np.fft.fftfreq(size) for size in shape_zyx[:-1]] + [np.fft.rfftfreq(shape_zyx[-1])]
    frequency = np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True)))
    with np.errstate(divide="ignore"):
        bands = np.digitize(1 / frequency, BAND_EDGES_VOXELS).ravel()
    counts = np.bincount(bands, minlength=len(BAND_EDGES_VOXELS) + 1)[1:-1]
    return window.astype(np.float32), bands, counts.astype(np.float64)
