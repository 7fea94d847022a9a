"""Whether a network can learn from crops of a size."""

from typing import TypeVar

import torch
from torch import Tensor, nn

from cryofind.config import TrainConfig
from cryofind.errors import ConfigError
from cryofind.types.grid import IntTriple

Part = TypeVar("Part", bound=nn.Module)


def check_crops(network: nn.Module, config: TrainConfig) -> None:
    """Refuse crops that a network cannot learn from: of other sizes than it takes, or too small for its norms.

    A BatchNorm that gets a single value per channel has no deviation to divide by.

    Parameters
    ----------
    network
        Run once in eval mode on an empty crop, if there is one crop in a batch.
    config
        Size of batches and crops.

    Raises
    ------
    ConfigError
        About `train.crop_zyx`, or about `train.batch_size`.
    """
    sizes = " x ".join(map(str, config.crop_zyx))
    multiple = getattr(network, "size_multiple", 1)
    if any(size % multiple for size in config.crop_zyx):
        raise ConfigError("train.crop_zyx", f"is {sizes}, expected multiples of {multiple}", "round the sizes")
    norm = _find_starved_norm(network, config.crop_zyx) if config.batch_size == 1 else None
    if norm is not None:
        problem = f"is 1, expected 2 or more with crops of {sizes} voxels: BatchNorm gets one value at {norm}"
        raise ConfigError("train.batch_size", problem, "raise it, or train.crop_zyx")


def _find_starved_norm(network: nn.Module, crop_zyx: IntTriple) -> str | None:
    """Return the name of a norm to which one crop gives one value per channel, None if there is none."""
    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return next((name for name, _, shape in _find_inputs(network, norms, crop_zyx) if shape[2:].numel() == 1), None)


def find_shallow_convolution(network: nn.Module, crop_zyx: IntTriple) -> str | None:
    """Return the name of a convolution whose input has fewer voxels along z than its kernel, None if there is none.

    The bfloat16 weight gradient of such a 3D convolution is wrong on CPUs: oneDNN, as in torch 2.13, reads and writes
    outside its buffers (measured: depth 2 under kernel 3; depth 2 to 4 under kernel 5), without an error. Kernels of
    one or two voxels are not affected, nor are other axes.

    Parameters
    ----------
    network
        Run once in eval mode on an empty crop.
    crop_zyx
        Size of a training crop, voxels.
    """
    for name, convolution, shape in _find_inputs(network, (nn.Conv3d, nn.ConvTranspose3d), crop_zyx):
        size, dilation = convolution.kernel_size[0], convolution.dilation[0]
        if size > 2 and shape[-3] < dilation * (size - 1) + 1:
            return name
    return None


def _find_inputs(
    network: nn.Module, kinds: tuple[type[Part], ...], crop_zyx: IntTriple
) -> list[tuple[str, Part, torch.Size]]:
    """Return the parts of some kinds, in the order they compute in, with the shape of what one crop gives them."""
    found: list[tuple[str, Part, torch.Size]] = []

    def watch(name: str, part: Part) -> torch.utils.hooks.RemovableHandle:
        def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found.append((name, part, inputs[0].shape))

        return part.register_forward_pre_hook(note)

    handles = [watch(name, part) for name, part in network.named_modules() if isinstance(part, kinds)]
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(next(network.parameters()).new_zeros(1, 1, *crop_zyx))
    finally:
        network.train(was_training)
        for handle in handles:
            handle.remove()
    return found
