"""One run of a simulated project: made, staged beside the others, and put in its place when all of it is on disk."""

import json
import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryofind.atomic import advise_on, place_folder, write_json
from cryofind.errors import OutputError, TomogramError
from cryofind.io import (
    segmentation_zarr_path,
    tomogram_zarr_path,
    write_picks_overlay,
    write_segmentation_zarr,
    write_tomogram_zarr,
)
from cryofind.io.layout import RUNS_FOLDER
from cryofind.io.ome_zarr import find_missing_chunk
from cryofind.pipeline.denoisers import load_denoise
from cryofind.pipeline.records import hash_file
from cryofind.simulate import Cast, SimulatedRun, SimulationRecipe, simulate_run
from cryofind.types import LabelVolume, Tomogram, VoxelGrid

logger = logging.getLogger("cryofind")

RUN_RECORD_NAME = "simulation.json"
TRUTH_USER, TRUTH_SESSION = "simulation", "0"
SEGMENTATION_NAME = "truth"
DENSITY_FLAVOUR = "density"
SETTLING_SECONDS = 0.5
_STAGING_PREFIX = ".making-"


@dataclass(frozen=True, eq=False)
class RunJob:
    """What a process needs to make any run of a project.

    Parameters
    ----------
    out
        Folder of the project.
    recipe
        Ranges to draw from.
    cast
        What may lie in the ice.
    grid
        Of every run.
    seed
        Of the project.
    with_density
        Whether the clean density is written too.
    fingerprint
        Hash of all that the runs are made from.
    """

    out: Path
    recipe: SimulationRecipe
    cast: Cast
    grid: VoxelGrid
    seed: int
    with_density: bool
    fingerprint: str


def is_finished(job: RunJob, run: str) -> bool:
    """Return whether a run is there that was made from what the job is made from.

    One that has lost a file is not made again, since picks of others may lie in its folder: it is warned of. That no
    voxel has changed, reading checks.
    """
    folder = job.out / RUNS_FOLDER / run
    try:
        record = json.loads((folder / RUN_RECORD_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(record, dict) or record.get("made_from") != job.fingerprint:
        return False
    damaged = _find_damaged(folder, record)
    if damaged is not None:
        logger.warning("%s is missing or not what was written; remove %s to have it made again", damaged, folder)
    return True


def make_run(job: RunJob, number: int, run: str) -> list[str]:
    """Simulate and write the run of a number; return what did not fit into it.

    Raises
    ------
    OutputError
        If the memory or the disk is full, or the file system refuses.
    ConfigError
        If what was drawn cannot be simulated.
    """
    try:
        simulated = simulate_run(
            job.recipe,
            job.cast,
            job.grid,
            run=run,
            seed=(job.seed, number),
            denoise=load_denoise(job.recipe, job.out),
        )
        with _staged(job.out, run) as root:
            _write_run(root, run, job, simulated)
    except MemoryError as error:
        advice = "try --jobs 1 or a smaller --shape; finished runs are kept"
        raise OutputError(job.out, f"the memory is too small to make {run}", advice) from error
    return list(simulated.sample.notes)


def has_runs(out: Path) -> bool:
    """Return whether a project holds runs, or a call that goes on is writing one."""
    runs = out / RUNS_FOLDER
    return (runs.is_dir() and any(runs.iterdir())) or any(not _is_dead(path) for path in _find_staging(out))


def remove_dead_staging(out: Path) -> None:
    """Remove what processes of this computer that were killed had begun to write."""
    for path in _find_staging(out):
        if _is_dead(path):
            shutil.rmtree(path, ignore_errors=True)


def _find_staging(out: Path) -> list[Path]:
    return list(out.glob(f"{_STAGING_PREFIX}*"))


def _is_dead(staging: Path) -> bool:
    """Return whether the process that made a folder is of this computer and has ended."""
    process, _, rest = staging.name.removeprefix(_STAGING_PREFIX).partition("@")
    host = rest.partition("@")[0]
    # Only on POSIX systems does signal 0 ask and not kill.
    if host != socket.gethostname() or not process.isdecimal() or os.name != "posix":
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it runs, and is somebody else's
        return False
    return False


@contextmanager
def _staged(out: Path, run: str) -> Iterator[Path]:
    """Yield a copick root to write a run below; the run appears in `out` when all of it is there."""
    staging = out / f"{_STAGING_PREFIX}{os.getpid()}@{socket.gethostname()}@{run}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        yield staging
        place_folder(staging / RUNS_FOLDER / run, out / RUNS_FOLDER / run)
    except OSError as error:
        advice = f"{advise_on(error)}; finished runs are kept"
        raise OutputError(out, f"cannot be written ({error.strerror or error})", advice) from error
    except (KeyboardInterrupt, SystemExit):
        time.sleep(SETTLING_SECONDS)  # threads that write chunks do not stop at once
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _write_run(root: Path, run: str, job: RunJob, simulated: SimulatedRun) -> None:
    spacing = job.grid.spacing_angstrom
    tomograms = list(simulated.tomograms)
    if job.with_density:
        tomograms.append(Tomogram(run, simulated.sample.density_zyx, job.grid, DENSITY_FLAVOUR))
    for tomogram in tomograms:
        write_tomogram_zarr(tomogram_zarr_path(root, run, spacing, tomogram.flavour), tomogram)
    particles = [spec for spec in job.cast.specs if spec.is_particle]
    write_picks_overlay(
        root,
        simulated.sample.picks,
        user=TRUTH_USER,
        session=TRUTH_SESSION,
        voxel_spacings={run: spacing},
        runs=(run,),
        objects=[spec.name for spec in particles],
    )
    names = {spec.label: spec.name for spec in job.cast.specs}
    labels = LabelVolume(run, simulated.sample.labels_zyx, job.grid, names)
    write_segmentation_zarr(
        segmentation_zarr_path(root, run, spacing, TRUTH_USER, TRUTH_SESSION, SEGMENTATION_NAME), labels
    )
    folder = root / RUNS_FOLDER / run
    document = {
        "run": run,
        "made_from": job.fingerprint,
        "parameters": simulated.recipe.model_dump(mode="json"),
        "tilt_series": simulated.tilt_series,
        "counts": {spec.name: int((simulated.sample.picks.objects == spec.name).sum()) for spec in particles},
        "notes": list(simulated.sample.notes),
        "sha256": _hash_written(folder),
    }
    write_json(folder / RUN_RECORD_NAME, document)


def _find_damaged(folder: Path, record: dict[str, Any]) -> Path | None:
    """Return the first file of a run that is missing, or small and not what was written."""
    hashes = record.get("sha256")
    for name, written in hashes.items() if isinstance(hashes, dict) else ():
        path: Path = folder / str(name)
        try:
            if hash_file(path) != written:
                return path
            missing = find_missing_chunk(path.parent) if path.name == ".zattrs" else None
        except (OSError, TomogramError):
            return path
        if missing is not None:
            return path.parent / missing
    return None


def _hash_written(folder: Path) -> dict[str, str]:
    """Return the hashes of picks and of the metadata of volumes, which hold the checksum of every chunk."""
    paths = sorted([*folder.rglob(".z*"), *folder.glob("Picks/*.json")])
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in paths}
