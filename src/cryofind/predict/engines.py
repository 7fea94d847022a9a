"""Which engine runs the networks, in which number type: torch, or OpenVINO where it is installed."""

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cryofind.config import PredictConfig
from cryofind.errors import ConfigError, ModelError
from cryofind.models import ResidualUNet, choose_precision
from cryofind.predict.device import choose_device
from cryofind.predict.ensemble import Ensemble, combine_multiples, prepare_ensemble
from cryofind.predict.openvino_engine import convert_network, is_calibrated, load_openvino
from cryofind.predict.tiling import IntTriple, cut_block, round_up

# Blocks that int8 is calibrated on: eight of 64^3 hold two million voxels, far more than its ranges need.
CALIBRATION_CROPS = 8
CALIBRATION_SIDE = 64


Precision = Literal["float32", "bf16", "fp16", "int8"]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class EngineChoice:
    """What runs the networks of a prediction.

    Parameters
    ----------
    engine
        The library.
    precision
        The number type of the feature maps.
    device
        Where.
    reason
        Why this engine, in a few words.
    """

    engine: Literal["torch", "openvino"]
    precision: Precision
    device: torch.device
    reason: str

    @property
    def dtype(self) -> torch.dtype:
        """The number type in which blocks are handed over; OpenVINO converts them itself."""
        return _DTYPES.get(self.precision, torch.float32) if self.engine == "torch" else torch.float32

    def describe(self) -> str:
        """Return the choice as one line."""
        calibrated = ", calibrated on the first tomogram" if self.precision == "int8" else ""
        return f"networks run on {self.device} by {self.engine} in {self.precision}{calibrated} ({self.reason})"

    def as_record(self) -> dict[str, str]:
        """Return the choice for a record, JSON-ready."""
        record = {"engine": self.engine, "precision": self.precision, "device": str(self.device)}
        return {**record, "reason": self.reason}


def choose_engine(networks: Sequence[nn.Module], config: PredictConfig) -> EngineChoice:
    """Return what is to run the networks: what is asked for, else what is installed and fastest by rule.

    On a GPU that is torch, in float16 where the GPU has no bfloat16 (compute capability below 8.0). On a CPU it is
    torch, slab by slab, for the package's own networks in bfloat16 where the CPU has instructions for it; for all else
    OpenVINO where it is installed and can run the networks, which is tried.

    Parameters
    ----------
    networks
        Modules that map (B, 1, Z, Y, X) to logits (B, C, Z/2, Y/2, X/2).
    config
        Device, engine, precision.

    Raises
    ------
    ConfigError
        If the device or engine is not there or cannot be loaded, or engine, precision and device do not go together.
    ModelError
        If OpenVINO is asked for and cannot run a network.
    """
    needs_openvino = config.engine == "openvino" or config.precision == "int8"
    device = torch.device("cpu") if needs_openvino and config.device == "auto" else choose_device(config.device)
    if config.precision == "int8":
        _check_openvino(config, device)
        _convert_all(networks)
        return EngineChoice("openvino", "int8", device, "asked for")
    precision = _choose_precision(config, device)
    if config.engine == "openvino":
        _check_openvino(config, device)
        _convert_all(networks)
        return EngineChoice("openvino", precision, device, "asked for")
    if config.engine == "torch":
        return EngineChoice("torch", precision, device, "asked for")
    if device.type == "cuda":
        return EngineChoice("torch", precision, device, "the only engine for GPUs")
    return _choose_for_cpu(networks, precision, device)


def load_ensemble(networks: Sequence[nn.Module], choice: EngineChoice, volume_zyx: NDArray[Any]) -> Ensemble:
    """Return the networks ready to run by the chosen engine.

    Parameters
    ----------
    networks
        They stay as they are.
    choice
        Engine, precision, device.
    volume_zyx
        The preprocessed tomogram: int8 is calibrated on crops of the first that a network is loaded for.

    Raises
    ------
    ModelError
        If the networks do not fit each other, or the engine cannot run one.
    """
    if choice.engine == "torch":
        return prepare_ensemble(networks, device=choice.device, dtype=choice.dtype)
    if choice.precision == "fp16":
        raise ValueError("OpenVINO does not run in fp16")
    crops: list[Tensor] = []
    if choice.precision == "int8" and not all(map(is_calibrated, networks)):
        crops = cut_crops(volume_zyx, combine_multiples(networks))
    convert = functools.partial(load_openvino, precision=choice.precision, crops=crops)
    return prepare_ensemble(networks, device=choice.device, dtype=choice.dtype, convert=convert)


