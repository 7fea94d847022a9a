"""One affine map from a training crop to its tomogram: it cuts the crop and moves the particles alike."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, sparse

from cryofind.types.grid import IntTriple

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CropMap:
    """Where the voxels of a crop lie in its source volume.

    Crop index `o` lies at source index `matrix @ (o - crop centre) + source centre`, all zyx and in voxels.

    Parameters
    ----------
    matrix_zyx
        Shape (3, 3), left-multiplies column vectors zyx, invertible.
    source_centre_zyx
        Fractional index of the crop's centre in the source, shape (3,).
    shape_zyx
        Shape of the crop.
    """

    matrix_zyx: Floats
    source_centre_zyx: Floats
    shape_zyx: IntTriple

    @cached_property
    def crop_centre_zyx(self) -> Floats:
        """Fractional index of the centre of the crop, shape (3,)."""
        return (np.asarray(self.shape_zyx, dtype=np.float64) - 1) / 2

    @property
    def magnification(self) -> float:
        """Size of a thing in the crop relative to its size in the source."""
        return float(abs(np.linalg.det(self.matrix_zyx)) ** (-1 / 3))

    @cached_property
    def is_lattice(self) -> bool:
        """Whether crop voxels are source voxels: nothing but flips, quarter turns and a whole shift."""
        is_permutation = bool(np.array_equal(np.abs(self.matrix_zyx).sum(axis=0), np.ones(3))) and bool(
            np.isin(self.matrix_zyx, (-1.0, 0.0, 1.0)).all()
        )
        first = self.source_from_crop(np.zeros(3))
        return is_permutation and bool(np.array_equal(first, np.rint(first)))

    def source_from_crop(self, indices_zyx: ArrayLike) -> Floats:
        """Return source indices (..., 3) of crop indices (..., 3)."""
        offsets = np.asarray(indices_zyx, dtype=np.float64) - self.crop_centre_zyx
        return np.asarray(offsets @ self.matrix_zyx.T + self.source_centre_zyx)

    def crop_from_source(self, indices_zyx: ArrayLike) -> Floats:
        """Return crop indices (..., 3) of source indices (..., 3)."""
        offsets = np.asarray(indices_zyx, dtype=np.float64) - self.source_centre_zyx
        return np.asarray(offsets @ np.linalg.inv(self.matrix_zyx).T + self.crop_centre_zyx)

    @cached_property
    def source_bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First and last + 1 source index, zyx, of the box that holds every voxel of the crop."""
        reach = np.abs(self.matrix_zyx) @ self.crop_centre_zyx
        # A hair inside, lest rounding errors add a layer of voxels to an exact box.
        starts = np.floor(self.source_centre_zyx - reach + 1e-6).astype(np.int64)
        stops = np.ceil(self.source_centre_zyx + reach - 1e-6).astype(np.int64) + 1
        return starts, np.maximum(stops, starts + 1)


def place_crop(
    matrix_zyx: Floats,
    shape_zyx: IntTriple,
    volume_shape_zyx: IntTriple,
    *,
    point_zyx: Floats,
    point_in_crop_zyx: Floats,
) -> CropMap:
    """Return the map that shows a point of the source near a place in the crop, kept inside the volume if it can be.

    Parameters
    ----------
    matrix_zyx
        Linear part of the map, shape (3, 3).
    shape_zyx, volume_shape_zyx
        Shapes of the crop and of the source.
    point_zyx
        Fractional source index that must be in the crop.
    point_in_crop_zyx
        Where in the crop it should be, to half a voxel; the edge of the volume moves it.

    Returns
    -------
    CropMap
        A lattice map if the matrix permutes and flips axes. A volume smaller than the crop lies wholly inside it.
    """
    matrix = np.asarray(matrix_zyx, dtype=np.float64)
    crop_centre = (np.asarray(shape_zyx, dtype=np.float64) - 1) / 2
    is_exact = np.array_equal(matrix, np.rint(matrix))
    size = np.abs(matrix) @ np.asarray(shape_zyx) if is_exact else np.asarray(shape_zyx, dtype=np.float64)
    centre = np.asarray(point_zyx) - matrix @ (np.asarray(point_in_crop_zyx) - crop_centre)
    free_start = np.rint(centre - (size - 1) / 2)
    room = np.asarray(volume_shape_zyx) - size
    start = np.clip(free_start, np.minimum(room, 0), np.maximum(room, 0))
    crop_map = CropMap(matrix, start + (size - 1) / 2, shape_zyx)
    reached = crop_map.crop_from_source(point_zyx)
    if not is_exact and not ((reached >= 0) & (reached <= np.asarray(shape_zyx) - 1)).all():
        # Turned at the edge of the volume: the particle matters more than cells without data.
        return CropMap(matrix, free_start + (size - 1) / 2, shape_zyx)
    return crop_map


