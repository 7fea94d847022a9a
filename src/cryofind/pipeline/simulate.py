"""`cryofind simulate`: a recipe in, a copick project of simulated tomograms with their truth out."""

import logging
import math
import multiprocessing
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryofind import czii
from cryofind.atomic import write_json
from cryofind.errors import ConfigError, OutputError
from cryofind.io import (
    segmentation_zarr_path,
    tomogram_zarr_path,
    write_copick_config,
    write_picks_overlay,
    write_segmentation_zarr,
    write_tomogram_zarr,
)
from cryofind.io.layout import RUNS_FOLDER
from cryofind.memory import read_free_bytes
from cryofind.pipeline.bodies import describe_objects, load_bodies
from cryofind.pipeline.denoisers import load_denoise, prepare_denoiser
from cryofind.pipeline.records import RECORD_NAME, claim_folder, describe_environment, hash_document, timestamp
from cryofind.progress import report_progress
from cryofind.simulate import (
    SIMULATOR_VERSION,
    Body,
    SimulatedRun,
    SimulationRecipe,
    generic_bodies,
    simulate_run,
)
from cryofind.types import LabelVolume, ParticleSpec, Tomogram, VoxelGrid, check_run_name

logger = logging.getLogger("cryofind")

MADE_BY = "cryofind simulate"
CONFIG_NAME = "copick.json"
RUN_RECORD_NAME = "simulation.json"
TRUTH_USER, TRUTH_SESSION = "simulation", "0"
SEGMENTATION_NAME = "truth"
DENSITY_FLAVOUR = "density"
# Measured peak of one run, in bytes per voxel: with halves and without.
PEAK_BYTES_PER_VOXEL = {True: 45, False: 30}
LEAST_VOXELS = 16


@dataclass(frozen=True)
class SimulationRequest:
    """How many tomograms of what size, and where to put them.

    Parameters
    ----------
    out
        Folder of the project; runs that are finished in it stay.
    name
        Of the recipe: runs are called `NAME_sSEED_0001` and so on.
    runs
        How many.
    shape_zyx
        Voxels along z, y and x.
    seed
        The n-th run depends on the recipe, `seed`, `shape_zyx` and n alone.
    jobs
        Runs made side by side; None for as many as cores and memory allow.
    with_density
        Also write the clean density, as a tomogram of type `density`.
    """

    out: Path
    name: str
    runs: int = 1
    shape_zyx: tuple[int, int, int] = czii.TOMOGRAM_GRID.shape_zyx
    seed: int = 0
    jobs: int | None = None
    with_density: bool = False

    def __post_init__(self) -> None:
        if min(self.shape_zyx) < LEAST_VOXELS:
            problem = f"is {','.join(map(str, self.shape_zyx))}, but every size must be {LEAST_VOXELS} or more"
            raise ConfigError("--shape", problem, "give more voxels")

    def run_name(self, number: int) -> str:
        """Return the name of the n-th run, from 1."""
        return check_run_name(f"{self.name}_s{self.seed}_{number:04d}")


@dataclass(frozen=True, eq=False)
class _Job:
    """What a process needs to make any run of the project."""

    out: Path
    recipe: SimulationRecipe
    bodies: Mapping[str, Body]
    specs: tuple[ParticleSpec, ...]
    grid: VoxelGrid
    seed: int
    with_density: bool
    fingerprint: str


def simulate_project(recipe: SimulationRecipe, request: SimulationRequest, *, recipe_folder: Path) -> list[str]:
    """Make the runs of a project that are not there yet; return a summary, a line each.

    Parameters
    ----------
    recipe
        Ranges to draw from.
    request
        How many, how large, where.
    recipe_folder
        Folder from which relative paths of bodies are taken.

    Raises
    ------
    ConfigError, TomogramError
        If a body cannot be read or does not fit in the box.
    OutputError
        If `out` holds something else, or runs of another recipe, seed or size; or the file system refuses.
    """
    grid = VoxelGrid.isotropic(request.shape_zyx, recipe.output.voxel_spacing_angstrom)
    bodies = load_bodies(recipe, recipe_folder)
    specs = describe_objects(recipe, bodies)
    _refuse_larger_than_box(bodies, recipe, grid)
    made_from = {
        "recipe": recipe.model_dump(mode="json"),
        "bodies": hash_document({name: _describe_body(body) for name, body in bodies.items()}),
        "seed": request.seed,
        "shape_zyx": list(request.shape_zyx),
        "with_density": request.with_density,
        "simulator_version": SIMULATOR_VERSION,
    }
    record = {"made_by": MADE_BY, "name": request.name, "made_from": made_from}
    _claim(request.out, record)
    write_copick_config(
        request.out / CONFIG_NAME, name=request.name, objects=specs, overlay_root=request.out.absolute()
    )
    job = _Job(request.out, recipe, bodies, specs, grid, request.seed, request.with_density, hash_document(made_from))
    prepare_denoiser(recipe, bodies, specs, request.out, seed=request.seed)
    notes = _make_runs(job, request)
    finished = {"finished": timestamp(), "environment": describe_environment()}
    write_json(request.out / RECORD_NAME, {**record, **finished})
    return [*notes, f"{request.runs} runs of {recipe.description or request.name} -> {request.out / CONFIG_NAME}"]


def _claim(out: Path, record: dict[str, Any]) -> None:
    """Take the folder, or take it over from a call that asked for the same."""
    earlier = claim_folder(out, MADE_BY)
    if not earlier:
        write_json(out / RECORD_NAME, record)
        return
    then, now = earlier.get("made_from"), record["made_from"]
    if not isinstance(then, dict) or then != now or earlier.get("name") != record["name"]:
        keys = [key for key in now if not isinstance(then, dict) or then.get(key) != now[key]] or ["name"]
        problem = f"holds runs that were made with another {', '.join(keys).replace('_', ' ')}"
        raise OutputError(out, problem, "choose a new --out, or give what it was made with")


