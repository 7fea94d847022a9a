"""Several networks, and several views of a block, averaged to one volume of logits."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from cryofind.errors import ModelError
from cryofind.models import OUTPUT_STRIDE, fold_batch_norm, network_multiple
from cryofind.predict.augment_test import View
from cryofind.predict.tiling import IntTriple

# Measured by us on res16 and res32, in both precisions, blocks of 4 to 79 million voxels: beside its input, a forward
# pass peaks at 3.2 to 4.1 feature maps of the largest size (res16 in bfloat16: 13 to 17 bytes per voxel, res32: 31).
FEATURE_MAPS_AT_PEAK = 4.0


@dataclass(frozen=True)
class Ensemble:
    """Networks ready to run, and what they need.

    Parameters
    ----------
    members
        Networks in eval mode, norms folded, on one device and in one precision.
    device, dtype
        Where and in which number type they run.
    channels
        Channels of the logits, background included.
    multiple
        Input sizes must be multiples of this.
    largest_map_per_voxel
        Elements of the largest feature map for each input voxel.
    """

    members: tuple[nn.Module, ...]
    device: torch.device
    dtype: torch.dtype
    channels: int
    multiple: int
    largest_map_per_voxel: float

    def bytes_per_voxel(self) -> float:
        """Return the bytes that a forward pass and its result take for each input voxel."""
        output = self.channels / OUTPUT_STRIDE**3
        in_precision = 1 + FEATURE_MAPS_AT_PEAK * self.largest_map_per_voxel + output
        # The block, the logits weighted and summed in float32.
        return self.dtype.itemsize * in_precision + 4 * (1 + 2 * output)


def combine_multiples(networks: Sequence[nn.Module]) -> int:
    """Return what block sizes must be multiples of to suit every network; even."""
    return math.lcm(OUTPUT_STRIDE, *map(network_multiple, networks))


def prepare_ensemble(networks: Sequence[nn.Module], *, device: torch.device, dtype: torch.dtype) -> Ensemble:
    """Return copies of the networks, folded and moved, after a trial run of each on a small block.

    Parameters
    ----------
    networks
        Modules that map (B, 1, Z, Y, X) to logits (B, C, Z/2, Y/2, X/2).
    device, dtype
        Where and in which number type they are to run.

    Raises
    ------
    ModelError
        If the networks give logits of different numbers of channels, or not at stride 2.
    """
    if not networks:
        raise ValueError("at least one network is needed")
    multiple = combine_multiples(networks)
    members = tuple(_move(fold_batch_norm(network), device, dtype) for network in networks)
    trial = torch.zeros((1, 1, *[2 * multiple] * 3), device=device, dtype=dtype)
    outcomes = [_try_network(member, trial) for member in members]
    channels = [shape[1] for shape, _ in outcomes]
    for number, (shape, _) in enumerate(outcomes, start=1):
        _check_trial(number, shape, channels[0], 2 * multiple)
    return Ensemble(members, device, dtype, channels[0], multiple, max(largest for _, largest in outcomes))


def average_logits(
    ensemble: Ensemble, block: torch.Tensor, views: Sequence[View], *, after_each: Callable[[], None]
) -> torch.Tensor:
    """Return the logits (C, z/2, y/2, x/2) of a block (z, y, x), averaged over networks and views.

    A single network and view gives its own number type, an average float32. `after_each` is called after every pass.
    """
    batch = block.to(ensemble.device, ensemble.dtype)[None, None]
    passes = [(member, view) for member in ensemble.members for view in views]
    total: torch.Tensor | None = None
    for member, view in passes:
        logits = view.undo(member(view.apply(batch))[0])
        after_each()
        if len(passes) == 1:
            return logits
        total = logits.float() if total is None else total.add_(logits)
    if total is None:
        raise ValueError("at least one view is needed")
    return total.div_(len(passes))


def _move(network: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    moved = network.eval().requires_grad_(False).to(device=device, dtype=dtype)
    return moved.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]


def _try_network(network: nn.Module, trial: torch.Tensor) -> tuple[tuple[int, ...], float]:
    largest = 0

    def note_size(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal largest
        if isinstance(output, torch.Tensor):
            largest = max(largest, output.numel())

    hooks = [module.register_forward_hook(note_size) for module in network.modules()]
    try:
        shape = tuple(network(trial).shape)
    finally:
        for hook in hooks:
            hook.remove()
    return shape, largest / trial.numel()


def _check_trial(number: int, shape: tuple[int, ...], channels: int, size: int) -> None:
    half = size // OUTPUT_STRIDE
    expected: IntTriple = (half, half, half)
    if len(shape) != 5 or shape[2:] != expected:
        raise ModelError(
            f"network {number}",
            f"turns {size}^3 voxels into an array of shape {shape}, expected {half}^3 cells",
            "use a network with output at stride 2",
        )
    if shape[1] != channels:
        raise ModelError(
            f"network {number} of the ensemble",
            f"gives {shape[1]} channels, the first gives {channels}",
            "combine only models of the same objects and activation",
        )
