"""`cryofind simulate --like`: a recipe fitted to unlabelled tomograms, then used like any other."""

import os
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import cryofind
from cryofind.atomic import write_text
from cryofind.documents import parse_document
from cryofind.errors import ConfigError, OutputError
from cryofind.pipeline.bodies import load_cast
from cryofind.pipeline.inputs import InputSelection
from cryofind.pipeline.measuring import (
    MeasuredTomogram,
    collect_all_tomograms,
    measure_entry,
    refuse_mixed_spacings,
    refuse_small,
)
from cryofind.pipeline.processes import start_processes
from cryofind.pipeline.records import claim_folder, hash_document
from cryofind.pipeline.simulate import MADE_BY, SimulationRequest, refuse_beyond_memory, simulate_project
from cryofind.pipeline.simulated_runs import has_runs
from cryofind.progress import Progress, report_progress
from cryofind.simulate import SimulationRecipe, find_recipe, load_recipe
from cryofind.simulate.fit import CHECKS, Fit, Map, Observe, Order, Stage, fit_recipe
from cryofind.simulate.fitted_recipe import combine_fits, describe_fit, describe_measurement
from cryofind.simulate.look import Texture
from cryofind.simulate.measure import TomogramMeasurement
from cryofind.simulate.recipe_text import write_recipe_text
from cryofind.simulate.search import BATCH
from cryofind.simulate.search_space import DECONVOLVED, FLAVOURS

RECIPE_NAME = "recipe.toml"
# A shape taken from a tomogram is cut to this along y and x: simulating takes 60 bytes for each voxel.
MAX_SIDE_VOXELS = 640
_REQUEST_MARK = "Made from request "
_HOW_TO_USE = "cryofind simulate THIS_FILE --out PROJECT --runs 12"


@dataclass(frozen=True)
class LikeRequest:
    """Which tomograms to be like, and how hard to try.

    Parameters
    ----------
    inputs
        Tomograms or projects.
    selection
        Which of them.
    recipe
        Name or path of the recipe to begin with: its species, and all that cannot be seen.
    settings
        Changes of it.
    flavour
        Kind of the tomograms; empty: the one whose simulations come nearest.
    simulations
        Small simulations for each tomogram.
    seed
        The same seed gives the same recipe on one machine.
    jobs
        Simulations made side by side; None: as many as cores, which changes nothing but the time.
    """

    inputs: tuple[Path, ...]
    selection: InputSelection = InputSelection()
    recipe: str = "czii"
    settings: tuple[str, ...] = ()
    flavour: str = ""
    simulations: int = 80
    seed: int = 0
    jobs: int | None = None

    def __post_init__(self) -> None:
        if self.flavour and self.flavour not in FLAVOURS:
            raise ConfigError(f"--flavour {self.flavour}", "is not known", f"choose {', '.join(FLAVOURS)}")


def simulate_like(like: LikeRequest, request: SimulationRequest) -> list[str]:
    """Fit a recipe to tomograms, write it to `recipe.toml` in the project, and simulate with it; return a summary.

    A recipe that an earlier call with the same request has written there is used as it is.

    Raises
    ------
    ConfigError, TomogramError, ProjectError
        If the starting recipe or a tomogram cannot be used, or a run needs more memory than is free.
    OutputError
        If the project's folder holds something else.
    """
    path = request.out / RECIPE_NAME
    claim_folder(request.out, MADE_BY)
    if path.is_file():
        recipe = load_recipe(path)
        if f"{_REQUEST_MARK}{_fingerprint(like)}" not in path.read_text(encoding="utf-8"):
            raise OutputError(path, "was fitted to something else", "choose a new --out")
        lines = [f"{path} was there already"]
    else:
        # Before the minutes that a fit takes.
        if has_runs(request.out):
            raise OutputError(request.out, "holds runs of another recipe", "choose a new --out")
        if request.runs:
            # Whether halves are wanted, only the fit will show.
            refuse_beyond_memory(request, with_halves=False)
        text, lines = fit_to_tomograms(like)
        recipe = parse_document(SimulationRecipe, tomllib.loads(text), str(path))
        # Without runs this only takes the folder, or refuses it.
        simulate_project(recipe, replace(request, runs=0))
        write_text(path, text)
    return [*lines, *simulate_project(recipe, request)]


def save_fitted_recipe(like: LikeRequest, path: Path) -> list[str]:
    """Fit a recipe to tomograms and write it; return a summary.

    Raises
    ------
    ConfigError, TomogramError, ProjectError
        If the starting recipe or a tomogram cannot be used.
    OutputError
        If there is a file already, or the file system refuses.
    """
    _refuse_unwritable(path)
    text, lines = fit_to_tomograms(like)
    write_text(path, text)
    return [*lines, f"recipe -> {path}"]


def save_recipe(recipe: SimulationRecipe, path: Path, *, of: str) -> list[str]:
    """Write a recipe, its stages in full, as a file to change; return a summary.

    Raises
    ------
    ConfigError, OutputError
        As in `save_fitted_recipe`.
    """
    _refuse_unwritable(path)
    header = [f"`{of}` of cryofind {cryofind.__version__}. Change it, then:", _HOW_TO_USE]
    write_text(path, write_recipe_text(recipe, header))
    return [f"recipe -> {path}"]


