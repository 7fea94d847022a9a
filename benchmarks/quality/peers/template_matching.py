"""Template matching, the classical way to pick, as a peer of what learns.

python benchmarks/quality/peers/template_matching.py PROJECT --validation-project PROJECT [--tomogram FLAVOUR] --out DIR

Locally normalised correlation at about 20 Angstrom with the bodies of the simulator, seen through each run's contrast
transfer and missing wedge as its `simulation.json` tells (estimated defocus, nominal tilts). Candidates of every run go
to DIR/candidates/test and DIR/candidates/validation, the seconds that they took to DIR/seconds.jsonl; what is there is
not made again. The validation project teaches what correlations are worth as probabilities, by which objects compete
for places, and thresholds, kept in DIR/tuning.json, that select in DIR/picks.csv. With --crop, only the middle of every
tomogram is searched, and DIR/truth.csv is the truth there.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample
from template_correlation import correlate_locally, flatten_spectrum
from template_densities import draw_mask, draw_templates, read_imaging
from template_rotations import cover_rotations, find_frame

from cryofind.atomic import write_json
from cryofind.config import Config, LocateConfig
from cryofind.errors import CryofindError
from cryofind.io import Project, TomogramEntry, open_project
from cryofind.io.layout import RUNS_FOLDER
from cryofind.locate import find_picks, suppress_neighbours
from cryofind.pipeline.inputs import InputSelection, choose_one_per_run
from cryofind.pipeline.simulated_runs import RUN_RECORD_NAME
from cryofind.pipeline.tuning import fit_tuning, weigh_f_beta
from cryofind.simulate.body import Body
from cryofind.simulate.densities import load_body
from cryofind.types import ParticleSpec, Picks, ProbabilityVolume, Tomogram, VoxelGrid

Volume = NDArray[np.float32]

SPACING_ANGSTROM = 20.0
POINT_GROUPS = {
    "apo-ferritin": "O",
    "beta-amylase": "D2",
    "beta-galactosidase": "D2",
    "ribosome": "C1",
    "thyroglobulin": "C2",
    "virus-like-particle": "I",
}
# Correlations are searched for peaks like probabilities. Ten times as many candidates as a tomogram may hold.
LOCATE = LocateConfig(floor=0.1, recentre_factor=0.0, max_candidates=1000)


@dataclass(frozen=True, eq=False)
class Search:
    """A particle to look for: its body, and the rotations (N, 3, 3) that it is looked for in."""

    body: Body
    rotations: NDArray[np.float64]


def main() -> None:
    arguments = parse_arguments()
    # Tuning says of each object with few picks that it keeps its threshold; that is in tuning.json.
    logging.getLogger("cryofind").setLevel(logging.ERROR)
    try:
        pick(arguments)
    except CryofindError as error:
        sys.exit(f"error: {error}")


def pick(arguments: argparse.Namespace) -> None:
    """Find candidates of both projects, fit on the one, select of the other."""
    out: Path = arguments.out
    project, validation = open_project(arguments.project), open_project(arguments.validation_project)
    specs = [spec for spec in project.objects if spec.name in POINT_GROUPS]
    note_options(arguments)
    searches = plan_searches([spec.name for spec in specs], arguments.step)
    folder = out / "candidates"
    tested, truth = find_candidates(
        validation, arguments.validation_run, searches, specs, arguments, folder / "validation"
    )
    scale = fit_tuning(tested, truth, specs, Config())
    tested = compete(scale.select(tested), specs)
    tuning = fit_tuning(tested, truth, specs, Config())
    total = weigh_f_beta(tuning.f_beta, truth, specs, Config())
    f_beta = {"f_beta": {**tuning.f_beta, "total": total}, "f_beta_without_competition": dict(scale.f_beta)}
    write_json(out / "tuning.json", {"runs": truth.run_names, "thresholds": dict(tuning.thresholds), **f_beta})
    print(f"F4 of the validation runs at their own thresholds: {total:.4f}", flush=True)
    candidates, truth = find_candidates(project, arguments.run, searches, specs, arguments, folder / "test")
    picks = tuning.select(compete(scale.select(candidates), specs))
    picks.to_csv(out / "picks.csv")
    if arguments.crop:
        truth.to_csv(out / "truth.csv")
    print(f"{len(picks.only_selected())} of {len(picks)} candidates selected -> {out / 'picks.csv'}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("--validation-project", type=Path, required=True)
    parser.add_argument("--tomogram", default="", help="flavour; default: the only one")
    parser.add_argument("--crop", type=read_triple, help="z,y,x voxels in the middle of each tomogram; default: all")
    parser.add_argument("--run", action="append", default=[], help="only this run; repeatable")
    parser.add_argument("--validation-run", action="append", default=[])
    parser.add_argument("--step", type=float, default=30.0, help="between orientations, degrees")
    parser.add_argument("--workers", type=int, default=1, help="threads")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def read_triple(text: str) -> tuple[int, int, int]:
    z, y, x = map(int, text.split(","))
    return z, y, x


def note_options(arguments: argparse.Namespace) -> None:
    """Keep what candidates are made with; refuse to mix them with others."""
    path: Path = arguments.out / "options.json"
    options = {
        "project": str(arguments.project.resolve()),
        "validation_project": str(arguments.validation_project.resolve()),
        "tomogram": arguments.tomogram,
        "crop": arguments.crop and list(arguments.crop),
        "step": arguments.step,
    }
    if path.exists() and (before := json.loads(path.read_text())) != options:
        sys.exit(f"{path}: candidates there were made with {before}, not {options}; use another --out")
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(path, options)


def plan_searches(names: list[str], step_degrees: float) -> dict[str, Search]:
    """Return what to look for, by name."""
    searches = {}
    for name in names:
        body, group = load_body(name), POINT_GROUPS[name]
        searches[name] = Search(body, cover_rotations(group, step_degrees) @ find_frame(body, group).T)
    return searches


def find_candidates(
    project: Project,
    runs: list[str],
    searches: Mapping[str, Search],
    specs: list[ParticleSpec],
    arguments: argparse.Namespace,
    folder: Path,
) -> tuple[Picks, Picks]:
    """Return the candidates of runs of a project (all by default), and the truth in what was searched of them.

    Candidates are kept in a folder of this project alone: runs of two projects may have the same name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    selection = InputSelection(tomogram_uri=arguments.tomogram, runs=tuple(runs))
    candidates, truths = [], []
    for entry in choose_one_per_run(project, selection):
        kept = folder / f"{entry.run}.csv"
        if not kept.exists():
            match_run(project, entry, searches, specs, arguments).to_csv(kept)
        candidates.append(Picks.from_csv(kept))
        truth = project.read_picks(runs=(entry.run,))
        grid = middle_of(entry.read_grid(), arguments.crop)[0]
        is_asked = np.isin(truth.objects, list(searches))
        truths.append(truth.where(is_asked & grid.contains(truth.positions_zyx_angstrom)))
    return Picks.concatenate(candidates), Picks.concatenate(truths)


