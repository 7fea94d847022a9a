"""`cryofind pick` on a volume larger than its memory may be, against the whole-volume path, per voxel."""

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from materials import SPACING_ANGSTROM, keep, model_for, read_runs, simulate, tomogram_path
from numpy.typing import NDArray
from options import Options, Triple, describe
from picking import PickCase, pick_in_turn
from table import Line, failed_line, format_ratio, format_spread

from cryofind.atomic import write_json

CHUNK = 128
NETWORK = "res32"
QUICK_SHAPE_ZYX = (80, 200, 200)
PEAK_GIGABYTES, PER_VOXEL = 4.0, 1.3


def measure(options: Options) -> dict[str, Any]:
    """Return seconds for each voxel and peak memory of both paths, in turn; the long way is not warmed up."""
    shape = QUICK_SHAPE_ZYX if options.quick else options.streaming_shape_zyx
    model, what = model_for(options, NETWORK)
    settings = (f"predict.memory_gigabytes={options.streaming_gigabytes:g}",)
    cases = {
        "whole": PickCase(tomogram_path(options), model, options.repeats),
        "streamed": PickCase(tiled_path(options, shape), model, options.long_repeats, settings, warm_up=False),
    }
    return {
        "model": what,
        "network": NETWORK,
        "settings": settings,
        "shapes_zyx": {"whole": list(options.shape_zyx), "streamed": list(shape)},
        **pick_in_turn(cases, options),
    }


def tiled_path(options: Options, shape_zyx: Triple) -> Path:
    """Return a volume of any size, made from the simulated one, mirrored at its faces."""
    source = simulate(options, options.shape_zyx)
    stem = f"tiled-{'x'.join(map(str, shape_zyx))}"
    facts = {"source": source.parent.name, "shape_zyx": shape_zyx, "chunk": CHUNK, "spacing": SPACING_ANGSTROM}
    return keep(options, stem, partial(write_tiled, source=source, shape_zyx=shape_zyx), facts, suffix=".zarr")


def write_tiled(folder: Path, *, source: Path, shape_zyx: Triple) -> None:
    """Write a volume a chunk at a time."""
    ((tomogram, _),) = read_runs(source)
    voxels = np.asarray(tomogram.volume_zyx, dtype=np.float32)
    write_json(folder / ".zgroup", {"zarr_format": 2})
    array = zarr.create_array(
        folder / "0",
        shape=shape_zyx,
        chunks=tuple(min(CHUNK, size) for size in shape_zyx),
        dtype="float32",
        zarr_format=2,
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )
    axes = [mirror(size, length) for size, length in zip(voxels.shape, shape_zyx, strict=True)]
    for first_z in range(0, shape_zyx[0], CHUNK):
        for first_y in range(0, shape_zyx[1], CHUNK):
            for first_x in range(0, shape_zyx[2], CHUNK):
                place = [slice(first, first + CHUNK) for first in (first_z, first_y, first_x)]
                array[tuple(place)] = voxels[np.ix_(*(axis[span] for axis, span in zip(axes, place, strict=True)))]
    write_json(folder / ".zattrs", {"multiscales": [describe_multiscale()]})


def mirror(size: int, length: int) -> NDArray[np.int64]:
    """Return which of `size` planes each of `length` planes repeats: forth and back."""
    place = np.arange(length) % (2 * size)
    return np.where(place < size, place, 2 * size - 1 - place)


def describe_multiscale() -> dict[str, Any]:
    return {
        "version": "0.4",
        "name": "tiled",
        "axes": [{"name": name, "type": "space", "unit": "angstrom"} for name in "zyx"],
        "datasets": [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [SPACING_ANGSTROM] * 3}]}],
    }


def lines(result: dict[str, Any]) -> list[Line]:
    """Return the lines of the table."""
    shape = tuple(result["shapes_zyx"]["streamed"])
    title = f"`cryofind pick` streaming {describe(shape)}, `{result['network']}` ({result['model']})"
    memory_target, time_target = f"<= {PEAK_GIGABYTES:g} GB", f"<= {PER_VOXEL:g} x"
    streamed, whole = result["streamed"], result["whole"]
    if "failed" in streamed:
        return [failed_line(title, f"{memory_target}, {time_target}", streamed["failed"])]
    peak = max(streamed["peak_gigabytes"]["samples"])
    table = [Line(f"{title}, peak memory", memory_target, f"{peak:.2f} GB", peak <= PEAK_GIGABYTES)]
    if "failed" in whole:
        return [*table, failed_line(f"{title}, against the whole-volume path", time_target, whole["failed"])]
    more = math.prod(shape) / math.prod(result["shapes_zyx"]["whole"])
    keys = ("seconds_in_stages", "seconds")
    in_stages, in_all = (format_ratio(scaled(streamed[key], 1 / more), whole[key], digits=2) for key in keys)
    text = (
        f"{in_stages} the time for a voxel of the whole-volume path, stages; {in_all}, whole commands; "
        f"{format_spread(streamed['seconds'], digits=1)}"
    )
    ratio = streamed["seconds_in_stages"]["median"] / more / whole["seconds_in_stages"]["median"]
    return [*table, Line(title, time_target, text, ratio <= PER_VOXEL)]


def scaled(values: dict[str, Any], factor: float) -> dict[str, Any]:
    samples = [value * factor for value in values["samples"]]
    return {"median": values["median"] * factor, "samples": samples}
