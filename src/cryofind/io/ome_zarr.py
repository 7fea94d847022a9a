"""Reading OME-Zarr 0.4 (zarr v2) and 0.5 (zarr v3, sharded or not): tomograms, segmentations, probabilities.

Always the finest level: coarser ones have shifted voxel centres, and some writers pad them with zeros. The spacing is
that of the metadata, never that of the folder's name.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofind.errors import TomogramError
from cryofind.io.files import is_folder, read_json_document
from cryofind.io.ome_metadata import (
    SPATIAL_AXES,
    Level,
    Multiscale,
    parse_multiscale,
    read_group_attributes,
)
from cryofind.io.spacing import choose_spacing
from cryofind.io.zarr_arrays import StoredArray, count_files, holds_zarr_array, open_stored_array
from cryofind.io.zarr_reading import read_stored_array
from cryofind.types import LabelVolume, ProbabilityVolume, Tomogram, VoxelGrid

# Key of the group attributes under which this package keeps what OME-Zarr has no place for.
OWN_ATTRIBUTES = "cryofind"


@dataclass(frozen=True, eq=False)
class OpenedImage:
    """The finest level of an OME-Zarr image, opened but not read.

    Parameters
    ----------
    stored
        Its array.
    axes
        Names of the array's axes; the last three are z, y, x.
    grid
        Grid of the last three axes.
    checksums
        CRC-32 by key of chunk file, relative to the array; empty for images of other programs.
    own
        What this package wrote in the attributes.
    notes
        What had to be assumed.
    """

    stored: StoredArray
    axes: tuple[str, ...]
    grid: VoxelGrid
    checksums: dict[str, int]
    own: dict[str, Any]
    notes: tuple[str, ...]


def is_zarr(path: Path) -> bool:
    """Say whether a folder holds zarr metadata of either format."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zarray", ".zattrs"))


def open_ome_zarr(path: Path, *, voxel_spacing_angstrom: float | None = None) -> OpenedImage:
    """Open the finest level of an OME-Zarr image, or a bare zarr array if a voxel spacing is given.

    Raises
    ------
    TomogramError
        If metadata are missing or make no sense, the axes do not end in z, y, x, or no voxel spacing is known.
    """
    if is_folder(path, TomogramError) and not os.access(path, os.R_OK | os.X_OK):
        raise TomogramError(path, "cannot be read (permission denied)", "check the rights")
    attributes = read_group_attributes(path)
    if attributes is None:
        raise TomogramError(path, "holds no zarr metadata (.zgroup, .zattrs or zarr.json)", "give an OME-Zarr folder")
    image = parse_multiscale(path, attributes)
    if image is None:
        return _open_bare(path, voxel_spacing_angstrom)
    level = image.levels[0]
    stored = _open_level(path, image)
    axes = _check_axes(path, image.axes, len(stored.shape))
    spacing, spacing_notes = choose_spacing(
        path, image.spacing_zyx_angstrom(level), voxel_spacing_angstrom, one_means_unknown=not image.unit_is_known
    )
    origin = image.origin_zyx_angstrom(level)
    grid = VoxelGrid(_last_three(stored.shape), spacing, origin)
    own = attributes.get(OWN_ATTRIBUTES)
    own = own if isinstance(own, dict) else {}
    notes = (*image.notes, *spacing_notes, *_note_origin(grid))
    return OpenedImage(stored, axes, grid, _find_checksums(path, own, level), own, notes)


def read_ome_zarr(
    path: Path,
    *,
    run: str,
    flavour: str = "",
    voxel_spacing_angstrom: float | None = None,
    allow_missing_chunks: bool = False,
) -> Tomogram:
    """Return the tomogram of an OME-Zarr folder, all voxels in memory, in the number type of the file.

    Parameters
    ----------
    path
        The folder.
    run, flavour
        What to call it.
    voxel_spacing_angstrom
        Overrides the metadata, Angstrom.
    allow_missing_chunks
        Read missing chunks as the fill value, with a note.

    Raises
    ------
    TomogramError
        As `open_ome_zarr`; also if chunks are missing or damaged, or a channel or time axis has more than one entry.
    """
    image = open_ome_zarr(path, voxel_spacing_angstrom=voxel_spacing_angstrom)
    leading = find_single_volume(path, image)
    volume, notes = read_stored_array(
        image.stored, leading=leading, allow_missing_chunks=allow_missing_chunks, checksums=image.checksums
    )
    return Tomogram(run, volume, image.grid, flavour, (*image.notes, *notes))


