"""`cryofind pick` as a command, from OME-Zarr on disk to picks on disk."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from materials import NETWORKS, model_for, tomogram_path
from measuring import cryofind_command, run_command, spread
from options import Options, describe
from table import Line, format_spread

WITHIN = {"res32": 15.0, "res16": 6.0}
PEAK_GIGABYTES = 3.0


def measure(options: Options) -> dict[str, Any]:
    """Return seconds, peak memory and stages of whole commands, the networks in turn."""
    tomogram = tomogram_path(options)
    models = {name: model_for(options, name) for name in NETWORKS}
    for name in NETWORKS:
        pick(tomogram, models[name][0], options)  # the files are read from memory from here on
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in NETWORKS}
    for number in range(options.repeats):
        for name, (folder, _) in models.items():
            found[name].append(pick(tomogram, folder, options))
            print(f"  round {number + 1} of {options.repeats}: {name} {found[name][-1]['seconds']:.2f} s", flush=True)
    return {
        "shape_zyx": list(options.shape_zyx),
        "networks": {name: {"model": models[name][1], **summarize(found[name])} for name in NETWORKS},
    }


def pick(tomogram: Path, model: Path, options: Options, settings: Sequence[str] = ()) -> dict[str, Any]:
    """Run one command into an empty folder; return its seconds and memory, and what its record says."""
    out = options.scratch / "picks"
    shutil.rmtree(out, ignore_errors=True)
    command = cryofind_command("pick", tomogram, "--out", out, "--model", model)
    for setting in settings:
        command += ["--set", setting]
    measured = run_command(command)
    if measured["over_limit"]:
        return {**measured, "stages": {}, "candidates": 0}
    (run,) = json.loads((out / "run.json").read_text())["runs"]
    return {**measured, "stages": run["seconds"], "candidates": run["candidates"]}


def summarize(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return medians over the repeats of one command."""
    stages = found[0]["stages"]
    return {
        "seconds": spread([one["seconds"] for one in found]),
        "cpu_seconds": spread([one["cpu_seconds"] for one in found]),
        "peak_gigabytes": spread([one["peak_gigabytes"] for one in found]),
        "stages": {stage: spread([one["stages"][stage] for one in found]) for stage in stages},
        "seconds_in_stages": spread([sum(one["stages"].values()) for one in found]),
        "candidates": found[0]["candidates"],
        "over_limit": any(one["over_limit"] for one in found),
    }


def lines(result: dict[str, Any]) -> list[Line]:
    """Return the lines of the table."""
    table = []
    for name, found in result["networks"].items():
        title = f"`cryofind pick`, {describe(tuple(result['shape_zyx']))}, `{name}` ({found['model']})"
        seconds, peak = found["seconds"], found["peak_gigabytes"]
        stages = ", ".join(f"{stage} {values['median']:.2f}" for stage, values in found["stages"].items())
        text = f"{format_spread(seconds)}; stages: {stages}; {found['candidates']} candidates"
        table.append(Line(title, f"<= {WITHIN[name]:g} s", text, seconds["median"] <= WITHIN[name]))
        highest = max(peak["samples"])
        target = f"<= {PEAK_GIGABYTES:g} GB"
        table.append(Line(f"the same, peak memory, `{name}`", target, f"{highest:.2f} GB", highest <= PEAK_GIGABYTES))
    return table
