"""`cryofind pick` as a command, from OME-Zarr on disk to picks on disk."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from materials import NETWORKS, model_for, tomogram_path
from measuring import Case, CommandError, cryofind_command, run_command, run_in_turn, spread
from options import Options, describe
from table import Line, failed_line, format_spread

WITHIN = {"res32": 15.0, "res16": 6.0}
PEAK_GIGABYTES = 3.0


@dataclass(frozen=True)
class PickCase:
    """A tomogram to be picked `repeats` times with a model; once before that, untimed, if `warm_up`."""

    tomogram: Path
    model: Path
    repeats: int
    settings: tuple[str, ...] = ()
    warm_up: bool = True


def measure(options: Options) -> dict[str, Any]:
    """Return seconds, peak memory and stages of whole commands, the networks in turn."""
    tomogram = tomogram_path(options)
    models = {name: model_for(options, name) for name in NETWORKS}
    cases = {name: PickCase(tomogram, models[name][0], options.repeats) for name in NETWORKS}
    found = pick_in_turn(cases, options)
    return {
        "shape_zyx": list(options.shape_zyx),
        "networks": {name: {"model": models[name][1], **found[name]} for name in NETWORKS},
    }


def pick_in_turn(cases: Mapping[str, PickCase], options: Options) -> dict[str, dict[str, Any]]:
    """Run commands in turn, round after round, and summarize them.

    One that fails or is ended is left out from there on: its summary is `{"failed": why}`, without times.
    """
    for case in cases.values():
        read_files(case.tomogram)
    works = {
        name: Case(partial(pick, case, options), case.repeats, warm_up=case.warm_up) for name, case in cases.items()
    }
    found, failed = run_in_turn(works)
    return {name: {"failed": failed[name]} if name in failed else summarize(found[name]) for name in cases}


def read_files(folder: Path) -> None:
    """Read a tomogram's files, which are in memory from here on as far as there is room."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()


def pick(case: PickCase, options: Options) -> dict[str, Any]:
    """Run one command into an empty folder; return its seconds and memory, and what its record says.

    Raises
    ------
    CommandError
        If it failed, was ended, or left no record of what it picked.
    """
    out = options.scratch / "picks"
    shutil.rmtree(out, ignore_errors=True)
    command = cryofind_command("pick", case.tomogram, "--out", out, "--model", case.model)
    for setting in case.settings:
        command += ["--set", setting]
    measured = run_command(command)
    try:
        (run,) = json.loads((out / "run.json").read_text())["runs"]
        return {**measured, "stages": run["seconds"], "candidates": run["candidates"]}
    except (OSError, ValueError, KeyError) as error:
        raise CommandError(f"left no record of its picks ({error})") from error


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
    }


def lines(result: dict[str, Any]) -> list[Line]:
    """Return the lines of the table."""
    table = []
    for name, found in result["networks"].items():
        title = f"`cryofind pick`, {describe(tuple(result['shape_zyx']))}, `{name}` ({found['model']})"
        targets = f"<= {WITHIN[name]:g} s", f"<= {PEAK_GIGABYTES:g} GB"
        if "failed" in found:
            table.append(failed_line(title, ", ".join(targets), found["failed"]))
            continue
        seconds, peak = found["seconds"], found["peak_gigabytes"]
        stages = ", ".join(f"{stage} {values['median']:.2f}" for stage, values in found["stages"].items())
        text = f"{format_spread(seconds)}; stages: {stages}; {found['candidates']} candidates"
        table.append(Line(title, targets[0], text, seconds["median"] <= WITHIN[name]))
        highest = max(peak["samples"])
        table.append(
            Line(f"the same, peak memory, `{name}`", targets[1], f"{highest:.2f} GB", highest <= PEAK_GIGABYTES)
        )
    return table