def cut_crop(volume_zyx: NDArray[Any], crop_map: CropMap, *, order: int = 1) -> NDArray[Any]:
    """Return the crop of a volume, reading only the box that it needs; beyond the edges the volume is reflected.

    Parameters
    ----------
    volume_zyx
        The source, possibly memory-mapped.
    crop_map
        Where the crop lies.
    order
        1: linear, float32 (grey values); 0: nearest neighbour (labels, masks).

    Returns
    -------
    ndarray of shape `crop_map.shape_zyx`
        A view where voxels need no resampling and the volume is float32.
    """
    starts, stops = crop_map.source_bounds
    box = read_box(volume_zyx, starts, stops)
    if crop_map.is_lattice:
        turned = _turn_box(box, crop_map.matrix_zyx)
        return widen(turned) if order == 1 else turned
    if order == 1:
        box = widen(box)
    first = crop_map.source_from_crop(np.zeros(3)) - starts
    matrix = crop_map.matrix_zyx
    if order == 1 and not matrix[0, 1:].any() and not matrix[1:, 0].any():
        return _resample_about_z(box, matrix, first, crop_map.shape_zyx)
    if box.dtype == np.bool_:
        return _resample(box.view(np.uint8), matrix, first, crop_map.shape_zyx, order).view(np.bool_)
    return _resample(box, matrix, first, crop_map.shape_zyx, order)


def widen(volume_zyx: NDArray[Any]) -> NDArray[np.float32]:
    """Return grey values as float32, the array itself if they are; half precision is widened by torch, much faster."""
    if volume_zyx.dtype != np.float16:
        return volume_zyx.astype(np.float32, copy=False)
    contiguous = np.array(volume_zyx, order="C")  # a copy: torch takes neither mirrored nor read-only arrays
    widened: NDArray[np.float32] = torch.from_numpy(contiguous).float().numpy()
    return widened


def read_box(volume_zyx: NDArray[Any], starts_zyx: ArrayLike, stops_zyx: ArrayLike) -> NDArray[Any]:
    """Return a block of a volume; indices beyond its edges are reflected about the outermost voxels."""
    starts, stops = np.asarray(starts_zyx), np.asarray(stops_zyx)
    if (starts >= 0).all() and (stops <= np.asarray(volume_zyx.shape)).all():
        z, y, x = (slice(start, stop) for start, stop in zip(starts, stops, strict=True))
        return np.asarray(volume_zyx[z, y, x])
    folded = [
        _reflect(np.arange(start, stop), size)
        for start, stop, size in zip(starts, stops, volume_zyx.shape, strict=True)
    ]
    z, y, x = (slice(indices.min(), indices.max() + 1) for indices in folded)
    block = np.asarray(volume_zyx[z, y, x])
    return block[np.ix_(*[indices - indices.min() for indices in folded])]


