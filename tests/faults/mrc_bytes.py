"""MRC files built byte by byte, so that every field can lie."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import NDArray

_MODES = {"i1": 0, "i2": 1, "f4": 2, "c8": 4, "u2": 6, "f2": 12}


def build_mrc(
    values: NDArray[Any], fields: Mapping[str, float] | None = None, *, byte_order: str = "<", extended: bytes = b""
) -> bytes:
    """Return an MRC file of a volume at 10 A; `fields` overwrite the header (`cella_x` is the x of `cella`)."""
    header = np.zeros((), HEADER_DTYPE.newbyteorder(byte_order))
    nz, ny, nx = values.shape
    defaults: dict[str, Any] = {
        "nx": nx, "ny": ny, "nz": nz, "mx": nx, "my": ny, "mz": nz,
        "cella_x": nx * 10.0, "cella_y": ny * 10.0, "cella_z": nz * 10.0,
        "mapc": 1, "mapr": 2, "maps": 3, "ispg": 1, "nsymbt": len(extended),
        "mode": _MODES[values.dtype.str[1:]], "map": b"MAP ",
    }  # fmt: skip
    header["machst"] = (0x44, 0x44, 0, 0) if byte_order == "<" else (0x11, 0x11, 0, 0)
    for name, value in (defaults | dict(fields or {})).items():
        outer, _, inner = name.partition("_")
        if inner:
            header[outer][inner] = value
        else:
            header[name] = value
    return header.tobytes() + extended + values.tobytes()
