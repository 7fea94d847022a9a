"""How much main memory is free, and in what pages torch takes it."""

import os
from pathlib import Path

# What to count on where the system does not say how much memory is free.
UNKNOWN_FREE_BYTES = 4 * 1024**3


def read_free_bytes(meminfo: Path = Path("/proc/meminfo"), control_group: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the free main memory in bytes: the system's, or less where a control group (a container) allows less."""
    free = [_read_meminfo(meminfo), _read_control_group(control_group)]
    return min((number for number in free if number is not None), default=UNKNOWN_FREE_BYTES)


def ask_for_huge_pages() -> None:
    """Let torch take its large arrays in huge pages where Linux has them, unless the environment says otherwise.

    A feature map of a whole tomogram is new memory, handed over page by page: in pages of 4 kB that is a tenth of the
    network's time. Torch reads the setting (`THP_MEM_ALLOC_ENABLE`, c10/core/impl/alloc_cpu.cpp) with its first large
    array.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def _read_meminfo(path: Path) -> int | None:
    for line in _read_lines(path):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _read_control_group(folder: Path) -> int | None:
    limit, used = _read_lines(folder / "memory.max"), _read_lines(folder / "memory.current")
    if not (limit and used and limit[0].isdecimal() and used[0].isdecimal()):
        return None
    # What it uses includes cached files that nothing has touched lately: those are given up when memory is wanted.
    counts = dict(line.split(maxsplit=1) for line in _read_lines(folder / "memory.stat") if " " in line)
    reclaimable = counts.get("inactive_file", "0")
    return max(0, int(limit[0]) - int(used[0]) + (int(reclaimable) if reclaimable.isdecimal() else 0))


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
