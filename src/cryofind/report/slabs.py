"""Slices of a tomogram for a page: means of a few planes, evenly spread, as small JPEG pictures."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cryofind.types import VoxelGrid

Floats = NDArray[np.float32]

SLAB_ANGSTROM = 50.0  # thickness of what is averaged: less noise, and no particle is thinner
XY_SLABS, XZ_SLABS = 16, 8
MAX_SIDE_PIXELS = 640
JPEG_QUALITY = 70
GREY_PERCENTILES = (0.3, 99.7)


@dataclass(frozen=True)
class SlabPlan:
    """Which planes of a tomogram make one picture.

    Parameters
    ----------
    axis
        Axis that is averaged over: 0 (z) for xy pictures, 1 (y) for xz pictures.
    start, stop
        First plane, and the one after the last.
    """

    axis: int
    start: int
    stop: int

    def center_angstrom(self, grid: VoxelGrid) -> float:
        """Return the depth of the middle of the slab, Angstrom."""
        middle = (self.start + self.stop - 1) / 2
        return grid.origin_zyx_angstrom[self.axis] + middle * grid.spacing_zyx_angstrom[self.axis]

    def box(self, grid: VoxelGrid) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """Return the first voxel zyx of the slab, and the one after the last."""
        start, stop = [0, 0, 0], list(grid.shape_zyx)
        start[self.axis], stop[self.axis] = self.start, self.stop
        return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def plan_slabs(grid: VoxelGrid, axis: int, count: int) -> list[SlabPlan]:
    """Return up to `count` slabs along an axis, evenly spread from end to end, each about 50 Angstrom thick."""
    length = grid.shape_zyx[axis]
    count = min(count, length)
    planes = max(1, min(round(SLAB_ANGSTROM / grid.spacing_zyx_angstrom[axis]), length // count))
    middles = (np.arange(count) + 0.5) * length / count
    starts = [int(np.clip(round(middle - planes / 2), 0, length - planes)) for middle in middles]
    return [SlabPlan(axis, start, start + planes) for start in starts]


@dataclass(frozen=True)
class Picture:
    """One slab as a picture.

    Parameters
    ----------
    center_angstrom
        Depth of its middle.
    source
        The picture as a `data:` URI.
    """

    center_angstrom: float
    source: str


@dataclass(frozen=True)
class PictureStack:
    """All pictures along one axis.

    Parameters
    ----------
    axis
        Axis that the slider moves along: 0 (z) or 1 (y).
    width, height
        Pixels of a picture: x across, y or z down.
    pictures
        By depth.
    grey_range
        Values that are black and white.
    """

    axis: int
    width: int
    height: int
    pictures: tuple[Picture, ...]
    grey_range: tuple[float, float]


def average_planes(box_zyx: NDArray[np.generic], axis: int) -> Floats:
    """Return the mean over one axis, float32, NaN and infinities left out (0 where nothing is left)."""
    values = np.asarray(box_zyx, dtype=np.float32)
    with np.errstate(invalid="ignore"):  # infinities of both signs
        mean = values.mean(axis=axis)
    if np.isfinite(mean).all():
        return np.asarray(mean, np.float32)
    finite = np.isfinite(values)
    total = np.where(finite, values, np.float32(0)).sum(axis=axis)
    return np.asarray(total / np.maximum(finite.sum(axis=axis), 1), np.float32)


def draw_stack(plans: Sequence[SlabPlan], planes: Sequence[Floats], grid: VoxelGrid) -> PictureStack:
    """Return the pictures of slabs, all with one grey scale.

    Parameters
    ----------
    plans
        Slabs along one axis, at least one.
    planes
        Their means (`average_planes`).
    grid
        Of the tomogram.
    """
    axis = plans[0].axis
    down, across = (1, 2) if axis == 0 else (0, 2)
    height_angstrom, width_angstrom = grid.extent_zyx_angstrom[down], grid.extent_zyx_angstrom[across]
    scale = min(MAX_SIDE_PIXELS, max(planes[0].shape)) / max(height_angstrom, width_angstrom)
    width, height = max(1, round(width_angstrom * scale)), max(1, round(height_angstrom * scale))
    low, high = find_grey_range([plane[::3, ::3] for plane in planes])
    pictures = tuple(
        Picture(plan.center_angstrom(grid), encode_picture(stretch_grey(plane, low, high), (width, height)))
        for plan, plane in zip(plans, planes, strict=True)
    )
    return PictureStack(axis, width, height, pictures, (low, high))


def find_grey_range(planes: Sequence[Floats]) -> tuple[float, float]:
    """Return the values that are drawn black and white: percentiles over all planes."""
    low, high = np.percentile(np.concatenate([plane.ravel() for plane in planes]), GREY_PERCENTILES)
    return float(low), float(high)


def stretch_grey(plane: Floats, low: float, high: float) -> NDArray[np.uint8]:
    """Return grey values 0 to 255."""
    scaled = (plane.astype(np.float64) - low) / max(high - low, 1e-12 * max(abs(low), abs(high), 1e-12))
    return np.asarray(np.clip(scaled * 255, 0, 255), dtype=np.uint8)


def encode_picture(grey: NDArray[np.uint8], size: tuple[int, int]) -> str:
    """Return a grey picture of a size (width, height) in pixels as a JPEG in a `data:` URI."""
    image = Image.fromarray(grey)
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, format="JPEG", quality=JPEG_QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode('ascii')}"
