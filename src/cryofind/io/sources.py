"""Tomograms that stay where they are and are read box by box, for volumes larger than memory.

The checks are those of reading as a whole: every file of a zarr array is looked at when the first box needs it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cryofind.errors import TomogramError
from cryofind.io.entries import TomogramEntry
from cryofind.io.mrc import MrcLayout, find_mrc_grid, map_mrc, read_mrc_layout
from cryofind.io.ome_zarr import OpenedImage, find_single_volume, open_ome_zarr
from cryofind.io.tomograms import is_mrc
from cryofind.io.zarr_arrays import ZARR_FAULTS, Index, first_line
from cryofind.io.zarr_reading import check_file, check_missing, undecodable
from cryofind.types import VoxelGrid
from cryofind.types.grid import IntTriple

Box = tuple[IntTriple, IntTriple]

# That are read at a time: enough that the call costs little, few enough to be no burden beside a column.
VOXELS_AT_A_TIME = 2**21


class VoxelReader(Protocol):
    """Where the voxels of a source come from."""

    def read_box(self, start_zyx: IntTriple, stop_zyx: IntTriple) -> NDArray[Any]:
        """Return the voxels from a first one up to, not including, a last one, in an array of one's own."""


@dataclass(frozen=True, eq=False)
class TomogramSource:
    """A tomogram whose voxels have not been read.

    Parameters
    ----------
    run, flavour
        What it is called.
    grid
        Its voxels.
    dtype
        Their number type.
    chunk_zyx
        What the file decodes at a time; boxes along these are cheapest.
    chunk_bytes
        What decoding takes beside the box that is read.
    notes
        What had to be assumed.
    reader
        What reads the voxels.
    """

    run: str
    flavour: str
    grid: VoxelGrid
    dtype: np.dtype[Any]
    chunk_zyx: IntTriple
    chunk_bytes: int
    notes: tuple[str, ...]
    reader: VoxelReader

    def read_box(self, start_zyx: IntTriple, stop_zyx: IntTriple) -> NDArray[Any]:
        """Return the voxels of a box, in the file's own number type.

        Parameters
        ----------
        start_zyx, stop_zyx
            First voxel, and the one after the last, along every axis; within the volume.

        Raises
        ------
        TomogramError
            If a chunk that the box needs is damaged, or the file cannot be read.
        """
        return self.reader.read_box(start_zyx, stop_zyx)

    def cut_pieces(self, start_zyx: IntTriple = (0, 0, 0), stop_zyx: IntTriple | None = None) -> Iterator[Box]:
        """Yield boxes (start, stop) that cover a box, by default all, once, in whole chunks but at its faces."""
        stop_zyx = self.grid.shape_zyx if stop_zyx is None else stop_zyx
        size_zyx = self._piece_zyx
        along_z, along_y, along_x = (
            _cut(start, stop, size) for start, stop, size in zip(start_zyx, stop_zyx, size_zyx, strict=True)
        )
        for z in along_z:
            for y in along_y:
                for x in along_x:
                    yield (z[0], y[0], x[0]), (z[1], y[1], x[1])

    def piece_voxels(self, size_zyx: IntTriple) -> int:
        """Return the voxels of the largest of the boxes that cover a box of that size."""
        return math.prod(map(min, self._piece_zyx, size_zyx))

    def reading_bytes(self, size_zyx: IntTriple) -> int:
        """Return what reading a box of that size, one of its pieces at a time, takes beside what is made of them.

        A piece in the file's number type, and what the file decodes for it: with large chunks far more than the piece.
        """
        return self.piece_voxels(size_zyx) * self.dtype.itemsize + self.chunk_bytes

    @property
    def _piece_zyx(self) -> IntTriple:
        return _grow(self.chunk_zyx, self.grid.shape_zyx)


def open_source(
    entry: TomogramEntry, *, voxel_spacing_angstrom: float | None = None, allow_missing_chunks: bool = False
) -> TomogramSource:
    """Open a tomogram without reading voxels; parameters and errors as of `TomogramEntry.read`."""
    if is_mrc(entry.path):
        source = _open_mrc(entry, voxel_spacing_angstrom)
    else:
        source = _open_zarr(entry, voxel_spacing_angstrom, allow_missing_chunks=allow_missing_chunks)
    return replace(source, notes=source.notes + entry.compare_spacing(source.grid))


@dataclass(frozen=True, eq=False)
class _MrcReader:
    """Maps the file anew for every box: pages that stay mapped would count as this process's memory."""

    path: Path
    layout: MrcLayout

    def read_box(self, start_zyx: IntTriple, stop_zyx: IntTriple) -> NDArray[Any]:
        return np.array(map_mrc(self.path, self.layout)[_slices(start_zyx, stop_zyx)])


