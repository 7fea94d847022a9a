"""What was measured on: processor, memory, load, versions, commit."""

import datetime
import os
import platform
import resource
import subprocess
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from options import REPOSITORY

PACKAGES = ("cryofind", "numpy", "scipy", "torch", "zarr", "numcodecs", "openvino", "nncf", "monai")
# What decides how fast matrices are multiplied.
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")


def describe_machine() -> dict[str, Any]:
    import torch

    fields = read_cpuinfo()
    flags = set(fields.get("flags", "").split())
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": read_commit(),
        "cpu": fields.get("model name", platform.processor()),
        "cpu_family_and_model": [fields.get("cpu family"), fields.get("model")],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "flags": [flag for flag in FLAGS if flag in flags],
        "cache": fields.get("cache size"),
        "memory_gigabytes": round(total_memory_bytes() / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "torch_threads": torch.get_num_threads(),
        "thread_variables": {name: os.environ[name] for name in os.environ if name.endswith("_NUM_THREADS")},
        "versions": {"python": platform.python_version(), **{name: find_version(name) for name in PACKAGES}},
    }


@dataclass(frozen=True)
class Load:
    """How busy the computer and this program have been up to a moment."""

    seconds: float
    average: tuple[float, ...]  # the system's load averages over 1, 5 and 15 minutes
    busy_seconds: float | None  # of all cores; None where the system does not tell
    own_seconds: float  # of this process and those it waited for


def read_load() -> Load:
    own = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own_seconds = sum(usage.ru_utime + usage.ru_stime for usage in own)
    return Load(time.monotonic(), tuple(load_average()), read_busy_seconds(), own_seconds)


def describe_load(before: Load, after: Load) -> dict[str, Any]:
    """Return load averages before and after, and how many cores others kept busy in between, on average."""
    seconds, others = after.seconds - before.seconds, None
    if before.busy_seconds is not None and after.busy_seconds is not None and seconds > 0:
        busy, own = after.busy_seconds - before.busy_seconds, after.own_seconds - before.own_seconds
        others = round(max(busy - own, 0.0) / seconds, 2)
    return {"load_before": before.average[0], "load_after": after.average[0], "others": others, "seconds": seconds}


def read_busy_seconds(path: Path = Path("/proc/stat")) -> float | None:
    """Return the seconds that cores were busy since the start, those that a host took away included."""
    try:
        _, *ticks = path.read_text().partition("\n")[0].split()
    except (OSError, ValueError):
        return None
    user, nice, system, _idle, _waiting, interrupts, soft_interrupts, *stolen = map(int, ticks[:8])
    return (user + nice + system + interrupts + soft_interrupts + sum(stolen)) / os.sysconf("SC_CLK_TCK")


def load_average() -> list[float]:
    return [round(value, 2) for value in os.getloadavg()]


def read_cpuinfo(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Return the fields of the first core; nothing where the system does not tell."""
    try:
        first, *_ = path.read_text().split("\n\n")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def total_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def find_version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def read_commit() -> str:
    """Return the commit, with a plus where files differ from it; `unknown` outside of a clone."""
    try:
        commit = ask_git("rev-parse", "--short=12", "HEAD")
        return f"{commit}+" if ask_git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def ask_git(*arguments: str) -> str:
    command = ["git", "-C", str(REPOSITORY), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
