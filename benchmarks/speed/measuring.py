"""Cases timed in turn, commands timed and weighed, medians with the least and the most."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from cryofind.memory import read_free_bytes

HERE = Path(__file__).resolve().parent
# A command that takes more of the free memory than this is ended before the system ends something else.
LIMIT_SHARE = 0.9


class CommandError(RuntimeError):
    """A measured command failed or was ended, so there is no time for it; the text says how, and its last words."""


@dataclass(frozen=True)
class Case:
    """Work to be timed `repeats` times, `calls` times a round; once before that, untimed, if `warm_up`.

    An `optional` one that raises is left out from there on and its result says why; else the error is raised.
    """

    work: Callable[[], object]
    repeats: int
    calls: int = 1
    warm_up: bool = True
    optional: bool = False


def interleave(cases: Mapping[str, Case]) -> dict[str, dict[str, Any]]:
    """Time the cases in turn, round after round; those with fewer repeats take part in rounds evenly spaced."""
    samples: dict[str, list[float]] = {name: [] for name in cases}
    failed: dict[str, dict[str, Any]] = {}
    for number, rounds, name, case in each_turn(cases, failed):
        try:
            seconds = [seconds_of(case.work) for _ in range(case.calls if number >= 0 else 1)]
        except Exception as error:
            if not case.optional:
                raise
            traceback.print_exc()
            failed[name] = {"failed": describe_error(error)}
            continue
        if number >= 0:
            samples[name] += seconds
            print(f"  round {number + 1} of {rounds}: {name:<40} {seconds[-1]:10.4f} s", flush=True)
    return {name: failed.get(name) or spread(values) for name, values in samples.items()}


def run_in_turn(cases: Mapping[str, Case]) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Run commands in turn, round after round; return what each round gave, and why cases failed.

    A case whose work raises `CommandError` is left out from there on, and what its earlier rounds gave is dropped.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in cases}
    failed: dict[str, str] = {}
    for number, rounds, name, case in each_turn(cases, failed):
        try:
            measured: Any = case.work()
        except CommandError as error:
            failed[name] = str(error)
            print(f"  {name}: {error}", flush=True)
            continue
        if number >= 0:
            found[name].append(measured)
            seconds, memory = measured["seconds"], measured["peak_gigabytes"]
            print(f"  round {number + 1} of {rounds}: {name:<40} {seconds:.2f} s, {memory:.2f} GB", flush=True)
    return {name: values for name, values in found.items() if name not in failed}, failed


def each_turn(cases: Mapping[str, Case], failed: Mapping[str, object]) -> Iterator[tuple[int, int, str, Case]]:
    """Yield round, number of rounds, name and case of every turn but those of cases that have failed by then."""
    rounds = max(case.repeats for case in cases.values())
    for number in range(-1, rounds):  # the first is to warm up
        for name, case in cases.items():
            if name not in failed and takes_part(number, case.repeats, rounds, warm_up=case.warm_up):
                yield number, rounds, name, case


def takes_part(number: int, repeats: int, rounds: int, *, warm_up: bool = True) -> bool:
    """Say whether a case of so many repeats is timed in a round; its rounds lie evenly, the only one in the middle.

    Round -1 is for warming up.
    """
    if number < 0:
        return warm_up
    return number in {(2 * turn + 1) * rounds // (2 * repeats) for turn in range(repeats)}


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return median, least, most, quartiles and the values themselves."""
    low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else (values[0],) * 3
    return {
        "median": median(values),
        "min": min(values),
        "max": max(values),
        "quartiles": [low, high],
        "samples": list(values),
    }


def run_command(command: Sequence[object]) -> dict[str, Any]:
    """Return seconds, seconds until it said something, CPU seconds and peak memory of a command that succeeded.

    Raises
    ------
    CommandError
        If it failed, was ended from outside, or was ended here for taking nearly all free memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        limit = int(LIMIT_SHARE * read_free_bytes())
        watcher = [sys.executable, HERE / "watch.py", result, limit, *command]
        ended = subprocess.run([str(part) for part in watcher], check=False, env=environment())
        said = result.with_suffix(".err").read_text(errors="replace") if result.with_suffix(".err").exists() else ""
        if not result.exists():
            raise CommandError(f"its watcher {describe_exit(ended.returncode)}; last words: {last_line(said)}")
        measured: dict[str, Any] = json.loads(result.read_text())
    if measured["over_limit"]:
        share = f"{100 * LIMIT_SHARE:.0f} % of the free memory"
        raise CommandError(f"ended at {measured['peak_gigabytes']:.1f} GB, {share}")
    if measured["exit_code"]:
        print(said.strip()[-2000:], file=sys.stderr, flush=True)
        raise CommandError(f"{describe_exit(measured['exit_code'])}; last words: {last_line(said)}")
    return {**measured, "first_words": said.strip().partition("\n")[0]}


def environment() -> dict[str, str]:
    """Return the variables for a command: modules stay compiled from run to run, as they do with users."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def describe_exit(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def describe_error(error: BaseException) -> str:
    return f"{type(error).__name__}: {last_line(str(error))}"


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "none"


def cryofind_command(*arguments: object, quiet: bool = True) -> list[object]:
    return [sys.executable, "-m", "cryofind", *(["--quiet"] if quiet else []), *arguments]