def compete(candidates: Picks, specs: list[ParticleSpec]) -> Picks:
    """Return the candidates, their scores being probabilities, that do not lie in a better one of another object.

    In it is what is nearer to it than the radius of the larger of the two. On half of a validation run this raised the
    weighted F4 from 0.68 to 0.70.
    """
    names = [spec.name for spec in specs]
    radii_angstrom = np.array([spec.particle_radius_angstrom for spec in specs])
    separations_angstrom = np.maximum(radii_angstrom[:, None], radii_angstrom)
    np.fill_diagonal(separations_angstrom, 0.0)
    kept = []
    for run in candidates.run_names:
        rows = np.flatnonzero(candidates.runs == run)
        channels = np.array([names.index(name) for name in candidates.objects[rows]])
        places, scores = candidates.positions_zyx_angstrom[rows], candidates.scores[rows]
        kept.append(rows[suppress_neighbours(places, scores, channels, separations_angstrom=separations_angstrom)])
    return candidates.where(np.sort(np.concatenate([np.zeros(0, np.int64), *kept])))


def match_run(
    project: Project,
    entry: TomogramEntry,
    searches: Mapping[str, Search],
    specs: list[ParticleSpec],
    arguments: argparse.Namespace,
) -> Picks:
    """Return the candidates of a run; their scores are correlations."""
    root = project.overlay_root or project.path.parent
    imaging = read_imaging(root / RUNS_FOLDER / entry.run / RUN_RECORD_NAME, entry.flavour)
    tomogram = entry.read()
    grid, inside = middle_of(tomogram.grid, arguments.crop)
    tomogram = coarsen_tomogram(Tomogram(entry.run, tomogram.volume_zyx[inside], grid, entry.flavour))
    spacing, volume = tomogram.grid.spacing_angstrom, flatten_spectrum(tomogram.volume_zyx)
    maps = np.empty((len(searches), *tomogram.grid.shape_zyx), np.float32)
    for channel, (name, search) in enumerate(searches.items()):
        cpu, wall = time.process_time(), time.perf_counter()
        mask = draw_mask(search.body, spacing)
        templates = draw_templates(search.body, search.rotations, spacing, len(mask), imaging)
        maps[channel] = correlate_locally(volume, templates, mask, workers=arguments.workers)
        took = {"cpu_s": round(time.process_time() - cpu, 2), "wall_s": round(time.perf_counter() - wall, 2)}
        row = {"run": entry.run, "object": name, "rotations": len(search.rotations), **took}
        with (arguments.out / "seconds.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
    scores = ProbabilityVolume(entry.run, np.clip(maps, 0, 1, out=maps), tomogram.grid, tuple(searches))
    print(f"{entry.run}: matched", flush=True)
    return find_picks(scores, specs, LOCATE, grid=grid)


def middle_of(grid: VoxelGrid, crop_zyx: tuple[int, int, int] | None) -> tuple[VoxelGrid, tuple[slice, ...]]:
    """Return the grid of the middle of a tomogram, and where that is in its array; all of it when None."""
    sizes = np.minimum(grid.shape_zyx, crop_zyx or grid.shape_zyx)
    starts = (np.array(grid.shape_zyx) - sizes) // 2
    inside = tuple(slice(int(start), int(start + size)) for start, size in zip(starts, sizes, strict=True))
    z, y, x = grid.positions_from_indices(starts)
    return VoxelGrid(tuple(sizes), grid.spacing_zyx_angstrom, (z, y, x)), inside


def coarsen_tomogram(tomogram: Tomogram) -> Tomogram:
    """Return a tomogram at about 20 Angstrom, cut off in Fourier space: means over voxels would fold noise back."""
    extents = np.array(tomogram.grid.extent_zyx_angstrom)
    sizes = np.maximum(1, np.rint(extents / SPACING_ANGSTROM)).astype(int)
    volume = np.asarray(tomogram.volume_zyx, np.float32)
    for axis, size in enumerate(sizes):
        volume = resample(volume, size, axis=axis)
    z, y, x = extents / sizes
    grid = VoxelGrid(volume.shape, (z, y, x), tomogram.grid.origin_zyx_angstrom)
    return Tomogram(tomogram.run, np.ascontiguousarray(volume), grid, tomogram.flavour)


if __name__ == "__main__":
    main()
