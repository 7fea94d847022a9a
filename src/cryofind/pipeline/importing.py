"""`cryofind init`: loose tomograms and pick files of other programs -> a copick project."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryofind import czii
from cryofind.atomic import write_folder_beside
from cryofind.errors import ConfigError, OutputError, PicksError, ProjectError, advise_known_names
from cryofind.io import (
    LoosePicks,
    TomogramEntry,
    open_project,
    read_loose_picks,
    read_tomogram_list,
    tomogram_zarr_path,
    write_copick_config,
    write_picks_overlay,
    write_tomogram_zarr,
)
from cryofind.progress import report_progress
from cryofind.types import ParticleSpec, Picks, VoxelGrid, check_name
from cryofind.types.particles import PALETTE

logger = logging.getLogger("cryofind")

USER, SESSION = "imported", "0"
TOMOGRAM_LISTS = ("tomograms.doc", "tomograms.txt")


def init_project(
    files: Sequence[Path],
    out: Path,
    *,
    picks_files: Sequence[Path] = (),
    objects: Sequence[str] = (),
    pixel_size_angstrom: float | None = None,
    voxel_spacing_angstrom: float | None = None,
    flavour: str = "imported",
) -> list[str]:
    """Write a copick project and return lines that say what was understood.

    Parameters
    ----------
    files
        Tomograms: MRC files, OME-Zarr folders, or folders of them. A run is named after its file.
    out
        Folder of the project: new or empty.
    picks_files
        RELION `.star`, `.coords`, Dynamo `.tbl`, TOM `.em`, `.csv` or copick `.json`.
    objects
        `NAME:RADIUS_A` each; names of the CZII challenge may leave the radius out.
    pixel_size_angstrom
        Pixel size of picks in pixels, where the file has none; default the tomogram's.
    voxel_spacing_angstrom
        Instead of what the tomograms say.
    flavour
        Name of this kind of tomogram in the project.

    Raises
    ------
    CryofindError
        If an input cannot be read or picks lie outside; then nothing is written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(out, "is there already", "choose a new folder for --out")
    specs = _parse_objects(objects, picks_files)
    loose = _Loose.find(files, voxel_spacing_angstrom, check_name(flavour, "flavour"))
    readings = [_read_picks(path, loose.grids, specs, pixel_size_angstrom) for path in picks_files]
    picks = Picks.concatenate(reading.picks for reading in readings)
    _refuse_unknown_objects(picks, specs)
    with write_folder_beside(out) as partial:
        loose.write(partial)
        spacings = {run: grid.spacing_angstrom for run, grid in loose.grids.items()}
        write_picks_overlay(partial, picks, user=USER, session=SESSION, voxel_spacings=spacings)
        write_copick_config(partial / "copick.json", name=out.name, objects=specs, overlay_root=out)
    lines = [f"{spec.name}: radius {spec.radius_angstrom:g} A" for spec in specs]
    lines += [f"{run}: {_describe_grid(grid)}" for run, grid in loose.grids.items()]
    for path, reading in zip(picks_files, readings, strict=True):
        lines += [f"{path.name}: {reading.extent}", *(f"{path.name}: {note}" for note in reading.notes)]
    return [*lines, f"{len(loose.grids)} tomograms and {len(picks)} picks -> {out / 'copick.json'}"]


