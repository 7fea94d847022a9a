"""Tilt images of a volume, and their exact adjoint, as products with one sparse matrix.

Frame: the tilt axis is y, the beam is z. A sample tilted by `theta` is turned by the right-handed rotation about +y,
so that the voxel at (z, x) from the middle of the box falls on the detector at

    x' = x cos(theta) + z sin(theta)

from the middle of the image, where it is shared linearly between the two nearest pixels. The middle of n voxels is
index (n - 1) / 2. All y rows share these weights, so one matrix with a row for every (z, x) and a column for every
(tilt, x') holds the geometry: the volume is its product with the images, the images that of its transpose with the
volume.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from cryofind.types.grid import IntTriple

Floats = NDArray[np.float32]

# Columns of y that are worked on at once: a block of images (tilts * x' * columns) stays in the cache of a core.
# Results do not depend on the number of threads, because each block is computed by itself.
BLOCK_COLUMNS = 64
THREADS = 2


class Projector:
    """Projection of volumes along the tilted beam, and back-projection.

    Parameters
    ----------
    shape_zyx
        Shape of the volumes; images have shape (tilts, y, x).
    tilts_degrees
        Tilt angles, degrees, shape (T,), between -90 and 90.
    is_periodic
        Whether the sample goes on beyond the box by repeating itself along x, as needed to fill the field of view at
        high tilt with as much material as in its middle. A layer of ice that rises along x repeats with a step at the
        side of the box: where the beam crosses it, at the sides of highly tilted images, there is a seam. Without it
        the box is all there is, and what falls beside the detector is lost: right for a reconstruction.

    Raises
    ------
    ValueError
        If a tilt is 90 degrees or more, or none is given.
    """

    def __init__(self, shape_zyx: IntTriple, tilts_degrees: ArrayLike, *, is_periodic: bool = False) -> None:
        tilts = np.atleast_1d(np.asarray(tilts_degrees, np.float64))
        if tilts.size == 0 or not np.all(np.abs(tilts) < 90):
            raise ValueError(f"tilts must lie between -90 and 90 degrees, found {tilts}")
        z, y, x = shape_zyx
        self.shape_zyx: IntTriple = (z, y, x)
        self.tilt_count = len(tilts)
        self._voxels_from_pixels = _splat_weights((z, x), np.deg2rad(tilts), is_periodic=is_periodic)

    @property
    def image_sums_tx(self) -> Floats:
        """Sum of each pixel's weights, shape (tilts, x): the projection of a volume of ones, the same for every y."""
        return np.asarray(self._voxels_from_pixels.sum(axis=0), np.float32).reshape(self.tilt_count, -1)

    @property
    def volume_sums_zx(self) -> Floats:
        """Sum of each voxel's weights, shape (z, x): the back-projection of images of ones, the same for every y."""
        z, _, x = self.shape_zyx
        return np.asarray(self._voxels_from_pixels.sum(axis=1), np.float32).reshape(z, x)

    def project(self, density_zyx: Floats) -> Floats:
        """Return the sums over voxels along the beam, float32, shape (tilts, y, x).

        A sum times the voxel spacing in Angstrom is the path integral in density times Angstrom.
        """
        return _multiply_blocks(self._voxels_from_pixels.T, density_zyx, self.tilt_count)

    def back_project(self, images_tyx: Floats) -> Floats:
        """Return the exact adjoint of `project`: every voxel sums the pixels it falls on, float32, shape (z, y, x)."""
        return _multiply_blocks(self._voxels_from_pixels, images_tyx, self.shape_zyx[0])


def _splat_weights(shape_zx: tuple[int, int], tilts_radian: NDArray[np.float64], *, is_periodic: bool) -> Any:
    """Return the matrix (z * x, tilts * x') of weights, float32 with 32-bit indices."""
    z_count, x_count = shape_zx
    middle = (x_count - 1) / 2
    repeats = _repeats(shape_zx, tilts_radian) if is_periodic else np.zeros(1)
    x = np.arange(x_count) - middle + (repeats * x_count)[:, None, None]
    across = (x * np.cos(tilts_radian)[:, None] + middle).transpose(2, 1, 0)  # (x, tilts, repeats)
    rises = np.sin(tilts_radian)[:, None]
    parts = [_row_entries(across + (z - (z_count - 1) / 2) * rises) for z in range(z_count)]
    weights, columns, counts = (np.concatenate(part) for part in zip(*parts, strict=True))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return csr_array((weights, columns, starts), shape=(z_count * x_count, len(tilts_radian) * x_count))


def _repeats(shape_zx: tuple[int, int], tilts_radian: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return by how many boxes the repeats of the sample are moved that reach the detector."""
    z_count, x_count = shape_zx
    reach = ((x_count + 1 + z_count * np.abs(np.sin(tilts_radian))) / np.cos(tilts_radian)).max()
    farthest = np.ceil((reach / x_count - 1) / 2)
    return np.arange(-farthest, farthest + 1)


def _row_entries(pixels: NDArray[np.float64]) -> tuple[Floats, NDArray[np.int32], NDArray[np.int64]]:
    """Return weights and columns of all entries of the voxels of one z, and how many each voxel has.

    `pixels` are the fractional positions on the detector, shape (x, tilts, repeats).
    """
    x_count, tilt_count, _ = pixels.shape
    lower = np.floor(pixels)
    fraction = pixels - lower
    nearest = np.stack([lower, lower + 1], axis=-1)
    weights = np.stack([1 - fraction, fraction], axis=-1)
    is_seen = (nearest >= 0) & (nearest <= x_count - 1) & (weights > 0)
    columns = nearest + (np.arange(tilt_count) * x_count)[:, None, None]
    counts = is_seen.reshape(x_count, -1).sum(axis=1)
    return weights[is_seen].astype(np.float32), columns[is_seen].astype(np.int32), counts


def _multiply_blocks(matrix: Any, source: Floats, first_size: int) -> Floats:
    """Return matrix times array (a, y, x), taken as (a * x, y), as an array (first_size, y, x)."""
    _, rows, columns = source.shape
    result = np.empty((first_size, rows, columns), np.float32)

    def multiply(start: int) -> None:
        block = slice(start, start + BLOCK_COLUMNS)
        dense = np.ascontiguousarray(source[:, block].transpose(0, 2, 1), np.float32)
        product = matrix @ dense.reshape(matrix.shape[1], -1)
        result[:, block] = product.reshape(first_size, columns, -1).transpose(0, 2, 1)

    run_in_threads(multiply, range(0, rows, BLOCK_COLUMNS))
    return result


def run_in_threads(work: Callable[[int], None], items: Iterable[int]) -> None:
    """Do `work` for every item, in `THREADS` threads; each item must write to its own place."""
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(work, items))
