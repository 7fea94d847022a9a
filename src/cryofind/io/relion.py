"""Particles in STAR files of RELION, Warp and pytom-match-pick, and the tomograms they refer to.

Two forms of coordinates: `rlnCenteredCoordinate{X,Y,Z}Angst`, in Angstrom from the tomogram's centre (RELION 5), and
`rlnCoordinate{X,Y,Z}`, in pixels of the tilt series (RELION 4) from the corner. With both, RELION reads the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cryofind.coordinates import rotations_xyz_from_zyx, xyz_from_zyx
from cryofind.errors import PicksError
from cryofind.io.angles import rotations_zyx_from_relion
from cryofind.io.star import StarBlock, read_star, star_numbers
from cryofind.types import VoxelGrid

Floats = NDArray[np.float64]
Centre = Literal["half", "half-minus-one"]

CENTRED_COLUMNS = tuple(f"rlnCenteredCoordinate{axis}Angst" for axis in "XYZ")
PIXEL_COLUMNS = tuple(f"rlnCoordinate{axis}" for axis in "XYZ")
ANGLE_COLUMNS = ("rlnAngleRot", "rlnAngleTilt", "rlnAnglePsi")
SCORE_COLUMN = "rlnAutopickFigureOfMerit"
PIXEL_SIZE_COLUMN = "rlnTomoTiltSeriesPixelSize"
IMPORT_FILE_COLUMN = "rlnTomoImportParticleFile"

_SUBTOMOGRAM_COLUMNS = ("rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi")
_ORIGIN_ANGSTROM_COLUMNS = tuple(f"rlnOrigin{axis}Angst" for axis in "XYZ")
_ORIGIN_PIXEL_COLUMNS = tuple(f"rlnOrigin{axis}" for axis in "XYZ")
_SCORE_COLUMNS = (SCORE_COLUMN, "rlnLCCmax")
_SIZE_COLUMNS = tuple(f"rlnTomoSize{axis}" for axis in "XYZ")
_NAME_COLUMNS = ("rlnTomoName", "rlnMicrographName")


@dataclass(frozen=True)
class TomogramGeometry:
    """What `tomograms.star` says of a tomogram.

    Parameters
    ----------
    size_xyz_pixels
        Unbinned size, in pixels of the tilt series.
    pixel_size_angstrom
        Pixel size of the tilt series, Angstrom.
    """

    size_xyz_pixels: tuple[float, float, float]
    pixel_size_angstrom: float


@dataclass(frozen=True, eq=False)
class RelionParticles:
    """Particles as a STAR file gives them, shifts subtracted.

    Parameters
    ----------
    tomogram_names
        N names, or None if the file has none.
    points_xyz_angstrom
        Shape (N, 3); from the centre of the tomogram if `is_centred`, else from its corner.
    is_centred
        Which form the file has.
    pixel_size_angstrom
        Pixel size that the coordinates were multiplied by; None in the centred form or if there are several.
    scores, rotations_zyx
        None if the file has none.
    """

    tomogram_names: list[str] | None
    points_xyz_angstrom: Floats
    is_centred: bool
    pixel_size_angstrom: float | None
    scores: Floats | None
    rotations_zyx: Floats | None


def read_tomograms_star(path: str | Path) -> dict[str, TomogramGeometry]:
    """Read RELION's `tomograms.star`: geometry by tomogram name, from its block `global`.

    Raises
    ------
    PicksError
        If the block or a column is missing, or a number is not positive.
    """
    path = Path(path)
    blocks = read_star(path)
    needed = ("rlnTomoName", PIXEL_SIZE_COLUMN, *_SIZE_COLUMNS)
    block = blocks.get("global", {})
    missing = [column for column in needed if column not in block]
    if missing:
        raise PicksError(f"{path}: data_global", f"has no column {missing[0]}", "give RELION's tomograms.star")
    pixel_sizes = star_numbers(path, block, PIXEL_SIZE_COLUMN)
    sizes = zip(*(star_numbers(path, block, column) for column in _SIZE_COLUMNS), strict=True)
    geometries = {}
    for name, size, pixel_size in zip(block["rlnTomoName"], sizes, pixel_sizes, strict=True):
        if min(*size, pixel_size) <= 0:
            raise PicksError(f"{path}: {name}", "has a size or pixel size that is not positive", "mend the file")
        geometries[name] = TomogramGeometry((size[0], size[1], size[2]), pixel_size)
    return geometries


def tomogram_centre_xyz_angstrom(
    grid: VoxelGrid,
    *,
    geometry: TomogramGeometry | None = None,
    pixel_size_angstrom: float | None = None,
    centre: Centre = "half",
) -> Floats:
    """Return what RELION calls the centre of a tomogram, xyz from its corner, Angstrom.

    Parameters
    ----------
    grid
        The tomogram's voxels.
    geometry
        Its unbinned size; without it, the size of `grid`. The two differ when binning rounded a size, and RELION
        counts from the unbinned one. The binning itself does not enter.
    pixel_size_angstrom
        Pixel size of the tilt series; used by `half-minus-one` only, and only without `geometry`.
    centre
        `half`: size/2, as RELION and copick read; `half-minus-one`: size/2 - 1 unbinned pixels, as RELION's napari
        picker writes.
    """
    if geometry is not None:
        size = np.array(geometry.size_xyz_pixels) * geometry.pixel_size_angstrom
        pixel = geometry.pixel_size_angstrom
    else:
        size = xyz_from_zyx(grid.extent_zyx_angstrom)
        pixel = pixel_size_angstrom or grid.spacing_angstrom
    return size / 2 - (pixel if centre == "half-minus-one" else 0.0)


def read_relion_particles(
    path: str | Path,
    *,
    pixel_size_angstrom: float | None = None,
    geometries: Mapping[str, TomogramGeometry] | None = None,
) -> RelionParticles:
    """Read the particles of a STAR file.

    Parameters
    ----------
    path
        STAR file with centred or pixel coordinates.
    pixel_size_angstrom
        Pixel size of `rlnCoordinate*`, Angstrom. None: the file's optics table, else its `rlnDetectorPixelSize`, else
        `geometries`. The tomogram's voxel spacing is never assumed.
    geometries
        What `tomograms.star` says.

    Raises
    ------
    PicksError
        If there are no coordinates, a number is wrong, or the pixel size is not known.
    """
    path = Path(path)
    blocks = read_star(path)
    block = _find_particles(path, blocks)
    names = next((block[column] for column in _NAME_COLUMNS if column in block), None)
    is_centred = set(CENTRED_COLUMNS) <= set(block)
    points = _columns(path, block, CENTRED_COLUMNS if is_centred else PIXEL_COLUMNS)
    pixel_sizes: Floats | None = None
    if not is_centred:
        pixel_sizes = _find_pixel_sizes(path, blocks, block, pixel_size_angstrom, geometries or {})
        points = points * pixel_sizes[:, None]
    subtomogram, rotations = _read_rotations(path, block)
    points = points - _read_shifts(path, block, subtomogram, pixel_sizes)
    score_column = next((column for column in _SCORE_COLUMNS if column in block), None)
    single = pixel_sizes is not None and len(pixel_sizes) > 0 and bool(np.ptp(pixel_sizes) == 0)
    return RelionParticles(
        names,
        points,
        is_centred,
        float(pixel_sizes[0]) if pixel_sizes is not None and single else None,
        None if score_column is None else np.array(star_numbers(path, block, score_column)),
        rotations,
    )


def read_index_star(path: str | Path) -> dict[str, Path] | None:
    """Return the particle file by tomogram name if the STAR file is an index for RELION's import, else None.

    Paths are relative to RELION's project folder: the index's folder or one above it, whichever has the file.

    Raises
    ------
    PicksError
        If a listed file is missing or a tomogram is listed twice.
    """
    path = Path(path)
    for block in read_star(path).values():
        if IMPORT_FILE_COLUMN in block and "rlnTomoName" in block:
            pairs = list(zip(block["rlnTomoName"], block[IMPORT_FILE_COLUMN], strict=True))
            if len({name for name, _ in pairs}) != len(pairs):
                raise PicksError(path, "lists a tomogram twice", "keep one row for each")
            return {name: _resolve(path, listed) for name, listed in pairs}
    return None


def _resolve(index: Path, listed: str) -> Path:
    for folder in index.absolute().parents:
        if (folder / listed).is_file():
            return folder / listed
    raise PicksError(f"{index}: {IMPORT_FILE_COLUMN}", f"names {listed!r}, which does not exist", "copy it along")


def _find_particles(path: Path, blocks: Mapping[str, StarBlock]) -> StarBlock:
    for name in ("particles", *blocks):
        columns = set(blocks.get(name, {}))
        if set(CENTRED_COLUMNS) <= columns or set(PIXEL_COLUMNS) <= columns:
            return blocks[name]
    expected = f"{CENTRED_COLUMNS[0]} ... or {PIXEL_COLUMNS[0]} ..."
    raise PicksError(path, f"has no block with {expected}", "give a STAR file of particles in three dimensions")


def _columns(path: Path, block: StarBlock, columns: tuple[str, ...]) -> Floats:
    return np.array([star_numbers(path, block, column) for column in columns], dtype=np.float64).T


def _find_pixel_sizes(
    path: Path,
    blocks: Mapping[str, StarBlock],
    block: StarBlock,
    given: float | None,
    geometries: Mapping[str, TomogramGeometry],
) -> Floats:
    count = len(block[PIXEL_COLUMNS[0]])
    if given is not None:
        return np.full(count, given)
    sizes = _pixel_sizes_of_optics(path, blocks.get("optics", {}), block, count)
    if sizes is None and "rlnDetectorPixelSize" in block:
        detector = np.array(star_numbers(path, block, "rlnDetectorPixelSize"))
        # RELION 3 gives the detector's own pixel and a magnification; 10000 makes the two equal.
        magnified = "rlnMagnification" in block
        magnification = np.array(star_numbers(path, block, "rlnMagnification")) if magnified else np.full(count, 1e4)
        sizes = detector * 1e4 / np.where(magnification > 0, magnification, np.nan)
    if sizes is None and "rlnTomoName" in block and set(block["rlnTomoName"]) <= set(geometries):
        sizes = np.array([geometries[name].pixel_size_angstrom for name in block["rlnTomoName"]])
    if sizes is None:
        advice = "give the pixel size of the tilt series in Angstrom (--pixel-size)"
        raise PicksError(path, "has pixel coordinates, but does not say the pixel size", advice)
    if not (np.isfinite(sizes) & (sizes > 0)).all():
        raise PicksError(path, "has a pixel size that is not positive", "give the pixel size in Angstrom")
    return sizes


def _pixel_sizes_of_optics(path: Path, optics: StarBlock, block: StarBlock, count: int) -> Floats | None:
    if PIXEL_SIZE_COLUMN not in optics:
        return None
    sizes = star_numbers(path, optics, PIXEL_SIZE_COLUMN)
    if len(set(sizes)) == 1:
        return np.full(count, sizes[0])
    if "rlnOpticsGroup" not in optics or "rlnOpticsGroup" not in block:
        raise PicksError(path, f"has {len(sizes)} pixel sizes and no rlnOpticsGroup", "give the pixel size")
    by_group = dict(zip(optics["rlnOpticsGroup"], sizes, strict=True))
    unknown = sorted(set(block["rlnOpticsGroup"]) - set(by_group))
    if unknown:
        raise PicksError(path, f"data_optics has no rlnOpticsGroup {unknown[0]}", "mend the file")
    return np.array([by_group[group] for group in block["rlnOpticsGroup"]], dtype=np.float64)


def _read_rotations(path: Path, block: StarBlock) -> tuple[Floats | None, Floats | None]:
    """Return rotations zyx of the subtomogram alone and of the particle (subtomogram @ particle), None if not given."""
    subtomogram = particle = None
    if set(_SUBTOMOGRAM_COLUMNS) <= set(block):
        subtomogram = rotations_zyx_from_relion(_columns(path, block, _SUBTOMOGRAM_COLUMNS))
    if set(ANGLE_COLUMNS) <= set(block):
        particle = rotations_zyx_from_relion(_columns(path, block, ANGLE_COLUMNS))
    if subtomogram is None or particle is None:
        return subtomogram, particle if subtomogram is None else subtomogram
    return subtomogram, subtomogram @ particle


def _read_shifts(path: Path, block: StarBlock, subtomogram: Floats | None, pixel_sizes: Floats | None) -> Floats:
    """Return what RELION subtracts from the coordinates, xyz in Angstrom: the origin, turned with the subtomogram."""
    if set(_ORIGIN_ANGSTROM_COLUMNS) <= set(block):
        origins = _columns(path, block, _ORIGIN_ANGSTROM_COLUMNS)
    elif set(_ORIGIN_PIXEL_COLUMNS) <= set(block) and pixel_sizes is not None:
        origins = _columns(path, block, _ORIGIN_PIXEL_COLUMNS) * pixel_sizes[:, None]
    else:
        return np.zeros(3)
    if subtomogram is None:
        return origins
    return np.asarray(np.einsum("nij,nj->ni", rotations_xyz_from_zyx(subtomogram), origins), dtype=np.float64)
