"""Whether particles are darker or brighter than their surroundings."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Polarity = Literal["dark", "bright", "unclear"]

# Averaging this many voxels along each axis lifts particles over the noise of an unfiltered reconstruction.
BLOCK_VOXELS = 4
# A running mean over this many blocks follows ice thickness and other slow changes, and is taken off.
BACKGROUND_BLOCKS = 13
# The central box that is looked at: enough for thousands of particles, and 50 MB.
MAX_BOX_ZYX = (128, 320, 320)
# Measured by us, on means over 4 x 4 x 4 voxels less their background: a simulated tomogram of a crowded sample has
# skewness -1.4 (denoised), -1.3 (unfiltered) and -1.2 (Wiener filtered), tail imbalance -0.33, -0.31 and -0.23; two
# real crops of bright microtubules +0.7 and +1.4, 0.11 and 0.37; noise, white or smooth, stays within 0.04 and 0.03.
# Balls of 5 voxels radius in white noise are found from a contrast of half the standard deviation of the noise on.
MIN_SKEWNESS = 0.2
MIN_TAIL_IMBALANCE = 0.03
# Skewness of n independent normal values has a standard error of sqrt(6 / n).
MIN_STANDARD_ERRORS = 6.0
TAIL_PERCENTILES = (0.5, 50.0, 99.5)


def detect_polarity(volume_zyx: NDArray[Any]) -> Polarity:
    """Say whether particles look darker or brighter than their surroundings.

    Particles fill a small share of the sample and stand out on one side of it only, so they skew the distribution of
    block means. Both the skewness and the lengths of the outer tails must agree, which a few stray voxels or a gold
    bead cannot bring about.

    Parameters
    ----------
    volume_zyx
        Real array (z, y, x) of any number type; may be memory-mapped. Its central box is read; voxels that are NaN or
        infinite count as the median.

    Returns
    -------
    str
        `dark` (as in the CZII tomograms), `bright`, or `unclear` where neither is beyond doubt.
    """
    contrast = _take_blocks_off_background(volume_zyx)
    spread = float(contrast.std())
    if spread == 0.0:
        return "unclear"
    skewness = float(np.mean((contrast / spread) ** 3))
    low, middle, high = np.percentile(contrast, TAIL_PERCENTILES)
    tail_imbalance = (high + low - 2 * middle) / max(high - low, np.finfo(np.float64).tiny)
    needed = max(MIN_SKEWNESS, MIN_STANDARD_ERRORS * float(np.sqrt(6 / contrast.size)))
    if skewness <= -needed and tail_imbalance <= -MIN_TAIL_IMBALANCE:
        return "dark"
    if skewness >= needed and tail_imbalance >= MIN_TAIL_IMBALANCE:
        return "bright"
    return "unclear"


def central_box(shape_zyx: tuple[int, ...]) -> tuple[slice, ...]:
    """Return the box that `detect_polarity` looks at in a volume of that shape."""
    starts = [max(0, (size - most) // 2) for size, most in zip(shape_zyx, MAX_BOX_ZYX, strict=True)]
    return tuple(slice(start, start + most) for start, most in zip(starts, MAX_BOX_ZYX, strict=True))


def _take_blocks_off_background(volume_zyx: NDArray[Any]) -> NDArray[np.float64]:
    means = _average_blocks(_central_box(volume_zyx))
    background = ndimage.uniform_filter(means, BACKGROUND_BLOCKS, mode="nearest")
    contrast = (means - background)[_leave_out_faces(means.shape)]
    return np.asarray(contrast - contrast.mean(), dtype=np.float64)


def _leave_out_faces(counts: tuple[int, ...]) -> tuple[slice, ...]:
    # Near a face the running mean is lopsided and a gradient remains.
    margins = (BACKGROUND_BLOCKS // 2 if count >= 2 * BACKGROUND_BLOCKS else 0 for count in counts)
    return tuple(slice(margin, count - margin) for margin, count in zip(margins, counts, strict=True))


def _central_box(volume_zyx: NDArray[Any]) -> NDArray[Any]:
    """Return the box that is looked at: a view, or where voxels had to be mended a copy, float64."""
    box = volume_zyx[central_box(volume_zyx.shape)]
    if all(np.isfinite(plane).all() for plane in box):
        return box
    values = box.astype(np.float64)
    finite = np.isfinite(values)
    values[~finite] = np.median(values[finite]) if finite.any() else 0.0
    return values


def _average_blocks(volume_zyx: NDArray[Any]) -> NDArray[np.float64]:
    """Return the means of the volume's blocks in units of its largest magnitude, lest their cubes leave float64."""
    largest = max(float(np.abs(plane, dtype=np.float64).max()) for plane in volume_zyx) or 1.0
    # A volume thinner than one block is averaged over what there is.
    blocks = [min(BLOCK_VOXELS, size) for size in volume_zyx.shape]
    counts = [size // block for size, block in zip(volume_zyx.shape, blocks, strict=True)]
    y, x = counts[1] * blocks[1], counts[2] * blocks[2]
    means = np.empty(counts)
    for layer, mean in enumerate(means):
        planes = volume_zyx[layer * blocks[0] : (layer + 1) * blocks[0], :y, :x]
        # Slab by slab and z first: the long sums run along whole rows, and nothing leaves the cache.
        rows = np.divide(planes, largest, dtype=np.float64).sum(axis=0)
        columns = rows.reshape(counts[1], blocks[1], x).sum(axis=1)
        mean[...] = columns.reshape(counts[1], counts[2], blocks[2]).sum(axis=2)
    means /= np.prod(blocks)
    return means
