"""Single zarr arrays on disk: opened and counted, or written with checksums; `zarr_reading` reads them.

zarr reads a missing chunk as the fill value without a word, and most codecs notice neither flipped bits nor a cut end.
So before reading, the files of an array are compared with the number its shape asks for; Blosc frames are compared
with their own length; and arrays written here carry a CRC-32 of every chunk file.
"""

import math
import os
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr
from numcodecs.errors import UnknownCodecError as NumcodecsUnknownCodec
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.errors import UnknownCodecError as ZarrUnknownCodec
from zarr.errors import ZarrUserWarning

from cryofind.errors import OutputError, TomogramError
from cryofind.io.files import read_json_document

Index = tuple[int, ...]

# What zarr and numcodecs raise for metadata or chunks they cannot make sense of.
ZARR_FAULTS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    ArithmeticError,
    AssertionError,
    EOFError,
)
# Blosc and most viewers stop at 2 GiB per chunk; a chunk larger than that and than its array is a lie.
_MAX_CHUNK_BYTES = 2**31
_CHUNK_EDGE = 256


@dataclass(frozen=True, eq=False)
class StoredArray:
    """A zarr array on disk.

    Parameters
    ----------
    path
        Its folder.
    zarr_format
        2 or 3.
    array
        The array, opened for reading.
    file_shape
        Voxels in one file: the chunk, or the shard where there are shards.
    metadata
        Its own JSON document.
    """

    path: Path
    zarr_format: int
    array: zarr.Array[Any]
    file_shape: Index
    metadata: dict[str, Any]

    @property
    def shape(self) -> Index:
        """Shape of the array."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Number type of the voxels."""
        return np.dtype(self.array.dtype)

    @property
    def file_grid(self) -> Index:
        """Number of files along each axis."""
        return tuple(-(-size // step) for size, step in zip(self.shape, self.file_shape, strict=True))

    @property
    def expected_files(self) -> int:
        """Number of files of a complete array."""
        return math.prod(self.file_grid)

    def file_key(self, index: Index) -> str:
        """Return the path, inside the array's folder, of the file at that place of the file grid."""
        prefix, separator = self._key_encoding()
        return prefix + separator.join(str(i) for i in index)

    def find_files(self) -> dict[Index, Path]:
        """Return the files that are there, by their place in the file grid.

        The cost is bounded by what is on disk, whatever the metadata promise.
        """
        prefix, separator = self._key_encoding()
        found = {}
        for path in _walk_files(self.path):
            key = path.relative_to(self.path).as_posix()
            index = _parse_key(key.removeprefix(prefix), separator) if key.startswith(prefix) else None
            if index is not None and self._is_in_grid(index) and path.is_file():
                found[index] = path
        return found

    def _is_in_grid(self, index: Index) -> bool:
        return len(index) == len(self.shape) and all(i < n for i, n in zip(index, self.file_grid, strict=True))

    def _key_encoding(self) -> tuple[str, str]:
        if self.zarr_format == 2:
            return "", self.metadata.get("dimension_separator") or "."
        encoding = self.metadata["chunk_key_encoding"]
        is_default = encoding.get("name") == "default"
        separator = (encoding.get("configuration") or {}).get("separator") or ("/" if is_default else ".")
        return f"c{separator}" if is_default else "", separator


def holds_zarr_array(path: Path) -> bool:
    """Say whether a folder is a zarr array (not a group)."""
    if (path / "zarr.json").is_file():
        return read_json_document(path / "zarr.json", TomogramError).get("node_type") == "array"
    return (path / ".zarray").is_file()


def open_stored_array(path: Path) -> StoredArray:
    """Open the zarr array (v2 or v3) in a folder; no voxel is read.

    Raises
    ------
    TomogramError
        If there is none, its metadata make no sense, or a codec is not installed (it is named).
    """
    is_v3 = (path / "zarr.json").is_file()
    document_path = path / ("zarr.json" if is_v3 else ".zarray")
    metadata = read_json_document(document_path, TomogramError)
    try:
        with warnings.catch_warnings():
            # such as an empty list of filters: odd, but readable, and nothing that who reads it could mend
            warnings.simplefilter("ignore", ZarrUserWarning)
            array = zarr.open_array(path, mode="r", zarr_format=3 if is_v3 else 2)
        file_shape = tuple(int(n) for n in (array.shards or array.chunks))
        chunk_shape = tuple(int(n) for n in array.chunks)
        item_bytes = np.dtype(array.dtype).itemsize
    except (NumcodecsUnknownCodec, ZarrUnknownCodec) as error:
        raise TomogramError(
            document_path, f"uses a codec that is not installed ({first_line(error)})", "rewrite it with Blosc or Zstd"
        ) from error
    except ZARR_FAULTS as error:
        raise TomogramError(
            document_path, f"is not valid zarr metadata ({first_line(error)})", "copy or write the array again"
        ) from error
    stored = StoredArray(path, 3 if is_v3 else 2, array, file_shape, metadata)
    _check_sizes(stored, document_path, math.prod(chunk_shape) * item_bytes)
    return stored


def count_files(stored: StoredArray) -> tuple[int, int]:
    """Return how many chunk (or shard) files are there and not empty, and how many there should be."""
    return sum(path.stat().st_size > 0 for path in stored.find_files().values()), stored.expected_files


def write_stored_array(
    folder: Path, name: str, values: NDArray[Any], *, zarr_format: int, axes: tuple[str, ...]
) -> dict[str, int]:
    """Write an array in a zarr group's folder, complete with its empty chunks; return the CRC-32 of every file.

    Leading axes get chunks of one, z, y and x of at most 256. v2: Blosc (lz4, level 5, shuffle), the codec of copick
    1.x; v3: the same and a crc32c of every chunk.

    Raises
    ------
    OutputError
        If files are missing after writing.
    """
    edges = tuple(min(_CHUNK_EDGE, n) for n in values.shape[-3:])
    chunks = (1,) * (values.ndim - 3) + edges
    encoding: dict[str, Any]
    if zarr_format == 2:
        blosc = numcodecs.Blosc(cname="lz4", clevel=5, shuffle=numcodecs.Blosc.SHUFFLE)
        encoding = {"compressors": blosc, "chunk_key_encoding": {"name": "v2", "separator": "/"}}
    else:
        blosc_v3 = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")
        encoding = {"compressors": [blosc_v3, Crc32cCodec()], "dimension_names": axes}
    array = zarr.create_array(
        folder / name,
        shape=values.shape,
        chunks=chunks,
        dtype=values.dtype,
        fill_value=0,
        zarr_format=3 if zarr_format == 3 else 2,
        config={"write_empty_chunks": True},
        **encoding,
    )
    array[...] = values
    stored = open_stored_array(folder / name)
    files = stored.find_files()
    if len(files) != stored.expected_files:
        raise OutputError(folder / name, f"has {len(files)} of {stored.expected_files} chunks", "write it again")
    return {f"{name}/{stored.file_key(index)}": zlib.crc32(path.read_bytes()) for index, path in files.items()}


def _check_sizes(stored: StoredArray, document_path: Path, chunk_bytes: int) -> None:
    if min(stored.shape, default=0) < 1 or min(stored.file_shape, default=0) < 1:
        raise TomogramError(
            document_path,
            f"says shape {list(stored.shape)} in chunks of {list(stored.file_shape)}, expected positive sizes",
            "copy or write the array again",
        )
    if chunk_bytes > max(_MAX_CHUNK_BYTES, math.prod(stored.shape) * stored.dtype.itemsize):
        raise TomogramError(
            document_path, f"says that one chunk has {chunk_bytes:.3g} bytes", "write it with chunks of 256 or less"
        )


def _walk_files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield Path(parent, name)


def _parse_key(key: str, separator: str) -> Index | None:
    parts = key.split(separator)
    if not all(part.isascii() and part.isdigit() and len(part) < 19 for part in parts):
        return None
    return tuple(int(part) for part in parts)


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, at most 160 characters."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:160]
