"""Seconds and peak memory of one command: `python watch.py RESULT LIMIT COMMAND ...`; standard library only.

A small process of its own, because Linux counts the memory of whoever starts a command as the command's. RESULT gets
JSON; a command that takes more than LIMIT bytes is ended (0: no limit) and what it had is reported.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

POLL_SECONDS = 0.01


def watch(result: Path, limit_bytes: int, command: list[str]) -> None:
    with open(result.with_suffix(".log"), "wb") as log:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        status, usage, over = wait_for(process, limit_bytes)
        seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    result.write_text(
        json.dumps(
            {
                "seconds": seconds,
                "peak_gigabytes": usage.ru_maxrss * 1024 / 1e9,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "exit_code": process.returncode,
                "over_limit": over,
            }
        )
    )


def wait_for(process: subprocess.Popen[bytes], limit_bytes: int) -> tuple[int, "os.struct_rusage", bool]:  # type: ignore[name-defined]
    over = False
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            return status, usage, over
        if limit_bytes and not over and resident_bytes(process.pid) > limit_bytes:
            process.kill()
            over = True
        time.sleep(POLL_SECONDS)


def resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0  # it has just ended


if __name__ == "__main__":
    watch(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
