"""`cryofind simulate`: a recipe in, a copick project of simulated tomograms with their truth out."""

import logging
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryofind import czii
from cryofind.atomic import write_json
from cryofind.differences import list_differences
from cryofind.errors import ConfigError, OutputError
from cryofind.io import write_copick_config
from cryofind.io.copick import CONFIG_NAME, point_copick_config, read_roots
from cryofind.io.layout import RUNS_FOLDER
from cryofind.memory import read_free_bytes
from cryofind.pipeline.bodies import load_cast
from cryofind.pipeline.denoisers import FOLDER as DENOISER_FOLDER
from cryofind.pipeline.denoisers import prepare_denoiser
from cryofind.pipeline.processes import start_processes
from cryofind.pipeline.records import (
    RECORD_NAME,
    claim_folder,
    describe_environment,
    hash_document,
    read_record,
    timestamp,
)
from cryofind.pipeline.simulated_runs import RunJob, has_runs, is_finished, make_run, remove_dead_staging
from cryofind.progress import report_progress
from cryofind.simulate import SIMULATOR_VERSION, Body, Cast, SimulationRecipe
from cryofind.types import VoxelGrid, check_run_name

logger = logging.getLogger("cryofind")

MADE_BY = "cryofind simulate"
# Measured peak of one run, in bytes per voxel: with halves and without.
PEAK_BYTES_PER_VOXEL = {True: 45, False: 30}
PROCESS_BYTES = 300e6  # of Python and its libraries
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
        self.run_name(1)

    def run_name(self, number: int) -> str:
        """Return the name of the n-th run, from 1."""
        return check_run_name(f"{self.name}_s{self.seed}_{number:04d}")


def simulate_project(recipe: SimulationRecipe, request: SimulationRequest) -> list[str]:
    """Make the runs of a project that are not there yet; return a summary, a line each.

    Parameters
    ----------
    recipe
        Ranges to draw from; relative paths of bodies are taken from the working folder.
    request
        How many, how large, where.

    Raises
    ------
    ConfigError, TomogramError
        If a body cannot be read or does not fit in the box, a tilt series could have fewer than three tilts, or a run
        needs more memory than is free.
    OutputError
        If `out` holds something else, or runs of another recipe, seed or size; or the file system refuses.
    ProjectError
        If its copick configuration is damaged.
    """
    _refuse_few_tilts(recipe)
    grid = VoxelGrid.isotropic(request.shape_zyx, recipe.output.voxel_spacing_angstrom)
    cast = load_cast(recipe)
    _refuse_larger_than_box(cast.bodies, recipe, grid)
    made_from = _describe_origin(recipe, cast.bodies, request)
    job = RunJob(request.out, recipe, cast, grid, request.seed, request.with_density, hash_document(made_from))
    names = {number: request.run_name(number) for number in range(1, request.runs + 1)}
    missing = {number: run for number, run in names.items() if not is_finished(job, run)}
    if missing:
        refuse_beyond_memory(request, with_halves="denoised" in recipe.output.flavours)
    record = {"made_by": MADE_BY, "name": request.name, "made_from": made_from}
    with _taken(request.out, record):
        configuration = _write_configuration(request, cast, record)
        prepare_denoiser(recipe, cast, request.out, seed=request.seed)
        notes = _make_runs(job, request, missing)
    finished = {"finished": timestamp(), "environment": describe_environment()}
    write_json(request.out / RECORD_NAME, {**record, **finished})
    return [*notes, f"{_count_runs(request.runs)} of {request.name} -> {configuration}"]


def _write_configuration(request: SimulationRequest, cast: Cast, record: dict[str, Any]) -> Path:
    path, out = request.out / CONFIG_NAME, request.out.absolute()
    if not path.exists():
        write_copick_config(path, name=request.name, objects=cast.specs, overlay_root=out)
        return path
    root, static = read_roots(path)
    if root is not None and root.resolve() != out.resolve() and _is_where_it_was(root, static, record):
        logger.info("%s: overlay_root was %s, now it is %s", path, root, out)
        point_copick_config(path, out)
    return path


def _is_where_it_was(root: Path, static: Path | None, record: dict[str, Any]) -> bool:
    """Return whether a root is where the project was moved or copied from, and not the user's own choice."""
    if not root.is_dir():
        return static is None
    there = read_record(root) or {}
    return there.get("made_by") == MADE_BY and _what_was_asked(there) == _what_was_asked(record)


@contextmanager
def _taken(out: Path, record: dict[str, Any]) -> Iterator[None]:
    """Take a folder; one that was empty is given back so when not even the first run can be made."""
    was_there = out.exists()
    was_claimed = _claim(out, record)
    try:
        yield
    except BaseException:
        remove_dead_staging(out)
        if not (was_claimed or has_runs(out) or (out / DENOISER_FOLDER).exists()):
            with suppress(OSError):
                (out / CONFIG_NAME).unlink(missing_ok=True)
                (out / RECORD_NAME).unlink(missing_ok=True)
                (out / RUNS_FOLDER).rmdir()
            if not was_there:
                with suppress(OSError):
                    out.rmdir()
        raise


def _count_runs(count: int) -> str:
    return f"{count} run{'s' if count > 1 else ''}"


def _describe_origin(
    recipe: SimulationRecipe, bodies: Mapping[str, Body], request: SimulationRequest
) -> dict[str, Any]:
    """Return all that the runs depend on."""
    document = recipe.model_dump(mode="json")
    for species in document["species"].values():
        species["body"] = Path(species["body"]).name  # where a file lies does not matter: its content is hashed
    return {
        "recipe": document,
        "bodies": hash_document({name: _describe_body(body) for name, body in bodies.items()}),
        "seed": request.seed,
        "shape_zyx": list(request.shape_zyx),
        "with_density": request.with_density,
        "simulator_version": SIMULATOR_VERSION,
    }


