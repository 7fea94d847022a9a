"""Where and how exactly to compute: devices, precision, processes."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from cryofind.config import TrainConfig
from cryofind.errors import ConfigError
from cryofind.models import choose_precision
from cryofind.train.fit_of_network import find_shallow_convolution

if TYPE_CHECKING:
    from lightning_fabric import Fabric

logger = logging.getLogger("cryofind")

# What asks a training to stop: Ctrl-C, and the end of a job's time.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)

FabricPrecision = Literal["bf16-mixed", "32-true"]


def start_fabric(config: TrainConfig, network: nn.Module) -> "Fabric":
    """Return a launched `Fabric` for the devices and precision of a configuration; several devices mean DDP.

    On CPUs, bfloat16 gives way to float32 where it would be wrong (see `find_shallow_convolution`).

    Raises
    ------
    ConfigError
        If `train.devices` cannot be understood or asks for what this computer does not have.
    """
    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    accelerator, count = parse_devices(config.devices)
    precision = name_precision(choose_precision(config.precision, torch.device(accelerator)))
    if accelerator == "cpu" and precision == "bf16-mixed":
        shallow = find_shallow_convolution(network, config.crop_zyx)
        if shallow is not None:
            logger.warning(
                "training in float32: crops of %d voxels along z are too shallow for bfloat16 on a CPU (at %s); "
                "deeper crops train faster",
                config.crop_zyx[0],
                shallow,
            )
            precision = "32-true"
    strategy = "ddp" if count > 1 else "auto"
    fabric = Fabric(accelerator=accelerator, devices=count, strategy=strategy, precision=precision)
    fabric.launch()
    return fabric


def parse_devices(text: str) -> tuple[Literal["cpu", "cuda"], int]:
    """Return accelerator and number of devices of `auto`, `cpu`, `cuda`, or with a number: `cuda:2`.

    Raises
    ------
    ConfigError
        If the text is of no such form, or CUDA has fewer devices.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if text == "auto":
        return ("cuda", 1) if available else ("cpu", 1)
    accelerator, colon, number = text.partition(":")
    if accelerator not in {"cpu", "cuda"} or (colon and not (number.isascii() and number.isdigit() and int(number))):
        raise ConfigError("train.devices", f"is {text!r}", "use auto, cpu, cuda, or a number of GPUs such as cuda:2")
    count = int(number) if colon else 1
    if accelerator == "cpu":
        return "cpu", count
    if count > available:
        raise ConfigError("train.devices", f"asks for {count} GPU(s), found {available}", "use auto or cpu")
    return "cuda", count


def name_precision(dtype: torch.dtype) -> FabricPrecision:
    """Return Fabric's name for training in bfloat16 (with weights in float32) or in float32."""
    return "bf16-mixed" if dtype == torch.bfloat16 else "32-true"


def synchronize_with(device: torch.device) -> Callable[[], None] | None:
    """Return what waits until a GPU has done what the training asked it for; None for a CPU, which works at once.

    Not for the batches to come, which are made there meanwhile.
    """
    return (lambda: torch.cuda.current_stream(device).synchronize()) if device.type == "cuda" else None


@contextmanager
def catch_interruption() -> Iterator[Callable[[], int]]:
    """Turn SIGINT (Ctrl-C) and SIGTERM into a question: the yielded function gives the number of the first, or 0.

    A second signal ends the block at once, by `KeyboardInterrupt` or by `SystemExit` as shells expect it. Outside the
    main thread signals cannot be caught, and the answer stays 0. A signal that is ignored (`nohup`, `&`) stays ignored.
    """
    arrived: list[int] = []

    def note(signal_number: int, frame: FrameType | None) -> None:
        if not arrived:
            arrived.append(signal_number)
            logger.warning("stopping after this step and a checkpoint; a second signal (Ctrl-C) stops at once")
        elif signal_number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(exit_code_of(signal_number))

    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    heeded = [number for number in STOP_SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    previous = {number: signal.signal(number, note) for number in heeded}
    try:
        yield lambda: arrived[0] if arrived else 0
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def exit_code_of(signal_number: int) -> int:
    """Return the exit status of a program that a signal ended, as shells and schedulers count: 128 + its number."""
    return 128 + signal_number
