"""The `multiscales` metadata of OME-Zarr 0.1 to 0.5: which array, which axes, which spacing.

Source: ngff.openmicroscopy.org, versions 0.4 and 0.5; older ones lack units, transformations or axes.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryofind.errors import TomogramError
from cryofind.io.files import read_json_document
from cryofind.types.grid import FloatTriple

SPATIAL_AXES = ("z", "y", "x")

_ANGSTROM_PER_UNIT = {
    "angstrom": 1.0,
    "ångström": 1.0,
    "å": 1.0,
    "picometer": 0.01,
    "nanometer": 10.0,
    "nm": 10.0,
    "micrometer": 1e4,
    "um": 1e4,
    "µm": 1e4,
    "millimeter": 1e7,
    "meter": 1e10,
}


@dataclass(frozen=True)
class Level:
    """One resolution of a pyramid.

    Parameters
    ----------
    path
        Folder of its array inside the group.
    scale, translation
        One number per axis, in the units of the axes; None when absent.
    """

    path: str
    scale: tuple[float, ...] | None
    translation: tuple[float, ...] | None


@dataclass(frozen=True)
class Multiscale:
    """What the metadata of an image say.

    Parameters
    ----------
    axes
        Names in array order; None when not stated.
    units
        Angstrom per unit along each axis; None for a unit that is missing or unknown.
    levels
        Resolutions, the finest first.
    notes
        What had to be assumed.
    """

    axes: tuple[str, ...] | None
    units: tuple[float | None, ...]
    levels: tuple[Level, ...]
    notes: tuple[str, ...]

    @property
    def unit_is_known(self) -> bool:
        """Whether all spatial axes state a unit of length."""
        return len(self.units) >= 3 and None not in self.units[-3:]

    def spacing_zyx_angstrom(self, level: Level) -> FloatTriple | None:
        """Return the voxel spacing of a level: the last three numbers of its scale times the unit."""
        return None if level.scale is None else self._in_angstrom(level.scale)

    def origin_zyx_angstrom(self, level: Level) -> FloatTriple:
        """Return the position of index 0 of a level, Angstrom; zero without a translation."""
        return (0.0, 0.0, 0.0) if level.translation is None else self._in_angstrom(level.translation)

    def _in_angstrom(self, values: tuple[float, ...]) -> FloatTriple:
        units = self.units[-3:] if len(self.units) >= 3 else (None,) * 3
        z, y, x = (value * (unit or 1.0) for value, unit in zip(values[-3:], units, strict=True))
        return z, y, x


def read_group_attributes(folder: Path) -> dict[str, Any] | None:
    """Return the attributes of a zarr group (v2 or v3); None if the folder holds no zarr metadata.

    Raises
    ------
    TomogramError
        If a metadata file cannot be read.
    """
    if (folder / "zarr.json").is_file():
        attributes = read_json_document(folder / "zarr.json", TomogramError).get("attributes") or {}
        if not isinstance(attributes, dict):
            raise TomogramError(f"{folder / 'zarr.json'}: attributes", "are not an object", "write the metadata again")
        return attributes
    if (folder / ".zattrs").is_file():
        return read_json_document(folder / ".zattrs", TomogramError)
    if (folder / ".zgroup").is_file() or (folder / ".zarray").is_file():
        return {}
    return None


def parse_multiscale(folder: Path, attributes: dict[str, Any]) -> Multiscale | None:
    """Return the first image of a group's attributes (`multiscales` at the top or under `ome`); None without one.

    Raises
    ------
    TomogramError
        If the metadata have another form than OME-Zarr's, with the field.
    """
    ome = attributes.get("ome")
    holder = ome if isinstance(ome, dict) and "multiscales" in ome else attributes
    images = holder.get("multiscales")
    if images is None:
        return None
    where = f"{folder}: multiscales"
    if not isinstance(images, list) or not images or not isinstance(images[0], dict):
        raise TomogramError(where, "is not a list of objects", "write the OME-Zarr metadata again")
    image = images[0]
    axes, units, notes = _parse_axes(f"{where}[0].axes", image.get("axes"))
    if len(images) > 1:
        notes.append(f"the first of {len(images)} images is used")
    return Multiscale(axes, units, _parse_levels(f"{where}[0]", image), tuple(notes))


def _parse_axes(where: str, axes: Any) -> tuple[tuple[str, ...] | None, tuple[float | None, ...], list[str]]:
    if axes is None:
        return None, (), ["no axes in the metadata, taken as z, y, x"]
    if not isinstance(axes, list):
        raise TomogramError(where, "is not a list", "write the OME-Zarr metadata again")
    entries = [{"name": axis} if isinstance(axis, str) else axis for axis in axes]
    if not all(isinstance(entry, dict) and isinstance(entry.get("name"), str) for entry in entries):
        raise TomogramError(where, "has an entry without a name", "write the OME-Zarr metadata again")
    names = tuple(entry["name"].lower() for entry in entries)
    given = [entry.get("unit") for entry in entries]
    units = tuple(_ANGSTROM_PER_UNIT.get(unit.lower()) if isinstance(unit, str) else None for unit in given)
    strange = {str(unit) for unit, known in zip(given[-3:], units[-3:], strict=True) if known is None}
    notes = [f"unit of length {', '.join(sorted(strange))} taken as Angstrom"] if strange - {"None"} else []
    if "None" in strange:
        notes.append("no unit of length in the metadata, taken as Angstrom")
    return names, units, notes


def _parse_levels(where: str, image: dict[str, Any]) -> tuple[Level, ...]:
    datasets = image.get("datasets")
    if not isinstance(datasets, list) or not datasets:
        raise TomogramError(f"{where}.datasets", "is not a list of levels", "write the OME-Zarr metadata again")
    common = _parse_transformations(f"{where}.coordinateTransformations", image.get("coordinateTransformations"))
    return tuple(_parse_level(f"{where}.datasets[{n}]", entry, common) for n, entry in enumerate(datasets))


def _parse_level(where: str, entry: Any, common: tuple[Any, Any]) -> Level:
    path = entry.get("path") if isinstance(entry, dict) else None
    if not isinstance(path, str) or not path or "\0" in path or path.startswith("/") or ".." in path.split("/"):
        raise TomogramError(f"{where}.path", f"is {str(path)[:80]!r}, expected a folder inside", "mend the metadata")
    scale, translation = _parse_transformations(
        f"{where}.coordinateTransformations", entry.get("coordinateTransformations")
    )
    return Level(path, *_combine(f"{where}.coordinateTransformations", (scale, translation), common))


Numbers = tuple[float, ...] | None


def _combine(where: str, own: tuple[Numbers, Numbers], common: tuple[Numbers, Numbers]) -> tuple[Numbers, Numbers]:
    """Apply the transformations of the whole image after those of a level."""
    (scale, translation), (common_scale, common_translation) = own, common
    if common_scale is None and common_translation is None:
        return own
    count = max(len(numbers) for numbers in (*own, *common) if numbers is not None)
    if any(numbers is not None and len(numbers) != count for numbers in (*own, *common)):
        raise TomogramError(where, "differ in length", "mend the metadata")
    factor = common_scale or (1.0,) * count
    shift = common_translation or (0.0,) * count
    total_scale = tuple(a * b for a, b in zip(scale or (1.0,) * count, factor, strict=True))
    start = translation or (0.0,) * count
    total_shift = tuple(t * f + s for t, f, s in zip(start, factor, shift, strict=True))
    return (None if scale is None and common_scale is None else total_scale), total_shift


def _parse_transformations(where: str, transformations: Any) -> tuple[Numbers, Numbers]:
    if transformations is None:
        return None, None
    if not isinstance(transformations, list) or not all(isinstance(entry, dict) for entry in transformations):
        raise TomogramError(where, "is not a list of objects", "mend the metadata")
    scale = translation = None
    for entry in transformations:
        kind = entry.get("type")
        if kind == "scale":
            scale = _parse_numbers(f"{where}: scale", entry.get("scale"))
        elif kind == "translation":
            translation = _parse_numbers(f"{where}: translation", entry.get("translation"))
        elif kind != "identity":
            raise TomogramError(where, f"has type {str(kind)[:40]!r}, expected scale or translation", "resample it")
    return scale, translation


def _parse_numbers(where: str, values: Any) -> tuple[float, ...]:
    is_list = isinstance(values, list) and len(values) >= 3
    if not is_list or not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise TomogramError(where, f"is {str(values)[:80]}, expected three numbers or more", "mend the metadata")
    try:
        numbers = tuple(float(value) for value in values)
    except OverflowError as error:
        raise TomogramError(where, "is out of range", "mend the metadata") from error
    if not all(math.isfinite(number) for number in numbers):
        raise TomogramError(where, f"is {str(values)[:80]}, expected finite numbers", "mend the metadata")
    return numbers