def _claim(out: Path, record: dict[str, Any]) -> bool:
    """Take the folder, or take it over from a call that asked for the same, or that has made nothing.

    Returns whether there was such a call; without, the folder was empty.
    """
    earlier = claim_folder(out, MADE_BY)
    if earlier and _what_was_asked(earlier) == _what_was_asked(record):
        return True
    if earlier and has_runs(out):
        problem = f"holds runs that were made otherwise: {_describe_difference(earlier, record)}"
        raise OutputError(out, problem, "choose a new --out, or give what it was made with")
    if earlier:
        (out / CONFIG_NAME).unlink(missing_ok=True)
        shutil.rmtree(out / DENOISER_FOLDER, ignore_errors=True)
    write_json(out / RECORD_NAME, record)
    return bool(earlier)


def _describe_difference(earlier: dict[str, Any], record: dict[str, Any]) -> str:
    there, here = _what_was_asked(earlier), _what_was_asked(record)
    if "simulator_version" not in there:
        return "its record is damaged"
    if there["simulator_version"] != here["simulator_version"]:
        return "by another version of the simulator"
    if there.keys() == here.keys() and {**there, "bodies": None} == {**here, "bodies": None}:
        return "a map or atomic model has changed"
    # What the bodies' hash is made from says more than the hash.
    del here["bodies"]
    there.pop("bodies", None)
    return next(list_differences(there, here), "its record is damaged")


def _what_was_asked(record: dict[str, Any]) -> dict[str, Any]:
    made_from = record.get("made_from")
    return {"name": record.get("name"), **(made_from if isinstance(made_from, dict) else {})}


def _refuse_few_tilts(recipe: SimulationRecipe) -> None:
    """Refuse ranges that a tilt series of a single image could be drawn from; steps go to both sides of 0."""
    maximum, step = recipe.microscope.tilt_maximum_degrees.low, recipe.microscope.tilt_step_degrees.high
    if maximum < step * (1 - 1e-6):
        problem = f"{maximum:g} degrees at a step of {step:g} leave 1 tilt, and a tomogram needs 3"
        raise ConfigError("microscope.tilt_maximum_degrees", problem, "raise it, or lower tilt_step_degrees")


def _refuse_larger_than_box(bodies: Mapping[str, Body], recipe: SimulationRecipe, grid: VoxelGrid) -> None:
    least_angstrom = min(grid.extent_zyx_angstrom)
    for name, body in bodies.items():
        diameter = 2 * body.radius_angstrom * recipe.species[name].size.high
        if diameter > least_angstrom:
            problem = f"is {diameter:.0f} Angstrom across, but the box only {least_angstrom:.0f}"
            raise ConfigError(f"species {name}: body", problem, "give a larger --shape, or another map")


def refuse_beyond_memory(request: SimulationRequest, *, with_halves: bool) -> None:
    """Refuse runs of which a single one needs more memory than is free.

    Raises
    ------
    ConfigError
        If so.
    """
    needed, free = _peak_bytes(request, with_halves=with_halves), read_free_bytes()
    if needed > free:
        problem = f"needs {needed / 1e9:.1f} GB of memory for one run, and {free / 1e9:.1f} GB are free"
        raise ConfigError(f"--shape {','.join(map(str, request.shape_zyx))}", problem, "give fewer voxels")


def _peak_bytes(request: SimulationRequest, *, with_halves: bool) -> int:
    return math.prod(request.shape_zyx) * PEAK_BYTES_PER_VOXEL[with_halves]


def _make_runs(job: RunJob, request: SimulationRequest, missing: Mapping[int, str]) -> list[str]:
    """Make what is missing, side by side; return notes."""
    remove_dead_staging(request.out)
    notes = []
    if len(missing) < request.runs:
        there = request.runs - len(missing)
        notes.append(f"{there} of {_count_runs(request.runs)} {'was' if there == 1 else 'were'} there already")
    count = _choose_job_count(request, job, len(missing))
    with report_progress("simulating", len(missing)) as progress:
        for run, found in _each_done(job, missing, count):
            notes += [f"{run}: {note}" for note in found]
            progress.advance(note=run)
    return notes


def _each_done(job: RunJob, missing: Mapping[int, str], count: int) -> Iterator[tuple[str, list[str]]]:
    if count <= 1:
        for number, run in missing.items():
            yield run, make_run(job, number, run)
        return
    with start_processes(count) as pool:
        futures = {pool.submit(make_run, job, number, run): run for number, run in missing.items()}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            advice = "the memory may be full: try --jobs 1; finished runs are kept"
            raise OutputError(job.out, "a process that made a run was killed", advice) from error


def _choose_job_count(request: SimulationRequest, job: RunJob, missing: int) -> int:
    if request.jobs is not None:
        return max(1, min(request.jobs, missing))
    peak_bytes = _peak_bytes(request, with_halves="denoised" in job.recipe.output.flavours)
    by_memory = int(0.8 * read_free_bytes() / (peak_bytes + PROCESS_BYTES))
    return max(1, min(os.cpu_count() or 1, by_memory, missing))


def _describe_body(body: Body) -> dict[str, Any]:
    return {
        "centers_zyx_angstrom": body.centers_zyx_angstrom.tolist(),
        "masses_kilodalton": body.masses_kilodalton.tolist(),
        "sigma_angstrom": body.sigma_angstrom,
        "core_radius_angstrom": body.core_radius_angstrom,
    }
