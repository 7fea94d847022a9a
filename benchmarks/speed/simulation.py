"""Seconds and memory of `cryofind simulate` on this computer: `python benchmarks/speed/simulation.py [--repeats N]`.

Whole commands, from nothing to files on disk, each in a process of its own; then the stages of one run; then the same
runs with one process and with two.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np

from cryofind.pipeline.bodies import load_cast
from cryofind.simulate import load_recipe, make_sample
from cryofind.simulate.denoise import wiener_denoise
from cryofind.simulate.microscope import image_sample
from cryofind.simulate.reconstruct import reconstruct
from cryofind.types import VoxelGrid

Result = TypeVar("Result")

FULL, SMALL = "184,630,630", "96,256,256"
CASES = (
    ("wbp", FULL, '["wbp"]', 25.0, 2.5),
    ("denoised", FULL, '["denoised"]', 40.0, 5.0),
    ("all three flavours", FULL, '["denoised","ctfdeconvolved","wbp"]', None, None),
    ("denoised", SMALL, '["denoised"]', 6.0, None),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores; medians of {arguments.repeats} whole commands, one run each")
    for name, shape, flavours, seconds, gigabytes in CASES:
        measured = [time_command(shape, flavours, seed=seed) for seed in range(arguments.repeats)]
        wall, peak = (median(values) for values in zip(*measured, strict=True))
        wanted = f"(wanted {seconds:g} s{f', {gigabytes:g} GB' if gigabytes else ''})" if seconds else ""
        print(f"{shape:>12} {name:<20} {wall:6.1f} s {peak:5.2f} GB {wanted}", flush=True)
    print("stages of one run of", FULL)
    time_stages(tuple(map(int, FULL.split(","))))
    alone, together = (time_command(SMALL, '["denoised"]', seed=0, runs=8, jobs=jobs)[0] for jobs in (1, 2))
    print(f"8 runs of {SMALL}: {alone:.1f} s in one process, {together:.1f} s in two: {alone / together:.2f} times")


def time_command(shape: str, flavours: str, *, seed: int, runs: int = 1, jobs: int = 1) -> tuple[float, float]:
    """Return seconds and peak memory (GB) of one command and its children."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "cryofind", "--quiet", "simulate", "czii", "--out", Path(folder) / "project"]
        command += ["--shape", shape, "--seed", seed, "--runs", runs, "--jobs", jobs]
        command += ["--set", f"output.flavours={flavours}"]
        watched = [sys.executable, __file__, "--watch", *map(str, command)]
        wall, peak = subprocess.run(watched, check=True, capture_output=True, text=True).stdout.split()[-2:]
    return float(wall), float(peak)


def watch(command: list[str]) -> None:
    """Run a command and print its seconds and its peak memory; in a process of its own, whose only child it is."""
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6)


def time_stages(shape_zyx: tuple[int, ...]) -> None:
    recipe = load_recipe("czii", ['output.flavours=["denoised","ctfdeconvolved","wbp"]']).draw(np.random.default_rng(0))
    grid = VoxelGrid.isotropic(shape_zyx, recipe.output.voxel_spacing_angstrom)
    cast = timed("bodies", lambda: load_cast(recipe))
    random = np.random.default_rng(1)
    sample = timed("sample", lambda: make_sample(recipe, cast, grid, run="BENCHMARK", random=random))
    series = timed(
        "tilt series",
        lambda: image_sample(sample.density_zyx, sample.thickness_angstrom_yx, grid, recipe.microscope, random),
    )
    for flavours in (("wbp",), ("denoised",), recipe.output.flavours):
        volumes = timed(
            f"reconstruct {'+'.join(flavours)}",
            lambda flavours=flavours: reconstruct(series, grid, recipe.reconstruction, flavours, random),  # type: ignore[misc]
        )
    denoising = recipe.denoising
    timed(
        "denoise",
        lambda: wiener_denoise(
            *volumes.halves,
            grid.spacing_angstrom,
            strength=denoising.strength.value,
            detail=denoising.detail.value,
            residual=denoising.residual.value,
        ),
    )


def timed(title: str, work: Callable[[], Result]) -> Result:
    started, cpu = time.perf_counter(), time.process_time()
    result = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    print(f"  {title:<44} {seconds:6.2f} s, {cpu_seconds:6.2f} CPU s, peak {peak:5.2f} GB", flush=True)
    return result


if __name__ == "__main__":
    if "--watch" in sys.argv:
        watch(sys.argv[sys.argv.index("--watch") + 1 :])
    else:
        main()
