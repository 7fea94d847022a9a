"""A volume of labels: which object every voxel belongs to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryofind.types.grid import VoxelGrid


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """A multilabel segmentation of one run (copick: voxel = label of the object, 0 = background).

    Parameters
    ----------
    run
        Name of the run.
    labels_zyx
        Integer array of shape `grid.shape_zyx`.
    grid
        Voxel spacing and origin.
    names_by_label
        Object name of every label that may occur, without 0.

    Raises
    ------
    ValueError
        If the array does not fit the grid or is not of integers.
    """

    run: str
    labels_zyx: NDArray[np.integer]
    grid: VoxelGrid
    names_by_label: dict[int, str]

    def __post_init__(self) -> None:
        if self.labels_zyx.shape != self.grid.shape_zyx:
            raise ValueError(f"labels have shape {self.labels_zyx.shape}, their grid {self.grid.shape_zyx}")
        if not np.issubdtype(self.labels_zyx.dtype, np.integer):
            raise ValueError(f"labels must be integers, found {self.labels_zyx.dtype}")