def find_outside(crop_map: CropMap, volume_shape_zyx: IntTriple, *, stride: int = 2) -> NDArray[np.bool_] | None:
    """Return the cells (stride^3 crop voxels) whose centre lies outside the volume; None if none can.

    Returns
    -------
    ndarray of bool, shape of the crop / stride, or None
    """
    starts, stops = crop_map.source_bounds
    if (starts >= 0).all() and (stops <= np.asarray(volume_shape_zyx)).all():
        return None
    z, y, x = (np.arange(size // stride) * stride + (stride - 1) / 2 for size in crop_map.shape_zyx)
    first = crop_map.source_from_crop(np.zeros(3))
    is_outside = np.zeros((len(z), len(y), len(x)), dtype=np.bool_)
    for row, start, size in zip(crop_map.matrix_zyx, first, volume_shape_zyx, strict=True):
        coordinate = (start + row[0] * z)[:, None, None] + (row[1] * y)[:, None] + row[2] * x
        is_outside |= (coordinate < -0.5) | (coordinate > size - 0.5)
    return is_outside


def _reflect(indices: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    if size == 1:
        return np.zeros_like(indices)
    period = 2 * (size - 1)
    folded = np.abs(indices) % period
    return np.where(folded >= size, period - folded, folded)


def _turn_box(box_zyx: NDArray[Any], matrix_zyx: Floats) -> NDArray[Any]:
    source_axes = np.argmax(np.abs(matrix_zyx), axis=0)
    signs = matrix_zyx[source_axes, np.arange(3)]
    turned: NDArray[Any] = box_zyx.transpose(*source_axes)
    return np.flip(turned, axis=tuple(axis for axis in range(3) if signs[axis] < 0))


def _resample(
    box_zyx: NDArray[Any], matrix_zyx: Floats, first_zyx: Floats, shape_zyx: IntTriple, order: int
) -> NDArray[Any]:
    resampled: NDArray[Any] = ndimage.affine_transform(
        box_zyx, matrix_zyx, offset=first_zyx, output_shape=shape_zyx, order=order, mode="nearest"
    )
    return resampled


def _resample_about_z(
    box_zyx: NDArray[np.float32], matrix_zyx: Floats, first_zyx: Floats, shape_zyx: IntTriple
) -> NDArray[np.float32]:
    """Resample linearly where z stays z: two matrix products, many times faster than point by point."""
    depth, height, width = box_zyx.shape
    along_z = np.zeros((shape_zyx[0], depth), dtype=np.float32)
    below, share = _split(first_zyx[0] + matrix_zyx[0, 0] * np.arange(shape_zyx[0]), depth)
    np.add.at(along_z, (np.arange(shape_zyx[0]), below), 1 - share)
    np.add.at(along_z, (np.arange(shape_zyx[0]), np.minimum(below + 1, depth - 1)), share)
    in_plane = _plane_weights(matrix_zyx[1:, 1:], first_zyx[1:], (height, width), shape_zyx[1:])
    columns = in_plane @ np.ascontiguousarray(box_zyx.reshape(depth, -1).T)
    # By torch, which works in one thread here: numpy's would take the cores from the network.
    resampled: NDArray[np.float32] = (torch.from_numpy(along_z) @ torch.from_numpy(columns).T).numpy()
    return resampled.reshape(shape_zyx)


def _plane_weights(
    matrix_yx: Floats, first_yx: Floats, source_shape: tuple[int, int], shape: tuple[int, int]
) -> sparse.csr_array:
    """Return the sparse matrix (crop pixel, source pixel) of bilinear weights."""
    y, x = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    top, share_y = _split(first_yx[0] + matrix_yx[0, 0] * y + matrix_yx[0, 1] * x, source_shape[0])
    left, share_x = _split(first_yx[1] + matrix_yx[1, 0] * y + matrix_yx[1, 1] * x, source_shape[1])
    bottom, right = np.minimum(top + 1, source_shape[0] - 1), np.minimum(left + 1, source_shape[1] - 1)
    width = source_shape[1]
    pixels = np.stack([top * width + left, top * width + right, bottom * width + left, bottom * width + right], -1)
    weights = np.stack(
        [(1 - share_y) * (1 - share_x), (1 - share_y) * share_x, share_y * (1 - share_x), share_y * share_x], -1
    )
    rows = np.arange(0, pixels.size + 1, 4, dtype=np.int32)
    return sparse.csr_array(
        (weights.reshape(-1), pixels.reshape(-1), rows), shape=(shape[0] * shape[1], source_shape[0] * width)
    )


def _split(coordinates: Floats, size: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the index below each coordinate and the share of the index above it."""
    clipped = np.clip(coordinates, 0, size - 1)
    below = np.minimum(clipped.astype(np.int32), max(size - 2, 0))
    return below, (clipped - below).astype(np.float32)
