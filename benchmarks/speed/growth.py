"""Time and memory of `cryofind pick` over volumes of 1, 2, 4 and 8 times as many voxels, as a whole and streamed."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from materials import SPACING_ANGSTROM, keep, model_for, read_runs, simulate
from options import PLOT_NAME, Options, Triple, describe
from picking import PickCase, pick_in_turn
from plot import Series, draw_panels
from table import Line, failed_line

from cryofind.io import write_tomogram_zarr
from cryofind.types import Tomogram, VoxelGrid

NETWORK = "res32"
WAYS = ("whole", "streamed")
# Axes along which the middle half is taken: an eighth, a quarter, a half and all of the tomogram.
HALVED_AXES = ((0, 1, 2), (1, 2), (2,), ())
# These volumes are small: with more, the smallest would be picked as wholes.
STREAMED_GIGABYTES = 0.4
# Linear is an exponent from 0.85 to 1.15; flat is at most 1.25 times the memory for 8 times the voxels.
POWER_TOLERANCE, FLAT = 0.15, 1.25


def measure(options: Options) -> dict[str, Any]:
    """Return seconds and peak memory by volume and path; all in turn."""
    model, what = model_for(options, NETWORK)
    limit = f"predict.memory_gigabytes={STREAMED_GIGABYTES:g}"
    settings: dict[str, tuple[str, ...]] = {"whole": (), "streamed": (limit,)}
    shapes = [halve(options.shape_zyx, axes) for axes in HALVED_AXES]
    paths = [crop_path(options, shape) for shape in shapes]
    cases = {
        f"{way}, {describe(shape)}": PickCase(path, model, options.long_repeats, settings[way], warm_up=False)
        for shape, path in zip(shapes, paths, strict=True)
        for way in WAYS
    }
    found = pick_in_turn(cases, options)
    return {
        "model": what,
        "network": NETWORK,
        "settings": settings,
        "shapes_zyx": [list(shape) for shape in shapes],
        "voxels": [math.prod(shape) for shape in shapes],
        **{way: [found[f"{way}, {describe(shape)}"] for shape in shapes] for way in WAYS},
    }


def halve(shape_zyx: Triple, axes: tuple[int, ...]) -> Triple:
    z, y, x = (size // 2 if axis in axes else size for axis, size in enumerate(shape_zyx))
    return z, y, x


def crop_path(options: Options, shape_zyx: Triple) -> Path:
    """Return the middle of the tomogram, of that shape."""
    source = simulate(options, options.shape_zyx)
    stem = f"crop-{'x'.join(map(str, shape_zyx))}"
    facts = {"source": source.parent.name, "shape_zyx": shape_zyx, "spacing": SPACING_ANGSTROM}
    return keep(options, stem, partial(write_crop, source=source, shape_zyx=shape_zyx), facts, suffix=".zarr")


def write_crop(path: Path, *, source: Path, shape_zyx: Triple) -> None:
    ((tomogram, _),) = read_runs(source)
    volume = np.asarray(tomogram.volume_zyx)
    starts = [(size - cut) // 2 for size, cut in zip(volume.shape, shape_zyx, strict=True)]
    crop = volume[tuple(slice(start, start + cut) for start, cut in zip(starts, shape_zyx, strict=True))]
    write_tomogram_zarr(path, Tomogram("crop", crop, VoxelGrid.isotropic(shape_zyx, SPACING_ANGSTROM)), levels=1)


def exponent(voxels: list[int], values: list[float]) -> float:
    """Return the power of the number of voxels with which values grow: 1 is linear, 0 flat."""
    return float(np.polyfit(np.log(voxels), np.log(values), 1)[0])


def medians(result: dict[str, Any], way: str, key: str) -> list[float]:
    return [found[key]["median"] for found in result[way] if "failed" not in found]


def files(result: dict[str, Any]) -> dict[str, str]:
    """Return the plot, of what was measured."""
    panels = {"seconds in stages": "seconds_in_stages", "peak memory, GB": "peak_gigabytes"}
    along = {
        way: [
            voxels / 1e6 for voxels, found in zip(result["voxels"], result[way], strict=True) if "failed" not in found
        ]
        for way in WAYS
    }
    drawn = {
        title: [Series(way, along[way], medians(result, way, key)) for way in WAYS if along[way]]
        for title, key in panels.items()
    }
    title = f"cryofind pick, {result['network']}"
    return {PLOT_NAME: draw_panels(drawn, along="million voxels", title=title)} if any(along.values()) else {}


def lines(result: dict[str, Any]) -> list[Line]:
    """Return the lines of the table."""
    return [line for way in WAYS for line in lines_of(result, way)]


def lines_of(result: dict[str, Any], way: str) -> list[Line]:
    shapes = [describe(tuple(shape)) for shape in result["shapes_zyx"]]
    title = f"growth, {shapes[0]} to {shapes[-1]}, {way}"
    memory_target = "flat" if way == "streamed" else ""
    failed = [(shape, found) for shape, found in zip(shapes, result[way], strict=True) if "failed" in found]
    if failed:
        return [failed_line(f"{title}: {shape}", "linear", found["failed"]) for shape, found in failed]
    seconds, memory = medians(result, way, "seconds_in_stages"), medians(result, way, "peak_gigabytes")
    power = exponent(result["voxels"], seconds)
    text = f"{', '.join(f'{value:.2f}' for value in seconds)} s; grows as voxels^{power:.2f} ([plot]({PLOT_NAME}))"
    grown = f"{', '.join(f'{value:.2f}' for value in memory)} GB; {memory[-1] / memory[0]:.2f} times over 8 x voxels"
    is_flat = memory[-1] <= FLAT * memory[0] if memory_target else None
    return [
        Line(f"{title}: seconds in stages", "linear", text, abs(power - 1) <= POWER_TOLERANCE),
        Line(f"growth, {way}: peak memory", memory_target, grown, is_flat),
    ]
