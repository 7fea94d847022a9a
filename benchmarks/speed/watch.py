"""Seconds and peak memory of one command: `python watch.py RESULT LIMIT COMMAND ...`; standard library only.

A small process of its own, because Linux counts the memory of whoever starts a command as the command's. RESULT gets
JSON, RESULT with suffix `.err` what the command said on stderr; a command that takes more than LIMIT bytes is ended
(0: no limit) and what it had is reported.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.005


@dataclass
class Watched:
    """What is seen while a command runs."""

    over_limit: bool = False
    first_word_seconds: float | None = None  # from the start until it said something on stderr


def watch(result: Path, limit_bytes: int, command: list[str]) -> None:
    said = result.with_suffix(".err")
    with open(said, "wb") as stderr:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
        status, usage, watched = wait_for(process, limit_bytes, said, started)
        seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    measured = {
        "seconds": seconds,
        "first_word_seconds": watched.first_word_seconds,
        "peak_gigabytes": usage.ru_maxrss * 1024 / 1e9,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "exit_code": process.returncode,
        "over_limit": watched.over_limit,
    }
    result.write_text(json.dumps(measured))


def wait_for(
    process: subprocess.Popen[bytes], limit_bytes: int, said: Path, started: float
) -> tuple[int, Any, Watched]:
    watched = Watched()
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if watched.first_word_seconds is None and said.stat().st_size:
            watched.first_word_seconds = time.perf_counter() - started
        if pid:
            return status, usage, watched
        if limit_bytes and not watched.over_limit and resident_bytes(process.pid) > limit_bytes:
            process.kill()
            watched.over_limit = True
        time.sleep(POLL_SECONDS)


def resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0  # it has just ended


if __name__ == "__main__":
    watch(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