def _refuse_larger_than_box(bodies: Mapping[str, Body], recipe: SimulationRecipe, grid: VoxelGrid) -> None:
    least_angstrom = min(grid.extent_zyx_angstrom)
    for name, body in bodies.items():
        diameter = 2 * body.radius_angstrom * recipe.species[name].size.high
        if diameter > least_angstrom:
            problem = f"is {diameter:.0f} Angstrom across, but the box only {least_angstrom:.0f}"
            raise ConfigError(f"species {name}: body", problem, "give a larger --shape, or another map")


def _make_runs(job: _Job, request: SimulationRequest) -> list[str]:
    """Make what is missing, side by side; return notes."""
    for stale in request.out.glob(".making-*"):
        shutil.rmtree(stale, ignore_errors=True)
    names = {number: request.run_name(number) for number in range(1, request.runs + 1)}
    missing = {number: run for number, run in names.items() if not _is_finished(request.out, run)}
    notes = []
    if len(missing) < len(names):
        notes.append(f"{len(names) - len(missing)} of {len(names)} runs were there already")
    count = _choose_job_count(request, job, len(missing))
    with report_progress("simulating", len(missing)) as progress:
        for run, found in _each_done(job, missing, count):
            notes += [f"{run}: {note}" for note in found]
            progress.advance(note=run)
    return notes


def _each_done(job: _Job, missing: Mapping[int, str], count: int) -> Iterator[tuple[str, list[str]]]:
    if count <= 1:
        for number, run in missing.items():
            yield run, _make_run(job, number, run)
        return
    # spawn, not fork: threads of the numerical libraries do not survive a fork
    with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = {pool.submit(_make_run, job, number, run): run for number, run in missing.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            advice = "the memory may be full: try --jobs 1; finished runs are kept"
            raise OutputError(job.out, "a process that made a run was killed", advice) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _choose_job_count(request: SimulationRequest, job: _Job, missing: int) -> int:
    if request.jobs is not None:
        return max(1, min(request.jobs, missing))
    needs_halves = "denoised" in job.recipe.output.flavours
    bytes_per_run = math.prod(request.shape_zyx) * PEAK_BYTES_PER_VOXEL[needs_halves] + 3e8
    by_memory = int(0.8 * read_free_bytes() / bytes_per_run)
    return max(1, min(os.cpu_count() or 1, by_memory, missing))


def _is_finished(out: Path, run: str) -> bool:
    return (out / RUNS_FOLDER / run / RUN_RECORD_NAME).is_file()


def _make_run(job: _Job, number: int, run: str) -> list[str]:
    """Simulate and write one run; return what did not fit."""
    simulated = simulate_run(
        job.recipe,
        job.bodies,
        generic_bodies(),
        job.specs,
        job.grid,
        run=run,
        seed=(job.seed, number),
        denoise=load_denoise(job.recipe, job.out),
    )
    with _staged(job.out, run) as root:
        _write_run(root, run, job, simulated)
    return list(simulated.sample.notes)


@contextmanager
def _staged(out: Path, run: str) -> Iterator[Path]:
    """Yield a copick root to write a run below; the run appears in `out` when all of it is there."""
    staging = out / f".making-{run}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        yield staging
        target = out / RUNS_FOLDER / run
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(staging / RUNS_FOLDER / run, target)
    except OSError as error:
        advice = "free space or choose another --out; finished runs are kept"
        raise OutputError(out, f"cannot be written ({error.strerror or error})", advice) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_run(root: Path, run: str, job: _Job, simulated: SimulatedRun) -> None:
    spacing = job.grid.spacing_angstrom
    tomograms = list(simulated.tomograms)
    if job.with_density:
        tomograms.append(Tomogram(run, simulated.sample.density_zyx, job.grid, DENSITY_FLAVOUR))
    for tomogram in tomograms:
        write_tomogram_zarr(tomogram_zarr_path(root, run, spacing, tomogram.flavour), tomogram)
    particles = [spec for spec in job.specs if spec.is_particle]
    write_picks_overlay(
        root,
        simulated.sample.picks,
        user=TRUTH_USER,
        session=TRUTH_SESSION,
        voxel_spacings={run: spacing},
        runs=(run,),
        objects=[spec.name for spec in particles],
    )
    names = {spec.label: spec.name for spec in job.specs}
    labels = LabelVolume(run, simulated.sample.labels_zyx, job.grid, names)
    write_segmentation_zarr(
        segmentation_zarr_path(root, run, spacing, TRUTH_USER, TRUTH_SESSION, SEGMENTATION_NAME), labels
    )
    counts = {spec.name: int((simulated.sample.picks.objects == spec.name).sum()) for spec in particles}
    document = {
        "run": run,
        "made_from": job.fingerprint,
        "parameters": simulated.recipe.model_dump(mode="json"),
        "counts": counts,
        "notes": list(simulated.sample.notes),
    }
    write_json(root / RUNS_FOLDER / run / RUN_RECORD_NAME, document)


def _describe_body(body: Body) -> dict[str, Any]:
    return {
        "centers_zyx_angstrom": body.centers_zyx_angstrom.tolist(),
        "masses_kilodalton": body.masses_kilodalton.tolist(),
        "sigma_angstrom": body.sigma_angstrom,
        "core_radius_angstrom": body.core_radius_angstrom,
    }
