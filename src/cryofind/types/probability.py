"""What a network says about every cell of a grid."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryofind.types.grid import VoxelGrid


@dataclass(frozen=True, eq=False)
class ProbabilityVolume:
    """One probability volume per object, background left out.

    Parameters
    ----------
    run
        Name of the run.
    probabilities
        Floating array of shape (object, z, y, x), values 0 to 1.
    grid
        Grid of one channel; usually coarser than the tomogram's, with the origin that `VoxelGrid.coarsened` gives.
    objects
        Object names in channel order.

    Raises
    ------
    ValueError
        If shapes do not agree.
    """

    run: str
    probabilities: NDArray[np.floating]
    grid: VoxelGrid
    objects: tuple[str, ...]

    def __post_init__(self) -> None:
        expected = (len(self.objects), *self.grid.shape_zyx)
        if self.probabilities.shape != expected:
            raise ValueError(f"probabilities have shape {self.probabilities.shape}, expected {expected}")