def _refuse_unwritable(path: Path) -> None:
    """Refuse a file that is there, is called otherwise than a recipe, or lies where nothing may be written."""
    if path.suffix.lower() != ".toml":
        raise ConfigError(path, "does not end in .toml", "give the recipe such a name")
    if path.exists():
        raise OutputError(path, "is there already", "choose another name, or remove it")
    there = next(folder for folder in path.absolute().parents if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise OutputError(path, f"cannot be written in {there}", "choose another place")


def take_shape(like: LikeRequest) -> tuple[int, int, int]:
    """Return the shape of the first tomogram, cut to `MAX_SIDE_VOXELS` along y and x."""
    entry = collect_all_tomograms(like.inputs, like.selection)[0]
    z, y, x = entry.read_grid(voxel_spacing_angstrom=like.selection.voxel_spacing_angstrom).shape_zyx
    refuse_small((z, y, x), f"run '{entry.run}'")
    return z, min(y, MAX_SIDE_VOXELS), min(x, MAX_SIDE_VOXELS)


def fit_to_tomograms(like: LikeRequest) -> tuple[str, list[str]]:
    """Return the text of a fitted recipe, and a summary.

    Raises
    ------
    ConfigError, TomogramError, ProjectError
        If the starting recipe or a tomogram cannot be used.
    """
    start_path = find_recipe(like.recipe)
    start = load_recipe(start_path, like.settings)
    cast = load_cast(start)
    findings = [
        measure_entry(entry, like.selection, usual_spacing_angstrom=start.output.voxel_spacing_angstrom)
        for entry in collect_all_tomograms(like.inputs, like.selection)
    ]
    refuse_mixed_spacings(findings)
    stages = [Stage(cast, one.measured) for one in findings]
    fits = _fit(start, stages, like)
    fitted = combine_fits(start, [finding.measured for finding in findings], fits)
    description = f"Like {', '.join(finding.run for finding in findings)}; species of {start_path.stem}"
    recipe = fitted.recipe.model_copy(update={"description": description})
    lines = [line for finding, fit in zip(findings, fits, strict=True) for line in _describe(finding, fit)]
    header = [
        f"Fitted by `cryofind simulate --like`, cryofind {cryofind.__version__}. Change what you know better, then:",
        _HOW_TO_USE,
        f"{_REQUEST_MARK}{_fingerprint(like)}",
        "",
        *lines,
    ]
    return write_recipe_text(recipe, header, fitted.remarks), lines


def _fit(start: SimulationRecipe, stages: Sequence[Stage], like: LikeRequest) -> list[Fit]:
    jobs = like.jobs or os.cpu_count() or 1
    total = len(stages) * (like.simulations + 2 * CHECKS)
    fits = []
    with report_progress("fitting", total) as progress, _mapping(min(jobs, BATCH), progress) as map_:
        for number, stage in enumerate(stages):
            flavours = (like.flavour,) if like.flavour else _possible_flavours(stage.measured)
            random = np.random.default_rng([like.seed, number])
            fits.append(fit_recipe(start, stage, flavours=flavours, budget=like.simulations, random=random, map_=map_))
    return fits


def _possible_flavours(measured: TomogramMeasurement) -> tuple[str, ...]:
    """Return the kinds that a tomogram may be of: one with rings of a deconvolution is no raw one."""
    return FLAVOURS if measured.defocus.defocus_micrometre is None else DECONVOLVED


@contextmanager
def _mapping(jobs: int, progress: Progress) -> Iterator[Map]:
    """Yield a `map` over so many processes that reports what is done."""

    def report(results: Iterable[dict[str, Texture]]) -> Iterator[dict[str, Texture]]:
        for result in results:
            progress.advance()
            yield result

    if jobs <= 1:
        yield lambda observe, orders: report(map(observe, orders))
        return
    with start_processes(jobs) as pool:

        def spread(observe: Observe, orders: Sequence[Order]) -> Iterator[dict[str, Texture]]:
            return report(pool.map(observe, orders))

        try:
            yield spread
        except BrokenProcessPool as error:
            problem = "a process that simulated was killed"
            raise ConfigError("--jobs", problem, "the memory may be full: try --jobs 1") from error


def _describe(finding: MeasuredTomogram, fit: Fit) -> list[str]:
    return [
        f"{finding.run}: {line}"
        for line in (*describe_measurement(finding.measured), *describe_fit(fit), *finding.notes)
    ]


def _fingerprint(like: LikeRequest) -> str:
    """Return a hash of all that the fitted recipe depends on."""
    start_path = find_recipe(like.recipe)
    selection = like.selection
    return hash_document(
        {
            "inputs": [str(path.absolute()) for path in like.inputs],
            "tomogram": [selection.tomogram_uri, list(selection.runs), selection.voxel_spacing_angstrom],
            "recipe": load_recipe(start_path, like.settings).model_dump(mode="json"),
            "search": [like.flavour, like.simulations, like.seed],
        }
    )
