"""Several networks, and several views of a block, averaged to one volume of logits."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from cryofind.errors import ModelError
from cryofind.models import OUTPUT_STRIDE, ResidualUNet, fold_batch_norm, network_multiple
from cryofind.predict.augment_test import View
from cryofind.predict.openvino_engine import OpenVinoNetwork, measure_maps
from cryofind.predict.slabs import SlabUNet
from cryofind.predict.tiling import IntTriple

# Measured by us on res16 and res32, in both precisions, blocks of 4 to 79 million voxels: beside its input, a plain
# forward pass peaks at 3.2 to 4.1 feature maps of the largest size.
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
        Elements of the largest array that a kernel is given, for each input voxel; 0 where it is given slabs.
    map_bytes_per_voxel
        Bytes of the feature maps that exist at one time, for each input voxel.
    """

    members: tuple[nn.Module, ...]
    device: torch.device
    dtype: torch.dtype
    channels: int
    multiple: int
    largest_map_per_voxel: float
    map_bytes_per_voxel: float

    def bytes_per_voxel(self) -> float:
        """Return the bytes that a forward pass and its result take for each input voxel."""
        output = self.channels / OUTPUT_STRIDE**3
        # The block; the logits, which may be float32; the logits weighted and summed in float32.
        return self.dtype.itemsize + 4 * output + self.map_bytes_per_voxel + 4 * (1 + 2 * output)


def combine_multiples(networks: Sequence[nn.Module]) -> int:
    """Return what block sizes must be multiples of to suit every network; even."""
    return math.lcm(OUTPUT_STRIDE, *map(network_multiple, networks))


def prepare_ensemble(
    networks: Sequence[nn.Module],
    *,
    device: torch.device,
    dtype: torch.dtype,
    convert: Callable[[nn.Module], OpenVinoNetwork] | None = None,
) -> Ensemble:
    """Return copies of the networks, folded and moved, after a trial run of each on a small block.

    Parameters
    ----------
    networks
        Modules that map (B, 1, Z, Y, X) to logits (B, C, Z/2, Y/2, X/2).
    device, dtype
        Where they are to run, and in which number type they get their blocks.
    convert
        What hands a network over to OpenVINO; without it torch runs them all.

    Raises
    ------
    ModelError
        If the networks give logits of different numbers of channels, or not at stride 2.
    """
    if not networks:
        raise ValueError("at least one network is needed")
    multiple = combine_multiples(networks)
    members = tuple(
        convert(network) if convert else _make_ready(fold_batch_norm(network), device, dtype) for network in networks
    )
    trial = torch.zeros((1, 1, *[2 * multiple] * 3), device=device, dtype=dtype)
    outcomes = [_try_network(member, trial) for member in members]
    for number, outcome in enumerate(outcomes, start=1):
        _check_trial(number, outcome.shape, outcomes[0].shape[1], 2 * multiple)
    largest = max(outcome.largest_map_per_voxel for outcome in outcomes)
    map_bytes = max(outcome.map_bytes_per_voxel for outcome in outcomes)
    return Ensemble(members, device, dtype, outcomes[0].shape[1], multiple, largest, map_bytes)


def average_logits(
    ensemble: Ensemble, block: torch.Tensor, views: Sequence[View], *, after_each: Callable[[], None]
) -> torch.Tensor:
    """Return the logits (C, z/2, y/2, x/2) of a block (z, y, x), averaged over networks and views.

    Of a single network and view they are what the network gives, an average is float32. `after_each` is called after
    every pass.
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


def iterate_logits(
    ensemble: Ensemble, block: torch.Tensor, views: Sequence[View], *, after_each: Callable[[], None]
) -> Iterator[tuple[int, torch.Tensor]]:
    """Yield what `average_logits` returns, some planes at a time where that saves memory, with their first plane."""
    member = ensemble.members[0]
    if len(ensemble.members) == len(views) == 1 and isinstance(member, SlabUNet):
        view = views[0]
        batch = view.apply(block.to(ensemble.device, ensemble.dtype)[None, None])
        yield from ((start, view.undo(planes)) for start, planes in member.iterate_logits(batch))
        after_each()
    else:
        yield 0, average_logits(ensemble, block, views, after_each=after_each)


def _make_ready(network: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Return a network, its norms folded, as it runs fastest on a device."""
    fixed = network.eval().requires_grad_(False)
    if isinstance(fixed, ResidualUNet) and device.type == "cpu":
        return SlabUNet(fixed, dtype)
    moved = fixed.to(device=device, dtype=dtype)
    return moved.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]


@dataclass(frozen=True)
class _Trial:
    """What came out of a network, and what it took."""

    shape: tuple[int, ...]
    largest_map_per_voxel: float
    map_bytes_per_voxel: float


def _try_network(network: nn.Module, trial: torch.Tensor) -> _Trial:
    if isinstance(network, SlabUNet):
        return _Trial(tuple(network(trial).shape), 0.0, network.bytes_per_voxel)
    if isinstance(network, OpenVinoNetwork):
        known = network.converted
        ratio = trial.shape[-1] / (2 * known.size_multiple)
        shape = (*known.shape[:2], *(int(size * ratio) for size in known.shape[2:]))
        return _trial_of_maps(shape, known.largest_map_per_voxel, network.bytes_per_element)
    shape, largest = measure_maps(network, trial)
    return _trial_of_maps(shape, largest / trial.numel(), trial.element_size())


def _trial_of_maps(shape: tuple[int, ...], largest_per_voxel: float, bytes_per_element: int) -> _Trial:
    return _Trial(shape, largest_per_voxel, bytes_per_element * FEATURE_MAPS_AT_PEAK * largest_per_voxel)


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
