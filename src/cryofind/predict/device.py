"""Where a network runs, and how much memory there is for it."""

from pathlib import Path

import torch

from cryofind.errors import ConfigError

# What to count on where the system does not say how much memory is free.
UNKNOWN_FREE_BYTES = 4 * 1024**3
# The rest of the free memory is left to the file cache and to other programs.
SHARE_OF_FREE_MEMORY = 0.5


def choose_device(wanted: str) -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda` or `cuda:N`; `auto` takes a GPU where there is one.

    Raises
    ------
    ConfigError
        If the name is not understood or the device is not there.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = wanted.partition(":")
    if kind not in {"cpu", "cuda"} or (":" in wanted and not (kind == "cuda" and index.isdecimal())):
        raise ConfigError("predict.device", f"is '{wanted}'", "use auto, cpu, cuda or cuda:N")
    count = torch.cuda.device_count() if kind == "cuda" and torch.cuda.is_available() else 0
    if kind == "cuda" and int(index or 0) >= count:
        there = f"{count} CUDA devices are usable" if count else "no CUDA device is usable"
        raise ConfigError("predict.device", f"is '{wanted}', but {there}", "use auto or cpu")
    return torch.device(wanted)


def memory_budget_bytes(memory_gigabytes: float | None, device: torch.device) -> float:
    """Return how many bytes a prediction may take: what is asked for, else half of what is free on the device."""
    if memory_gigabytes is not None:
        return memory_gigabytes * 1e9
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else read_free_bytes()
    return SHARE_OF_FREE_MEMORY * free


def read_free_bytes(meminfo: Path = Path("/proc/meminfo"), control_group: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the free main memory in bytes: the system's, or less where a control group (a container) allows less."""
    free = [_read_meminfo(meminfo), _read_control_group(control_group)]
    return min((number for number in free if number is not None), default=UNKNOWN_FREE_BYTES)


def _read_meminfo(path: Path) -> int | None:
    for line in _read_lines(path):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _read_control_group(folder: Path) -> int | None:
    limit, used = _read_lines(folder / "memory.max"), _read_lines(folder / "memory.current")
    if not (limit and used and limit[0].isdecimal() and used[0].isdecimal()):
        return None
    return max(0, int(limit[0]) - int(used[0]))


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
