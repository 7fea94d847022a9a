"""Writing OME-Zarr: what copick 1.x writes (0.4 on zarr v2) by default, 0.5 on zarr v3 as an option.

Every chunk is written, empty ones too, so that a missing file is always a loss; the CRC-32 of every chunk file is kept
in the group's attributes. A folder appears under its name only when it is complete.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from cryofind.atomic import write_folder_beside
from cryofind.io.ome_zarr import OWN_ATTRIBUTES
from cryofind.io.zarr_arrays import write_stored_array
from cryofind.types import LabelVolume, ProbabilityVolume, Tomogram, VoxelGrid

Halving = Callable[[NDArray[Any]], NDArray[Any]]


def write_tomogram_zarr(folder: str | Path, tomogram: Tomogram, *, levels: int = 3, zarr_format: int = 2) -> None:
    """Write a tomogram as a float32 OME-Zarr pyramid, replacing `folder` as a whole.

    Coarser levels are means of 2 x 2 x 2 voxels; a cell that hangs over an odd edge is the mean of what it covers.

    Parameters
    ----------
    folder
        The `.zarr` folder to write.
    tomogram
        What to write; a grid whose origin is not 0 gets a `translation`.
    levels
        Number of resolutions, at least 1; fewer are written once a level has a single voxel.
    zarr_format
        2 (OME-Zarr 0.4, read by all versions of copick) or 3 (OME-Zarr 0.5).

    Raises
    ------
    OutputError
        If the file system refuses or a chunk is missing after writing.
    """
    volume = np.asarray(tomogram.volume_zyx, dtype=np.float32)
    _write_pyramid(Path(folder), volume, tomogram.grid, halve_by_mean, levels=levels, zarr_format=zarr_format, own={})


def write_segmentation_zarr(path: str | Path, labels: LabelVolume, *, levels: int = 3, zarr_format: int = 2) -> None:
    """Write a label volume as a uint8 OME-Zarr pyramid; coarser levels take every second voxel.

    Parameters
    ----------
    path
        The `.zarr` folder to write.
    labels
        Labels 0 to 255.
    levels, zarr_format
        As in `write_tomogram_zarr`.

    Raises
    ------
    ValueError
        If a label does not fit in uint8.
    OutputError
        If the file system refuses.
    """
    values = labels.labels_zyx
    if values.size and (int(values.min()) < 0 or int(values.max()) > 255):
        raise ValueError(f"labels run from {values.min()} to {values.max()}, expected 0 to 255")
    own = {"names_by_label": {str(label): name for label, name in labels.names_by_label.items()}}
    _write_pyramid(
        Path(path),
        values.astype(np.uint8),
        labels.grid,
        halve_by_stride,
        levels=levels,
        zarr_format=zarr_format,
        own=own,
    )


def write_probability_zarr(path: str | Path, probabilities: ProbabilityVolume, *, zarr_format: int = 2) -> None:
    """Write probability volumes as one float16 OME-Zarr level with a leading channel axis.

    Run and object names are kept in the group's attributes, the origin of the grid as a `translation`.

    Raises
    ------
    OutputError
        If the file system refuses.
    """
    own = {"run": probabilities.run, "objects": list(probabilities.objects)}
    values = probabilities.probabilities.astype(np.float16)
    _write_pyramid(Path(path), values, probabilities.grid, halve_by_mean, levels=1, zarr_format=zarr_format, own=own)


def halve_by_mean(volume_zyx: NDArray[Any]) -> NDArray[Any]:
    """Return the mean of every 2 x 2 x 2 block of a floating array; blocks at an odd edge have fewer voxels."""
    for axis in range(volume_zyx.ndim):
        lines = np.moveaxis(volume_zyx, axis, 0)
        means = lines[::2].copy()
        second = lines[1::2]
        means[: len(second)] += second
        means[: len(second)] *= 0.5
        volume_zyx = np.moveaxis(means, 0, axis)
    return volume_zyx


def halve_by_stride(labels_zyx: NDArray[Any]) -> NDArray[Any]:
    """Return every second voxel along each axis: labels must not be averaged."""
    return labels_zyx[::2, ::2, ::2]


def _write_pyramid(
    folder: Path,
    values: NDArray[Any],
    grid: VoxelGrid,
    halve: Halving,
    *,
    levels: int,
    zarr_format: int,
    own: dict[str, Any],
) -> None:
    if levels < 1 or zarr_format not in (2, 3):
        raise ValueError(f"levels must be 1 or more and zarr_format 2 or 3, found {levels} and {zarr_format}")
    axes = ("c",) * (values.ndim - 3) + ("z", "y", "x")
    with write_folder_beside(folder) as partial:
        group = zarr.open_group(partial, mode="w", zarr_format=3 if zarr_format == 3 else 2)
        checksums: dict[str, int] = {}
        datasets = []
        for level in range(levels):
            if level > 0:
                if max(values.shape) == 1:
                    break
                values = halve(values)
            checksums |= write_stored_array(partial, str(level), values, zarr_format=zarr_format, axes=axes)
            datasets.append(_describe_dataset(grid, level, values.ndim, is_mean=halve is halve_by_mean))
        image = {"axes": _describe_axes(axes), "datasets": datasets, "name": "/"}
        group.attrs.update(_build_attributes(image, {**own, "chunk_crc32": checksums}, zarr_format))


def _build_attributes(image: dict[str, Any], own: dict[str, Any], zarr_format: int) -> dict[str, Any]:
    if zarr_format == 2:
        return {"multiscales": [{**image, "metadata": {}, "version": "0.4"}], OWN_ATTRIBUTES: own}
    return {"ome": {"version": "0.5", "multiscales": [image]}, OWN_ATTRIBUTES: own}


def _describe_axes(axes: tuple[str, ...]) -> list[dict[str, str]]:
    return [
        {"name": "c", "type": "channel"} if axis == "c" else {"name": axis, "type": "space", "unit": "angstrom"}
        for axis in axes
    ]


def _describe_dataset(grid: VoxelGrid, level: int, rank: int, *, is_mean: bool) -> dict[str, Any]:
    leading = rank - 3
    scale = [1.0] * leading + [spacing * 2**level for spacing in grid.spacing_zyx_angstrom]
    transformations: list[dict[str, Any]] = [{"scale": scale, "type": "scale"}]
    if any(grid.origin_zyx_angstrom):
        # Tomograms that start at 0 get none, as copick and the Data Portal write them.
        origin = (grid.coarsened(2**level) if is_mean else grid).origin_zyx_angstrom
        transformations.append({"translation": [0.0] * leading + list(origin), "type": "translation"})
    return {"coordinateTransformations": transformations, "path": str(level)}
