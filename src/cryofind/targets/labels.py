"""Targets from label volumes: the share of each cell that an object fills."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cryofind.targets.draw import TrainingTarget


def targets_from_labels(
    labels_zyx: NDArray[np.integer],
    channels_by_label: Mapping[int, int],
    *,
    object_count: int,
    stride: int = 2,
    annotated_zyx: NDArray[np.bool_] | None = None,
) -> TrainingTarget:
    """Return the target of a full-resolution label volume on the grid `VoxelGrid.coarsened(stride)`.

    Parameters
    ----------
    labels_zyx
        Integers of shape (z, y, x) on the tomogram's own grid (level 0, never a pyramid level).
    channels_by_label
        Channel of each label; labels that are not named count as background.
    object_count
        Number of channels K.
    stride
        Input voxels per cell along each axis.
    annotated_zyx
        Booleans of the labels' shape; cells annotated to less than half carry no loss. All, when None.

    Returns
    -------
    TrainingTarget
        Values are the share of the cell's voxels; the last cell of an odd axis counts the voxels that exist.

    Raises
    ------
    ValueError
        If a channel is out of range or the shapes disagree.
    """
    out_of_range = [channel for channel in channels_by_label.values() if not 0 <= channel < object_count]
    if out_of_range:
        raise ValueError(f"channels {out_of_range} are not among the {object_count} objects")
    if annotated_zyx is not None and annotated_zyx.shape != labels_zyx.shape:
        raise ValueError(f"annotated region has shape {annotated_zyx.shape}, labels {labels_zyx.shape}")
    shape = tuple(-(-size // stride) for size in labels_zyx.shape)
    values = np.zeros((object_count, *shape), dtype=np.float32)
    for label, channel in channels_by_label.items():
        values[channel] += average_blocks(labels_zyx == label, stride)
    weights = np.ones(shape, dtype=np.float32)
    if annotated_zyx is not None:
        weights[average_blocks(annotated_zyx, stride) < 0.5] = 0
    return TrainingTarget(values, weights)


def average_blocks(volume_zyx: NDArray[np.generic], stride: int) -> NDArray[np.float32]:
    """Return the mean of each block of stride^3 voxels, float32; at an odd end, of the voxels that exist."""
    means: NDArray[np.float32] = volume_zyx.astype(np.float32)
    for axis in range(volume_zyx.ndim):
        means = np.moveaxis(_average_along_first_axis(np.moveaxis(means, axis, 0), stride), 0, axis)
    return np.ascontiguousarray(means)


def _average_along_first_axis(volume: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    count = -(-len(volume) // stride)
    sums = np.zeros((count, *volume.shape[1:]), dtype=np.float32)
    for offset in range(stride):
        part = volume[offset::stride]
        sums[: len(part)] += part
    sums[:-1] /= stride
    sums[-1] /= len(volume) - stride * (count - 1)
    return sums
