"""All voxels of a zarr array, into one array, every file checked.

The common case, zarr v2 with Blosc or without compression and no file missing, is read here: two or more threads, each
with two buffers that serve for all its files, decode straight into the result. Through zarr every chunk would be new
memory twice over, and handing that out costs the system more than decoding. Everything else goes through zarr.
"""

import math
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
from numpy.typing import NDArray

from cryofind.errors import TomogramError
from cryofind.io.zarr_arrays import ZARR_FAULTS, Index, StoredArray, first_line

Bytes = NDArray[np.uint8]

_BLOSC_HEADER_BYTES = 16
# Decoding keeps up with any disk from this many threads on.
_MAX_THREADS = 4
# What the buffers of all threads may take together; chunks of 184 x 256 x 256 float32 take two threads.
_BUFFER_BYTES = 2**28


def read_stored_array(
    stored: StoredArray,
    *,
    leading: Index = (),
    allow_missing_chunks: bool = False,
    checksums: dict[str, int] | None = None,
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return all voxels in an array that is nobody else's, and notes about what was missing.

    Parameters
    ----------
    stored
        The array.
    leading
        Indices of leading axes to take.
    allow_missing_chunks
        Read chunks without a file as the fill value, with a note, instead of refusing.
    checksums
        CRC-32 by key of file, for arrays written by `write_stored_array`.

    Raises
    ------
    TomogramError
        If chunks are missing or damaged, or the array does not fit in memory.
    """
    files = stored.find_files()
    notes = check_missing(stored, files, allow_missing_chunks=allow_missing_chunks)
    _check_memory(stored)
    direct = _DirectReading.of(stored, files, checksums or {})
    try:
        voxels = direct.read()[leading] if direct else _read_through_zarr(stored, files, leading, checksums or {})
    except OSError as error:
        where = error.filename or stored.path
        raise TomogramError(where, f"cannot be read ({error.strerror})", "check the disk and the rights") from error
    except MemoryError as error:
        raise _too_large(stored) from error
    return voxels, notes


@dataclass(frozen=True)
class _DirectReading:
    """A complete zarr v2 array whose files are Blosc frames or bare voxels.

    Parameters
    ----------
    stored
        The array.
    files
        All its files, by their place in the grid.
    checksums
        CRC-32 by key of file; may be empty.
    blosc
        What decodes a file; None for bare voxels.
    """

    stored: StoredArray
    files: dict[Index, Path]
    checksums: dict[str, int]
    blosc: numcodecs.Blosc | None

    @classmethod
    def of(cls, stored: StoredArray, files: dict[Index, Path], checksums: dict[str, int]) -> "_DirectReading | None":
        """Return the way to read that array directly, None where zarr has to."""
        metadata = stored.metadata
        compressor = metadata.get("compressor")
        is_plain = stored.zarr_format == 2 and not metadata.get("filters") and metadata.get("order", "C") == "C"
        is_numeric = stored.dtype.kind in "biuf" and stored.dtype.itemsize > 0
        is_known = compressor is None or (isinstance(compressor, dict) and compressor.get("id") == "blosc")
        if not (is_plain and is_numeric and is_known) or len(files) < stored.expected_files:
            return None
        return cls(stored, files, checksums, numcodecs.Blosc() if compressor else None)

    def read(self) -> NDArray[Any]:
        """Return all voxels, in the shape and number type of the array."""
        voxels = np.empty(self.stored.shape, self.stored.dtype)
        places = sorted(self.files)
        threads = self._count_threads()
        with ThreadPoolExecutor(threads, thread_name_prefix="cryofind-chunks") as pool:
            shares = [places[first::threads] for first in range(threads)]
            for done in [pool.submit(self._read_files, share, voxels) for share in shares]:
                done.result()
        return voxels

    @property
    def _chunk_bytes(self) -> int:
        return math.prod(self.stored.file_shape) * self.stored.dtype.itemsize

    def _count_threads(self) -> int:
        by_memory = _BUFFER_BYTES // (2 * self._chunk_bytes)
        return max(1, min(_MAX_THREADS, os.cpu_count() or 1, len(self.files), by_memory))

    def _read_files(self, places: Sequence[Index], voxels: NDArray[Any]) -> None:
        """Read these files into their parts of the array, through buffers that are made once."""
        content = np.empty(max(self.files[place].stat().st_size for place in places), np.uint8)
        chunk = np.empty(self.stored.file_shape, self.stored.dtype)
        for place in places:
            key = self.stored.file_key(place)
            content_bytes = _read_bytes(self.files[place], content)
            self._check(key, content_bytes)
            part = voxels[_region(self.stored, place)]
            fits = part.shape == chunk.shape and part.flags.c_contiguous
            target = part if fits else chunk
            self._decode(key, content_bytes, target)
            if target is chunk:
                part[...] = chunk[tuple(slice(size) for size in part.shape)]

    def _check(self, key: str, content: Bytes) -> None:
        if len(content) == 0:
            raise _empty_file(self.stored, key)
        if self.blosc:
            _check_frame(self.stored, key, content[:_BLOSC_HEADER_BYTES].tobytes(), len(content))
        _check_checksum(self.stored, key, content.data, self.checksums)

    def _decode(self, key: str, content: Bytes, target: NDArray[Any]) -> None:
        # A frame of fewer bytes would leave the last chunk's voxels in the rest of the buffer.
        found_bytes = int.from_bytes(content[4:8].tobytes(), "little") if self.blosc else len(content)
        if found_bytes != self._chunk_bytes:
            raise undecodable(self.stored, key, f"it has {found_bytes} bytes of voxels, not {self._chunk_bytes}")
        try:
            if self.blosc:
                self.blosc.decode(content, out=target)
            else:
                target.reshape(-1).view(np.uint8)[...] = content
        except ZARR_FAULTS as error:
            raise undecodable(self.stored, key, first_line(error)) from error


def _read_bytes(path: Path, buffer: Bytes) -> Bytes:
    """Return the file's bytes, in that buffer unless the file has grown since the buffer was made."""
    with open(path, "rb") as stream:
        count = stream.readinto(buffer.data)
        rest = stream.read()
    if rest:
        return np.concatenate((buffer[:count], np.frombuffer(rest, np.uint8)))
    return buffer[:count]


def _read_through_zarr(
    stored: StoredArray, files: dict[Index, Path], leading: Index, checksums: dict[str, int]
) -> NDArray[Any]:
    """Check the files, then let zarr read them."""
    for index, path in files.items():
        check_file(stored, index, path, checksums)
    try:
        return np.asarray(stored.array[leading + (slice(None),) * (len(stored.shape) - len(leading))])
    except MemoryError:
        raise
    except ZARR_FAULTS as error:
        key = _find_damaged_file(stored, files) or "unknown"
        raise undecodable(stored, key, first_line(error)) from error


def check_file(stored: StoredArray, index: Index, path: Path, checksums: dict[str, int]) -> None:
    """Refuse a chunk or shard file that is empty, shorter than it says, or not what was written.

    Raises
    ------
    TomogramError
        With the file's key.
    """
    key, size = stored.file_key(index), path.stat().st_size
    if size == 0:
        # zarr itself reads an empty shard as the fill value.
        raise _empty_file(stored, key)
    if _ends_in_blosc(stored):
        with open(path, "rb") as stream:
            _check_frame(stored, key, stream.read(_BLOSC_HEADER_BYTES), size)
    if key in checksums:
        _check_checksum(stored, key, path.read_bytes(), checksums)


def check_missing(stored: StoredArray, files: dict[Index, Path], *, allow_missing_chunks: bool) -> tuple[str, ...]:
    """Return a note on files that are missing, if they may be.

    Raises
    ------
    TomogramError
        If they may not.
    """
    missing = stored.expected_files - len(files)
    if not missing:
        return ()
    problem = f"{missing} of {stored.expected_files} chunks are missing"
    if allow_missing_chunks:
        return (f"{problem} in {stored.path.name} and read as {stored.array.fill_value}",)
    first = next(index for index in _count_through(stored.file_grid) if index not in files)
    raise TomogramError(
        stored.path,
        f"{problem}, the first is {stored.file_key(first)}",
        "copy the tomogram again, or say --allow-missing-chunks if its writer leaves out empty ones",
    )


def _count_through(grid: Index) -> Iterator[Index]:
    """Yield the places of a grid in order; unlike `numpy.ndindex`, whatever its size."""
    for number in range(math.prod(grid)):
        index: list[int] = []
        for size in reversed(grid):
            number, place = divmod(number, size)
            index.insert(0, place)
        yield tuple(index)


def _check_memory(stored: StoredArray) -> None:
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if math.prod(stored.shape) * stored.dtype.itemsize > available:
        raise _too_large(stored)


def _too_large(stored: StoredArray) -> TomogramError:
    gigabytes = math.prod(stored.shape) * stored.dtype.itemsize / 1e9
    shape = " x ".join(str(n) for n in stored.shape)
    return TomogramError(
        stored.path, f"has {shape} voxels, {gigabytes:.3g} GB, more than fits in memory", "use a more binned tomogram"
    )


def _empty_file(stored: StoredArray, key: str) -> TomogramError:
    return TomogramError(f"{stored.path}: chunk {key}", "is an empty file", "copy the tomogram again")


def undecodable(stored: StoredArray, key: str, why: str) -> TomogramError:
    """Return the error for a file that cannot be decoded."""
    return TomogramError(
        f"{stored.path}: chunk {key}", f"cannot be decoded ({why})", "copy the tomogram again; it is damaged"
    )


def _check_frame(stored: StoredArray, key: str, header: bytes, size: int) -> None:
    """Compare a Blosc frame with its own length, which Blosc itself does not."""
    promised = int.from_bytes(header[12:16], "little")
    if size < max(promised, _BLOSC_HEADER_BYTES):
        raise TomogramError(
            f"{stored.path}: chunk {key}",
            f"is truncated: it has {size} bytes, its header promises {promised}",
            "copy the tomogram again",
        )


def _check_checksum(stored: StoredArray, key: str, content: bytes | memoryview, checksums: dict[str, int]) -> None:
    if key in checksums and zlib.crc32(content) != checksums[key]:
        raise TomogramError(
            f"{stored.path}: chunk {key}",
            "is not what was written (checksum)",
            "write it again; if it was edited on purpose, delete 'chunk_crc32' from the group's attributes",
        )


def _ends_in_blosc(stored: StoredArray) -> bool:
    if stored.zarr_format == 2:
        return (stored.metadata.get("compressor") or {}).get("id") == "blosc"
    codecs = stored.metadata.get("codecs") or [{}]
    return bool(codecs[-1].get("name") == "blosc")


def _find_damaged_file(stored: StoredArray, files: dict[Index, Path]) -> str | None:
    for index in sorted(files):
        try:
            stored.array[_region(stored, index)]
        except (*ZARR_FAULTS, MemoryError):
            return stored.file_key(index)
    return None


def _region(stored: StoredArray, index: Index) -> tuple[slice, ...]:
    """Return which voxels are in the file at that place of the grid."""
    return tuple(slice(i * step, (i + 1) * step) for i, step in zip(index, stored.file_shape, strict=True))