def find_single_volume(path: Path, image: OpenedImage) -> tuple[int, ...]:
    """Return the indices of the leading axes of a tomogram.

    Raises
    ------
    TomogramError
        If one of these axes has more than one entry, or the voxels are not real numbers.
    """
    leading = _single_entries(path, image)
    if image.stored.dtype.kind not in "iuf":
        raise TomogramError(
            path, f"holds voxels of type {image.stored.dtype}, expected real numbers", "convert it to float32"
        )
    return leading


def read_ome_zarr_grid(path: Path, *, voxel_spacing_angstrom: float | None = None) -> VoxelGrid:
    """Return the grid of an OME-Zarr tomogram from its metadata alone; errors as in `open_ome_zarr`."""
    image = open_ome_zarr(path, voxel_spacing_angstrom=voxel_spacing_angstrom)
    _single_entries(path, image)
    return image.grid


def read_segmentation_zarr(
    path: Path, *, run: str, names_by_label: dict[int, str], allow_missing_chunks: bool = True
) -> LabelVolume:
    """Return the label volume of an OME-Zarr segmentation.

    Missing chunks are background unless told otherwise: most writers leave out chunks without a label. Segmentations
    written by this package are complete and checked by their checksums.

    Raises
    ------
    TomogramError
        As `read_ome_zarr`; also if the voxels are not integers.
    """
    image = open_ome_zarr(path)
    leading = _single_entries(path, image)
    if image.stored.dtype.kind not in "iub":
        raise TomogramError(path, f"holds voxels of type {image.stored.dtype}, expected integers", "convert the labels")
    labels, _ = read_stored_array(
        image.stored,
        leading=leading,
        allow_missing_chunks=allow_missing_chunks and not image.checksums,
        checksums=image.checksums,
    )
    integers: NDArray[np.integer] = labels.view(np.uint8) if labels.dtype.kind == "b" else labels
    return LabelVolume(run, integers, image.grid, dict(names_by_label))


def read_probability_zarr(path: str | Path) -> ProbabilityVolume:
    """Return the probability volumes that `write_probability_zarr` wrote.

    Raises
    ------
    TomogramError
        As `open_ome_zarr`; also if chunks are missing or damaged, or the object names are not in the attributes.
    """
    path = Path(path)
    image = open_ome_zarr(path)
    run, objects = image.own.get("run"), image.own.get("objects")
    if not isinstance(run, str) or not isinstance(objects, list) or image.stored.shape[:-3] != (len(objects),):
        raise TomogramError(
            f"{path}: {OWN_ATTRIBUTES}.objects", "does not name every channel", "give a folder written by cryofind"
        )
    probabilities, _ = read_stored_array(image.stored, checksums=image.checksums)
    return ProbabilityVolume(run, probabilities, image.grid, tuple(str(name) for name in objects))


def describe_levels(path: Path) -> list[dict[str, Any]]:
    """Return what is known of every level without reading voxels: path, shape, dtype, spacing, chunk counts.

    A level whose array cannot be opened has the key `problem` instead of the last ones.
    """
    attributes = read_group_attributes(path)
    image = parse_multiscale(path, attributes) if attributes is not None else None
    return [_describe_level(path, image, level) for level in image.levels] if image is not None else []


def _describe_level(path: Path, image: Multiscale, level: Level) -> dict[str, Any]:
    description: dict[str, Any] = {"path": level.path, "spacing_zyx_angstrom": image.spacing_zyx_angstrom(level)}
    try:
        stored = open_stored_array(path / level.path)
    except TomogramError as error:
        return {**description, "problem": error.problem}
    present, expected = count_files(stored)
    return {
        **description,
        "shape": stored.shape,
        "dtype": str(stored.dtype),
        "chunks_present": present,
        "chunks_expected": expected,
    }


