"""MRC, REC, MAP and ST files.

The header is checked against the size of the file before a single voxel is touched, so that a damaged or lying file
costs one line and no memory. Voxels are memory-mapped read-only and never converted here.

What is assumed: mode 0 is signed, as the standard says, unless an IMOD stamp without its "signed" flag says otherwise;
a missing map id or a wrong machine stamp is noted and passed over; the extended header, `nstart` and `origin` are
ignored (index 0 lies at 0 Angstrom). Source of the layout: MRC2014, Cheng et al., J. Struct. Biol. 192, 146 (2015).
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import NDArray

from cryofind.atomic import write_beside
from cryofind.errors import TomogramError
from cryofind.io.files import require_file
from cryofind.io.spacing import ANISOTROPY_TOLERANCE, choose_spacing
from cryofind.types import Tomogram, VoxelGrid
from cryofind.types.grid import FloatTriple, IntTriple

MRC_SUFFIXES = (".mrc", ".rec", ".map", ".st")

_HEADER_BYTES = 1024
_DTYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
_REFUSED_MODES = {
    3: "complex 16-bit integers",
    4: "complex numbers, a Fourier transform",
    16: "RGB colours",
    101: "4-bit integers",
}
_STAMPS = {b"\x44\x44": "<", b"\x44\x41": "<", b"\x11\x11": ">"}
# IMOD writes this number at byte 152; bit 0 of the next one then says that mode 0 is signed.
_IMOD_STAMP = 1146047817
_IMOD_STAMP_BYTE = 152
_VOLUME_STACK_GROUPS = range(401, 631)


@dataclass(frozen=True)
class MrcLayout:
    """What the header of an MRC file says, checked against the file.

    Parameters
    ----------
    stored_shape
        Sections, rows, columns in the order of the file.
    dtype
        Of the voxels, with byte order.
    offset_bytes
        Where the voxels begin.
    order
        Axes of the file that are z, y and x.
    spacing_zyx_angstrom
        What the header says; may be anything.
    notes
        What had to be assumed.
    """

    stored_shape: IntTriple
    dtype: np.dtype[Any]
    offset_bytes: int
    order: IntTriple
    spacing_zyx_angstrom: FloatTriple
    notes: tuple[str, ...]

    @property
    def shape_zyx(self) -> IntTriple:
        """Shape once the axes are in order."""
        z, y, x = (self.stored_shape[axis] for axis in self.order)
        return z, y, x


def read_mrc(path: Path, *, run: str, flavour: str = "", voxel_spacing_angstrom: float | None = None) -> Tomogram:
    """Return the tomogram of an MRC file, memory-mapped and read-only, in the file's own number type.

    Parameters
    ----------
    path
        The file.
    run, flavour
        What to call it.
    voxel_spacing_angstrom
        Overrides the header, Angstrom.

    Raises
    ------
    TomogramError
        If the file is damaged, not a volume of real numbers, or has no usable voxel size.
    """
    layout = read_mrc_layout(path)
    grid, spacing_notes = find_mrc_grid(path, layout, voxel_spacing_angstrom)
    return Tomogram(run, map_mrc(path, layout), grid, flavour, (*layout.notes, *spacing_notes))


def map_mrc(path: Path, layout: MrcLayout) -> NDArray[Any]:
    """Return the voxels (z, y, x) of an MRC file with that header, memory-mapped and read-only.

    Raises
    ------
    TomogramError
        If the file cannot be mapped.
    """
    try:
        stored = np.memmap(path, layout.dtype, mode="r", offset=layout.offset_bytes, shape=layout.stored_shape)
    except (OSError, ValueError) as error:
        raise TomogramError(path, f"cannot be mapped ({error})", "check the file and its permissions") from error
    return stored.transpose(layout.order)


def read_mrc_grid(path: Path, *, voxel_spacing_angstrom: float | None = None) -> VoxelGrid:
    """Return the grid of an MRC file from its header alone; errors as in `read_mrc`."""
    return find_mrc_grid(path, read_mrc_layout(path), voxel_spacing_angstrom)[0]


def read_mrc_layout(path: Path) -> MrcLayout:
    """Return what the header says, after checking it against the size of the file.

    Raises
    ------
    TomogramError
        If the header and the file do not agree, or the voxels are not a volume of real numbers.
    """
    file_bytes = require_file(path, TomogramError)
    raw = _read_header_bytes(path, file_bytes)
    header, notes = _interpret_header(path, raw)
    dtype, dtype_notes = _find_dtype(path, header, raw)
    stored_shape = _find_shape(path, header)
    offset, size_notes = _find_offset(path, header, file_bytes, math.prod(stored_shape) * dtype.itemsize)
    order, order_notes = _find_axis_order(path, header)
    return MrcLayout(
        stored_shape,
        dtype,
        offset,
        order,
        _find_spacing(header),
        (*notes, *dtype_notes, *size_notes, *order_notes),
    )


def write_mrc(path: str | Path, tomogram: Tomogram) -> None:
    """Write a tomogram as MRC mode 2 (float32) with its voxel size, beside its final name and renamed.

    The origin of the grid is not written: readers of tomograms ignore it.

    Raises
    ------
    OutputError
        If the file system refuses.
    """
    z, y, x = tomogram.grid.spacing_zyx_angstrom
    with write_beside(Path(path)) as partial, mrcfile.new(partial, overwrite=True) as mrc:
        mrc.set_data(np.asarray(tomogram.volume_zyx, dtype=np.float32))
        mrc.set_volume()
        mrc.voxel_size = (x, y, z)


def _read_header_bytes(path: Path, file_bytes: int) -> bytes:
    if file_bytes == 0:
        raise TomogramError(path, "is empty", "copy the file again")
    try:
        with open(path, "rb") as stream:
            raw = stream.read(_HEADER_BYTES)
    except OSError as error:
        raise TomogramError(path, f"cannot be read ({error.strerror})", "check the permissions") from error
    if raw.startswith((b"\x1f\x8b", b"BZh")):
        raise TomogramError(path, "is compressed", "decompress it first (gunzip or bunzip2)")
    if len(raw) < _HEADER_BYTES:
        raise TomogramError(
            path, f"has {len(raw)} bytes, an MRC header has {_HEADER_BYTES}", "copy the file again; it is truncated"
        )
    return raw


def _interpret_header(path: Path, raw: bytes) -> tuple[np.void, tuple[str, ...]]:
    notes = [] if raw[208:211] == b"MAP" else ["no map id in the MRC header: an old or damaged file"]
    stamp = _STAMPS.get(raw[212:214])
    order = stamp or "<"
    header = _header_in_order(raw, order)
    if int(header["mode"]) not in _DTYPES.keys() | _REFUSED_MODES.keys():
        swapped = _header_in_order(raw, "<" if order == ">" else ">")
        if int(swapped["mode"]) in _DTYPES:
            return swapped, (*notes, "the machine stamp of the MRC header names the wrong byte order")
    if stamp is None:
        notes.append("unknown machine stamp in the MRC header, taken as little-endian")
    return header, tuple(notes)


def _header_in_order(raw: bytes, byte_order: str) -> np.void:
    header: np.void = np.frombuffer(raw, dtype=HEADER_DTYPE.newbyteorder(byte_order))[0]
    return header


def _find_dtype(path: Path, header: np.void, raw: bytes) -> tuple[np.dtype[Any], tuple[str, ...]]:
    mode = int(header["mode"])
    if mode not in _DTYPES:
        meaning = _REFUSED_MODES.get(mode, "unknown")
        raise TomogramError(
            f"{path}: mode", f"is {mode} ({meaning}), expected 0, 1, 2, 6 or 12", "convert it to mode 2 (float32)"
        )
    dtype = np.dtype(_DTYPES[mode]).newbyteorder(header.dtype["mode"].byteorder)
    if mode == 0 and _is_unsigned_imod(raw, header.dtype["mode"]):
        return np.dtype("u1"), ("mode 0 read as unsigned bytes, as the IMOD stamp says",)
    return dtype, ()


def _is_unsigned_imod(raw: bytes, integer: np.dtype[Any]) -> bool:
    stamp, flags = np.frombuffer(raw, dtype=integer, count=2, offset=_IMOD_STAMP_BYTE)
    return int(stamp) == _IMOD_STAMP and not int(flags) & 1


def _find_shape(path: Path, header: np.void) -> IntTriple:
    sections, rows, columns = (int(header[field]) for field in ("nz", "ny", "nx"))
    shown = f"{columns} x {rows} x {sections}"
    if min(sections, rows, columns) < 1:
        raise TomogramError(f"{path}: nx, ny, nz", f"are {shown}, expected positive numbers", "copy the file again")
    if sections == 1:
        raise TomogramError(path, f"is one image of {columns} x {rows}", "give a reconstructed 3D volume")
    per_volume = int(header["mz"])
    if int(header["ispg"]) in _VOLUME_STACK_GROUPS and per_volume != sections:
        raise TomogramError(
            path, f"is a stack of volumes ({sections} sections, {per_volume} each)", "split it into single volumes"
        )
    return sections, rows, columns


def _find_offset(path: Path, header: np.void, file_bytes: int, data_bytes: int) -> tuple[int, tuple[str, ...]]:
    extended_bytes = int(header["nsymbt"])
    if extended_bytes < 0:
        raise TomogramError(f"{path}: nsymbt", f"is {extended_bytes}, expected 0 or more", "copy the file again")
    offset = _HEADER_BYTES + extended_bytes
    if file_bytes < offset:
        raise TomogramError(
            f"{path}: nsymbt",
            f"promises {extended_bytes} bytes of extended header, the file has {file_bytes - _HEADER_BYTES}",
            "copy the file again; it is truncated",
        )
    if file_bytes < offset + data_bytes:
        raise TomogramError(
            path,
            f"holds {file_bytes - offset} bytes of voxels, its header promises {data_bytes}",
            "copy the file again; it is truncated",
        )
    extra = file_bytes - offset - data_bytes
    return offset, (f"{extra} bytes after the voxels are ignored",) if extra else ()


def _find_axis_order(path: Path, header: np.void) -> tuple[IntTriple, tuple[str, ...]]:
    # Section, row and column of the file run along these axes: 1 is x, 2 is y, 3 is z.
    stored = tuple(int(header[field]) for field in ("maps", "mapr", "mapc"))
    if stored == (3, 2, 1):
        return (0, 1, 2), ()
    if stored == (0, 0, 0):
        return (0, 1, 2), ("mapc, mapr, maps are 0: taken as 1, 2, 3",)
    if sorted(stored) != [1, 2, 3]:
        raise TomogramError(
            f"{path}: mapc, mapr, maps", f"are {stored[::-1]}, expected 1, 2, 3 in some order", "mend the header"
        )
    order = (stored.index(3), stored.index(2), stored.index(1))
    return order, (f"axes permuted to z, y, x (mapc, mapr, maps are {stored[2]}, {stored[1]}, {stored[0]})",)


def _find_spacing(header: np.void) -> FloatTriple:
    def along(axis: str) -> float:
        intervals = int(header[f"m{axis}"])
        length = float(header["cella"][axis])
        return length / intervals if intervals else math.inf

    return along("z"), along("y"), along("x")


def find_mrc_grid(path: Path, layout: MrcLayout, given_angstrom: float | None) -> tuple[VoxelGrid, tuple[str, ...]]:
    """Return the grid of an MRC file with that header, and notes on its spacing; errors as in `read_mrc`."""
    spacing, notes = choose_spacing(path, layout.spacing_zyx_angstrom, given_angstrom, one_means_unknown=True)
    if max(spacing) - min(spacing) <= ANISOTROPY_TOLERANCE * min(spacing):
        spacing = (float(np.mean(spacing)),) * 3
    return VoxelGrid(layout.shape_zyx, spacing), notes