def cut_crops(volume_zyx: NDArray[Any], multiple: int) -> list[Tensor]:
    """Return blocks of one shape from all over a volume, always the same ones; thin volumes are mirrored.

    Parameters
    ----------
    volume_zyx
        Preprocessed voxels.
    multiple
        What every side of a block is a multiple of.
    """
    z, y, x = (round_up(min(CALIBRATION_SIDE, length), multiple) for length in volume_zyx.shape)
    size_zyx: IntTriple = (z, y, x)
    free_zyx = np.maximum(np.array(volume_zyx.shape) - size_zyx, 0)
    # The seed is fixed, so that the same tomogram gives the same picks.
    starts = np.random.default_rng(0).integers(0, free_zyx + 1, (CALIBRATION_CROPS, 3))
    return [
        cut_block(volume_zyx, (int(start[0]), int(start[1]), int(start[2])), size_zyx, dtype=torch.float32)
        for start in starts
    ]


def _choose_precision(config: PredictConfig, device: torch.device) -> Precision:
    asked = config.precision
    if asked == "fp16" and device.type != "cuda":
        raise ConfigError(
            "predict.precision", f"is 'fp16', which is for GPUs, on {device}", "use auto, bf16 or float32"
        )
    if asked == "fp16" or asked == "int8":
        return asked
    if choose_precision(asked, device) == torch.bfloat16:
        return "bf16"
    return "fp16" if asked == "auto" and device.type == "cuda" else "float32"


def _choose_for_cpu(networks: Sequence[nn.Module], precision: Precision, device: torch.device) -> EngineChoice:
    # Measured on 128^3 voxels: of our networks both engines take the same time in bfloat16, and torch slab by slab
    # takes less memory; in float32 OpenVINO is 2.2 times as fast, and plug-ins do not run slab by slab.
    is_own = all(isinstance(network, ResidualUNet) for network in networks)
    if is_own and precision == "bf16" and choose_precision("auto", device) == torch.bfloat16:
        return EngineChoice("torch", precision, device, "fastest for the package's own networks on this CPU")
    if not is_installed("openvino"):
        return EngineChoice("torch", precision, device, "OpenVINO is not installed")
    try:
        _convert_all(networks)
    except (ModelError, ConfigError) as error:
        return EngineChoice("torch", precision, device, error.problem)
    return EngineChoice("openvino", precision, device, "fastest for these networks on this CPU")


def is_installed(package: str) -> bool:
    """Say whether a package of the extra `[openvino]` can be imported, without importing it."""
    return importlib.util.find_spec(package) is not None


def _check_openvino(config: PredictConfig, device: torch.device) -> None:
    """Refuse settings that OpenVINO cannot follow."""
    subject, asked = ("predict.precision", "int8") if config.precision == "int8" else ("predict.engine", config.engine)
    if config.engine == "torch":
        raise ConfigError(subject, f"is '{asked}', which torch does not run", "set predict.engine to openvino or auto")
    if device.type != "cpu":
        problem = f"is '{asked}', which runs on CPUs only, and predict.device is '{config.device}'"
        raise ConfigError(subject, problem, "set predict.device to cpu, or predict.engine and precision to auto")
    needed = ("openvino", "nncf") if config.precision == "int8" else ("openvino",)
    missing = [package for package in needed if not is_installed(package)]
    if missing:
        problem = f"is '{asked}', but {' and '.join(missing)} cannot be found"
        raise ConfigError(subject, problem, "pip install 'cryofind[openvino]'")


def _convert_all(networks: Sequence[nn.Module]) -> None:
    for network in networks:
        convert_network(network)
