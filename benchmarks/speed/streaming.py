"""`cryofind pick` on a volume larger than its memory may be, against the whole-volume path, per voxel."""

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from materials import SPACING_ANGSTROM, model_for, read_runs, simulate, tomogram_path
from numpy.typing import NDArray
from options import Options, Triple, describe
from picking import pick, summarize
from table import Line

from cryofind.atomic import write_json

CHUNK = 128
NETWORK = "res32"
QUICK_SHAPE_ZYX = (80, 200, 200)
PEAK_GIGABYTES, PER_VOXEL = 4.0, 1.3


def measure(options: Options) -> dict[str, Any]:
    """Return seconds for each voxel and peak memory of both paths, in turn."""
    shape = QUICK_SHAPE_ZYX if options.quick else options.streaming_shape_zyx
    model, what = model_for(options, NETWORK)
    small, large = tomogram_path(options), write_tiled(options, shape)
    settings = [f"predict.memory_gigabytes={options.streaming_gigabytes:g}"]
    found: dict[str, list[dict[str, Any]]] = {"whole": [], "streamed": []}
    pick(small, model, options)
    for number in range(options.repeats):
        found["whole"].append(pick(small, model, options))
        found["streamed"].append(pick(large, model, options, settings))
        print(f"  round {number + 1} of {options.repeats}: {found['streamed'][-1]}", flush=True)
        if found["streamed"][-1]["over_limit"]:
            break
    return {
        "model": what,
        "network": NETWORK,
        "settings": settings,
        "shapes_zyx": {"whole": list(options.shape_zyx), "streamed": list(shape)},
        **{name: summarize(values) for name, values in found.items()},
    }


def write_tiled(options: Options, shape_zyx: Triple) -> Path:
    """Write a volume of any size from the simulated one, mirrored at its faces, a chunk at a time; return its path."""
    folder = options.scratch / f"tiled-{'x'.join(map(str, shape_zyx))}.zarr"
    if (folder / ".zattrs").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    ((tomogram, _),) = read_runs(simulate(options, options.shape_zyx))
    source = np.asarray(tomogram.volume_zyx, dtype=np.float32)
    write_json(folder / ".zgroup", {"zarr_format": 2})
    array = zarr.create_array(
        folder / "0",
        shape=shape_zyx,
        chunks=tuple(min(CHUNK, size) for size in shape_zyx),
        dtype="float32",
        zarr_format=2,
        chunk_key_encoding={"name": "v2", "separator": "/"},
    )
    axes = [mirror(size, length) for size, length in zip(source.shape, shape_zyx, strict=True)]
    for first_z in range(0, shape_zyx[0], CHUNK):
        for first_y in range(0, shape_zyx[1], CHUNK):
            for first_x in range(0, shape_zyx[2], CHUNK):
                place = [slice(first, first + CHUNK) for first in (first_z, first_y, first_x)]
                array[tuple(place)] = source[np.ix_(*(axis[span] for axis, span in zip(axes, place, strict=True)))]
    write_json(folder / ".zattrs", {"multiscales": [describe_multiscale()]})
    return folder


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
    streamed, whole = result["streamed"], result["whole"]
    if streamed["over_limit"]:
        text = f"ended at {max(streamed['peak_gigabytes']['samples']):.1f} GB, the free memory"
        return [Line(title, f"<= {PEAK_GIGABYTES:g} GB", text, False)]
    peak = max(streamed["peak_gigabytes"]["samples"])
    ratios = {
        key: streamed[key]["median"]
        / math.prod(shape)
        * math.prod(result["shapes_zyx"]["whole"])
        / whole[key]["median"]
        for key in ("seconds_in_stages", "seconds")
    }
    text = (
        f"{ratios['seconds_in_stages']:.2f} x the time for a voxel of the whole-volume path, stages; "
        f"{ratios['seconds']:.2f} x, whole commands; {streamed['seconds']['median']:.1f} s"
    )
    return [
        Line(f"{title}, peak memory", f"<= {PEAK_GIGABYTES:g} GB", f"{peak:.2f} GB", peak <= PEAK_GIGABYTES),
        Line(title, f"<= {PER_VOXEL:g} x", text, ratios["seconds_in_stages"] <= PER_VOXEL),
    ]
