"""Voxels of any number type as 256 greys."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What is black and white at first. Beyond it, as much again of greys as half of it, for the contrast control.
SHOWN_PERCENTILES = (0.5, 99.5)
MARGIN = 0.5


@dataclass(frozen=True)
class GreyScale:
    """The voxel values that become grey 0 and 255, and those between which the contrast is at first.

    Parameters
    ----------
    low, high
        Values of grey 0 and 255; `low` is below `high`.
    shown
        Greys that are black and white at first.
    """

    low: float
    high: float
    shown: tuple[int, int]

    def to_grey(self, voxels: NDArray[Any]) -> NDArray[np.uint8]:
        """Return voxels as greys, same shape; NaN is the middle."""
        values = voxels.astype(np.float32)  # a copy, which may be changed
        values -= self.low
        values *= 255 / (self.high - self.low)
        np.nan_to_num(values, copy=False, nan=127.0, posinf=255.0, neginf=0.0)
        np.clip(values, 0, 255, out=values)
        np.rint(values, out=values)
        return values.astype(np.uint8)


def choose_grey_scale(sample: NDArray[Any]) -> GreyScale:
    """Return the scale for a tomogram of which these are some voxels, of any shape and real number type."""
    values = np.asarray(sample, dtype=np.float64).ravel()
    values = values[np.isfinite(values)]
    if not values.size or values.min() == values.max():
        middle = float(values[0]) if values.size else 0.0
        return GreyScale(middle - 1, middle + 1, (0, 255))
    black, white = (float(value) for value in np.percentile(values, SHOWN_PERCENTILES))
    if black == white:  # nearly all voxels are the same, as those of a mask
        black, white = float(values.min()), float(values.max())
    low = max(float(values.min()), black - MARGIN * (white - black))
    high = min(float(values.max()), white + MARGIN * (white - black))
    first, last = (round(255 * (value - low) / (high - low)) for value in (black, white))
    return GreyScale(low, high, (first, last))
