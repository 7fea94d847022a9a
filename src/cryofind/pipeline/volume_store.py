"""Volumes that are needed again and again: in memory while there is room, then in files mapped into memory."""

import mmap
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofind.errors import OutputError
from cryofind.memory import read_free_bytes

# Share of the free memory that volumes may take; the rest is for the network, and holds what the files are asked for
# again and again.
MEMORY_SHARE = 0.5


def open_store(folder: Path, memory_gigabytes: float | None, *, processes: int) -> "VolumeStore":
    """Return the store of one of several processes that do the same.

    Parameters
    ----------
    folder
        See `VolumeStore`.
    memory_gigabytes
        For all processes together; the share `MEMORY_SHARE` of what is free when None.
    processes
        Their number.
    """
    total_bytes = MEMORY_SHARE * read_free_bytes() if memory_gigabytes is None else memory_gigabytes * 1e9
    return VolumeStore(folder, int(total_bytes / processes))


class VolumeStore:
    """Keeps volumes as long as they are used, in memory or on disk.

    The files have no name: they are gone when their volumes are, or the process, however it ends.

    Parameters
    ----------
    folder
        Where the files lie: this folder, or the first one above it that exists.
    memory_bytes
        What may be kept in memory, all volumes together.
    """

    def __init__(self, folder: Path, memory_bytes: int) -> None:
        self._folder = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.is_dir())
        self._room = memory_bytes
        self._bytes_in_memory = 0
        self._bytes_on_disk = 0

    def keep(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Return a volume of the same numbers, shape and type, which may be read by several threads.

        One on disk may be written to as any other array; that changes the array and not the file.

        Raises
        ------
        OutputError
            If the disk is full, or the file system refuses.
        """
        if self._bytes_in_memory + volume.nbytes <= self._room:
            self._bytes_in_memory += volume.nbytes
            return volume
        kept = self._map(volume)
        self._bytes_on_disk += volume.nbytes
        return kept

    def describe(self) -> str | None:
        """Return a line for the user; None if all is in memory."""
        if not self._bytes_on_disk:
            return None
        return (
            f"{self._bytes_in_memory / 1e9:.1f} GB of tomograms in memory, {self._bytes_on_disk / 1e9:.1f} GB in "
            f"unnamed files in {self._folder} (train.memory_gigabytes)"
        )

    def _map(self, volume: NDArray[Any]) -> NDArray[Any]:
        try:
            with TemporaryFile(dir=self._folder) as file:
                write_array(file.write, volume)
                file.flush()
                mapped = mmap.mmap(file.fileno(), volume.nbytes, access=mmap.ACCESS_COPY)
        except OSError as error:
            problem = f"has no place for a tomogram of {volume.nbytes / 1e9:.2f} GB ({error.strerror or error})"
            advice = "free space, choose an --out elsewhere, or keep more in memory with train.memory_gigabytes"
            raise OutputError(self._folder, problem, advice) from error
        return np.frombuffer(mapped, dtype=volume.dtype).reshape(volume.shape)


def write_array(write: Callable[[memoryview], int], volume: NDArray[Any]) -> None:
    """Write the numbers of an array plane by plane, so that no copy of the whole is made."""
    for plane in volume:
        write(np.ascontiguousarray(plane).data.cast("B"))
