"""Where the voxels of an array lie."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import SupportsFloat, SupportsInt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cryofind.coordinates import angstrom_from_indices, indices_from_angstrom, nearest_indices

IntTriple = tuple[int, int, int]
FloatTriple = tuple[float, float, float]


@dataclass(frozen=True)
class VoxelGrid:
    """Shape, voxel spacing and origin of a 3D array indexed `[z, y, x]`.

    Parameters
    ----------
    shape_zyx
        Number of voxels along z, y and x, each at least 1.
    spacing_zyx_angstrom
        Voxel spacing along z, y and x, Angstrom, positive and finite.
    origin_zyx_angstrom
        Position of index (0, 0, 0), Angstrom; zero for a tomogram.

    Raises
    ------
    ValueError
        If a size, spacing or origin is out of range.
    """

    shape_zyx: IntTriple
    spacing_zyx_angstrom: FloatTriple
    origin_zyx_angstrom: FloatTriple = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape_zyx", _ints(self.shape_zyx))
        object.__setattr__(self, "spacing_zyx_angstrom", _floats(self.spacing_zyx_angstrom))
        object.__setattr__(self, "origin_zyx_angstrom", _floats(self.origin_zyx_angstrom))
        if min(self.shape_zyx) < 1:
            raise ValueError(f"every size of shape_zyx must be at least 1, found {self.shape_zyx}")
        if not all(np.isfinite(s) and s > 0 for s in self.spacing_zyx_angstrom):
            raise ValueError(f"voxel spacing must be positive and finite, found {self.spacing_zyx_angstrom}")
        if not np.isfinite(self.origin_zyx_angstrom).all():
            raise ValueError(f"origin must be finite, found {self.origin_zyx_angstrom}")

    @classmethod
    def isotropic(cls, shape_zyx: tuple[int, ...], spacing_angstrom: float) -> "VoxelGrid":
        """Return the grid of a tomogram: one voxel spacing (Angstrom) for all axes, origin 0."""
        return cls(_ints(shape_zyx), (spacing_angstrom,) * 3)

    @property
    def spacing_angstrom(self) -> float:
        """The mean voxel spacing, Angstrom, where one number must do."""
        return float(np.mean(self.spacing_zyx_angstrom))

    @property
    def extent_zyx_angstrom(self) -> FloatTriple:
        """Size of the box, `shape * spacing`, Angstrom."""
        z, y, x = (n * s for n, s in zip(self.shape_zyx, self.spacing_zyx_angstrom, strict=True))
        return z, y, x

    def positions_from_indices(self, indices_zyx: ArrayLike) -> NDArray[np.float64]:
        """Return positions zyx in Angstrom, shape (..., 3), of integer or fractional indices (..., 3)."""
        return angstrom_from_indices(
            indices_zyx, self.spacing_zyx_angstrom, origin_zyx_angstrom=self.origin_zyx_angstrom
        )

    def indices_from_positions(self, positions_zyx_angstrom: ArrayLike) -> NDArray[np.float64]:
        """Return fractional indices zyx, shape (..., 3), of positions zyx in Angstrom."""
        return indices_from_angstrom(
            positions_zyx_angstrom, self.spacing_zyx_angstrom, origin_zyx_angstrom=self.origin_zyx_angstrom
        )

    def nearest_indices_from_positions(self, positions_zyx_angstrom: ArrayLike) -> NDArray[np.int64]:
        """Return the nearest voxels zyx, shape (..., 3); they may lie outside the array."""
        return nearest_indices(self.indices_from_positions(positions_zyx_angstrom))

    def contains(self, positions_zyx_angstrom: ArrayLike, *, margin_angstrom: float = 0.0) -> NDArray[np.bool_]:
        """Say which positions (..., 3) lie in the box, at least `margin_angstrom` from every face.

        The box runs from the origin to origin + extent, faces included.
        """
        offset = np.asarray(positions_zyx_angstrom, dtype=np.float64) - np.asarray(self.origin_zyx_angstrom)
        extent = np.asarray(self.extent_zyx_angstrom)
        inside = (offset >= margin_angstrom) & (offset <= extent - margin_angstrom)
        return np.asarray(inside.all(axis=-1))

    def coarsened(self, stride: int) -> "VoxelGrid":
        """Return the grid whose cell j is the mean of `stride`^3 voxels, at input index `stride*j + (stride-1)/2`.

        Sizes round up: an odd axis ends in a cell that hangs over the edge.
        """
        shape = tuple(-(-n // stride) for n in self.shape_zyx)
        spacing = tuple(s * stride for s in self.spacing_zyx_angstrom)
        origin = self.positions_from_indices([(stride - 1) / 2] * 3)
        return VoxelGrid(_ints(shape), _floats(spacing), _floats(origin))

    def resampled(self, spacing_angstrom: float) -> "VoxelGrid":
        """Return a grid of another voxel spacing that covers the same box, with index 0 at the same place."""
        shape = tuple(max(1, round(e / spacing_angstrom)) for e in self.extent_zyx_angstrom)
        return VoxelGrid(_ints(shape), (spacing_angstrom,) * 3, self.origin_zyx_angstrom)


def _ints(values: Iterable[SupportsInt]) -> IntTriple:
    z, y, x = (int(value) for value in values)
    return z, y, x


def _floats(values: Iterable[SupportsFloat]) -> FloatTriple:
    z, y, x = (float(value) for value in values)
    return z, y, x
