"""One tomogram, whatever its format."""

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofind.errors import TomogramError
from cryofind.io.files import is_folder
from cryofind.io.mrc import MRC_SUFFIXES, read_mrc, read_mrc_grid
from cryofind.io.ome_zarr import read_ome_zarr, read_ome_zarr_grid
from cryofind.types import Tomogram, VoxelGrid, check_run_name

# Every 4th section, 8th row and 8th column.
FINGERPRINTED = (slice(None, None, 4), slice(None, None, 8), slice(None, None, 8))

_VOXEL_SPACING_FOLDER = re.compile(r"VoxelSpacing\d+(\.\d+)?")


def read_tomogram(
    path: str | Path,
    *,
    run: str | None = None,
    flavour: str | None = None,
    voxel_spacing_angstrom: float | None = None,
    allow_missing_chunks: bool = False,
) -> Tomogram:
    """Return the tomogram of an MRC file (.mrc, .rec, .map, .st) or an OME-Zarr folder.

    MRC voxels stay on disk, memory-mapped and read-only; zarr voxels are read. Neither is converted.

    Parameters
    ----------
    path
        File or folder.
    run, flavour
        What to call it; by default what a copick layout says, else the file's name and nothing.
    voxel_spacing_angstrom
        Overrides the file's voxel spacing, Angstrom.
    allow_missing_chunks
        Read missing chunks of a zarr array as its fill value, with a note.

    Raises
    ------
    TomogramError
        If it is missing, damaged, not a volume of real numbers, or has no usable voxel spacing.
    NameRefused
        If the run's name is not safe in files.

    Examples
    --------
    >>> tomogram = read_tomogram("TS_1.mrc", voxel_spacing_angstrom=10.0)  # doctest: +SKIP
    """
    path = Path(path)
    found_run, found_flavour = find_names(path)
    run = check_run_name(found_run if run is None else run)
    flavour = found_flavour if flavour is None else flavour
    if is_mrc(path):
        return read_mrc(path, run=run, flavour=flavour, voxel_spacing_angstrom=voxel_spacing_angstrom)
    return read_ome_zarr(
        path,
        run=run,
        flavour=flavour,
        voxel_spacing_angstrom=voxel_spacing_angstrom,
        allow_missing_chunks=allow_missing_chunks,
    )


def read_tomogram_grid(path: str | Path, *, voxel_spacing_angstrom: float | None = None) -> VoxelGrid:
    """Return the grid of a tomogram from its metadata alone; errors as in `read_tomogram`."""
    path = Path(path)
    read = read_mrc_grid if is_mrc(path) else read_ome_zarr_grid
    return read(path, voxel_spacing_angstrom=voxel_spacing_angstrom)


def find_names(path: Path) -> tuple[str, str]:
    """Return the run and flavour of a path: `RUN/VoxelSpacing10.000/FLAVOUR.zarr`, else the file's name and ''."""
    path = Path(path).absolute()
    stem = path.name.removesuffix(path.suffix).removesuffix(".ome")
    if _VOXEL_SPACING_FOLDER.fullmatch(path.parent.name) and path.parent.parent.name:
        return path.parent.parent.name, stem
    return stem, ""


def fingerprint_volume(volume_zyx: NDArray[Any]) -> str:
    """Return a SHA-256 that tells tomograms apart, whatever format and number type they are stored in.

    It covers the shape and the float32 values of every 4th section, 8th row and 8th column.
    """
    return fingerprint_sample(volume_zyx[FINGERPRINTED], volume_zyx.shape)


def fingerprint_sample(sample_zyx: NDArray[Any], shape_zyx: tuple[int, ...]) -> str:
    """Return what `fingerprint_volume` gives for a volume of that shape whose voxels `FINGERPRINTED` are these."""
    digest = hashlib.sha256(np.asarray(shape_zyx, dtype="<i8").tobytes())
    digest.update(np.ascontiguousarray(sample_zyx, dtype="<f4").tobytes())
    return digest.hexdigest()


def is_mrc(path: Path) -> bool:
    """Say whether a path is read as MRC (else as OME-Zarr); refuse what is neither."""
    if is_folder(path, TomogramError):
        return False
    suffix = path.suffix.lower()
    if suffix in MRC_SUFFIXES:
        return True
    if suffix in {".gz", ".bz2", ".zip", ".tar"}:
        raise TomogramError(path, "is compressed", "unpack it first")
    raise TomogramError(path, "is not a tomogram", f"give {', '.join(MRC_SUFFIXES)} or an OME-Zarr folder")
