"""A specimen in the making: the volumes that everything is drawn into, and what is taken of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryofind.simulate.occupancy import Occupancy
from cryofind.simulate.slab import Slab
from cryofind.types import VoxelGrid


@dataclass(frozen=True, eq=False)
class Scene:
    """The volumes of a specimen, written to by whatever is added to it.

    Parameters
    ----------
    density_zyx
        Mass density above ice, 1 = solid protein, float32.
    labels_zyx
        Label of the object that every voxel belongs to, 0 for none, uint8.
    occupancy
        Which voxels are taken.
    slab
        The layer of ice, in the grid of all volumes.
    """

    density_zyx: NDArray[np.float32]
    labels_zyx: NDArray[np.uint8]
    occupancy: Occupancy
    slab: Slab

    @classmethod
    def empty(cls, slab: Slab) -> "Scene":
        """Return a layer of pure ice."""
        shape = slab.grid.shape_zyx
        return cls(np.zeros(shape, np.float32), np.zeros(shape, np.uint8), Occupancy(slab.grid), slab)

    @property
    def grid(self) -> VoxelGrid:
        """Of all volumes."""
        return self.slab.grid
