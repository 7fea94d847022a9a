"""Motive lists of TOM, Artiatomi and AV3 (`.em`): 20 numbers a particle, positions in 1-indexed pixels.

The layout: a header of 512 bytes (machine 6 = little-endian, data type 5 = float32, then three int32 sizes), then the
particles one after the other. Of the 20 numbers, counted from 0: 3 score, 4 tomogram, 5 class, 6 particle, 7-9 x, y, z,
10-12 shift, 16 phi, 17 psi, 18 theta.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cryofind.atomic import write_bytes
from cryofind.errors import PicksError
from cryofind.io.text import read_bytes

Floats = NDArray[np.float64]

_HEADER_BYTES = 512
_FIELDS = 20
_LITTLE_ENDIAN_FLOAT32 = (6, 5)
_FIRST_PIXEL = 1.0


@dataclass(frozen=True, eq=False)
class MotiveList:
    """Particles of an `.em` list.

    Parameters
    ----------
    indices_xyz
        Array indices x, y, z (the first voxel is 0), shift added, shape (N, 3).
    angles_degrees
        phi, psi, theta, shape (N, 3).
    scores
        Shape (N,).
    tomogram_numbers
        Shape (N,), whole numbers.
    """

    indices_xyz: Floats
    angles_degrees: Floats
    scores: Floats
    tomogram_numbers: NDArray[np.int64]


def read_em(path: str | Path) -> MotiveList:
    """Read a motive list.

    Raises
    ------
    PicksError
        If the file is no little-endian float32 motive list, its size does not fit its header, or a number is not
        finite.
    """
    path = Path(path)
    content = read_bytes(path)
    count = _read_count(path, content)
    table = np.frombuffer(content, dtype="<f4", offset=_HEADER_BYTES).reshape(count, _FIELDS).astype(np.float64)
    used = [3, 4, *range(7, 13), 16, 17, 18]
    wrong = ~np.isfinite(table[:, used])
    if wrong.any():
        row, column = (int(index) for index in np.argwhere(wrong)[0])
        found = f"row {used[column] + 1} is {table[row, used[column]]}"
        raise PicksError(f"{path}: particle {row + 1}", found, "give finite numbers")
    return MotiveList(
        table[:, 7:10] + table[:, 10:13] - _FIRST_PIXEL,
        table[:, 16:19],
        table[:, 3],
        np.rint(table[:, 4]).astype(np.int64),
    )


def write_em(path: Path, motives: MotiveList) -> None:
    """Write a motive list, without shifts, class 1."""
    count = len(motives.scores)
    table = np.zeros((count, _FIELDS))
    table[:, 3] = motives.scores
    table[:, 4] = motives.tomogram_numbers
    table[:, 5] = 1
    table[:, 6] = np.arange(1, count + 1)
    table[:, 7:10] = motives.indices_xyz + _FIRST_PIXEL
    table[:, 16:19] = motives.angles_degrees
    machine, kind = _LITTLE_ENDIAN_FLOAT32
    header = struct.pack("<4B3i", machine, 0, 0, kind, _FIELDS, count, 1).ljust(_HEADER_BYTES, b"\0")
    write_bytes(path, header + table.astype("<f4").tobytes())


def _read_count(path: Path, content: bytes) -> int:
    if len(content) < _HEADER_BYTES:
        raise PicksError(path, f"has {len(content)} bytes, an .em header has {_HEADER_BYTES}", "copy it anew")
    machine, _, _, kind, fields, count, depth = struct.unpack_from("<4B3i", content)
    if (machine, kind) != _LITTLE_ENDIAN_FLOAT32:
        found = f"machine {machine}, data type {kind}"
        raise PicksError(path, f"has {found}, expected 6 and 5", "save it as little-endian float32")
    if fields != _FIELDS or depth != 1 or count < 0:
        found = f"{fields} x {count} x {depth}"
        raise PicksError(path, f"is of size {found}, expected {_FIELDS} x N x 1", "give a motive list, not a volume")
    expected = _HEADER_BYTES + 4 * _FIELDS * count
    if len(content) != expected:
        problem = f"has {len(content)} bytes, its header promises {expected}"
        raise PicksError(path, problem, "the file may be torn; copy it anew")
    return int(count)