def _open_level(path: Path, image: Multiscale) -> StoredArray:
    finest = path / image.levels[0].path
    if any((finest / name).is_file() for name in (".zarray", "zarr.json")):
        return open_stored_array(finest)
    others = [f"level {entry['path']}: {_summarize(entry)}" for entry in describe_levels(path)[1:]]
    raise TomogramError(
        finest,
        "is missing: no .zarray or zarr.json, 0 chunks" + (f" ({'; '.join(others)})" if others else ""),
        "copy the whole tomogram; coarser levels are never used instead",
    )


def _summarize(entry: dict[str, Any]) -> str:
    if "problem" in entry:
        return "missing too"
    return f"{entry['chunks_present']} of {entry['chunks_expected']} chunks"


def _open_bare(path: Path, voxel_spacing_angstrom: float | None) -> OpenedImage:
    folder = path if holds_zarr_array(path) else path / "0"
    if not holds_zarr_array(folder):
        raise TomogramError(path, "holds neither OME-Zarr 'multiscales' metadata nor an array", "give an OME-Zarr")
    stored = open_stored_array(folder)
    axes = _check_axes(path, None, len(stored.shape))
    spacing, notes = choose_spacing(path, None, voxel_spacing_angstrom, one_means_unknown=True)
    grid = VoxelGrid(_last_three(stored.shape), spacing)
    return OpenedImage(stored, axes, grid, {}, {}, (*notes, "no OME-Zarr metadata: axes taken as z, y, x"))


def _check_axes(path: Path, axes: tuple[str, ...] | None, rank: int) -> tuple[str, ...]:
    if rank < 3:
        raise TomogramError(path, f"is a {rank}D array", "give a 3D volume")
    if axes is None:
        return tuple(f"axis {n}" for n in range(rank - 3)) + SPATIAL_AXES
    if len(axes) != rank:
        raise TomogramError(f"{path}: axes", f"are {', '.join(axes)} for an array of {rank}D", "mend the metadata")
    if axes[-3:] != SPATIAL_AXES:
        raise TomogramError(f"{path}: axes", f"are {', '.join(axes)}, expected to end in z, y, x", "transpose it")
    return axes


def _single_entries(path: Path, image: OpenedImage) -> tuple[int, ...]:
    """Return the indices of the leading axes, each of which must have one entry."""
    for name, size in zip(image.axes[:-3], image.stored.shape[:-3], strict=True):
        if size != 1:
            raise TomogramError(f"{path}: axis '{name}'", f"has {size} entries, expected 1", "extract one volume")
    return (0,) * (len(image.axes) - 3)


def _last_three(shape: tuple[int, ...]) -> tuple[int, int, int]:
    z, y, x = shape[-3:]
    return z, y, x


def _note_origin(grid: VoxelGrid) -> tuple[str, ...]:
    if grid.origin_zyx_angstrom == (0.0, 0.0, 0.0):
        return ()
    z, y, x = grid.origin_zyx_angstrom
    return (f"index 0 lies at {z:g}, {y:g}, {x:g} A (z, y, x), as the translation says",)


def find_missing_chunk(path: Path) -> str | None:
    """Return the first chunk file, of any level of an OME-Zarr of this package, that is not there; None if all are."""
    own = read_json_document(path / ".zattrs", TomogramError).get(OWN_ATTRIBUTES, {})
    return next((key for key in own.get("chunk_crc32", {}) if not (path / key).is_file()), None)


def _find_checksums(path: Path, own: dict[str, Any], level: Level) -> dict[str, int]:
    table = own.get("chunk_crc32", {})
    if not isinstance(table, dict) or not all(isinstance(value, int) for value in table.values()):
        raise TomogramError(f"{path}: {OWN_ATTRIBUTES}.chunk_crc32", "is damaged", "write the tomogram again")
    prefix = level.path + "/"
    return {key.removeprefix(prefix): value for key, value in table.items() if key.startswith(prefix)}