@dataclass(frozen=True)
class _Loose:
    entries: tuple[TomogramEntry, ...]
    grids: dict[str, VoxelGrid]
    flavour: str
    voxel_spacing_angstrom: float | None

    @classmethod
    def find(cls, files: Sequence[Path], voxel_spacing_angstrom: float | None, flavour: str) -> "_Loose":
        entries = [entry for path in files for entry in open_project(path).tomograms]
        grids: dict[str, VoxelGrid] = {}
        for entry in entries:
            if entry.run in grids:
                raise ProjectError(entry.path, f"names run {entry.run} a second time", "rename one of the files")
            grids[entry.run] = entry.read_grid(voxel_spacing_angstrom=voxel_spacing_angstrom)
        return cls(tuple(entries), grids, flavour, voxel_spacing_angstrom)

    def write(self, root: Path) -> None:
        with report_progress("converting", len(self.entries)) as progress:
            for entry in self.entries:
                tomogram = entry.read(voxel_spacing_angstrom=self.voxel_spacing_angstrom)
                spacing = tomogram.grid.spacing_angstrom
                write_tomogram_zarr(tomogram_zarr_path(root, entry.run, spacing, self.flavour), tomogram)
                progress.advance(note=entry.run)


def _parse_objects(objects: Sequence[str], picks_files: Sequence[Path]) -> tuple[ParticleSpec, ...]:
    if picks_files and not objects:
        raise ConfigError("--object", "is missing", "name what the picks are, e.g. --object ribosome:150")
    specs = tuple(parse_object(text, label) for label, text in enumerate(objects, start=1))
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"--object {name}", "is given twice", "give every object once")
    return specs


def parse_object(text: str, label: int) -> ParticleSpec:
    """Return the object that `NAME:RADIUS_A` names, with a colour of the palette by its label.

    Raises
    ------
    ConfigError
        If it is not of that form; the radius may be left out for objects of the CZII challenge only.
    """
    name, _, radius_text = text.partition(":")
    radii = {spec.name: spec.radius_angstrom for spec in czii.OBJECTS}
    try:
        radius = float(radius_text) if radius_text else radii.get(name)
    except ValueError:
        radius = None
    if radius is None:
        problem = "is not NAME:RADIUS with the radius in Angstrom"
        raise ConfigError(f"--object {text}", problem, f"write e.g. --object {name or 'ribosome'}:150")
    red, green, blue = PALETTE[(label - 1) % len(PALETTE)]
    return ParticleSpec(name, radius, label, (red, green, blue, 255))


def _read_picks(
    path: Path, grids: dict[str, VoxelGrid], specs: Sequence[ParticleSpec], pixel_size_angstrom: float | None
) -> LoosePicks:
    return read_loose_picks(
        path,
        grids=grids,
        object_name=_object_of_file(path, specs),
        run=next(iter(grids)) if len(grids) == 1 else None,
        pixel_size_angstrom=pixel_size_angstrom,
        tomogram_names=_read_tomogram_names(path),
    )


def _read_tomogram_names(path: Path) -> dict[int, str] | None:
    """Return the tomograms by number from the list that Dynamo keeps, and cryofind writes, beside a table."""
    if path.suffix.lower() not in {".tbl", ".em"}:
        return None
    lists = [path.with_name(name) for name in TOMOGRAM_LISTS if path.with_name(name).is_file()]
    return read_tomogram_list(lists[0]) if lists else None


def _object_of_file(path: Path, specs: Sequence[ParticleSpec]) -> str | None:
    """Return the only object, or the one whose name stands in the file's name; None leaves it to the file."""
    if len(specs) == 1:
        return specs[0].name
    plain = path.stem.casefold().replace("_", "-")
    named = [spec.name for spec in specs if spec.name.casefold() in plain]
    return max(named, key=len) if named else None


def _refuse_unknown_objects(picks: Picks, specs: Sequence[ParticleSpec]) -> None:
    known = [spec.name for spec in specs]
    for name in picks.object_names:
        if name not in known:
            raise PicksError(f"object '{name}'", "has picks but is not given", advise_known_names(name, known))


def _describe_grid(grid: VoxelGrid) -> str:
    z, y, x = grid.shape_zyx
    depth, height, width = grid.extent_zyx_angstrom
    return (
        f"{z} x {y} x {x} voxels (z, y, x) of {grid.spacing_angstrom:.3f} A: {depth:.0f} x {height:.0f} x {width:.0f} A"
    )
