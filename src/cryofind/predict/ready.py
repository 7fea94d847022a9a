"""Networks that are made ready to run once and serve for many tomograms."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cryofind.config import PredictConfig
from cryofind.errors import MemoryLimitError
from cryofind.predict.engines import EngineChoice, choose_engine, load_ensemble
from cryofind.predict.ensemble import Ensemble, combine_multiples
from cryofind.predict.openvino_engine import OpenVinoNetwork
from cryofind.predict.tiling import IntTriple


@dataclass(frozen=True, eq=False)
class ReadyNetworks:
    """Networks and what runs them; folded, moved and tried on first use, then kept.

    Parameters
    ----------
    networks
        Modules that map (B, 1, Z, Y, X) to logits (B, C, Z/2, Y/2, X/2). They are copied, so that later changes of
        theirs do not count.
    choice
        Engine, precision, device.
    """

    networks: tuple[nn.Module, ...]
    choice: EngineChoice
    _kept: dict[str, Ensemble] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def choose(cls, networks: Sequence[nn.Module], config: PredictConfig) -> "ReadyNetworks":
        """Return the networks with what is to run them; parameters and errors as of `choose_engine`."""
        return cls(tuple(networks), choose_engine(networks, config))

    def load(self, volume_zyx: NDArray[Any], *, subject: str, choice: EngineChoice | None = None) -> Ensemble:
        """Return the networks ready to run, with as much memory free as if they had not run yet.

        Parameters
        ----------
        volume_zyx
            A preprocessed tomogram, on which int8 is calibrated the first time.
        subject
            What the networks are wanted for, for errors.
        choice
            Instead of the one that was made, for instance a wider number type.

        Raises
        ------
        ModelError
            If the networks do not fit each other, or the engine cannot run one.
        MemoryLimitError
            If memory does not suffice for the smallest block.
        """
        choice = choice or self.choice
        if choice.precision not in self._kept:
            self._kept[choice.precision] = _load_or_refuse(self.networks, choice, volume_zyx, subject)
        ensemble = self._kept[choice.precision]
        for member in ensemble.members:
            if isinstance(member, OpenVinoNetwork):
                member.release_memory()
        return ensemble

    def measure(self) -> Ensemble:
        """Return what the networks need, without a tomogram and without the networks; errors as of `load`."""
        nothing = np.zeros((0, 0, 0), np.float32)
        if self.choice.precision == "int8":
            # Would be calibrated on a tomogram; float32 needs more.
            ensemble = _load_or_refuse(
                self.networks, replace(self.choice, precision="float32"), nothing, "the networks in float32"
            )
        else:
            ensemble = self.load(nothing, subject="the networks")
        return replace(ensemble, members=())


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Say whether an error of torch, numpy or OpenVINO means that memory ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    message = str(error).lower()
    return "out of memory" in message or "can't allocate memory" in message or "not enough memory" in message


def refuse_blocks(subject: str, device: torch.device, tile_zyx: IntTriple) -> MemoryLimitError:
    """Return the refusal of blocks of that size, for which memory does not suffice."""
    return MemoryLimitError(
        subject,
        f"memory on {device} does not suffice for blocks of {join_sizes(tile_zyx)} voxels",
        "end other programs, set predict.device to cpu, or take a smaller network",
    )


def join_sizes(sizes: IntTriple) -> str:
    """Return sizes as text."""
    return " x ".join(str(size) for size in sizes)


def _load_or_refuse(
    networks: Sequence[nn.Module], choice: EngineChoice, volume_zyx: NDArray[Any], subject: str
) -> Ensemble:
    try:
        with torch.inference_mode():
            return load_ensemble(networks, choice, volume_zyx)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise refuse_blocks(subject, choice.device, (2 * combine_multiples(networks),) * 3) from error
