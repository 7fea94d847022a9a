"""Where a network runs, and how much memory there is for it."""

import torch

from cryofind.errors import ConfigError
from cryofind.memory import read_free_bytes

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
    if device.type != "cuda":
        return main_memory_budget_bytes(None)
    return SHARE_OF_FREE_MEMORY * float(torch.cuda.mem_get_info(device)[0])


def main_memory_budget_bytes(memory_gigabytes: float | None) -> float:
    """Return how many bytes of main memory a tomogram may take: what is asked for, else half of what is free."""
    return SHARE_OF_FREE_MEMORY * read_free_bytes() if memory_gigabytes is None else memory_gigabytes * 1e9
