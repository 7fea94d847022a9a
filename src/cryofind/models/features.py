"""What a network makes of an image at its coarsest: statistics of the channels that all else is built from."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cryofind.models.unet import ResidualUNet, network_multiple


def measure_features(network: nn.Module, blocks_zyx: Sequence[NDArray[Any]]) -> NDArray[np.float64] | None:
    """Return the mean and the standard deviation of each channel of a network's deepest features.

    Parameters
    ----------
    network
        In eval mode; only the package's own networks have known features.
    blocks_zyx
        Preprocessed voxels, all of one shape, given to the network at once. What is beyond a multiple of its
        deepest stride is left out; thinner blocks are repeated.

    Returns
    -------
    ndarray of shape (2 C,) or None
        First the means of all C channels over cells, then their standard deviations, of each the median over blocks.
        None for networks of plug-ins.
    """
    if not isinstance(network, ResidualUNet):
        return None
    parameter, multiple = next(network.parameters()), network_multiple(network)
    # All at once: for single images torch takes an algorithm that is several times slower.
    images = torch.from_numpy(np.stack([_fit(block, multiple) for block in blocks_zyx])[:, None])
    with torch.inference_mode():
        cells = network.encode(images.to(parameter.device, parameter.dtype))[-1].flatten(2).double()
        found = torch.cat([cells.mean(2), cells.std(2, correction=0)], dim=1).cpu().numpy()
    return np.asarray(np.median(found, axis=0))


def _fit(block_zyx: NDArray[Any], multiple: int) -> NDArray[np.float32]:
    sizes = [max(size // multiple, 1) * multiple for size in block_zyx.shape]
    indices = [np.arange(size) % length for size, length in zip(sizes, block_zyx.shape, strict=True)]
    return np.asarray(block_zyx[np.ix_(*indices)], dtype=np.float32)
