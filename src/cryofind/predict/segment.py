"""Probability volumes to label volumes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from cryofind.types import LabelVolume, ParticleSpec, ProbabilityVolume, VoxelGrid, find_spec


def segment_probabilities(
    probabilities: ProbabilityVolume, specs: Sequence[ParticleSpec], *, threshold: float, grid: VoxelGrid
) -> LabelVolume:
    """Return the most probable object of every voxel of a tomogram.

    Probabilities are interpolated linearly along each axis at the voxels' true places: a cell of a stride-2 grid lies
    half a voxel beyond the even voxels. Beyond the outermost cells the outermost probability holds.

    Parameters
    ----------
    probabilities
        On any grid, usually the stride-2 grid of `grid`.
    specs
        What the objects are; gives each its label.
    threshold
        Least probability of a labelled voxel, 0 to 1.
    grid
        Grid of the labels: the tomogram's.

    Returns
    -------
    LabelVolume
        uint8, 0 where no object reaches the threshold; of equally probable objects the first.

    Raises
    ------
    ConfigError
        If an object is not among the specs.
    """
    labels = np.array([find_spec(specs, name).label for name in probabilities.objects], dtype=np.uint8)
    coarse = probabilities.grid
    below, above, share = _neighbours(coarse, grid, axis=0)
    along_y, along_x = _interpolation(coarse, grid, axis=1), _interpolation(coarse, grid, axis=2)
    labelled = np.zeros(grid.shape_zyx, np.uint8)
    if not len(labels):
        return LabelVolume(probabilities.run, labelled, grid, {})
    highest = probabilities.probabilities.max(axis=(0, 2, 3))
    for z, (low, high, part) in enumerate(zip(below, above, share, strict=True)):
        if max(highest[low], highest[high]) < threshold:
            continue
        planes = (1 - part) * probabilities.probabilities[:, low] + part * probabilities.probabilities[:, high]
        labelled[z] = _label_plane(planes.astype(np.float32), along_y, along_x, labels, threshold)
    names = dict(zip(labels.tolist(), probabilities.objects, strict=True))
    return LabelVolume(probabilities.run, labelled, grid, names)


def _label_plane(
    planes: NDArray[np.float32],
    along_y: sparse.csr_array,
    along_x: sparse.csr_array,
    labels: NDArray[np.uint8],
    threshold: float,
) -> NDArray[np.uint8]:
    best = np.full((along_y.shape[0], along_x.shape[0]), np.float32(0))
    chosen = np.zeros(best.shape, np.uint8)
    for label, plane in zip(labels, planes, strict=True):
        if plane.max() < threshold:
            continue
        fine = (along_x @ (along_y @ plane).T).T
        wins = (fine >= threshold) & (fine > best)
        best[wins] = fine[wins]
        chosen[wins] = label
    return chosen


def _neighbours(
    coarse: VoxelGrid, fine: VoxelGrid, axis: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Return for each fine voxel along an axis the coarse cells below and above, and the share of the one above."""
    indices = np.zeros((fine.shape_zyx[axis], 3))
    indices[:, axis] = np.arange(fine.shape_zyx[axis])
    last = coarse.shape_zyx[axis] - 1
    place = coarse.indices_from_positions(fine.positions_from_indices(indices))[:, axis].clip(0, last)
    below = np.floor(place).astype(np.int64)
    return below, np.minimum(below + 1, last), place - below


def _interpolation(coarse: VoxelGrid, fine: VoxelGrid, axis: int) -> sparse.csr_array:
    below, above, share = _neighbours(coarse, fine, axis)
    rows = np.arange(len(below))
    weights = np.concatenate((1 - share, share)).astype(np.float32)
    entries = (weights, (np.concatenate((rows, rows)), np.concatenate((below, above))))
    return sparse.csr_array(sparse.coo_array(entries, shape=(len(below), coarse.shape_zyx[axis])))
