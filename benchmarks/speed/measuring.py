"""Cases timed in turn, commands timed and weighed, medians and quartiles."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from cryofind.memory import read_free_bytes

HERE = Path(__file__).resolve().parent
# A command that takes more of the free memory than this is ended before the system ends something else.
LIMIT_SHARE = 0.9


@dataclass(frozen=True)
class Case:
    """Work to be timed `repeats` times, `calls` times a round; once before that, untimed, if `warm_up`."""

    work: Callable[[], object]
    repeats: int
    calls: int = 1
    warm_up: bool = True


def interleave(cases: Mapping[str, Case]) -> dict[str, dict[str, Any]]:
    """Time the cases in turn, round after round; those with fewer repeats take part in rounds evenly spaced."""
    for case in cases.values():
        if case.warm_up:
            case.work()
    samples: dict[str, list[float]] = {name: [] for name in cases}
    rounds = max(case.repeats for case in cases.values())
    for number in range(rounds):
        for name, case in cases.items():
            if takes_part(number, case.repeats, rounds):
                samples[name] += [seconds_of(case.work) for _ in range(case.calls)]
                print(f"  round {number + 1} of {rounds}: {name:<40} {samples[name][-1]:10.4f} s", flush=True)
    return {name: spread(values) for name, values in samples.items()}


def takes_part(number: int, repeats: int, rounds: int) -> bool:
    """Say whether a case of so many repeats is timed in a round; its rounds lie evenly, the only one in the middle."""
    return number in {(2 * turn + 1) * rounds // (2 * repeats) for turn in range(repeats)}


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return median, quartiles and the values themselves."""
    low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else (values[0],) * 3
    return {"median": median(values), "quartiles": [low, high], "samples": list(values)}


def run_command(command: Sequence[object]) -> dict[str, Any]:
    """Return seconds, CPU seconds and peak memory of a command; raise if it fails for another reason than memory."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        limit = int(LIMIT_SHARE * read_free_bytes())
        watcher = [sys.executable, HERE / "watch.py", result, limit, *command]
        subprocess.run([str(part) for part in watcher], check=True)
        measured: dict[str, Any] = json.loads(result.read_text())
        log = result.with_suffix(".log").read_text(errors="replace")
    if measured["exit_code"] and not measured["over_limit"]:
        raise RuntimeError(f"{' '.join(map(str, command))} failed: {log.strip()[-2000:]}")
    return measured


def cryofind_command(*arguments: object) -> list[object]:
    return [sys.executable, "-m", "cryofind", "--quiet", *arguments]
