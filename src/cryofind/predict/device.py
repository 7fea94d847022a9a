"""Where a network runs, and how much memory there is for it."""

import torch

from cryofind.config import PredictConfig
from cryofind.errors import ConfigError
from cryofind.memory import read_free_bytes

# The rest of the free memory is left to the file cache and to other programs.
SHARE_OF_FREE_MEMORY = 0.5


def choose_device(wanted: str, *, setting: str = "predict.device") -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda` or `cuda:N`; `auto` takes a GPU where there is one.

    Parameters
    ----------
    wanted
        The name.
    setting
        Where the name stands, for errors.

    Raises
    ------
    ConfigError
        If the name is not understood or the device is not there.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, index = wanted.partition(":")
    if kind not in {"cpu", "cuda"} or (":" in wanted and not (kind == "cuda" and index.isdecimal())):
        raise ConfigError(setting, f"is '{wanted}'", "use auto, cpu, cuda or cuda:N")
    count = count_gpus() if kind == "cuda" else 0
    if kind == "cuda" and int(index or 0) >= count:
        there = f"{count} CUDA devices are usable" if count else "no CUDA device is usable"
        raise ConfigError(setting, f"is '{wanted}', but {there}", "use auto or cpu")
    return torch.device(wanted)


def choose_devices(config: PredictConfig, tomograms: int) -> tuple[str, ...]:
    """Return where the networks run, a name for each process: several only where there are several tomograms.

    Parameters
    ----------
    config
        `devices` names them; `auto` means all GPUs where the choice is free, and else what `device` names.
    tomograms
        How many are to be picked.

    Raises
    ------
    ConfigError
        If a device is not there, or the settings contradict each other.
    """
    if config.devices == "auto":
        is_free = config.device == "auto" and config.engine != "openvino" and config.precision != "int8"
        count = min(count_gpus(), tomograms) if is_free else 1
        return tuple(f"cuda:{index}" for index in range(count)) if count > 1 else (config.device,)
    names = tuple(config.devices.split(","))
    gpus = [choose_device(name, setting="predict.devices") for name in names if name != "cpu"]
    if len({device.index or 0 for device in gpus}) < len(gpus):
        problem = f"is '{config.devices}', which names a GPU twice"
        raise ConfigError("predict.devices", problem, "name each once: two processes would only wait for one another")
    if config.device != "auto":
        problem = f"is '{config.devices}', and predict.device is '{config.device}'"
        raise ConfigError("predict.devices", problem, "set one of the two")
    if len(names) > 1 and config.precision == "int8":
        problem = f"is '{config.devices}', and int8 is calibrated on the first tomogram by one process for all"
        raise ConfigError("predict.devices", problem, "name one device, or take another predict.precision")
    return names[: max(tomograms, 1)]


def count_gpus() -> int:
    """Return how many CUDA devices torch may use."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def main_memory_budget_bytes(memory_gigabytes: float | None) -> float:
    """Return how many bytes of main memory tomograms may take, all that is made of them included.

    Parameters
    ----------
    memory_gigabytes
        What is asked for; None: half of what is free now.
    """
    return SHARE_OF_FREE_MEMORY * read_free_bytes() if memory_gigabytes is None else memory_gigabytes * 1e9


def device_memory_budget_bytes(device: torch.device) -> float:
    """Return how many bytes a prediction may take on a GPU: half of what is free there.

    What torch keeps from earlier predictions counts as free, so that every tomogram finds the same.
    """
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return SHARE_OF_FREE_MEMORY * float(torch.cuda.mem_get_info(device)[0] + kept)
