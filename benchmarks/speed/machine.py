"""What was measured on: processor, memory, load, versions, commit."""

import datetime
import os
import platform
import subprocess
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
