"""Targets that the recipes draw of the particles in a crop."""

from collections.abc import Callable
from typing import Any

import numpy as np
from crops import Points, Triple
from numpy.typing import NDArray
from task import Task

# Of the points of a crop: its target, an array whose leading axes are its own.
DrawTarget = Callable[[Points, Triple, Task], NDArray[Any]]


def balls(factor: float) -> DrawTarget:
    """Return what draws balls of `factor` radii: the channel of every voxel, shape (z, y, x)."""

    def draw(points: Points, size_zyx: Triple, task: Task) -> NDArray[Any]:
        labels = np.zeros(size_zyx, np.uint8)
        radii_voxels = task.radii_voxels[points.labels - 1] * factor * points.scale
        for index, label, radius_voxels in zip(points.indices_zyx, points.labels, radii_voxels, strict=True):
            low = np.maximum(np.ceil(index - radius_voxels), 0).astype(int)
            high = np.minimum(np.floor(index + radius_voxels) + 1, size_zyx).astype(int)
            if (high <= low).any():
                continue
            z, y, x = (np.arange(a, b) - centre for a, b, centre in zip(low, high, index, strict=True))
            inside = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2 <= radius_voxels**2
            labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))][inside] = label
        return labels

    return draw


def single_cells(points: Points, size_zyx: Triple, task: Task) -> NDArray[Any]:
    """Mark the cell of half resolution that holds each particle: share of every channel, shape (C, z/2, y/2, x/2)."""
    shape = np.array(size_zyx) // 2
    cells = np.floor((points.indices_zyx + 0.5) / 2).astype(int)
    inside = ((cells >= 0) & (cells < shape)).all(axis=1)
    target = np.zeros((task.channels, *shape), np.float32)
    target[(points.labels[inside], *cells[inside].T)] = 1
    target[0] = 1 - np.minimum(target[1:].sum(axis=0), 1)
    return target
