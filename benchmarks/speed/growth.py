"""Time and memory of `cryofind pick` over volumes of 1, 2, 4 and 8 times as many voxels, as a whole and streamed."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from materials import SPACING_ANGSTROM, model_for, read_runs, simulate
from options import PLOT_NAME, Options, Triple, describe
from picking import pick, summarize
from plot import Series, draw_panels
from table import Line

from cryofind.atomic import write_text
from cryofind.io import write_tomogram_zarr
from cryofind.types import Tomogram, VoxelGrid

NETWORK = "res32"
FACTORS = (1, 2, 4, 8)
# Streamed within this share of the memory that `streaming` allows: these volumes are small.
STREAMED_SHARE = 0.25
# Linear is an exponent from 0.85 to 1.15; flat is at most 1.25 times the memory for 8 times the voxels.
POWER_TOLERANCE, FLAT = 0.15, 1.25


def measure(options: Options) -> dict[str, Any]:
    """Return seconds and peak memory by volume and path; all in turn."""
    model, what = model_for(options, NETWORK)
    volumes = write_crops(options)
    settings = {
        "whole": [],
        "streamed": [f"predict.memory_gigabytes={STREAMED_SHARE * options.streaming_gigabytes:g}"],
    }
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for number in range(options.repeats):
        for factor, (path, _) in volumes.items():
            for way, changes in settings.items():
                found.setdefault((way, factor), []).append(pick(path, model, options, changes))
        print(f"  round {number + 1} of {options.repeats}", flush=True)
    result = {
        "model": what,
        "network": NETWORK,
        "settings": settings,
        "shapes_zyx": [list(shape) for _, shape in volumes.values()],
        "voxels": [math.prod(shape) for _, shape in volumes.values()],
        **{way: [summarize(found[way, factor]) for factor in volumes] for way in settings},
    }
    write_text(options.scratch / PLOT_NAME, draw(result))
    return result


def write_crops(options: Options) -> dict[int, tuple[Path, Triple]]:
    """Write the tomogram and its middle eighth, quarter and half; return their paths and shapes."""
    ((tomogram, _),) = read_runs(simulate(options, options.shape_zyx))
    volume = np.asarray(tomogram.volume_zyx)
    crops = {}
    for factor, halved in zip(FACTORS, ((0, 1, 2), (1, 2), (2,), ()), strict=True):
        shape = tuple(size // 2 if axis in halved else size for axis, size in enumerate(volume.shape))
        path = options.scratch / f"crop-{'x'.join(map(str, shape))}.zarr"
        starts = [(size - cut) // 2 for size, cut in zip(volume.shape, shape, strict=True)]
        crop = volume[tuple(slice(start, start + cut) for start, cut in zip(starts, shape, strict=True))]
        if not path.exists():
            grid = VoxelGrid.isotropic(crop.shape, SPACING_ANGSTROM)
            write_tomogram_zarr(path, Tomogram(path.stem, crop, grid), levels=1)
        crops[factor] = (path, crop.shape)
    return crops


def exponent(voxels: list[int], values: list[float]) -> float:
    """Return the power of the number of voxels with which values grow: 1 is linear, 0 flat."""
    return float(np.polyfit(np.log(voxels), np.log(values), 1)[0])


def medians(result: dict[str, Any], way: str, key: str) -> list[float]:
    return [found[key]["median"] for found in result[way]]


def draw(result: dict[str, Any]) -> str:
    millions = [voxels / 1e6 for voxels in result["voxels"]]
    panels = {
        "seconds in stages": "seconds_in_stages",
        "peak memory, GB": "peak_gigabytes",
    }
    return draw_panels(
        {
            title: [Series(way, millions, medians(result, way, key)) for way in ("whole", "streamed")]
            for title, key in panels.items()
        },
        along="million voxels",
        title=f"cryofind pick, {result['network']}",
    )


def lines(result: dict[str, Any]) -> list[Line]:
    """Return the lines of the table."""
    shapes = f"{describe(tuple(result['shapes_zyx'][0]))} to {describe(tuple(result['shapes_zyx'][-1]))}"
    table = []
    for way in ("whole", "streamed"):
        seconds, memory = medians(result, way, "seconds_in_stages"), medians(result, way, "peak_gigabytes")
        power = exponent(result["voxels"], seconds)
        text = f"{', '.join(f'{value:.2f}' for value in seconds)} s; grows as voxels^{power:.2f} ([plot]({PLOT_NAME}))"
        linear = abs(power - 1) <= POWER_TOLERANCE
        table.append(Line(f"growth, {shapes}, {way}: seconds in stages", "linear", text, linear))
        target, flat = ("flat", memory[-1] <= FLAT * memory[0]) if way == "streamed" else ("", None)
        text = f"{', '.join(f'{value:.2f}' for value in memory)} GB; {memory[-1] / memory[0]:.2f} times over 8 x voxels"
        table.append(Line(f"growth, {way}: peak memory", target, text, flat))
    return table
