"""What is at a path, and what is wrong with it: the facts behind `cryofind info`."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryofind.errors import CryofindError, ProjectError
from cryofind.io.copick import is_copick_config
from cryofind.io.entries import PicksEntry, Project, TomogramEntry
from cryofind.io.files import is_folder, read_json_document
from cryofind.io.mrc import read_mrc_layout
from cryofind.io.ome_zarr import describe_levels, is_zarr
from cryofind.io.picks_json import read_picks_json
from cryofind.io.project import open_project
from cryofind.types import Picks, Tomogram

_MOST_NAMES_SHOWN = 12


def describe_path(path: str | Path) -> dict[str, Any]:
    """Return what is at a path, as a JSON-ready dictionary; `format_description` makes lines of it.

    Projects are described from names and metadata, a single tomogram from its voxels too. The key `kind` is `picks`,
    `tomogram`, or the kind of the project; `problems` lists what could not be read, a line each.

    Raises
    ------
    CryofindError
        If it is nothing that this package reads.
    """
    path = Path(path)
    if not is_folder(path, ProjectError) and _is_picks(path):
        return _describe_picks(path)
    project = open_project(path)
    if project.kind == "tomogram":
        return _describe_single(project.tomograms[0])
    return _describe_project(project)


def format_description(description: dict[str, Any]) -> list[str]:
    """Return the lines that tell a person what `describe_path` found."""
    kind = description["kind"]
    lines = [f"{kind} {description['path']}"]
    if kind == "picks":
        counts = ", ".join(f"{name} {count}" for name, count in description["objects"].items())
        lines.append(f"{_count(description['count'], 'pick')} in {_join(description['runs'])}: {counts or 'none'}")
    elif kind == "tomogram":
        lines += [_format_level(level) for level in description["levels"]] + description["findings"]
    else:
        lines += _format_project(description)
    return lines + [f"problem: {problem}" for problem in description["problems"]]


def diagnose_tomogram(tomogram: Tomogram, *, folder_spacing_angstrom: float | None = None) -> tuple[str, ...]:
    """Return findings about a tomogram, a line each: size, spacing, grey values, and what looks wrong.

    Parameters
    ----------
    tomogram
        Voxels are read once, section by section.
    folder_spacing_angstrom
        Voxel spacing that the folder's name states, Angstrom; compared with the true one.
    """
    grid = tomogram.grid
    statistics = _measure(tomogram.volume_zyx)
    z, y, x = grid.shape_zyx
    findings = [f"{z} x {y} x {x} voxels (z, y, x) of type {tomogram.volume_zyx.dtype}"]
    findings.append(f"voxel spacing {_show_spacing(grid.spacing_zyx_angstrom)} A")
    if folder_spacing_angstrom is not None and abs(folder_spacing_angstrom - grid.spacing_angstrom) > 5e-4:
        findings.append(f"the folder says {folder_spacing_angstrom:.3f} A; the metadata are right")
    if z > max(y, x):
        findings.append("z is the longest axis, which is unusual: are the axes in order?")
    return (*findings, *statistics.findings(), *tomogram.notes)


@dataclass(frozen=True)
class _Statistics:
    count: int
    finite: int
    low: float
    high: float
    mean: float
    deviation: float
    flat_sections: int
    sections: int

    def findings(self) -> list[str]:
        if self.finite == 0:
            return ["no voxel is a finite number"]
        findings = []
        if self.finite < self.count:
            share = 100 * (self.count - self.finite) / self.count
            findings.append(f"{self.count - self.finite} voxels ({share:.3g} %) are NaN or infinite")
        if self.low == self.high:
            return [*findings, f"constant: every voxel is {self.low:g}"]
        findings.append(
            f"grey values {self.low:.4g} to {self.high:.4g}, mean {self.mean:.4g}, deviation {self.deviation:.4g}"
        )
        if self.flat_sections:
            findings.append(f"{self.flat_sections} of {self.sections} sections are constant: empty or missing data")
        return findings


def _measure(volume_zyx: NDArray[Any]) -> _Statistics:
    """Measure grey values in one pass; variances of sections are pooled around the section means."""
    counts, means, squares, lows, highs, flat = [], [], [], [], [], 0
    for section in volume_zyx:
        values = section[np.isfinite(section)].astype(np.float64)
        flat += int(values.size == 0 or values.min() == values.max())
        if values.size:
            counts.append(values.size)
            means.append(values.mean())
            squares.append(values.var() * values.size)
            lows.append(values.min())
            highs.append(values.max())
    if not counts:
        return _Statistics(volume_zyx.size, 0, 0.0, 0.0, 0.0, 0.0, flat, len(volume_zyx))
    weights = np.array(counts, dtype=np.float64)
    mean = float(np.average(means, weights=weights))
    between = float(np.sum(weights * (np.array(means) - mean) ** 2))
    deviation = float(np.sqrt((float(np.sum(squares)) + between) / weights.sum()))
    finite = int(weights.sum())
    return _Statistics(
        volume_zyx.size, finite, float(min(lows)), float(max(highs)), mean, deviation, flat, len(volume_zyx)
    )


def _is_picks(path: Path) -> bool:
    if path.suffix.lower() == ".csv":
        return True
    return path.suffix.lower() == ".json" and not is_copick_config(read_json_document(path, ProjectError))


def _describe_picks(path: Path) -> dict[str, Any]:
    picks = Picks.from_csv(path) if path.suffix.lower() == ".csv" else read_picks_json(path)
    return {
        "kind": "picks",
        "path": str(path),
        "count": len(picks),
        "runs": list(picks.run_names),
        "objects": {name: len(picks.of_object(name)) for name in picks.object_names},
        "problems": [],
    }


def _describe_single(entry: TomogramEntry) -> dict[str, Any]:
    description: dict[str, Any] = {"kind": "tomogram", "path": str(entry.path), "run": entry.run, "findings": []}
    levels: list[dict[str, Any]] = []
    problems = []
    try:
        levels = describe_levels(entry.path) if entry.path.is_dir() else [_describe_mrc(entry.path)]
        description["findings"] = list(diagnose_tomogram(entry.read()))
    except CryofindError as error:
        problems.append(str(error))
    return {**description, "levels": levels, "problems": problems}


def _describe_mrc(path: Path) -> dict[str, Any]:
    layout = read_mrc_layout(path)
    return {
        "path": path.name,
        "spacing_zyx_angstrom": layout.spacing_zyx_angstrom,
        "shape": layout.shape_zyx,
        "dtype": str(layout.dtype),
    }


def _describe_project(project: Project) -> dict[str, Any]:
    problems: list[str] = []
    return {
        "kind": project.kind,
        "name": project.name,
        "path": str(project.path),
        "objects": [
            {
                "name": spec.name,
                "radius_angstrom": spec.radius_angstrom,
                "label": spec.label,
                "score_weight": spec.score_weight,
            }
            for spec in project.objects
        ],
        "runs": list(project.runs),
        "tomograms": [_describe_entry(entry, problems) for entry in project.tomograms],
        "segmentations": dict(Counter(entry.uri for entry in project.segmentations)),
        "picks": _count_picks(project.picks_entries, problems),
        "problems": problems,
    }


def _describe_entry(entry: TomogramEntry, problems: list[str]) -> dict[str, Any]:
    description: dict[str, Any] = {"run": entry.run, "uri": entry.uri, "path": str(entry.path)}
    try:
        levels = describe_levels(entry.path) if is_zarr(entry.path) else []
        description["spacing_zyx_angstrom"] = levels[0]["spacing_zyx_angstrom"] if levels else None
        grid = entry.read_grid()
    except CryofindError as error:
        problems.append(str(error))
        return description
    description["shape_zyx"] = grid.shape_zyx
    description["spacing_zyx_angstrom"] = grid.spacing_zyx_angstrom
    finest = levels[0] if levels else {}
    if finest.get("chunks_present") != finest.get("chunks_expected"):
        present, expected = finest["chunks_present"], finest["chunks_expected"]
        problems.append(f"{entry.path}: {present} of {expected} chunks of the finest level are there")
    return description


def _count_picks(entries: Iterable[PicksEntry], problems: list[str]) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        try:
            counts[f"{entry.user}/{entry.session}"][entry.object] += len(entry.read())
        except CryofindError as error:
            problems.append(str(error))
    return {owner: dict(of_objects) for owner, of_objects in counts.items()}


def _format_project(description: dict[str, Any]) -> list[str]:
    objects = [_format_object(spec) for spec in description["objects"]]
    lines = [f"{_count(len(objects), 'object')}: {', '.join(objects) or 'none named'}"]
    lines.append(f"{_count(len(description['runs']), 'run')}: {_join(description['runs'])}")
    by_uri = defaultdict(list)
    for entry in description["tomograms"]:
        by_uri[entry["uri"]].append(entry)
    lines += [_format_tomograms(uri, entries) for uri, entries in by_uri.items()] or ["no tomograms"]
    lines += [f"segmentation {uri}: {_count(count, 'run')}" for uri, count in description["segmentations"].items()]
    for owner, counts in description["picks"].items():
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        lines.append(f"picks of {owner}: {sum(counts.values())} ({shown})")
    return lines


def _format_object(spec: dict[str, Any]) -> str:
    radius = spec["radius_angstrom"]
    return spec["name"] if radius is None else f"{spec['name']} (radius {radius:g} A)"


def _format_tomograms(uri: str, entries: list[dict[str, Any]]) -> str:
    shapes = sorted({" x ".join(map(str, entry["shape_zyx"])) for entry in entries if "shape_zyx" in entry})
    spacings = sorted({_show_spacing(entry["spacing_zyx_angstrom"]) for entry in entries})
    size = f"{_join(shapes)} voxels (z, y, x)" if shapes else "size unknown"
    return f"tomogram {uri or 'of unknown kind'}: {_count(len(entries), 'run')}, {size}, spacing {_join(spacings)} A"


def _format_level(level: dict[str, Any]) -> str:
    spacing = _show_spacing(level["spacing_zyx_angstrom"])
    if "problem" in level:
        return f"level {level['path']}: spacing {spacing} A, {level['problem']}"
    shape = " x ".join(map(str, level["shape"]))
    chunks = f", {level['chunks_present']} of {level['chunks_expected']} chunks" if "chunks_present" in level else ""
    return f"level {level['path']}: {shape} {level['dtype']}, spacing {spacing} A{chunks}"


def _show_spacing(spacing: tuple[float, ...] | None) -> str:
    if spacing is None:
        return "unknown"
    shown = [f"{value:.6g}" for value in spacing]
    return shown[0] if len(set(shown)) == 1 else ", ".join(shown)


def _join(names: list[str]) -> str:
    extra = len(names) - _MOST_NAMES_SHOWN
    return ", ".join(names[:_MOST_NAMES_SHOWN]) + (f" and {extra} more" if extra > 0 else "") or "none"


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