@dataclass(frozen=True, eq=False)
class _ZarrReader:
    """Reads chunk by chunk, so that only one is decoded at a time and a damaged one can be named."""

    image: OpenedImage
    leading: Index
    files: dict[Index, Path]
    checked: set[Index] = field(default_factory=set)

    def read_box(self, start_zyx: IntTriple, stop_zyx: IntTriple) -> NDArray[Any]:
        voxels = np.empty([stop - start for start, stop in zip(start_zyx, stop_zyx, strict=True)], self._dtype)
        z, y, x = (
            _cut(start, stop, size)
            for start, stop, size in zip(start_zyx, stop_zyx, _last_three(self.image.stored.array.chunks), strict=True)
        )
        for box_z in z:
            for box_y in y:
                for box_x in x:
                    here = tuple(slice(*box) for box in (box_z, box_y, box_x))
                    there = tuple(
                        slice(part.start - start, part.stop - start)
                        for part, start in zip(here, start_zyx, strict=True)
                    )
                    voxels[there] = self._read_from_chunk(here)
        return voxels

    @property
    def _dtype(self) -> np.dtype[Any]:
        return self.image.stored.dtype

    def _read_from_chunk(self, box: tuple[slice, ...]) -> NDArray[Any]:
        stored = self.image.stored
        steps = _last_three(stored.file_shape)
        index = (*self.leading, *(part.start // step for part, step in zip(box, steps, strict=True)))
        self._check_once(index)
        try:
            place: tuple[int | slice, ...] = (*self.leading, *box)
            return np.asarray(stored.array[place])
        except MemoryError:
            raise
        except ZARR_FAULTS as error:
            raise undecodable(stored, stored.file_key(index), first_line(error)) from error

    def _check_once(self, index: Index) -> None:
        if index in self.checked or index not in self.files:
            return
        try:
            check_file(self.image.stored, index, self.files[index], self.image.checksums)
        except OSError as error:
            where = error.filename or self.files[index]
            raise TomogramError(where, f"cannot be read ({error.strerror})", "check the disk and the rights") from error
        self.checked.add(index)


def _open_mrc(entry: TomogramEntry, voxel_spacing_angstrom: float | None) -> TomogramSource:
    layout = read_mrc_layout(entry.path)
    grid, notes = find_mrc_grid(entry.path, layout, voxel_spacing_angstrom)
    sections, rows, columns = layout.stored_shape
    # The last axis of the file in whole, as many rows as make a piece.
    rows_together = min(rows, max(1, VOXELS_AT_A_TIME // columns))
    stored_chunk = (min(sections, max(1, VOXELS_AT_A_TIME // (columns * rows_together))), rows_together, columns)
    z, y, x = (stored_chunk[axis] for axis in layout.order)
    # Pages of the file that a piece touches are mapped while it is copied.
    chunk_bytes = math.prod(stored_chunk) * layout.dtype.itemsize
    reader = _MrcReader(entry.path, layout)
    return TomogramSource(
        entry.run, entry.flavour, grid, layout.dtype, (z, y, x), chunk_bytes, (*layout.notes, *notes), reader
    )


def _open_zarr(
    entry: TomogramEntry, voxel_spacing_angstrom: float | None, *, allow_missing_chunks: bool
) -> TomogramSource:
    image = open_ome_zarr(entry.path, voxel_spacing_angstrom=voxel_spacing_angstrom)
    leading = find_single_volume(entry.path, image)
    files = image.stored.find_files()
    notes = check_missing(image.stored, files, allow_missing_chunks=allow_missing_chunks)
    chunk = image.stored.array.chunks
    itemsize = image.stored.dtype.itemsize
    # The content of the file, the chunk in it, and the part of the chunk that is wanted; a whole file for its checksum.
    checked_voxels = math.prod(image.stored.file_shape) if image.checksums else 0
    chunk_bytes = max(3 * math.prod(chunk), checked_voxels) * itemsize
    return TomogramSource(
        entry.run,
        entry.flavour,
        image.grid,
        image.stored.dtype,
        _last_three(chunk),
        chunk_bytes,
        (*image.notes, *notes),
        _ZarrReader(image, leading, files),
    )


def _grow(chunk_zyx: IntTriple, shape_zyx: IntTriple) -> IntTriple:
    """Return a multiple of the chunk, x first, of at least a piece's voxels unless the volume has fewer."""
    size = [min(step, length) for step, length in zip(chunk_zyx, shape_zyx, strict=True)]
    for axis in (2, 1, 0):
        wanted = -(-VOXELS_AT_A_TIME // math.prod(size))
        size[axis] = min(size[axis] * wanted, -(-shape_zyx[axis] // chunk_zyx[axis]) * chunk_zyx[axis])
    z, y, x = size
    return z, y, x


def _cut(start: int, stop: int, step: int) -> list[tuple[int, int]]:
    """Return the spans between the multiples of a step that lie inside."""
    inner = range((start // step + 1) * step, stop, step)
    return list(zip((start, *inner), (*inner, stop), strict=True))


def _slices(start_zyx: IntTriple, stop_zyx: IntTriple) -> tuple[slice, ...]:
    return tuple(slice(start, stop) for start, stop in zip(start_zyx, stop_zyx, strict=True))


def _last_three(numbers: tuple[int, ...]) -> IntTriple:
    z, y, x = (int(number) for number in numbers[-3:])
    return z, y, x
