"""From the command to its work: `cryofind --help`, and `cryofind pick` until it turns to the first tomogram.

`cryofind pick` says on stderr what runs the network as soon as everything is imported and the model is loaded, just
before it reads the first tomogram: that moment counts.
"""

import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from materials import keep, model_for
from measuring import Case, CommandError, cryofind_command, run_command, run_in_turn, spread
from options import Options
from table import Line, failed_line, format_spread

from cryofind.testing import write_phantom_project

NETWORK = "res32"
SHAPE_ZYX = (32, 64, 64)  # small: what comes after the start is not measured here
FIRST_WORDS = "networks run on"
WITHIN_SECONDS = {"help": 0.15, "pick": 3.0}


def measure(options: Options) -> dict[str, Any]:
    """Return seconds to the end of `--help`, to the start of the first tomogram, and of importing torch; in turn."""
    model, what = model_for(options, NETWORK)
    project = keep(options, "phantom", write_phantom, {"shape_zyx": SHAPE_ZYX}) / "copick.json"
    out = options.scratch / "picks"
    works: dict[str, Callable[[], object]] = {
        "help": partial(run_command, cryofind_command("--help", quiet=False)),
        "pick": partial(start_picking, project, out, model),
        "torch": partial(run_command, [sys.executable, "-c", "import torch"]),
    }
    found, failed = run_in_turn({name: Case(work, options.repeats) for name, work in works.items()})
    cases = {name: {"failed": failed[name]} if name in failed else summarize(found[name]) for name in works}
    return {"model": what, "cases": cases}


def write_phantom(folder: Path) -> None:
    write_phantom_project(folder, runs=["A"], shape_zyx=SHAPE_ZYX)


def start_picking(project: Path, out: Path, model: Path) -> dict[str, Any]:
    """Return the seconds from the command to its first words.

    Raises
    ------
    CommandError
        If it failed, or said something else first.
    """
    shutil.rmtree(out, ignore_errors=True)
    measured = run_command(cryofind_command("pick", project, "--out", out, "--model", model, quiet=False))
    if not measured["first_words"].startswith(FIRST_WORDS):
        raise CommandError(f"its first words are '{measured['first_words']}', not '{FIRST_WORDS} ...'")
    return {**measured, "seconds": measured["first_word_seconds"]}


def summarize(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: spread([one[key] for one in found]) for key in ("seconds", "cpu_seconds")}


def lines(result: dict[str, Any]) -> list[Line]:
    """Return the lines of the table."""
    titles = {
        "help": "`cryofind --help`",
        "pick": f"`cryofind pick`, from the command to the first tomogram, `{NETWORK}` ({result['model']})",
        "torch": "`python -c 'import torch'`, for comparison",
    }
    return [line_of(name, title, result["cases"][name]) for name, title in titles.items()]


def line_of(name: str, title: str, found: dict[str, Any]) -> Line:
    wanted = WITHIN_SECONDS.get(name)
    target = "" if wanted is None else f"<= {wanted:g} s"
    if "failed" in found:
        return failed_line(title, target, found["failed"])
    seconds = found["seconds"]
    text = f"{format_spread(seconds)}; whole command {found['cpu_seconds']['median']:.2f} CPU s"
    return Line(title, target, text, None if wanted is None else seconds["median"] <= wanted)
