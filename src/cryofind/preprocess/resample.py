"""Another voxel spacing, with every particle left where it is."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from cryofind.errors import TomogramError
from cryofind.types import Tomogram, VoxelGrid

# Within this share of the wanted voxel spacing a tomogram is used as it is; it keeps its true spacing.
SPACING_TOLERANCE = 0.01
# Beyond these factors particles would no longer look as the network learnt them.
MIN_SPACING_RATIO, MAX_SPACING_RATIO = 0.67, 1.5
# The cubic kernel of Keys (1981) with a = -0.5, which reproduces quadratic polynomials.
KEYS_SHARPNESS = -0.5
KEYS_SUPPORT = 2.0


def match_spacing(tomogram: Tomogram, spacing_angstrom: float) -> Tomogram:
    """Return the tomogram at about the voxel spacing that a model needs.

    Within 1 % it is returned as it is, with its true spacing; between 0.67 and 1.5 times it is resampled, with a
    note; positions in Angstrom stay the same in all cases.

    Parameters
    ----------
    tomogram
        Finite voxels; spacing may differ from axis to axis.
    spacing_angstrom
        Wanted voxel spacing, Angstrom.

    Raises
    ------
    TomogramError
        If the spacing of an axis is beyond 0.67 to 1.5 times the wanted one.
    """
    if not needs_resampling(tomogram.grid, spacing_angstrom, run=tomogram.run):
        return tomogram
    grid = tomogram.grid.resampled(spacing_angstrom)
    volume = resample_volume(tomogram.volume_zyx, tomogram.grid, grid)
    found = _describe_spacing(tomogram.grid.spacing_zyx_angstrom)
    note = f"resampled from {found} to {spacing_angstrom:.4g} Angstrom per voxel"
    return replace(tomogram, volume_zyx=volume, grid=grid, notes=(*tomogram.notes, note))


def needs_resampling(grid: VoxelGrid, spacing_angstrom: float, *, run: str) -> bool:
    """Say whether a tomogram on that grid has to be resampled to the wanted voxel spacing (Angstrom).

    Raises
    ------
    TomogramError
        If the spacing of an axis is beyond 0.67 to 1.5 times the wanted one.
    """
    found_zyx = grid.spacing_zyx_angstrom
    ratios = [found / spacing_angstrom for found in found_zyx]
    if all(abs(ratio - 1) <= SPACING_TOLERANCE for ratio in ratios):
        return False
    if min(ratios) < MIN_SPACING_RATIO or max(ratios) > MAX_SPACING_RATIO:
        raise TomogramError(
            f"run '{run}': voxel spacing",
            f"is {_describe_spacing(found_zyx)} Angstrom, the model's is {spacing_angstrom:.4g}, and only "
            f"{MIN_SPACING_RATIO:g} to {MAX_SPACING_RATIO:g} times the model's can be resampled",
            _advise_spacing(ratios),
        )
    return True


def resample_volume(volume_zyx: NDArray[Any], source: VoxelGrid, target: VoxelGrid) -> NDArray[np.float32]:
    """Return the volume at the voxels of another grid, float32.

    Each axis is resampled by a cubic kernel, made wider by the ratio of the spacings where the target is coarser:
    the one kernel interpolates and keeps finer detail than the target can hold from folding back. Cubic rather than
    linear, for linear interpolation smooths noise by an amount that changes from voxel to voxel, a pattern that
    networks have not met. Beyond the faces the outermost voxels are repeated.

    Parameters
    ----------
    volume_zyx
        Real array of shape `source.shape_zyx`, finite.
    source, target
        Where the voxels lie and where they are wanted.
    """
    along_z, along_y, along_x = (build_interpolation(source, target, axis) for axis in range(3))
    in_plane = np.empty((source.shape_zyx[0], *target.shape_zyx[1:]), np.float32)
    for index, plane in enumerate(volume_zyx):
        rows = along_y @ plane.astype(np.float32)
        in_plane[index] = (along_x @ rows.T).T
    resampled = along_z @ in_plane.reshape(len(in_plane), -1)
    return np.ascontiguousarray(resampled.reshape(target.shape_zyx), dtype=np.float32)


def build_interpolation(source: VoxelGrid, target: VoxelGrid, axis: int) -> sparse.csr_array:
    """Return the sparse matrix (target voxels, source voxels) that resamples one axis; rows sum to 1."""
    spacing, wanted = source.spacing_zyx_angstrom[axis], target.spacing_zyx_angstrom[axis]
    offset = (target.origin_zyx_angstrom[axis] - source.origin_zyx_angstrom[axis]) / spacing
    coordinates = offset + np.arange(target.shape_zyx[axis]) * (wanted / spacing)
    widening = max(1.0, wanted / spacing)
    reach = int(np.ceil(KEYS_SUPPORT * widening))
    columns = np.floor(coordinates).astype(np.int64)[:, None] + np.arange(1 - reach, reach + 1)
    weights = _weigh_by_keys((columns - coordinates[:, None]) / widening)
    weights /= weights.sum(axis=1, keepdims=True)
    size = source.shape_zyx[axis]
    rows = np.repeat(np.arange(len(coordinates)), columns.shape[1])
    entries = (weights.ravel().astype(np.float32), (rows, np.clip(columns, 0, size - 1).ravel()))
    return sparse.csr_array(sparse.coo_array(entries, shape=(len(coordinates), size)))


def _weigh_by_keys(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    d = np.abs(distances)
    a = KEYS_SHARPNESS
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < KEYS_SUPPORT, far, 0.0))


def _describe_spacing(spacing_zyx_angstrom: tuple[float, float, float]) -> str:
    z, y, x = spacing_zyx_angstrom
    if max(z, y, x) - min(z, y, x) <= SPACING_TOLERANCE * min(z, y, x):
        return f"{(z + y + x) / 3:.4g}"
    return f"{z:.4g} x {y:.4g} x {x:.4g} (z, y, x)"


def _advise_spacing(ratios: list[float]) -> str:
    if max(ratios) < 0.2:
        return "if the file gives nanometres or carries a wrong voxel size, state the true voxel spacing"
    return "bin or reconstruct the tomogram near the model's spacing, or train a model at this one"
