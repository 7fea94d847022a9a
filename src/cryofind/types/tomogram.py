"""A tomogram: voxels and where they lie."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cryofind.types.grid import VoxelGrid


@dataclass(frozen=True, eq=False)
class Tomogram:
    """One reconstructed volume of one run.

    Parameters
    ----------
    run
        Name of the run (the tilt series, the Kaggle `experiment`).
    volume_zyx
        Real-valued array of shape `grid.shape_zyx`; may be memory-mapped and read-only.
    grid
        Voxel spacing and origin.
    flavour
        Kind of reconstruction, such as `denoised` or `wbp`; empty when unknown.
    notes
        What the reader had to assume or mend, a line each, to be shown to the user.

    Raises
    ------
    ValueError
        If the array does not fit the grid or is complex.
    """

    run: str
    volume_zyx: NDArray[np.generic]
    grid: VoxelGrid
    flavour: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.volume_zyx.shape != self.grid.shape_zyx:
            raise ValueError(f"volume has shape {self.volume_zyx.shape}, its grid {self.grid.shape_zyx}")
        if not np.issubdtype(self.volume_zyx.dtype, np.number) or np.iscomplexobj(self.volume_zyx):
            raise ValueError(f"voxels must be real numbers, found {self.volume_zyx.dtype}")
