"""Overlap of label volumes, object by object."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryofind.errors import ProjectError
from cryofind.types import LabelVolume

# Planes compared at once: bounds the memory to a few hundred megabytes for the largest tomograms.
SLAB_PLANES = 16

LARGEST_LABEL = 65535  # what files of labels can hold; more is no list of objects


@dataclass(frozen=True)
class LabelOverlap:
    """Voxel counts of one object; counts of slabs add up to those of the volume.

    Parameters
    ----------
    both, predicted, true
        Voxels of the object in both volumes, in the prediction, in the truth.
    """

    both: int
    predicted: int
    true: int

    def __add__(self, other: "LabelOverlap") -> "LabelOverlap":
        return LabelOverlap(self.both + other.both, self.predicted + other.predicted, self.true + other.true)

    @property
    def dice(self) -> float:
        """Dice coefficient, 2 x both / (predicted + true), 0 to 1; 0 where neither has a voxel."""
        return 2 * self.both / max(self.predicted + self.true, 1)


def dice_per_object(predicted: LabelVolume, truth: LabelVolume) -> dict[str, float]:
    """Return the Dice coefficient of every object that has a voxel in either volume.

    Objects are matched by name, whatever their label numbers.

    Parameters
    ----------
    predicted, truth
        Label volumes of equal shape; compared a few planes at a time, so memory-mapped arrays stay on disk.

    Returns
    -------
    dict of str to float
        By object name, sorted; an object absent from both is not reported.

    Raises
    ------
    ProjectError
        If the shapes differ, or a voxel has a label without a name.
    """
    return dice_from_overlaps([measure_overlaps(predicted, truth)])


def dice_from_overlaps(overlaps: Iterable[dict[str, LabelOverlap]]) -> dict[str, float]:
    """Return the Dice coefficient by object of the pooled voxels of several slabs or runs (`measure_overlaps`)."""
    pooled: dict[str, LabelOverlap] = {}
    for by_object in overlaps:
        for name, overlap in by_object.items():
            pooled[name] = pooled.get(name, LabelOverlap(0, 0, 0)) + overlap
    return {name: pooled[name].dice for name in sorted(pooled) if pooled[name].predicted + pooled[name].true}


def measure_overlaps(predicted: LabelVolume, truth: LabelVolume) -> dict[str, LabelOverlap]:
    """Return the voxel counts of every named object; see `dice_per_object` for the rules and errors."""
    if predicted.labels_zyx.shape != truth.labels_zyx.shape:
        problem = f"has shape {predicted.labels_zyx.shape}, the truth {truth.labels_zyx.shape}"
        advice = "compare segmentations of one voxel spacing"
        raise ProjectError(f"predicted segmentation of run '{predicted.run}'", problem, advice)
    names = sorted({*predicted.names_by_label.values(), *truth.names_by_label.values()})
    size = len(names) + 1
    joint = np.zeros(size * size, np.int64)
    for start in range(0, truth.labels_zyx.shape[0], SLAB_PLANES):
        slab = slice(start, start + SLAB_PLANES)
        codes = _as_name_indices(predicted, slab, names) * size + _as_name_indices(truth, slab, names)
        joint += np.bincount(codes, minlength=size * size)
    table = joint.reshape(size, size)
    predicted_counts, true_counts = table.sum(axis=1), table.sum(axis=0)
    return {
        name: LabelOverlap(int(table[index, index]), int(predicted_counts[index]), int(true_counts[index]))
        for index, name in enumerate(names, start=1)
    }


def _as_name_indices(volume: LabelVolume, slab: slice, names: list[str]) -> NDArray[np.int64]:
    """Return, flat, 0 for background and 1 + the index in `names` for every other voxel of some planes."""
    labels = np.asarray(volume.labels_zyx[slab]).reshape(-1)
    if labels.min() < 0 or labels.max() > LARGEST_LABEL:
        problem = f"labels run from {labels.min()} to {labels.max()}, expected 0 to {LARGEST_LABEL}"
        raise ProjectError(f"segmentation of run '{volume.run}'", problem, "give a multilabel segmentation")
    codes = np.zeros(LARGEST_LABEL + 1, np.int64)
    for label in np.flatnonzero(np.bincount(labels)).tolist():
        if label == 0:
            continue
        if label not in volume.names_by_label:
            subject = f"segmentation of run '{volume.run}'"
            raise ProjectError(subject, f"voxels have label {label}, which has no name", "add an object of that label")
        codes[label] = 1 + names.index(volume.names_by_label[label])
    return np.asarray(codes[labels])
